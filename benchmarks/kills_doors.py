"""What kills.py kills: every door through which something is written, each a function.

As a script, it imports everything once, and makes a process for each line of its input, which takes
milliseconds. A process can be told to kill itself at its n-th call that changes something on a disk
or in a database.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from fake_models import SPEC, BoxTracker, ScriptedReasoner
from fork_server import serve

QUERY = "the cat"
ANSWERS = ([(0, "a grey cat", [25, 50, 75, 100])], [(2, "a cat", [10, 10, 60, 60])])
BOX = [0.5, 0.25, 0.25, 0.5]


def pipeline(settings: int = 0) -> Any:
    """Two models that differ in their settings, thoughts and masks."""
    from fiftyone_revseg.pipeline import RevSeg

    reasoner = ScriptedReasoner({QUERY: ANSWERS[settings]})
    spec = SPEC.replace(frames=4 + settings)
    return RevSeg(reasoner, BoxTracker(range(3, 10_000, 4 + settings)), spec)


def segment_view(dataset: str, settings: int, masks_dir: str | None = None) -> None:
    import fiftyone as fo

    import fiftyone_revseg as revseg

    overwrite = "changed" if settings else False
    revseg.segment_view(
        fo.load_dataset(dataset),
        pipeline(settings),
        QUERY,
        overwrite=overwrite,
        masks_dir=masks_dir,
        progress=False,
    )


def apply_model(dataset: str, settings: int) -> None:
    import fiftyone as fo

    import fiftyone_revseg as revseg

    model = revseg.load_model(pipeline(settings), query=QUERY)
    fo.load_dataset(dataset).apply_model(model, label_field="revseg", progress=False)


def propagate(dataset: str, settings: int) -> None:
    import fiftyone as fo

    from fiftyone_revseg.dataset.correct import propagate

    if not settings:
        segment_view(dataset, 0)
        return
    for sample in fo.load_dataset(dataset):
        propagate(sample, 1, {5: BOX}, pipeline(), by="ann")


def predictions(dataset: str, settings: int, archives: list[str]) -> None:
    import fiftyone as fo

    from fiftyone_revseg.evaluation import load_predictions

    samples = fo.load_dataset(dataset)
    load_predictions(samples, archives[settings], "theirs", "x", overwrite=True, progress=False)


def import_benchmark(dataset: str, settings: int, root: str, place: str) -> None:
    from fiftyone_revseg.evaluation.benchmarks import import_benchmark

    import_benchmark("mevis", root, "test", dataset, videos=place, progress=False)


def export(place: str, settings: int, dataset: str, format: str) -> None:
    import fiftyone as fo

    import fiftyone_revseg as revseg

    revseg.export_results(
        fo.load_dataset(dataset),
        place,
        format,
        f"revseg{settings}",
        overwrite=True,
        images=format == "youtube-vos",
        progress=False,
    )


def submission(place: str, settings: int, dataset: str) -> None:
    import fiftyone as fo

    from fiftyone_revseg.evaluation import write_submission

    path = Path(place) / "out.zip"
    samples = fo.load_dataset(dataset)
    write_submission(samples, f"theirs{settings}", "mevis", path, progress=False)


def segment_command(place: str, settings: int, video: str) -> None:
    from fiftyone_revseg.cli.answer_files import write_answer
    from fiftyone_revseg.video import open_video

    with open_video(video) as source:
        (answer,) = pipeline(settings).segment(source, [QUERY])
        write_answer(place, source, answer)


def report(place: str, settings: int, evaluation: str) -> None:
    from fiftyone_revseg.evaluation.report import write_report
    from fiftyone_revseg.evaluation.results import Evaluation

    loaded = Evaluation.load(evaluation)
    if settings:
        loaded = replace(loaded, notes=(*loaded.notes, "another one"))
    write_report(loaded, place, progress=False)


def presets(place: str, settings: int, checkpoint: str, writer: str = "a") -> None:
    from fiftyone_revseg.models.presets import register_preset

    os.environ["REVSEG_HOME"] = place
    for i in range(8):
        register_preset(f"{writer}-{i}-{settings}", checkpoint)


def share(place: str, settings: int, checkpoint: str) -> None:
    from fiftyone_revseg.training.sharing import share_checkpoint

    target = Path(place) / "shared"
    finished = target.exists()
    try:
        share_checkpoint(checkpoint, target)
    except ValueError:  # it is in use
        if not finished:
            raise


def made_up(place: str, settings: int) -> None:
    from fiftyone_revseg.synthetic.mevis_layout import write_mevis

    write_mevis(place, "test", count=1 + settings, queries=1)


def train_tracker(place: str, settings: int, config: str) -> None:
    from fiftyone_revseg.nano.tracker_training import TrackerTraining, train_tracker

    few = {"image_batch": 1, "clip_batch": 1, "clip_length": 2, "save_every": 1}
    training = TrackerTraining(image_steps=3, clip_steps=1, report_worlds=0, objects=1, **few)
    train_tracker(place, training, config, device="cpu", progress=False)


def train_grpo(place: str, settings: int, model: str) -> None:
    from fiftyone_revseg.training import GrpoConfig, train_grpo
    from fiftyone_revseg.training.data import world_rows

    few = {"prompts": 1, "rollouts": 2, "batch": 2, "max_turn_tokens": 4, "sample_every": 0}
    config = GrpoConfig(model=model, steps=3, warmup=0, save_every=1, **few)
    train_grpo(world_rows(3), place, config)


def make(place: str, frames: int) -> None:
    """Makes what the doors need."""
    import fiftyone as fo
    import yaml
    from random_weights import save_random_checkpoint

    from fiftyone_revseg.evaluation import write_submission
    from fiftyone_revseg.evaluation.benchmarks import import_benchmark
    from fiftyone_revseg.reasoning import ChainSpec
    from fiftyone_revseg.synthetic.mevis_layout import write_mevis
    from fiftyone_revseg.tracking.checkpoints import EMBEDDED, read_config

    root = Path(place)
    (root / "videos").mkdir(parents=True)
    from fake_models import write_video

    for name in "abc":
        write_video(root / "videos" / f"{name}.mp4", 64, 48, frames)
    dataset = fo.Dataset("kills-videos", persistent=True)
    dataset.add_samples([fo.Sample(str(root / "videos" / f"{name}.mp4")) for name in "abc"])
    labelled = dataset.clone("kills-labelled", persistent=True)
    import fiftyone_revseg as revseg

    for settings in (0, 1):
        field = f"revseg{settings}"
        revseg.segment_view(labelled, pipeline(settings), QUERY, label_field=field, progress=False)

    write_mevis(root / "mevis", "test", count=3, queries=1)
    benchmark = import_benchmark("mevis", root / "mevis", "test", "kills-mevis", progress=False)
    for settings in (0, 1):
        answers = {text: ANSWERS[settings] for qs in benchmark.values("queries") for text in qs}
        model = revseg.pipeline.RevSeg(ScriptedReasoner(answers), BoxTracker())
        revseg.segment_view(
            benchmark, model, prompt_field="queries", label_field=f"theirs{settings}",
            progress=False,
        )  # fmt: skip
        path = root / f"{settings}.zip"
        write_submission(benchmark, f"theirs{settings}", "mevis", path, progress=False)
    evaluation = revseg.evaluate_view(benchmark, "theirs0", "ground_truth", progress=False)
    evaluation.save(root / "evaluation.json")

    shutil.copytree(EMBEDDED / "revseg-nano", root / "checkpoint")
    side = {"frames": 3, "frame_size": 32, "key_frame_size": 64}
    spec = ChainSpec(**side, box_convention="relative-1000", max_new_tokens=40)
    save_random_checkpoint(root / "model", "tiny-qwen3-vl", spec=spec)
    config = read_config(EMBEDDED / "sam2-nano" / "config.yaml")
    config["image_size"] = 64
    config["image_encoder"]["trunk"] |= {"window_spec": [8, 4, 4, 2]}
    for attention in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][attention]["feat_sizes"] = [4, 4]
    (root / "tracker.yaml").write_text(yaml.safe_dump({"model": config}))


DOORS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        *(segment_view, apply_model, propagate, predictions, import_benchmark, export, submission),
        *(segment_command, report, presets, share, made_up, train_tracker, train_grpo, make),
    )
}

_CHANGES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync", "link")
_WRITES = ("insert_one", "insert_many", "update_one", "update_many", "bulk_write", "delete_many")


def count_changes(kill_at: int | None, counted: str) -> None:
    """Counts the calls that change something into a file, and kills this process at one of them."""
    from pymongo.collection import Collection

    from fiftyone_revseg.files import whole as files

    calls = itertools.count()
    descriptor = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write, kill, pid = os.pwrite, os.kill, os.getpid()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            n = next(calls)
            if os.getpid() == pid:
                write(descriptor, b"%09d" % (n + 1), 0)
                if n == kill_at:
                    kill(pid, signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in _CHANGES:
        setattr(os, name, counting(getattr(os, name)))
    for name in _WRITES:
        setattr(Collection, name, counting(getattr(Collection, name)))
    files._exchange = counting(files._exchange)


def main() -> None:
    import fiftyone  # noqa: F401  it connects on first use only, so every process by itself
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import fiftyone_revseg.dataset.segment
    import fiftyone_revseg.evaluation
    import fiftyone_revseg.evaluation.report
    import fiftyone_revseg.training.grpo  # noqa: F401

    serve(_code_of)


def _code_of(
    door: str, log: str, counted: str, kill_at: int | None = None, **arguments: Any
) -> int:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        count_changes(kill_at, counted)
        DOORS[door](**arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
