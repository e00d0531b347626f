"""``segment_view``: a collection of videos in, labels on its samples out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.certainty_map import CertaintyMap, read_map
from fiftyone_revseg.dataset.collection import (
    VideoRef,
    check_collection,
    is_clips,
    is_image_groups,
    source_dataset,
)
from fiftyone_revseg.dataset.engines import open_engine
from fiftyone_revseg.dataset.first_look import set_first_look
from fiftyone_revseg.dataset.guard import Guard
from fiftyone_revseg.dataset.jobs import check_queries, jobs_in, make_jobs
from fiftyone_revseg.dataset.labels import make_labels
from fiftyone_revseg.dataset.load import load_model
from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.dataset.ownership import check_label_field, check_videos
from fiftyone_revseg.dataset.record import settings_of
from fiftyone_revseg.dataset.reporter import InWork, Reporter
from fiftyone_revseg.dataset.resume import check_overwrite, plan
from fiftyone_revseg.dataset.runs import Run, RunSummary
from fiftyone_revseg.dataset.schema import declare_fields, valid_label_field
from fiftyone_revseg.dataset.size_limit import NoRoomError
from fiftyone_revseg.dataset.writer import LabelWriter
from fiftyone_revseg.engine import Engine, LocalEngine
from fiftyone_revseg.engine.shards import Shard
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.pipeline import Progress, RevSeg, Segmentation
from fiftyone_revseg.progress import OnProgress

logger = logging.getLogger(__name__)


def segment_view(
    samples: Any,
    model: RevSegModel | RevSeg | str | Path = "revseg-nano",
    queries: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
    label_field: str = "revseg",
    overwrite: bool | str = False,
    confidence_thresh: float | None = None,
    classes: Collection[str] | None = None,
    group_slice: str | None = None,
    masks_dir: str | Path | None = None,
    progress: bool | OnProgress | None = None,
    engine: Engine | str | None = None,
    workers: int | None = None,
    shard: Shard | str | None = None,
    anyway: bool = False,
    replace_foreign_labels: bool = False,
    replace_corrections: bool = False,
    calibration: CertaintyMap | str | Path | None = None,
) -> RunSummary:
    """Segments the videos of a collection and writes the answers to its samples.

    The fields are those of ``samples.apply_model(model, label_field=...)``. Beyond that, every
    sample is saved on its own as soon as it is done, in time linear in its frames; a run that was
    interrupted or killed goes on where it stopped when it is started again; videos that cannot be
    opened get a status, too; and the dataset remembers the run.

    Examples::

        import fiftyone_revseg as revseg

        summary = revseg.segment_view(dataset, "revseg-nano", queries="the red circle")
        print(summary)

        # Each sample's own query, with other settings than before
        model = revseg.load_model("revseg-nano", spec={"frames": 8})
        revseg.segment_view(view, model, prompt_field="query", overwrite="changed")

        # On two workers of Ray, each with the model
        revseg.segment_view(view, "revseg-nano", queries="the red circle", workers=2)

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view: videos, clips, or ordered
            dynamic groups of images, ``dataset.group_by(..., order_by=...)``
        model ("revseg-nano"): a :class:`RevSegModel`, a
            :class:`fiftyone_revseg.pipeline.RevSeg`, a preset, a hub id or a path
        queries (None): the query or queries for every sample. By default, the model's
        prompt_field (None): the field with each sample's own query, or list of queries; where it
            is empty, ``queries`` are asked. By default, the model's
        label_field ("revseg"): the field to write
        overwrite (False): False to skip samples that are finished, whatever they were finished
            with; "changed" to redo those that were finished with other settings or queries; True
            to redo all. Samples that ended as "unreadable" or "error" are always tried again
        confidence_thresh (None): a confidence under which detections are not written
        classes (None): labels to which detections are restricted
        group_slice (None): the slice with the videos, if the dataset is grouped
        masks_dir (None): a directory for masks as files,
            ``<dataset>/<run>/<video>-<sample id>/<frame>_<object>.png``, which other datasets and
            label fields may use, too. By default, masks are in the database
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured
        engine (None): what runs the model over the videos: "local" for this process; "ray" for
            workers of Ray, each of which loads the model; or an
            :class:`fiftyone_revseg.engine.Engine`, whose own pipeline is then the one that
            answers. By default, "ray" if a number of workers is given, else "local"
        workers (None): how many workers of Ray. By default, one for each GPU, 2 without GPUs
        shard (None): do only a part of the samples, such as "2/8", the second of eight; a
            :class:`fiftyone_revseg.engine.shards.Shard`. Others may do other parts meanwhile
        anyway (False): whether to begin although another run, in any process on any machine, is
            at work on some of the same samples and the same label field
        replace_foreign_labels (False): whether labels in this field that this product did not
            write may be replaced; ``overwrite`` does not mean them
        replace_corrections (False): whether labels that a person corrected, accepted or changed
            may be replaced, where ``overwrite`` would redo their samples. By default, these are
            kept, also where the person does so while the run is at work
        calibration (None): a map that ``revseg calibrate --fit`` made, or its file: what goes to
            ``certainty`` is then how often such an answer is right. By default, the model's

    Returns:
        a :class:`RunSummary`; ``print`` it

    Raises:
        ValueError: if there is nothing to segment, an argument is not valid, or another run is
            at work on the same; nothing has been written then
        NotWritableError: (a ValueError) if nothing can be written to ``masks_dir``
    """
    label_field = valid_label_field(label_field)
    check_overwrite(overwrite)
    check_queries(queries)
    samples = check_collection(samples, group_slice)
    dataset = source_dataset(samples)
    dataset.reload()  # another process may have added fields since
    check_label_field(dataset, label_field, replace_foreign_labels)
    if masks_dir is not None:
        check_writable(masks_dir)
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    calibration = read_map(calibration)
    with contextlib.ExitStack() as opened:
        if isinstance(engine, str) or (engine is None and workers is not None):
            engine = opened.enter_context(open_engine(engine, workers, model))
        elif workers is not None:
            raise ValueError("workers are those of the engine that is given: leave them out here")
        pipeline = getattr(engine, "pipeline", None)
        if not isinstance(model, RevSegModel):
            model = load_model(pipeline or model, label_field=label_field)
        pipeline = pipeline or model.pipeline
        calibration = calibration or model.calibration
        if calibration is not None:
            calibration.check_model(pipeline.name)
        if confidence_thresh is None:
            confidence_thresh = model.config.confidence_thresh
        asked_in = prompt_field or model.needs_fields.get("prompt_field")
        asked = model.config.query if queries is None else queries
        jobs = make_jobs(samples, asked, asked_in)
        jobs = jobs_in(shard, jobs)
        if not jobs:
            return RunSummary(label_field=label_field)
        if not any(query.strip() for job in jobs for query in job.queries):
            raise ValueError(
                "There is nothing to segment: give queries, or name the field that holds them, "
                'segment_view(..., prompt_field="query")'
            )
        settings = settings_of(pipeline, confidence_thresh, classes, masks_dir, calibration)
        left = plan(dataset, label_field, jobs, settings, overwrite, replace_corrections)
        todo = [job.key for job in left.todo]
        check_videos(dataset, label_field, todo, replace_foreign_labels)
        declare_fields(dataset, label_field)
        own = asked_in if asked is None else None
        set_first_look(dataset, label_field, own, is_image_groups(samples))
        if is_clips(samples):
            declare_fields(jobs[0].key.clips, label_field)  # clips are a dataset of their own

        summary = RunSummary(
            label_field=label_field,
            total=len(jobs),
            skipped=left.skipped,
            changed=left.changed,
            corrected=left.corrected,
        )
        if not todo:
            return summary
        run = Run(dataset, summary, settings, pipeline, todo, masks_dir, anyway)
        writer = _Writer(
            pipeline=pipeline,
            writer=LabelWriter(dataset, label_field, run.mask_files(), run.replaced_mask_files()),
            label_options={
                "confidence_thresh": confidence_thresh,
                "classes": classes,
                "settings": settings,
                "calibration": calibration,
            },
            summary=summary,
            guard=Guard(dataset, label_field, replace_foreign_labels, replace_corrections),
        )
        engine = engine or LocalEngine(pipeline)
        with run, Reporter(progress, len(todo), "Segmenting") as reporter:
            in_work = InWork(reporter)
            answered: Any = engine.run(left.todo, in_work)  # of whatever kind, it can be closed
            with contextlib.closing(answered):  # or its threads would go on after an interruption
                for job, answers in answered:
                    reporter.start(job.key.title)
                    writer.take(job.key, answers, reporter)
                    in_work.finish(job)
        # Where another process saved all fields that it knew of, those of this run may be missing
        declare_fields(dataset, label_field)
        return summary


@dataclass
class _Writer:
    """Writes what comes of one video after the other."""

    pipeline: RevSeg
    writer: LabelWriter
    label_options: dict[str, Any]
    summary: RunSummary
    guard: Guard

    def take(self, video: VideoRef, answers: list[Segmentation], report: Progress) -> None:
        """Writes and counts. Only what keeps failures from being written is raised."""
        if self._is_kept(video):
            self.summary.kept += 1
            return
        try:
            wrote = self._write(video, answers, report)
        except Exception as error:
            self.writer.check_dataset()
            # For example a mask that is too large for the database: the rest must go on
            logger.warning("Writing the labels of %s failed", video.filepath, exc_info=error)
            answers = [self.pipeline.failed(video.filepath, a.query, error) for a in answers]
            deleted = not self.writer.is_there(video)  # by someone else, so nobody will look for it
            try:
                wrote = 0.0 if deleted else self._write(video, answers, report)
            except NoRoomError:  # the summary says why; there is no place for it in the sample
                wrote = 0.0
        self.summary.add(video, answers, wrote)

    def _is_kept(self, video: VideoRef) -> bool:
        try:
            return self.guard.keeps_meanwhile(video)
        except Exception:
            self.writer.check_dataset()
            # Of what cannot be looked at, nobody knows whether a person's work is in it
            logger.warning("The labels of %s cannot be looked at", video.filepath, exc_info=True)
            return True

    def _write(self, video: VideoRef, answers: list[Segmentation], report: Progress) -> float:
        started = time.perf_counter()
        report("write", 0, 1)
        labels = make_labels(answers, support=video.support, **self.label_options)
        self.writer.write(video, labels)
        report("write", 1, 1)
        return time.perf_counter() - started
