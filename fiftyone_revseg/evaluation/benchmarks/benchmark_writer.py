"""Writes the videos of a benchmark into a dataset, many at once.

FiftyOne takes about a millisecond for every frame document that goes through its schema, and a
benchmark has hundreds of thousands. So the frames are written as they are stored, in bulk.
"""

from __future__ import annotations

from datetime import datetime, timezone

import fiftyone as fo
import fiftyone.core.utils as fou
import numpy as np
from bson import Binary, ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.expressions import EXPRESSIONS, QUERIES, expression_values
from fiftyone_revseg.dataset.frame_numbers import number_of
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.evaluation.benchmarks.layout import Benchmark, BenchmarkVideo, FrameTruth
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.video.images import DEFAULT_FPS

GROUND_TRUTH = "ground_truth"
_FRAMES, _VIDEOS = 2000, 100  # so many are written at once


def declare_benchmark_fields(dataset: fo.Dataset, benchmark: Benchmark) -> None:
    """Declares the fields of an imported dataset, and the attributes of their labels."""
    dataset.media_type = "video"
    labels = {"embedded_doc_type": fo.Classifications}
    dataset.add_sample_field(EXPRESSIONS, fo.EmbeddedDocumentField, **labels)
    path = f"{EXPRESSIONS}.classifications"
    for name in ("expression_id", "kind", "annotator"):
        dataset.add_sample_field(f"{path}.{name}", fo.StringField)
    dataset.add_sample_field(f"{path}.objects", fo.ListField, subfield=fo.IntField)
    dataset.add_sample_field(QUERIES, fo.ListField, subfield=fo.StringField)
    dataset.add_sample_field("video_name", fo.StringField)
    dataset.add_sample_field("frame_names", fo.ListField, subfield=fo.StringField)
    if benchmark.masks and benchmark.has_truth:
        masks = {"embedded_doc_type": fo.Detections}
        for name in (GROUND_TRUTH, *benchmark.more_masks):
            dataset.add_frame_field(name, fo.EmbeddedDocumentField, **masks)


class BenchmarkWriter:
    """Writes videos into a dataset that may have some of them already.

    A video is complete when all its frames have their truth. Samples are written before their
    frames, so that those of an import that was killed are found and completed by the next one.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`, with its fields declared
        tags: of new samples
    """

    def __init__(self, dataset: fo.Dataset, tags: list[str]):
        self._dataset = dataset
        self._tags = tags
        names, ids = dataset.values(["video_name", "id"])
        self._ids = {name: ObjectId(i) for name, i in zip(names, ids, strict=True)}
        self._annotated = self._count_annotated() if self._ids else {}
        self._samples: list[fo.Sample] = []
        self._frames: list[tuple[str, list[Document]]] = []
        self._waiting = 0
        # FiftyOne takes it that every document has every declared field
        declared = set(dataset.get_frame_field_schema() or ()) - {"id"}
        self._fields = dict.fromkeys(declared)

    def write(self, video: BenchmarkVideo, filepath: str, masks: bool) -> bool:
        """Writes a video, unless it is there.

        Args:
            video: the video
            filepath: where its pictures are
            masks: whether to write its masks

        Returns:
            whether there was something to write

        Raises:
            BrokenVideoError: if its masks cannot be read; nothing of it has been written then
        """
        known = self._ids.get(video.name)
        if known and not (masks and self._annotated.get(known, 0) < len(video.images)):
            return False
        frames = self._frame_documents(video) if masks else []
        if not known:
            self._samples.append(_sample(video, filepath, self._tags))
        if frames:
            self._frames.append((video.name, frames))
        self._waiting += len(frames)
        if self._waiting >= _FRAMES or len(self._samples) >= _VIDEOS:
            self.flush()
        return True

    def flush(self) -> None:
        """Writes what is still waiting to be written."""
        dataset = self._dataset
        now = datetime.now(timezone.utc)
        new = {sample.video_name for sample in self._samples}
        # Samples that FiftyOne has written stay tied to the dataset, and if their paths are
        # patterns of images, it cannot let go of them when the dataset is deleted
        created = store.created(dataset, now)
        stored = [{**_set_fields(s), **created, "last_modified_at": now} for s in self._samples]
        if stored:
            ids = store.sample_documents(dataset).insert_many(stored).inserted_ids
            names = (sample.video_name for sample in self._samples)
            self._ids.update(zip(names, ids, strict=True))
        documents, updates = [], []
        for name, frames in self._frames:
            sample_id = self._ids[name]
            for frame in frames:
                number = frame.pop("frame_number")
                if name in new:
                    own = {"_sample_id": sample_id, "frame_number": number}
                    times = {**created, "last_modified_at": now}
                    documents.append({**self._fields, **own, **times, **frame})
                else:  # a sample that was there may have frames already, with predictions
                    updates.append(store.setting_frame(dataset, sample_id, number, frame))
        if documents:
            store.frame_documents(dataset).insert_many(documents, ordered=False)
        store.write_documents(dataset, updates, frames=True)
        self._samples, self._frames, self._waiting = [], [], 0

    def _count_annotated(self) -> dict[ObjectId, int]:
        """How many frames of each sample have been given their truth."""
        found = store.frame_documents(self._dataset).aggregate(
            [
                {"$match": {GROUND_TRUTH: {"$exists": True}}},
                {"$group": {"_id": "$_sample_id", "count": {"$sum": 1}}},
            ]
        )
        return {group["_id"]: group["count"] for group in found}

    def _frame_documents(self, video: BenchmarkVideo) -> list[Document]:
        instances = {number: fo.Instance().to_dict() for number in video.labels}
        documents = []
        for k, truth in enumerate(video.truth()):
            document: Document = {"frame_number": number_of(k)}
            if truth is None:
                document[GROUND_TRUTH] = None  # it is not known what is there
            else:
                document.update(_labels(truth, video, instances))
            documents.append(document)
        return documents


def _sample(video: BenchmarkVideo, filepath: str, tags: list[str]) -> fo.Sample:
    width, height = video.size
    count = len(video.images)
    return fo.Sample(
        filepath=filepath,
        media_type="video",
        tags=tags,
        metadata=fo.VideoMetadata(
            frame_width=width,
            frame_height=height,
            frame_rate=DEFAULT_FPS,
            total_frame_count=count,
            duration=count / DEFAULT_FPS,
        ),
        video_name=video.name,
        frame_names=video.frame_names,
        **expression_values(video.expressions),
    )


def _set_fields(sample: fo.Sample) -> Document:
    return {k: v for k, v in sample.to_mongo_dict().items() if v is not None}


def _labels(truth: FrameTruth, video: BenchmarkVideo, instances: dict[int, Document]) -> Document:
    detections = []
    for number, rle in sorted(truth.objects.items()):
        detection = _detection(rle, video.labels.get(number, "object"))
        detection["index"] = number
        detection["instance"] = instances.setdefault(number, fo.Instance().to_dict())
        detections.append(detection)
    more = {"void": truth.void, "foreground": truth.foreground}
    return {
        GROUND_TRUTH: _detections(detections),
        **{name: _detections([_detection(rle, name)]) for name, rle in more.items() if rle},
    }


def _detections(detections: list[Document]) -> Document:
    return {"_cls": "Detections", "detections": detections}


def _detection(rle: RLE, label: str) -> Document:
    """A mask as FiftyOne stores a detection."""
    from pycocotools import mask as coco

    height, width = rle["size"]
    x, y, w, h = (int(v) for v in coco.toBbox(rle))
    mask = np.ascontiguousarray(coco.decode(rle)[y : y + h, x : x + w], bool)
    return {
        "_id": ObjectId(),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": label,
        "bounding_box": [x / width, y / height, w / width, h / height],
        "mask": Binary(fou.serialize_numpy_array(mask)),
    }
