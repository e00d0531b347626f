"""Finds out what a benchmark's server would not like about an archive, before it is sent."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from PIL import Image

from fiftyone_revseg.evaluation.submission_files import (
    ROOTS,
    MaskSource,
    VideoMeta,
    check_benchmark,
    find_images,
    find_meta,
    read_meta,
)
from fiftyone_revseg.progress import OnProgress, walked

_SHOWN = 3  # examples of each problem
_EVERY = 500  # masks, between two words on progress
_END = b"IEND"  # the last chunk of a PNG
_MODES = ("1", "L", "P")  # Pillow's names for one channel with 8 bits or less

Size = tuple[int, int]


def validate_submission(
    path: str | Path,
    meta: str | Path,
    benchmark: str,
    images: str | Path | None = None,
    progress: bool | OnProgress | None = None,
) -> list[str]:
    """Checks an archive against a benchmark's own list of expressions.

    Checked are the folders, that every mask which is asked for is there and nothing else, that
    each is a single-channel picture of the size of its frame that can be read, and that its values
    are 255 (or a visible colour) for the object and 0 for the rest. It works without FiftyOne.

    Args:
        path: the zip file, whoever made it
        meta: the benchmark's ``meta_expressions.json``, or its folder
        benchmark: "mevis" or "ref-youtube-vos"
        images (None): the folder with the folders of frames. By default, that beside ``meta``; if
            it is gone, all masks of a video must have one size
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, none is shown

    Returns:
        the problems, a sentence each; [] if there are none

    Raises:
        ValueError: if ``meta`` or ``images`` cannot be read
    """
    check_benchmark(benchmark)
    meta = find_meta(benchmark, meta)
    listed = read_meta(meta)
    folder = find_images(benchmark, meta) if images is None else Path(images).expanduser()
    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one with the folders of frames")
    try:
        source = MaskSource(path)
    except ValueError as error:
        return [f"{error}."]
    if source.path.is_dir():
        return [f"{source.path} is a folder: servers take zip files."]
    with source:
        names, problems = _check_names(source, listed, ROOTS[benchmark])
        found = _Problems()
        sizes = _Sizes(folder, listed)
        masks = names.items(), len(names), progress, "Checking", "mask", _EVERY
        for name, video in walked(*masks, name_of=itemgetter(1)):
            try:
                _check_mask(source.read(name), sizes.of(video, name), found, name)
            except ValueError as error:
                found.add("cannot be used", f"{name}: {error}")
            else:
                sizes.learn(video, found.last_size)
    return problems + found.sentences()


class _Problems:
    """Collects problems of the same kind, of which the first few are named."""

    def __init__(self) -> None:
        self._examples: dict[str, list[str]] = defaultdict(list)
        self._counts: Counter[str] = Counter()
        self.last_size: Size = (0, 0)

    def add(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        if len(self._examples[kind]) < _SHOWN:
            self._examples[kind].append(example)

    def sentences(self) -> list[str]:
        return [_told(kind, self._examples[kind], "masks", n) for kind, n in self._counts.items()]


def _check_names(
    source: MaskSource, listed: Mapping[str, VideoMeta], root: str
) -> tuple[dict[str, str], list[str]]:
    """Returns the files that are asked for and there, with their videos; and the problems."""
    problems, names = _odd_names(source)
    asked = {
        f"{root}{video}/{expression}/{frame}.png": video
        for video, about in listed.items()
        for expression in about.expressions
        for frame in about.frames
    }
    twice = [name for name, n in Counter(names).items() if n > 1]
    there = dict.fromkeys(names)
    wrong_root = _wrong_root(there, asked, root)
    if wrong_root:
        return {}, [*problems, wrong_root]
    if twice:
        problems.append(_told("are in the archive more than once", twice))
    missing = [name for name in asked if name not in there]
    if missing:
        problems += _what_is_missing(missing, listed, root)
    extra = [name for name in there if name not in asked]
    if extra:
        problems.append(_told("were not asked for", extra))
    return {name: asked[name] for name in there if name in asked}, problems


def _odd_names(source: MaskSource) -> tuple[list[str], list[str]]:
    """Returns what is wrong with names that no server takes, and the other names."""
    refused = set(source.refused)
    slashes = [name for name in source.members if "\\" in name and name not in refused]
    kinds = (
        (source.refused, "have names that lead out of the archive, or are links"),
        (slashes, "have backslashes in their names, where slashes must be"),
    )
    problems = [_told(what, odd) for odd, what in kinds if odd]
    known = {*refused, *slashes}
    return problems, [name for name in source.members if name not in known]


def _wrong_root(there: Mapping[str, Any], asked: Mapping[str, str], root: str) -> str:
    """Says in one sentence what is wrong if all files are one folder too deep, or not enough."""
    if not there:
        return "There is no file in the archive."
    if any(name in asked for name in there):
        return ""
    bare = {name.removeprefix(root) for name in asked}
    if root and any(name in bare for name in there):
        return f"There is no folder '{root.rstrip('/')}' around the folders of the videos."
    wanted = f"'{root.rstrip('/')}'" if root else "none"
    for name in there:
        outer, _, inner = name.partition("/")
        if inner in bare or inner in asked:
            return f"There is a folder '{outer}' around all others, where {wanted} should be."
    return ""


def _what_is_missing(missing: list[str], listed: Mapping[str, VideoMeta], root: str) -> list[str]:
    """Says it of whole videos, else of whole expressions, else of single masks."""
    lacking: dict[str, Counter[str]] = defaultdict(Counter)
    for name in missing:
        video, expression, _ = name.removeprefix(root).rsplit("/", 2)
        lacking[video][expression] += 1
    videos: list[str] = []
    expressions: list[str] = []
    masks: list[str] = []
    for video, counts in lacking.items():
        about = listed[video]
        if counts == {expression: len(about.frames) for expression in about.expressions}:
            videos.append(video)
            continue
        for expression, n in counts.items():
            kind = expressions if n == len(about.frames) else masks
            kind.append(f"{video}/{expression}")
    problems = []
    for of, what in ((videos, "videos"), (expressions, "expressions")):
        if of:
            problems.append(_told("are missing as a whole", of, what))
    if masks:
        partial = "have fewer masks than there are frames"
        problems.append(_told(partial, masks, "expressions"))
    return problems


def _told(what: str, names: list[str], kind: str = "files", count: int | None = None) -> str:
    count = len(names) if count is None else count
    more = ", ..." if count > _SHOWN else ""
    return f"{count} {kind} {what}: {', '.join(names[:_SHOWN])}{more}."


class _Sizes:
    """The sizes that masks must have: those of the frames, else that of the video's first mask."""

    def __init__(self, folder: Path | None, listed: Mapping[str, VideoMeta]):
        self._folder = folder
        self._listed = listed
        self._known: dict[str, Size] = {}

    def of(self, video: str, name: str) -> Size | None:
        """The (width, height) of a mask; None if that is not known yet."""
        if video not in self._known and self._folder is not None:
            size = _size_of_frames(self._folder / video, self._listed[video].frames)
            if size is not None:
                self._known[video] = size
        return self._known.get(video)

    def learn(self, video: str, size: Size) -> None:
        """Takes the size of a mask for that of all others, where nothing else is known."""
        self._known.setdefault(video, size)


def _size_of_frames(folder: Path, frames: tuple[str, ...]) -> Size | None:
    """All frames of a video have one size, so one of them is looked at."""
    for frame in frames[:1]:
        for path in (folder / f"{frame}{suffix}" for suffix in (".jpg", ".png", ".jpeg")):
            if path.is_file():
                with Image.open(path) as image:
                    return image.size
    return None


def _check_mask(data: bytes, size: Size | None, found: _Problems, name: str) -> None:
    """Adds what is wrong with one file; raises a ``ValueError`` if it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind, mode, found.last_size = image.format, image.mode, image.size
            wrong = _wrong_values(image) if mode in _MODES else []
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no picture that can be read ({type(error).__name__})") from error
    if kind == "PNG" and _END not in data:  # Pillow makes do with what is there
        raise ValueError("it ends too early")
    if kind != "PNG":
        found.add("are no PNGs", f"{name} ({kind})")
    if mode not in _MODES:
        found.add("are not single-channel with 8 bits", f"{name} ({mode})")
    if wrong:
        what = "have values other than 0 and 255"
        if mode == "P":
            what = "have a palette in which 0 is not black, or another value is"
        found.add(what, f"{name} ({', '.join(map(str, wrong[:_SHOWN]))})")
    if size is not None and found.last_size != size:
        found.add(
            "have another size than their frames",
            f"{name} ({found.last_size[0]} x {found.last_size[1]}, not {size[0]} x {size[1]})",
        )


def _wrong_values(image: Any) -> list[int]:
    """The values in a single-channel picture that readers may take for something else."""
    # Pillow counts them in C, and these are all pixels of all masks of a benchmark
    values = [value for _, value in image.getcolors(256)]
    if image.mode != "P":
        return [value for value in values if value not in (0, 255)]
    palette = image.getpalette()
    # Some readers turn the colours into grey, so what is not black is the object
    black = {value for value in values if not any(palette[3 * value : 3 * value + 3])}
    return [value for value in values if (value == 0) != (value in black)]
