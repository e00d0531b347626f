"""``revseg segment``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import StageBars
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.files.names import safe_name
from fiftyone_revseg.text.escape import one_line
from fiftyone_revseg.types import ANSWERED, Status

if TYPE_CHECKING:
    from fiftyone_revseg.pipeline import Loading, Segmentation


class _FrameRange(click.ParamType):
    """``START:STOP``, 0-based and half-open."""

    name = "start:stop"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+):(\d+)", value)
        if not match or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r} is no range of frames: give START:STOP, as in 0:250", param, ctx)
        return int(match[1]), int(match[2])


@click.command(short_help="Segment what a query describes in one video.")
@click.argument("video")
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@options.folder("Where to write.  [default: the video's name with -revseg]")
@options.model
@options.server
@options.spec
@options.box_convention
@options.thinking
@options.tracker
@options.frames
@options.looking_again
@click.option(
    "--range",
    "frame_range",
    type=_FrameRange(),
    help="Only these frames of the video, counted from 0; STOP is not included.",
)
@options.device
@options.quantization
@options.device_map
@click.option(
    "--png/--no-png",
    default=True,
    show_default=True,
    help="Whether to write the masks as pictures, besides masks.json.",
)
def segment(video, queries, out, frame_range, png, **how) -> None:
    """Segments what each QUERY describes in VIDEO, without any database.

    VIDEO is a video file, a folder of images, or a pattern such as frames/%05d.jpg. What is
    written for each query (in a folder of its own if there are several):

    \b
      trajectory.json  the thought, the key frame, the box, every prompt and reply
      keyframe.png     the key frame with the box and the description
      overlay.mp4      the video with the masks over it
      masks.json       the masks of each object, as COCO RLE, with boxes and scores
      masks/00000.png  the masks of each frame; the value of a pixel is the object's number

    The exit code is 0 if every query was answered (an object was found, or the model says that
    there is none) and 1 if not; the last line then says why.

    \b
    Examples:
      revseg segment clip.mp4 "the object that appears last"
      revseg segment clip.mp4 "the red star" "all squares" -o out --range 0:250
      revseg segment clip.mp4 "who wins the race?" --model revseg-qwen2.5-vl-7b --device cuda:1
      revseg segment clip.mp4 "the dog" --model my-model --server http://localhost:8000/v1
    """
    from fiftyone_revseg.reasoning.queries import refusal

    for why in filter(None, map(refusal, queries)):
        raise click.UsageError(why.replace("The query", "A QUERY"))
    from fiftyone_revseg.cli.answer_files import check_answer, write_answer
    from fiftyone_revseg.video import VideoError, open_video

    try:  # before the models are loaded, which can take minutes
        source = open_video(video, frame_range)
    except VideoError as error:
        raise click.ClickException(f"{Status.UNREADABLE}: {error}") from error

    out = out or Path(safe_name(f"{Path(video).stem or 'video'}-revseg"))
    with source:
        with in_one_sentence(prefix="the result cannot be written: "):
            for folder in _folders(out, queries):
                check_answer(folder)
        with in_one_sentence(RuntimeError):
            loading = options.loading(how)
            _say_what_it_knows(loading, video)
            pipeline = loading.load()
        with StageBars() as bars:
            answers = pipeline.segment(source, list(queries), progress=bars)

        folders = _folders(out, [answer.query for answer in answers])
        unwritten = []
        for folder, answer in zip(folders, answers, strict=True):
            try:
                written = write_answer(folder, source, answer, png)
            except (OSError, ValueError, VideoError) as error:
                unwritten.append(f"the result of {answer.query!r} could not be written: {error}")
                continue
            _report(answer, folder, written)
    if unwritten:
        raise click.ClickException("; ".join(unwritten))

    failed = [a for a in answers if a.status not in ANSWERED]
    if failed:
        reasons = "; ".join(f"{a.query!r}: {a.status}: {one_line(a.reason)}" for a in failed)
        raise click.ClickException(reasons)


def _say_what_it_knows(loading: Loading, video: str) -> None:
    """Names the model where nobody did, and says where it cannot know the video."""
    from fiftyone_revseg.models.demonstration import NEEDS, demonstration_among, notice
    from fiftyone_revseg.synthetic.made_up import is_made_up

    name = demonstration_among(loading.names())
    is_unknown = name is not None and not is_made_up(video)
    if options.is_default("model"):
        needs = "" if is_unknown else f"; {NEEDS}"
        echo(f"No --model was named, so this asks {loading.name}{needs}", err=True)
    if name is not None and is_unknown:
        echo(notice(name, Path(video).name), err=True)


def _folders(out: Path, queries: Sequence[str]) -> list[Path]:
    """The folders for the answers to queries."""
    if len(queries) == 1:
        return [out]
    return [out / _folder_name(position, query) for position, query in enumerate(queries, start=1)]


def _folder_name(position: int, query: str) -> str:
    """Makes a name that every file system takes: ``1-the-red-star``."""
    words = re.sub(r"[^\w]+", "-", query.lower()).strip("-_")
    return f"{position}-{words[:40]}".rstrip("-")


def _report(answer: Segmentation, folder: Path, written: list[Path]) -> None:
    trajectory = answer.trajectory
    echo(one_line(answer.query), bold=True)
    why = f": {one_line(answer.reason)}" if answer.reason else ""
    echo(f"  status     {answer.status}{why}")
    if answer.caveat:
        echo(f"  note       {answer.caveat}")
    if trajectory.think:
        echo(f"  thought    {one_line(trajectory.think)}")
    for i, choice in enumerate(trajectory.choices):
        k = trajectory.key_frames[i]
        seconds = trajectory.frame_table.times[choice.frame]
        echo(f"  object {i + 1}   {one_line(choice.description)}")
        echo(f"    key frame  {k} ({seconds:.2f} s)")
        grounding, track = trajectory.groundings[i], answer.tracks[i]
        if grounding is not None:
            box = ", ".join(f"{v:.0f}" for v in grounding.box_xyxy_px or ())
            points = "; ".join(f"{x:.0f}, {y:.0f}" for x, y in grounding.points)
            confidence = grounding.confidence
            sure = "" if confidence is None else f", confidence {confidence:.2f}"
            if box:
                echo(f"    box        {box}{sure}")
            if points:
                echo(f"    point      {points}{'' if box else sure}")
        if track is not None:
            seen = len(track.visible_frames)
            echo(f"    masks      in {seen} of {answer.frame_count} frames")
    for name in ("certainty", "agreement"):
        if (value := getattr(trajectory, name)) is not None:
            echo(f"  {name:10} {value:.2f}")
    for verdict in trajectory.verdicts[-1:]:
        which = ", ".join(map(str, verdict.objects)) or "none"
        why = f": {one_line(verdict.why)}" if verdict.why else ""
        echo(f"  verdict    object {which} of {verdict.count}{why}")
    timings = ", ".join(
        f"{stage} {seconds:.1f}" for stage, seconds in (answer.timings or {}).items()
    )
    echo(f"  seconds    {timings}")
    echo(f"  written    {folder}: {', '.join(path.name for path in written)}")
