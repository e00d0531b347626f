"""Progress bars for the stages of the pipeline, and for runs over many videos."""

from __future__ import annotations

import sys
from typing import Any

from fiftyone_revseg.cli.ctrl_c import CtrlC
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.progress import RunProgress
from fiftyone_revseg.text.escape import one_line

_TITLES = {
    "decode": "Reading frames",
    "reason": "Asking the model",
    "track": "Tracking",
    "write": "Saving",
}


class StageBars:
    """Shows one bar after the other, as the pipeline goes from stage to stage.

    An instance is what ``RevSeg.segment(..., progress=)`` calls. Bars go to the terminal's error
    stream, and nowhere if that is not a terminal.

    Args:
        nested (False): whether the bars are shown under another one, and go when they end
    """

    def __init__(self, nested: bool = False) -> None:
        self._options = {"position": 1, "leave": False} if nested else {}
        self._bar: Any = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or stage != self._stage or done < self._bar.n:
            self.close()
            title = _TITLES.get(stage, stage)
            self._bar = tqdm(
                total=total, desc=f"{title:16}", disable=None, unit="", **self._options
            )
            self._stage = stage
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunBars:
    """Shows one bar over all videos, and under it one for each stage of the current video.

    An instance is what ``segment_view(..., progress=)`` calls. Where the error stream is no
    terminal, as in a log file, one line is written for each video instead. Within its context,
    Ctrl-C ends the run even where the exception was swallowed: with the next news of it.

    Args:
        title ("Segmenting"): what is done to the videos
    """

    def __init__(self, title: str = "Segmenting") -> None:
        self._title = title
        self._bar: Any = None
        self._stages = StageBars(nested=True)
        self._shown = sys.stderr.isatty()
        self._said = 0
        self._ctrl_c = CtrlC()

    def __call__(self, progress: RunProgress) -> None:
        self._ctrl_c.check()
        if self._shown:
            self._show(progress)
        elif progress.done > self._said:
            self._said = progress.done
            echo(say(progress), err=True)

    def _show(self, progress: RunProgress) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=progress.total, desc=self._title, unit="video")
        self._bar.set_postfix_str(one_line(progress.video), refresh=False)
        self._bar.update(progress.done - self._bar.n)
        if progress.stage:
            self._stages(progress.stage, progress.stage_done, progress.stage_total)
        else:
            self._stages.close()

    def __enter__(self) -> RunBars:
        self._ctrl_c.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ctrl_c.__exit__()
        self._stages.close()
        if self._bar is not None:
            self._bar.close()


def say(progress: RunProgress) -> str:
    """Says in one line how far a run is."""
    from tqdm import tqdm

    line = f"{progress.done} of {progress.total} done"
    if progress.remaining:
        each, left = 1 / progress.rate, tqdm.format_interval(progress.remaining)
        line += f", {each:.1f} s each, {left} left"
    return line
