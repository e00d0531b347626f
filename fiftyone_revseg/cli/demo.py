"""``revseg demo``: a small sample dataset, segmented in FiftyOne and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.models import presets
from fiftyone_revseg.reasoning import Trajectory
from fiftyone_revseg.text.columns import in_columns

DATASET = "revseg-demo"

_LABELS = "revseg"
_TRUTH = "ground_truth"
_MARK = "revseg_demo"  # in dataset.info: what the dataset was made from
_SPEC = {"samples": 4, "verdict": True}  # the small model judges better than it answers at once
_PICTURES = 4  # frames with masks, beside the key frame, in each row of the contact sheet


@click.command(short_help="Segment a small sample dataset in FiftyOne.")
@options.folder("Where videos and pictures go.", default="runs/demo")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=12, show_default=True, help="How many videos."
)
@options.model
@click.option("--fresh", is_flag=True, help="Start over instead of keeping earlier results.")
def demo(out, count, model, fresh) -> None:
    """Segments a small sample dataset in FiftyOne.

    Renders videos of a made-up world in which shapes move, appear, collide and hide each other,
    makes them the FiftyOne dataset "revseg-demo" with queries and true masks, applies the model,
    prints how well each query was answered, and writes a contact sheet. A second run keeps what
    it finds.
    """
    with in_one_sentence():
        run_demo(out, count=count, model=model, fresh=fresh, echo=echo)


@dataclass(frozen=True)
class Result:
    """How one query of the demo was answered.

    Attributes:
        query: the query
        description: what the model takes for the object; several are separated by ";"
        key_frames: the 0-based key frames
        status: how it ended
        reason: why the status is not ok, in words
        score: the J&F of all objects together against the truth, 0 to 1
        seconds: what it took
        pictures: the key frame with the box, then frames with the masks
    """

    query: str
    description: str
    key_frames: tuple[int, ...]
    status: str
    reason: str
    score: float
    seconds: float
    pictures: tuple[np.ndarray, ...]


def run_demo(
    out: str | Path = "runs/demo",
    count: int = 12,
    model: str = "revseg-nano",
    fresh: bool = False,
    echo: Callable[[str], Any] = print,
) -> list[Result]:
    """Makes the sample dataset, segments it, and says and shows how well that went.

    What an earlier run left is used again: the videos, and the answers of the same model.

    Args:
        out ("runs/demo"): the directory for videos and pictures
        count (12): how many videos
        model ("revseg-nano"): a preset, a hub id or a path
        fresh (False): whether to start over
        echo (print): what is called with each line of text

    Returns:
        one :class:`Result` per video

    Raises:
        ValueError: if there is no such model, or a dataset of that name that is not the demo's
    """
    from fiftyone_revseg.files import check_writable, replacing
    from fiftyone_revseg.masks import pictures

    out = Path(out).absolute()
    check_writable(out)
    presets.resolve(model)  # a name that stands for nothing should fail before videos are made
    dataset = _sample_dataset(out, count, fresh, echo)
    _segment(dataset, model, echo)
    results = [_result(sample) for sample in dataset.iter_samples()]
    echo("")
    for line in table(results):
        echo(line)
    sheet = out / "contact-sheet.png"
    rows = [(_caption(result), result.pictures) for result in results]
    title = f"{model} on the synthetic world"
    with replacing(sheet, durable=False) as partial:
        pictures.save_png(partial, pictures.contact_sheet(rows, title=title))
    echo(f"\nContact sheet: {sheet}")
    echo(f"In the App:    fiftyone app launch {DATASET}")
    return results


def table(results: list[Result]) -> list[str]:
    """Lays results out as the lines of a table, with the means at the bottom."""
    header = ("query", "description", "key frame", "status", "J&F", "seconds")
    rows = [
        (
            result.query,
            result.description,
            ", ".join(str(k) for k in result.key_frames),
            result.status,
            f"{100 * result.score:.1f}",
            f"{result.seconds:.1f}",
        )
        for result in results
    ]
    if results:
        score = sum(result.score for result in results) / len(results)
        seconds = sum(result.seconds for result in results) / len(results)
        rows.append(("mean", "", "", "", f"{100 * score:.1f}", f"{seconds:.1f}"))
    lines, rule = in_columns([header, *rows], right=(4, 5))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]] if results else lines


def _sample_dataset(out: Path, count: int, fresh: bool, echo: Callable[[str], Any]) -> Any:
    """Loads the demo's dataset, or makes it anew where it is missing or of another kind."""
    import fiftyone as fo

    from fiftyone_revseg.synthetic import make_dataset

    made_from = {"out": str(out), "count": count}
    if fo.dataset_exists(DATASET):
        dataset = fo.load_dataset(DATASET)
        mark = dataset.info.get(_MARK)
        if mark is None:
            raise ValueError(
                f"The dataset {DATASET!r} is not the demo's: rename it, or delete it with "
                f"`fiftyone datasets delete {DATASET}`"
            )
        from fiftyone_revseg.dataset.collection import count_samples

        whole = all(Path(path).is_file() for path in dataset.values("filepath"))
        if not fresh and whole and count_samples(dataset) == count and mark == made_from:
            echo(f"Using the {count} videos in {out / 'videos'}")
            return dataset
        fo.delete_dataset(DATASET)
    echo(f"Rendering {count} videos in {out / 'videos'}")
    dataset = make_dataset(out / "videos", split="test", count=count, seed=0, name=DATASET)
    dataset.info[_MARK] = made_from
    dataset.persistent = True
    dataset.save()
    return dataset


def _segment(dataset: Any, model: str, echo: Callable[[str], Any]) -> None:
    """Segments what this very model has not answered yet, also after an interruption."""
    from fiftyone_revseg.dataset import load_model, segment_view

    echo(f"Segmenting with {model}")
    summary = segment_view(
        dataset,
        load_model(model, spec=_SPEC),
        prompt_field="query",
        label_field=_LABELS,
        overwrite="changed",  # answers of two models must not look like one's
    )
    if summary.done:
        echo(str(summary))
    else:
        echo(f"Using the answers of {model} from an earlier run (--fresh asks again)")


def _result(sample: Any) -> Result:
    """Reads one sample's answers back from the dataset, and compares them with the truth."""
    from fiftyone_revseg.dataset.labelled_videos import object_masks
    from fiftyone_revseg.measures import j_and_f
    from fiftyone_revseg.video import open_video

    with open_video(sample.filepath) as video:
        width, height = video.size
        size = (len(video), height, width)
        stored = sample[f"{_LABELS}_trajectory"]["segmentations"][0]
        trajectory = Trajectory.from_dict(stored["trajectory"])
        objects = object_masks(sample, _LABELS, size)
        together = np.any(objects, axis=0)
        timings = stored["timings"]
        return Result(
            query=trajectory.query,
            description="; ".join(choice.description for choice in trajectory.choices),
            key_frames=trajectory.key_frames,
            status=stored["status"],
            reason=stored["reason"],
            score=j_and_f(together, np.any(object_masks(sample, _TRUTH, size), axis=0)),
            seconds=sum(timings.get(stage, 0.0) for stage in ("decode", "reason", "track")),
            pictures=tuple(_row(video, trajectory, objects)),
        )


def _row(video: Any, trajectory: Trajectory, objects: np.ndarray) -> list[np.ndarray]:
    """Draws the key frame with its boxes, then frames over the whole video with their masks."""
    from fiftyone_revseg.cli.answer_files import key_frame_picture
    from fiftyone_revseg.masks import pictures

    shown = []
    if trajectory.choices:
        shown.append(key_frame_picture(video, trajectory, trajectory.key_frames[0]))
    else:
        shown.append(pictures.text_tile("no key frame", video.size))
    for k in np.linspace(0, len(video) - 1, _PICTURES).round().astype(int):
        shown.append(pictures.draw_masks(video[int(k)], list(objects[:, k])))
    return shown


def _caption(result: Result) -> str:
    answer = result.description or (result.reason and f"{result.status}: {result.reason}")
    answer = answer or result.status
    key = f", key frame {result.key_frames[0]}" if result.key_frames else ""
    return f'"{result.query}": {answer}{key}, J&F {100 * result.score:.0f}'
