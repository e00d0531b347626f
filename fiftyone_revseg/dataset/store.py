"""All of FiftyOne's private parts that are used: what a new release of it may break is here.

Each function says why the public way does not do, and what public call would replace it. The linter
refuses private names of others everywhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.models as fom
from bson import ObjectId
from fiftyone.core.odm import SampleFieldDocument
from pymongo import UpdateOne

Document = dict[str, Any]  # as it is in the database


def sample_documents(dataset: fo.Dataset) -> Any:
    """The database's collection of samples.

    FiftyOne's own writes are no "only if it is still so", and its reads decode every mask. A public
    ``dataset.sample_collection`` would replace it.
    """
    return dataset._sample_collection


def frame_documents(dataset: fo.Dataset) -> Any:
    """The database's collection of frames, as :func:`sample_documents` and for the same reasons."""
    return dataset._frame_collection


def label_documents(dataset: fo.Dataset) -> Any:
    """The collection whose documents have the detections: of images, the samples do."""
    images = dataset.media_type == "image"
    return sample_documents(dataset) if images else frame_documents(dataset)


def owner_key(dataset: fo.Dataset) -> str:
    """The field of :func:`label_documents` that says whose they are."""
    return "_id" if dataset.media_type == "image" else "_sample_id"


def write_documents(
    dataset: fo.Dataset,
    writes: Sequence[Any],
    frames: bool = False,
    ids: Sequence[str] | None = None,
) -> None:
    """Writes in bulk, and reloads what this process holds of it.

    FiftyOne's ``set_values`` reads every old mask to learn which frames there are, and leaves
    frames that it creates without a date and a dataset. A ``set_values`` that does neither would
    replace it.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        writes: pymongo's writes; there may be none
        frames (False): whether they are to frames, or to samples
        ids (None): the documents that may be held. By default, all
    """
    if writes:
        dataset._bulk_write(writes, frames=frames, ids=ids)


def reload_sample(dataset: fo.Dataset, sample_id: Any) -> None:
    """Reloads a sample, if somebody in this process holds it.

    ``sample.reload()`` needs the sample, which only its holder has. A public
    ``dataset.reload_samples(ids)`` would replace it.
    """
    fo.Sample._reload_docs(
        dataset._sample_collection_name, sample_ids=[str(sample_id)], include_frames=True
    )


def dataset_id(dataset: fo.Dataset) -> ObjectId:
    """The id under which everything else in the database refers to a dataset.

    Names of datasets change, and can be given again. A public ``dataset.id`` would replace it.
    """
    return dataset._doc.id


def created(dataset: fo.Dataset, now: datetime) -> Document:
    """What FiftyOne expects in a document that somebody else creates."""
    return {"_dataset_id": dataset_id(dataset), "created_at": now}


def setting(values: Document, now: datetime | None = None) -> Document:
    """An update that sets values, and when they were: FiftyOne looks for that."""
    return {"$set": {**values, "last_modified_at": now or datetime.now(timezone.utc)}}


def setting_frame(dataset: fo.Dataset, sample_id: Any, number: int, values: Document) -> UpdateOne:
    """A write that sets values of a frame, which is made if it is not there."""
    now = datetime.now(timezone.utc)
    this = {"_sample_id": ObjectId(sample_id), "frame_number": number}
    update = {**setting(values, now), "$setOnInsert": created(dataset, now)}
    return UpdateOne(this, update, upsert=True)


def declaration(field: fo.Field, now: datetime) -> Document:
    """How a dataset's document declares a field.

    ``add_sample_field`` saves all fields that it read before, and so takes away what other
    processes have added meanwhile. One that only adds would replace this, :func:`make_known` and
    :func:`reload_fields`.
    """
    document = SampleFieldDocument.from_field(field)
    document._set_created_at(now)
    return document.to_dict()


def make_known(dataset: fo.Dataset, on_frames: bool, path: str, field: fo.Field) -> None:
    """Tells this process of a field that the database declares.

    ``dataset.reload()`` would make samples that are loaded already invalid.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        on_frames: whether it is a field of frames, or of samples
        path: its path, without "frames."
        field: the :class:`fiftyone.core.fields.Field`
    """
    document = dataset._frame_doc_cls if on_frames else dataset._sample_doc_cls
    for name in path.split(".")[:-1]:
        document = document._fields[name]
        while isinstance(document, fo.ListField):
            document = document.field
    document._declare_field(dataset, path, field)


def reload_fields(dataset: fo.Dataset) -> None:
    """Reads again what a dataset declares; see :func:`make_known`."""
    dataset._doc.reload("sample_fields", "frame_fields")


def iter_frames(sample: Any) -> Iterator[Document]:
    """The documents of a sample's frames, in order, without what its view filters out.

    ``sample.frames`` keeps every frame that it has passed, with its masks decoded. An iterator that
    forgets would replace it.
    """
    return sample.frames._iter_frames_db()


def is_frames_or_patches(samples: Any) -> bool:
    """Whether a collection holds frames or patches of samples; nothing public tells."""
    return samples._is_frames or samples._is_patches


def is_dynamic_groups(samples: Any) -> bool:
    """Whether a collection, or whatever it is, holds dynamic groups; nothing public tells."""
    return bool(getattr(samples, "_is_dynamic_groups", False))


def grouping(samples: Any) -> fo.GroupBy | None:
    """The stage by which a view is grouped; views have no public list of their stages."""
    return next((s for s in reversed(samples._all_stages) if isinstance(s, fo.GroupBy)), None)


def collection_of(sample: Any) -> Any:
    """The view that a sample was got from, or else its dataset, of which alone samples tell."""
    return sample._view if hasattr(sample, "_view") else sample.dataset


def forget_evaluation(dataset: fo.Dataset, key: str) -> None:
    """Forgets the results of an evaluation; ``clear_cache`` would forget the samples, too."""
    dataset._evaluation_cache.pop(key, None)


def rename_sidebar_group(samples: Any, old: str, new: str) -> None:
    """Gives a group of fields in the App's sidebar another name.

    FiftyOne leaves that to those that evaluate, but in methods that only its own ones may use.
    """
    samples._rename_sidebar_group(old, new)


def delete_sidebar_group(samples: Any, name: str) -> None:
    """Deletes an empty group of fields in the App's sidebar; see :func:`rename_sidebar_group`."""
    samples._delete_empty_sidebar_group(name)


def applied() -> tuple[Any, Any] | None:
    """The samples and the label field of the ``apply_model`` that is being called.

    It tells a model neither, and enters it before it does anything. Later, it only logs what is
    wrong with each sample, and where its labels went could only be found out afterwards. It would
    have to give a model both.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not fom.apply_model.__code__:
        frame = frame.f_back
    return frame and (frame.f_locals["samples"], frame.f_locals["label_field"])
