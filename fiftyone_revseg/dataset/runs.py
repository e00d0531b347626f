"""The runs that a dataset remembers: what was done to it, when, with what, and how that went."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.at_work import WORK, pack, runs_at_work, say, twice
from fiftyone_revseg.dataset.collection import VideoRef, count_samples
from fiftyone_revseg.dataset.mask_files import (
    MASKS_FOLDER,
    MaskFiles,
    ReplacedMaskFiles,
    masks_folder,
)
from fiftyone_revseg.dataset.registered_runs import RegisteredRun, list_registered
from fiftyone_revseg.models.demonstration import afterwards
from fiftyone_revseg.pipeline import RevSeg, Segmentation
from fiftyone_revseg.types import Status

logger = logging.getLogger(__name__)

_METHOD = "revseg"
_PACKAGES = ("fiftyone-revseg", "fiftyone", "torch", "transformers", "sam2")


@dataclass
class RunSummary:
    """How a run over a collection went.

    Attributes:
        run_key: the key under which the dataset remembers the run
        label_field: the label field
        total: the number of videos, clips or groups in the collection
        skipped: how many of them were finished before
        counts: status -> how many were done in this run and ended with it
        failures: "status: reason" -> the ids of the samples; "..." in a reason stands for the
            sample's own path, so that what is wrong with many files is one reason
        changed: for each setting that differs, in words, how many were skipped although they had
            been finished with the other one
        corrected: how many were skipped only because a person corrected, accepted or changed
            their labels
        kept: how many were answered, but left as they are, as a person corrected, accepted or
            changed their labels while the run was at work
        unknown: how many were answered by a model that is for demonstrations, and are not known to
            be of the made-up videos that it knows
        demonstration: the name of that model
        seconds: the wall time in seconds
        timings: stage -> its wall time in seconds
    """

    run_key: str | None = None
    label_field: str = "revseg"
    total: int = 0
    skipped: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    corrected: int = 0
    kept: int = 0
    unknown: int = 0
    demonstration: str = ""
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many were done in this run."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """How many were done in this run and have a reason to be looked at."""
        return sum(len(ids) for ids in self.failures.values())

    def add(self, video: VideoRef, answers: Sequence[Segmentation], write_seconds: float) -> None:
        """Counts a video that is done.

        Args:
            video: the :class:`fiftyone_revseg.dataset.collection.VideoRef`
            answers: its :class:`fiftyone_revseg.pipeline.Segmentation` instances
            write_seconds: what writing its labels took
        """
        statuses = [str(answer.status) for answer in answers]
        status = next((s for s in statuses if s != "ok"), "ok")
        self.counts[status] = self.counts.get(status, 0) + 1
        self.unknown += any(answer.caveat for answer in answers)
        for answer in answers:
            if answer.status not in (Status.OK, Status.NO_TARGET):
                reason = without_path(answer.reason, video.filepath)
                ids = self.failures.setdefault(f"{answer.status}: {reason}", [])
                ids.append(video.id)
            for stage, seconds in answer.timings.items():
                self.timings[stage] = self.timings.get(stage, 0.0) + seconds
        self.timings["write"] = self.timings.get("write", 0.0) + write_seconds

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.done} of {self.total} segmented in {_duration(self.seconds)}"]
        if self.done:
            lines[0] += f" ({self.seconds / self.done:.1f} s each)"
        if self.skipped:
            lines[0] += f", {self.skipped} were finished before"
        left = self.total - self.done - self.skipped - self.kept
        if left:
            lines[0] += f", {left} are left: run it again to go on"
        if self.counts:
            counted = ", ".join(f"{status} {n}" for status, n in sorted(self.counts.items()))
            lines.append(f"  {counted}")
        for reason, ids in sorted(self.failures.items(), key=lambda item: -len(item[1])):
            samples = ids[0] if len(ids) == 1 else f"{len(ids)} samples, first {ids[0]}"
            lines.append(f"  {reason} ({samples})")
        if self.changed:
            lines.append('  kept although made with other settings; overwrite="changed" redoes:')
            lines += [f"    {what} ({n})" for what, n in self.changed.items()]
        if self.corrected:
            lines.append(
                f"  {self.corrected} kept because a person corrected, accepted or changed their "
                "labels; replace_corrections=True redoes"
            )
        if self.kept:
            lines.append(
                f"  {self.kept} left as they are because a person changed their labels during the "
                "run"
            )
        if self.unknown:
            lines.append(f"  {afterwards(self.demonstration, self.unknown)}")
        return "\n".join(lines)


class Run(RegisteredRun):
    """One run over a collection, see :class:`RegisteredRun`.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        summary: the :class:`RunSummary`; its ``run_key`` is set
        settings: see :func:`fiftyone_revseg.dataset.record.settings_of`
        pipeline: the :class:`fiftyone_revseg.pipeline.RevSeg`
        videos: what there is to do
        masks_dir (None): a directory for masks as files
        anyway (False): whether to do it although another run is doing the same

    Raises:
        ValueError: if another run is doing the same; says who
    """

    def __init__(
        self,
        dataset: fo.Dataset,
        summary: RunSummary,
        settings: dict[str, Any],
        pipeline: RevSeg,
        videos: Sequence[VideoRef],
        masks_dir: str | Path | None = None,
        anyway: bool = False,
    ):
        folder = None if masks_dir is None else masks_folder(masks_dir, dataset)
        super().__init__(
            dataset,
            _METHOD,
            summary.label_field,
            model=pipeline.name,
            settings=settings,
            device=pipeline.device,
            versions=versions(),
            **{WORK: pack(videos), MASKS_FOLDER: None if folder is None else str(folder)},
            **_counts_of(summary),
        )
        self._masks_folder = folder
        self._summary = summary
        summary.demonstration = pipeline.demonstration or ""
        summary.run_key = self.run_key
        # Registered before it looks around, so that of two that begin at once one sees the other
        if not anyway:
            self._refuse_twice(videos)

    def mask_files(self) -> MaskFiles | None:
        """Returns what writes masks to files, if that was asked for."""
        if self._masks_folder is None:
            return None
        return MaskFiles(self._masks_folder / self.run_key)

    def replaced_mask_files(self) -> ReplacedMaskFiles:
        """Returns what removes the files of earlier results."""
        name = self._summary.label_field
        return ReplacedMaskFiles(self._dataset, _METHOD, name, self.run_key)

    def _refuse_twice(self, videos: Sequence[VideoRef]) -> None:
        try:
            refuse_twice(self._dataset, self._summary.label_field, videos, self.run_key)
        except ValueError:
            self.withdraw()
            raise

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self._summary.seconds = self.seconds
        self.remember(**_counts_of(self._summary))
        super().__exit__(kind, *details)
        if kind is not None:
            logger.warning("The run was %s: %s", self.state, self._summary)


def refuse_twice(
    dataset: fo.Dataset, label_field: str, videos: Sequence[VideoRef], own_key: str | None = None
) -> None:
    """Refuses to do what another run is doing.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the label field
        videos: what there is to do
        own_key (None): the key under which this run is registered, so that of two that begin at
            once, one goes on

    Raises:
        ValueError: if another run is at work on some of it; says who
    """
    runs = runs_at_work(dataset, _METHOD, label_field)
    own = next((run for run in runs if run["run_key"] == own_key), None)
    for run in runs:
        count = twice(run, videos) if own is None or _order(run) < _order(own) else 0
        if count:
            raise ValueError(
                f"{count} of {len(videos)} are being segmented into '{label_field}' already, by "
                f"{say(run)}: wait until it has ended or end it, choose other samples or another "
                "label field, or do them twice with anyway=True"
            )


def list_runs(dataset: fo.Dataset) -> list[dict[str, Any]]:
    """Lists the runs that are registered on a dataset.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of dicts, the oldest first, with "run_key", "state" ("running", "done",
        "interrupted" or "failed"; a run that was killed stays "running"), "alive" (whether
        somebody is at work on it), "host", "user" and "pid" of who is or was, "label_field",
        "settings", "versions", "started", "seconds", "timings", "total", "skipped", "counts",
        "failures" (reason -> number of samples) and more
    """
    return list_registered(dataset, _METHOD)


def list_at_work(dataset: fo.Dataset, label_field: str) -> list[str]:
    """Says which runs are at work on a label field, each in half a sentence."""
    return [say(run) for run in runs_at_work(dataset, _METHOD, label_field)]


def count_statuses(dataset: Any, label_field: str = "revseg") -> dict[str, int]:
    """Counts the samples of a collection by status.

    Args:
        dataset: a :class:`fiftyone.core.collections.SampleCollection`
        label_field ("revseg"): the label field

    Returns:
        a dict of status -> number of samples, the most frequent first; "" stands for samples that
        have none
    """
    name = f"{label_field.removeprefix('frames.')}_status"
    if not dataset.has_field(name):
        count = count_samples(dataset)
        return {"": count} if count else {}
    counts = Counter({status or "": n for status, n in dataset.count_values(name).items()})
    return dict(counts.most_common())


def without_path(reason: str, path: str) -> str:
    """Returns a reason with "..." for a file's path and name, to see how many files share it."""
    name = Path(path).name
    reason = reason.replace(path, "...")
    return reason.replace(name, "...") if "." in name else reason  # "a" may be any word


def versions() -> dict[str, str]:
    """Returns the versions of the packages that results depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _order(run: dict[str, Any]) -> tuple[str, str]:
    return run["began"], run["run_key"]


def _counts_of(summary: RunSummary) -> dict[str, Any]:
    d = summary.to_dict()
    del d["run_key"], d["seconds"]
    # Reasons, not ids: the samples say themselves what happened to them
    d["failures"] = [[reason, len(ids)] for reason, ids in summary.failures.items()]
    d["changed"] = [[what, n] for what, n in summary.changed.items()]
    return d


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
