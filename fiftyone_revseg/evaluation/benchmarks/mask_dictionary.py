"""MeViS, LV-VIS and ReVOS: expressions in one JSON file, run-length masks in another.

The file with the masks is up to a gigabyte of JSON, and several times that as Python objects. It
is gone through once to note where each entry lies, and an entry is parsed when it is needed, so
that memory stays at what one video takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.benchmarks.layout import (
    TOLERANT,
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
    Contents,
    Entries,
    FrameTruth,
    number_of,
    objects_kind,
    reading_json,
    text_of,
)
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.measures.bit_masks import checked_runs

MASKS = "mask_dict.json"
_BLOCK = 16 * 2**20  # bytes that are parsed at a time
_KEY = re.compile(r'[\s,{]*("(?:[^"\\]|\\.)*")\s*:\s*')
_END, _EMPTY = re.compile(r"\s*}\s*\Z"), re.compile(r"\s*{\s*}\s*")


class JsonEntries(Mapping[str, Any]):
    """The entries of a large JSON object, each parsed when it is asked for.

    Args:
        path: the path of the file

    Raises:
        LayoutError: if there is none, or it holds no JSON object
    """

    def __init__(self, path: Path):
        self.path = path
        with reading_json(path):
            self._places = dict(_places(path))

    def __getitem__(self, key: str) -> Any:
        start, stop = self._places[key]
        with self.path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(stop - start), **TOLERANT)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class MaskDictionaryBenchmark(Benchmark):
    """A benchmark whose masks are in a ``mask_dict.json``: a list of masks for each object."""

    _dictionary: JsonEntries | None = None

    def _read(self, video: BenchmarkVideo, entries: Entries) -> Contents:
        numbers = _object_numbers(entry for _, entry in entries)
        expressions = []
        for key, entry in entries:
            where = self._where(video.name, key)
            text = self._text(text_of(entry.get("exp"), where))
            objects = None
            if self.has_truth:
                if not isinstance(entry.get("anno_id"), list):
                    raise BrokenVideoError(f"{where} has no list 'anno_id'")
                objects = tuple(numbers[str(i)] for i in entry["anno_id"])
            expressions.append(Expression(key, text, objects, self._kind(entry, objects)))
        if self.has_truth and self.masks:
            self._check_known(video.name, numbers)
        labels = dict.fromkeys(numbers.values(), "object")
        return expressions, labels, lambda: self._masks_of(video, numbers)

    def _text(self, text: str) -> str:
        return text

    def _kind(self, entry: Mapping[str, Any], objects: Sequence[int] | None) -> str:
        # Not in the official files: what made-up worlds are written with
        return str(entry.get("kind") or objects_kind(objects))

    def _foreground(self, name: str) -> list[RLE | None] | None:
        """All objects of each frame together, where the benchmark says so."""
        return None

    def _entries(self) -> JsonEntries:
        if self._dictionary is None:
            self._dictionary = JsonEntries(self.masks_path)
        return self._dictionary

    def _check_known(self, name: str, numbers: Mapping[str, int]) -> None:
        unknown = [anno_id for anno_id in numbers if anno_id not in self._entries()]
        if unknown:
            raise BrokenVideoError(
                f"'{self.masks_path}' has no masks for anno_id {', '.join(unknown[:5])} of video"
                f" '{name}'"
            )

    def _masks_of(
        self, video: BenchmarkVideo, numbers: Mapping[str, int]
    ) -> Iterator[FrameTruth | None]:
        name, count, entries = video.name, len(video.images), self._entries()
        lists = {}
        for anno_id, number in numbers.items():
            where = f"'{self.masks_path}', anno_id {anno_id} of video '{name}',"
            lists[number] = check_masks(entries.get(anno_id), count, video.size, where)
        foreground = self._foreground(name)
        if foreground is not None:
            where = f"'{self.meta_path.parent}', foreground of video '{name}',"
            foreground = check_masks(foreground, count, video.size, where)
        for k in range(count):
            seen = {number: masks[k] for number, masks in lists.items()}
            yield FrameTruth(
                {number: rle for number, rle in seen.items() if rle is not None},
                foreground=None if foreground is None else foreground[k],
            )


def check_masks(masks: Any, count: int, size: tuple[int, int], where: str) -> list[RLE | None]:
    """Checks the masks of one object, and brings them into one form.

    Args:
        masks: what a file holds: one mask or None for each frame
        count: the number of frames
        size: the (width, height) of the video
        where: what a message begins with

    Returns:
        ``count`` RLEs; None where there is no mask, or an empty one

    Raises:
        BrokenVideoError: if there are more or fewer, or they are no masks of that size
    """
    if not isinstance(masks, list):
        raise BrokenVideoError(f"{where} has no list of masks")
    if len(masks) != count:
        raise BrokenVideoError(f"{where} has {len(masks)} masks for {count} frames")
    return [None if not mask else _one_rle(mask, size, where) for mask in masks]


def _one_rle(mask: Any, size: tuple[int, int], where: str) -> RLE | None:
    """A mask as COCO may write it, compressed or not, in one or several parts, as one RLE."""
    from pycocotools import mask as coco

    try:
        parts = mask if isinstance(mask, list) else [mask]
        for part in parts:
            if list(part["size"]) != [size[1], size[0]]:
                height, width = part["size"]
                raise BrokenVideoError(
                    f"{where} has a mask of {width} x {height} in a video of"
                    f" {size[0]} x {size[1]} pixels"
                )
        packed = [
            coco.frPyObjects(p, *p["size"]) if isinstance(p["counts"], list) else p for p in parts
        ]
        for part in packed:
            checked_runs(part)
        rle = coco.merge(packed) if len(packed) > 1 else packed[0]
        if not coco.area(rle):
            return None
    except BrokenVideoError:
        raise
    except Exception as error:  # whatever the file holds instead
        raise BrokenVideoError(f"{where} holds something that is no mask ({error!r})") from error
    counts = rle["counts"]
    return {
        "size": [size[1], size[0]],
        "counts": counts if isinstance(counts, str) else counts.decode("ascii"),
    }


def _object_numbers(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Numbers the objects of a video from 1, in the order of the benchmark's own ``obj_id``."""
    objects: dict[str, tuple[int, int]] = {}
    for entry in entries:
        anno_ids, obj_ids = entry.get("anno_id"), entry.get("obj_id")
        if not isinstance(anno_ids, list):
            continue
        if not isinstance(obj_ids, list) or len(obj_ids) != len(anno_ids):
            obj_ids = [0] * len(anno_ids)
        for anno_id, obj_id in zip(anno_ids, obj_ids, strict=True):
            objects.setdefault(str(anno_id), (number_of(obj_id) or 0, len(objects)))
    return {anno_id: n for n, anno_id in enumerate(sorted(objects, key=objects.__getitem__), 1)}


def _places(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Finds the (start, stop) bytes of each value of a JSON object, block by block."""
    decoder = json.JSONDecoder(**TOLERANT)
    with path.open("rb") as file:
        text, begin, at, block, ended = "", 0, 0, _BLOCK, False
        while True:
            try:
                key = _KEY.match(text, at)
                if key is None:
                    raise ValueError(f"no entry at byte {begin + at}")
                _, stop = decoder.raw_decode(text, key.end())
                if stop == len(text):
                    raise ValueError(f"the file ends at byte {begin + stop}")
            except ValueError as error:
                if ended:
                    if (begin + at and _END.match(text, at)) or _EMPTY.fullmatch(text):
                        return
                    raise error
                # Latin-1 has one character for each byte, so that places in text and file agree
                more = file.read(block)
                text, begin, at = text[at:] + more.decode("latin-1"), begin + at, 0
                block, ended = 2 * block, not more  # one long entry must not be tried too often
                continue
            yield json.loads(key[1]), (begin + key.end(), begin + stop)
            at, block = stop, _BLOCK
