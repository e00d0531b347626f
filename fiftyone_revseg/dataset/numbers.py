"""Numbers that are measured on whole videos, and written to a field of their samples."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import is_clips, select_by_id, source_dataset

#: What the info of a field says that this product declared
_OWNER = "fiftyone_revseg"


def check_number_field(samples: Any, name: str, own_name: bool = False) -> None:
    """Checks that numbers can be written to a field.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        name: the name of the field
        own_name (False): whether the name is one that this product gives, so that numbers in it
            are its own

    Raises:
        ValueError: if a field cannot have that name, or there is one that holds something else,
            such as numbers of somebody else
    """
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(
            f"The name of a field has letters, digits and underscores and starts with a letter, "
            f"such as 'agreement': {name!r} does not"
        )
    for collection in (source_dataset(samples), samples):
        existing = collection.get_field(name)
        if existing is not None and not isinstance(existing, fo.FloatField):
            raise ValueError(
                f"Field '{name}' holds something else already ({existing}): choose another name"
            )
    existing = source_dataset(samples).get_field(name)
    if existing is None or own_name or (existing.info or {}).get("owner") == _OWNER:
        return
    count = store.sample_documents(source_dataset(samples)).count_documents({name: {"$ne": None}})
    if count:
        raise ValueError(
            f"Field '{name}' holds numbers on {count} samples that ReVSeg did not write: choose "
            "another name, or clear or rename that field first"
        )


def write_numbers(samples: Any, name: str, values: dict[str, float | None]) -> None:
    """Writes a number for each sample, and declares the field where it is new.

    Args:
        samples: videos, clips, or ordered dynamic groups of images
        name: the name of the field
        values: id of the sample, or of the clip -> number, or None to remove an old one
    """
    if not values:
        return
    # Clips are a dataset of their own, and so are their fields
    dataset = samples.first().dataset if is_clips(samples) else source_dataset(samples)
    if dataset.get_field(name) is None:
        dataset.add_sample_field(name, fo.FloatField, info={"owner": _OWNER})
    target = samples if is_clips(samples) else select_by_id(dataset, list(values))
    target.set_values(name, values, key_field="id")
