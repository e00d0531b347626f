"""Runs ``segment_view`` in processes of their own, which a test can kill, or run side by side.

As a script, it imports everything once and then makes a process for each line of its input, which
takes milliseconds, where starting another interpreter would take seconds.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback

from fake_models import SPEC, BoxTracker, ScriptedReasoner
from fork_server import ForkServer, serve

QUERY = "the cat"
ANSWERS = ([(0, "a grey cat", [25, 50, 75, 100])], [(2, "a cat", [10, 10, 60, 60])])


def make_pipeline(settings=0):
    """Two models that differ in their settings, thoughts and key frames, and on every frame."""
    from fiftyone_revseg.pipeline import RevSeg

    hidden = range(3, 10_000, 4 + settings)
    reasoner = ScriptedReasoner({QUERY: ANSWERS[settings]})
    return RevSeg(reasoner, BoxTracker(hidden), SPEC.replace(frames=4 + settings))


def work(
    dataset,
    settings=0,
    clips=None,
    half=None,
    overwrite=False,
    label_field="revseg",
    log=None,
    at=None,
    new_fields=(),
):
    """Segments a dataset.

    Args:
        dataset: its name
        settings (0): which of the models of :func:`make_pipeline`
        clips (None): the field with clips, to segment these
        half (None): 0 or 1, to segment only every other sample or clip
        overwrite (False): see ``segment_view``
        label_field ("revseg"): see ``segment_view``
        log (None): a file that gets a line, video and stage, whenever a stage starts
        at (None): the time at which to start
        new_fields (()): fields to add to the dataset instead of segmenting it
    """
    import fiftyone as fo

    from fiftyone_revseg.dataset import segment_view

    samples = fo.load_dataset(dataset)
    if clips:
        samples = samples.to_clips(clips)
    if half is not None:
        samples = samples.select(samples.values("id")[half::2])
    if at is not None:
        time.sleep(max(0, at - time.time()))
    if new_fields:
        for name in new_fields:
            samples.add_sample_field(name, fo.StringField)
        return
    with contextlib.ExitStack() as stack:
        progress = _log_stages(stack.enter_context(open(log, "ab", 0))) if log else False
        segment_view(
            samples,
            make_pipeline(settings),
            QUERY,
            label_field=label_field,
            overwrite=overwrite,
            progress=progress,
        )


def _log_stages(file):
    seen = []

    def log(progress):
        stage = (progress.video, progress.stage)
        if progress.stage and stage not in seen[-1:]:
            seen.append(stage)
            file.write("\t".join(stage).encode() + b"\n")  # unbuffered: in the file when killed

    return log


class Runner(ForkServer):
    """Starts this file as a script, and processes from it."""

    def __init__(self):
        super().__init__(__file__)

    def start(self, **arguments):
        """Calls :func:`work` in a new process, and returns the number of that."""
        return self.fork(**arguments)

    def run(self, **arguments):
        """Calls :func:`work` in a new process and waits for its end."""
        return self.wait(self.start(**arguments))


def main():
    import fiftyone as fo  # noqa: F401  it connects on first use only, so every process by itself

    import fiftyone_revseg.dataset.segment  # noqa: F401

    serve(_code_of)


def _code_of(**arguments):
    os.dup2(2, 1)  # answers are all that belongs into the output
    try:
        work(**arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
