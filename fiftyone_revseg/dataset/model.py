"""The model that ``dataset.apply_model`` runs on collections of videos."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import fiftyone.core.config as foc
import fiftyone.core.labels as fol
import fiftyone.core.models as fom

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.certainty_map import read_map
from fiftyone_revseg.dataset.collection import list_videos, source_dataset, video_of
from fiftyone_revseg.dataset.frame_numbers import numbers_within
from fiftyone_revseg.dataset.guard import Guard
from fiftyone_revseg.dataset.jobs import check_queries, make_job, resolve_queries
from fiftyone_revseg.dataset.labels import make_labels
from fiftyone_revseg.dataset.ownership import check_label_field, check_videos
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import settings_of
from fiftyone_revseg.dataset.runs import refuse_twice
from fiftyone_revseg.dataset.schema import declare_fields, valid_label_field
from fiftyone_revseg.dataset.size_limit import make_fit
from fiftyone_revseg.dataset.writer import LabelWriter, known_frames, note_written
from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.pipeline import Loading, RevSeg, Segmentation
from fiftyone_revseg.reasoning.serving.served import check_url

logger = logging.getLogger(__name__)


class RevSegModelConfig(foc.Config):
    """Configuration of a :class:`RevSegModel`.

    Args:
        name_or_path ("revseg-nano"): a preset, hub id or path; see
            :func:`fiftyone_revseg.pipeline.load_pipeline`
        tracker (None): the tracker's short name, hub id or path. By default, the preset's
        query (None): the query, or a list of queries, for every sample
        prompt_field (None): the field that holds each sample's query, or list of queries. Where
            it is empty, ``query`` is asked
        label_field ("revseg"): the field to write; names the sample-level fields, too
        device (None): for example "cuda:1". By default, a GPU if there is one
        dtype (None): for example "bfloat16". By default, what suits the device
        quantization (None): "4bit" or "8bit" for weights in fewer bits
        device_map (None): "auto" to spread the vision-language model over all GPUs and the CPU
        spec (None): a dict of settings of the chain to change, for example ``{"frames": 12}``
        server (None): the address of a server that has the vision-language model. Its key is no
            part of the configuration, which may be stored: it is in the environment variable
            ``REVSEG_SERVER_KEY``
        confidence_thresh (None): a confidence under which detections are not written
        filter_classes (None): labels to which detections are restricted
        replace_foreign_labels (False): whether labels that this product did not write may be
            replaced
        replace_corrections (False): whether labels that a person corrected, accepted or changed
            may be replaced
        anyway (False): whether to begin although a run is at work on some of the same samples
        calibration (None): the file of a map that makes certainties true, see
            :mod:`fiftyone_revseg.dataset.certainty_map`

    Raises:
        ValueError: if the query is neither text nor a list of texts, or the address is none
    """

    def __init__(self, d: dict[str, Any]):
        self.name_or_path = self.parse_string(d, "name_or_path", default="revseg-nano")
        self.tracker = self.parse_string(d, "tracker", default=None)
        self.query = self.parse_raw(d, "query", default=None)
        self.prompt_field = self.parse_string(d, "prompt_field", default=None)
        self.label_field = self.parse_string(d, "label_field", default="revseg")
        self.device = self.parse_string(d, "device", default=None)
        self.dtype = self.parse_string(d, "dtype", default=None)
        self.quantization = self.parse_string(d, "quantization", default=None)
        self.device_map = self.parse_string(d, "device_map", default=None)
        self.spec = self.parse_dict(d, "spec", default=None)
        self.server = self.parse_string(d, "server", default=None)
        self.confidence_thresh = self.parse_number(d, "confidence_thresh", default=None)
        self.filter_classes = self.parse_array(d, "filter_classes", default=None)
        self.replace_foreign_labels = self.parse_bool(d, "replace_foreign_labels", default=False)
        self.replace_corrections = self.parse_bool(d, "replace_corrections", default=False)
        self.anyway = self.parse_bool(d, "anyway", default=False)
        self.calibration = self.parse_string(d, "calibration", default=None)

        check_queries(self.query)
        if self.server is not None:
            self.server = check_url(self.server)
        self.label_field = valid_label_field(self.label_field)

    @property
    def loading(self) -> Loading:
        """The models that it names."""
        return Loading(
            self.name_or_path,
            self.tracker,
            self.device,
            self.dtype,
            self.spec,
            self.server,
            quantization=self.quantization,
            device_map=self.device_map,
        )


class RevSegModel(fom.SamplesMixin, fom.Model):
    """Segments what queries describe in videos.

    Example::

        import fiftyone_revseg as revseg

        model = revseg.load_model("revseg-nano", prompt_field="query")
        dataset.apply_model(model, label_field="revseg")

    A sample's labels are in the database when :meth:`predict` returns: frames first, answers last,
    so that a sample looks done only if it is. As video models return frame labels to FiftyOne, so
    does this one, and FiftyOne writes them once more. It does not tell a model the label field
    either: one other than "revseg" must be given to both :func:`load_model` and ``apply_model``.
    Samples whose labels a person corrected, accepted or changed are left as they are.

    FiftyOne opens a sample's video before it calls the model. Where it cannot, it logs the
    failure, and nothing is written to the sample.

    Args:
        config: a :class:`RevSegModelConfig`
        pipeline (None): a :class:`fiftyone_revseg.pipeline.RevSeg` to use instead of the one
            that the config names
    """

    media_type = "video"
    ragged_batches = True
    transforms = None
    preprocess = False

    def __init__(self, config: RevSegModelConfig, pipeline: RevSeg | None = None):
        self.config = config
        self.has_own_pipeline = pipeline is not None  # which is not the one that the config names
        self.calibration = read_map(config.calibration)
        self.pipeline = pipeline or config.loading.load()
        if self.calibration is not None:
            self.calibration.check_model(self.pipeline.name)
        self._fields: dict[str, str] = {}
        self._kept = 0  # samples that a person changed

    def __enter__(self) -> RevSegModel:
        # apply_model enters the model once, before the first sample: the place for an error that
        # would otherwise repeat on every one of them
        if not self.config.query and "prompt_field" not in self.needs_fields:
            raise ValueError(
                "There is nothing to segment: give load_model a query, or name the field that "
                'holds the queries, apply_model(..., prompt_field="query")'
            )
        applied = store.applied()
        if applied is not None:
            self._check(*applied)
        self._kept = 0
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._kept:
            logger.warning(
                "%d samples were kept because a person corrected, accepted or changed their "
                "labels; load_model(..., replace_corrections=True) redoes them",
                self._kept,
            )

    def _check(self, samples: Any, label_field: Any) -> None:
        """Refuses what ``apply_model`` would write before it writes anything."""
        name = self.config.label_field
        if label_field != name:
            raise ValueError(
                f"apply_model was given the label_field {label_field!r} and the model {name!r}, so "
                "that the masks would not belong to the other fields: name the same field twice, "
                f"load_model(..., label_field={name!r}) and apply_model(..., "
                f"label_field={name!r}), without 'frames.' before it"
            )
        dataset, replace = source_dataset(samples), self.config.replace_foreign_labels
        check_label_field(dataset, name, replace)
        videos = list_videos(samples)
        check_videos(dataset, name, videos, replace)
        if not self.config.anyway:
            refuse_twice(dataset, name, videos)

    @property
    def needs_fields(self) -> dict[str, str]:
        """A dict mapping "prompt_field" to the name of the field that holds the queries."""
        # The App's zoo operator and the command line cannot pass prompt_field to apply_model
        if self.config.prompt_field:
            return {"prompt_field": self.config.prompt_field, **self._fields}
        return self._fields

    @needs_fields.setter
    def needs_fields(self, fields: dict[str, str]) -> None:
        fields = {key: name for key, name in (fields or {}).items() if name}
        unknown = [key for key in fields if key != "prompt_field"]
        if unknown:
            # apply_model takes every keyword that it does not know for the name of a field
            raise ValueError(
                f"apply_model({unknown[0]}={fields[unknown[0]]!r}) is not possible: give a query "
                "that holds for all samples to load_model(query=...), and name the field that "
                'holds each sample\'s own, apply_model(..., prompt_field="query")'
            )
        self._fields = fields

    def predict(self, arg: Any, sample: Any = None) -> dict[int, fol.Detections] | None:
        """Segments one sample and writes its labels.

        Args:
            arg: the video reader that FiftyOne opened, or None; it is closed and not used: see
                :func:`fiftyone_revseg.video.open_video`
            sample (None): the :class:`fiftyone.core.sample.Sample` or view of one

        Returns:
            a dict mapping every frame number to :class:`fiftyone.core.labels.Detections`, empty
            where nothing is visible; or None if there are no frames, or a person changed the
            sample's labels

        Raises:
            ValueError: if there is no sample, or the dataset's fields are in the way, or labels
                that this product did not write
        """
        if sample is None:
            raise ValueError("This model needs the sample: predict(reader, sample=sample)")
        if hasattr(arg, "close"):
            arg.close()
        name, job = self.config.label_field, self._job(sample)
        video, dataset = job.key, job.key.dataset
        guard = Guard(
            dataset, name, self.config.replace_foreign_labels, self.config.replace_corrections
        )
        if dataset is not None:
            check_videos(dataset, name, [video], self.config.replace_foreign_labels)
            if guard.keeps_changed(video):
                self._kept += 1
                return None
            declare_fields(sample.dataset, name)
            declare_fields(dataset, name)  # the fields of clips live no longer than their view
        settings = settings_of(
            self.pipeline,
            self.config.confidence_thresh,
            self.config.filter_classes,
            calibration=self.calibration,
        )
        labels = make_labels(
            self._answers(job),
            self.config.confidence_thresh,
            self.config.filter_classes,
            video.support,
            settings,
            self.calibration,
        )
        labels = replace(labels, frames=dict(labels.frames))  # FiftyOne takes them all at once
        if dataset is None:
            note_written(labels)
        else:
            if guard.keeps_meanwhile(video):
                self._kept += 1
                return None
            labels = make_fit(labels, Place.of(video, name).stored(), name, video.support)
            # FiftyOne saves samples before their frames, and many at once: killed in between, it
            # would leave answers without their masks. What it writes after this is the same
            LabelWriter(dataset, name).write(video, labels)
        for field_name, value in labels.sample_values(name).items():
            sample[field_name] = value

        # FiftyOne merges the lists of labels in frames that it knows, so without this a rerun would
        # add to the labels of the run before, and keep those of frames that it leaves out
        frames, shown = dict(labels.frames), set(sample.frames.keys())
        for number in numbers_within(shown, video.support):
            sample.frames[number][name] = None
            frames.setdefault(number, fol.Detections())
        if dataset is not None:
            # A frame that the view hides is a new one for FiftyOne, which would replace the whole
            # of it, with the labels of others that are on it
            for number in set(known_frames(video)) - shown:
                frames.pop(number, None)
        return frames or None

    def segment(self, sample: Any) -> list[Segmentation]:
        """Segments one sample without writing anything.

        Args:
            sample: the :class:`fiftyone.core.sample.Sample` or view of one; of a clip, only the
                clip's frames are looked at

        Returns:
            a list of :class:`fiftyone_revseg.pipeline.Segmentation`, one per query
        """
        return self._answers(self._job(sample))

    def _job(self, sample: Any) -> EngineJob:
        field_name = self.needs_fields.get("prompt_field")
        said = sample[field_name] if field_name else None
        return make_job(video_of(sample), resolve_queries(said, self.config.query))

    def _answers(self, job: EngineJob) -> list[Segmentation]:
        try:
            return self.pipeline.segment(job.path, job.queries, job.frame_range)
        except Exception as error:
            return [self.pipeline.failed(job.path, query, error) for query in job.queries]
