"""What an imported benchmark says about its videos, read without any frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fiftyone_revseg.dataset.collection import source_dataset
from fiftyone_revseg.dataset.expressions import EXPRESSIONS, Expression
from fiftyone_revseg.dataset.frame_numbers import number_of

_FIELDS = ("video_name", "frame_names", EXPRESSIONS)


@dataclass(frozen=True)
class ImportedVideo:
    """A video as its benchmark names it.

    Attributes:
        name: the benchmark's own name of it
        frame_names: the names of its frames, in order
        expressions: the queries about it
    """

    name: str
    frame_names: tuple[str, ...]
    expressions: tuple[Expression, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """The names of the frames -> their numbers."""
        return {name: number_of(k) for k, name in enumerate(self.frame_names)}


def imported_videos(samples: Any, consequence: str) -> dict[str, ImportedVideo]:
    """Lists the videos of an imported benchmark by the ids of their samples.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        consequence: what follows if it is none, and what to do, for people

    Raises:
        ValueError: if it is none
    """
    for name in _FIELDS:
        if not samples.has_field(name):
            raise ValueError(
                f"There is no field '{name}' in dataset '{source_dataset(samples).name}', so"
                f" {consequence}"
            )
    return {
        sample_id: ImportedVideo(
            name,
            tuple(frames or ()),
            tuple(map(Expression.from_label, found.classifications if found else ())),
        )
        for sample_id, name, frames, found in zip(*samples.values(["id", *_FIELDS]), strict=True)
    }
