"""ReasonVOS (Bai et al., NeurIPS 2024): queries that take reasoning, on videos of four sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.benchmarks.layout import (
    IMAGES,
    META,
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
    Contents,
    Entries,
    FrameTruth,
    LayoutError,
    text_of,
)
from fiftyone_revseg.evaluation.benchmarks.palette import ANNOTATIONS, read_values
from fiftyone_revseg.files.names import is_component, is_junk
from fiftyone_revseg.masks.rle import encode_masks


class ReasonVos(Benchmark):
    """ReasonVOS. It has one split only, here called "test"."""

    name = "reasonvos"
    default_split = "test"
    protocol = (
        "J&F of each expression, mean over expressions; missing predictions count as zero (the"
        " original script leaves them out)"
    )
    layout = f"{META}, {IMAGES}/VIDEO/*.jpg, {ANNOTATIONS}/SOURCE_VIDEO_OBJECT/*.png"
    meta, images, truth = META, IMAGES, ANNOTATIONS

    def splits(self) -> list[str]:
        """Lists the splits that are in the folder."""
        path = self.root / self.meta
        if not path.is_file():
            raise LayoutError(f"There is no file '{path}'. Expected: {self.layout}")
        return ["test"]

    @property
    def has_truth(self) -> bool:
        """Whether there are true masks: always."""
        return True

    def _read(self, video: BenchmarkVideo, entries: Entries) -> Contents:
        name, found = video.name, [entry for _, entry in entries]
        for i, entry in enumerate(found):
            if not {"obj_id", "exp_id"} <= set(entry):
                raise BrokenVideoError(f"{self._where(name, i)} lacks obj_id or exp_id")
        own_ids = list(dict.fromkeys(str(entry["obj_id"]) for entry in found))
        numbers = {own_id: n for n, own_id in enumerate(own_ids, start=1)}
        # The same ids may be used again for each object
        count = Counter(str(entry["exp_id"]) for entry in found)
        expressions = []
        for entry in found:
            own_id, key = str(entry["obj_id"]), str(entry["exp_id"])
            if not is_component(key) or not is_component(own_id):
                raise BrokenVideoError(
                    f"{self._where(name, key)} has ids that cannot be names of folders"
                )
            expressions.append(
                Expression(
                    id=key if count[key] == 1 else f"{own_id}_{key}",
                    text=text_of(entry.get("exp_text"), self._where(name, key)),
                    objects=(numbers[own_id],),
                    kind="sentence" if entry.get("is_sent") else "phrase",
                )
            )
        source = self._videos[name].get("source")
        folders = {
            number: self.inside(self.root / ANNOTATIONS, f"{source}_{name}_{own_id}", name)
            for own_id, number in numbers.items()
        }
        if self.masks:
            for folder in folders.values():
                if not folder.is_dir():
                    raise BrokenVideoError(f"There is no folder '{folder}' with masks")
        labels = dict.fromkeys(numbers.values(), "object")
        return expressions, labels, lambda: _masks_of(video, folders)


def _masks_of(video: BenchmarkVideo, folders: Mapping[int, Path]) -> Iterator[FrameTruth | None]:
    stems = video.frame_names
    there = {
        number: {path.stem for path in folder.glob("*.png") if not is_junk(path.name)}
        for number, folder in folders.items()
    }
    for number, found in there.items():
        if not found:
            raise BrokenVideoError(f"The folder '{folders[number]}' holds no PNG images")
        if not found <= set(stems):
            other = folders[number] / f"{min(found - set(stems))}.png"
            raise BrokenVideoError(f"There is no image for the masks in '{other}'")
    for stem in stems:
        # The official script scores the frames that have masks; not all videos have all
        if not all(stem in found for found in there.values()):
            yield None
            continue
        objects = {}
        for number, folder in folders.items():
            (rle,) = encode_masks(read_values(folder / f"{stem}.png", video.size)[None] > 0)
            if rle is not None:
                objects[number] = rle
        yield FrameTruth(objects)
