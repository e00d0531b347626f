"""Benchmarks as FiftyOne datasets: one sample for each video, its images where they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.utils.data as foud

from fiftyone_revseg.dataset.collection import count_samples
from fiftyone_revseg.dataset.labelled_videos import reason_of, with_progress
from fiftyone_revseg.evaluation.benchmarks.benchmark_writer import (
    BenchmarkWriter,
    declare_benchmark_fields,
)
from fiftyone_revseg.evaluation.benchmarks.layout import (
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
)
from fiftyone_revseg.evaluation.benchmarks.registry import open_benchmark

logger = logging.getLogger(__name__)

BENCHMARK = "benchmark"  # where ``dataset.info`` says what was imported
_LISTED = 10  # broken videos named in a summary


@dataclass
class ImportSummary:
    """What an import did.

    Attributes:
        total: the number of videos of the split, or as many of them as were asked for
        added: how many were added, or completed
        present: how many were there already
        broken: why each video that was left out cannot be used, by its name
    """

    total: int = 0
    added: int = 0
    present: int = 0
    broken: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.added} of {self.total} videos were imported"
        if self.present:
            text += f", {self.present} were there already"
        if self.broken:
            text += f", {len(self.broken)} cannot be used:"
            reasons = list(self.broken.values())
            text += "".join(f"\n  {reason}" for reason in reasons[:_LISTED])
            if len(reasons) > _LISTED:
                text += f"\n  (and {len(reasons) - _LISTED} more)"
        return text


def import_benchmark(
    name: str,
    directory: str | Path,
    split: str | None = None,
    dataset_name: str | None = None,
    masks: bool = True,
    max_videos: int | None = None,
    persistent: bool = True,
    progress: bool | Callable[..., Any] | None = None,
    videos: str | Path | None = None,
) -> fo.Dataset:
    """Imports a benchmark in its official layout into a FiftyOne dataset.

    Image folders are referenced, not copied. An import into a dataset that exists adds what is
    missing there, so one that was interrupted goes on when it is started again. Videos that cannot
    be used are left out, and named at the end.

    Examples::

        import fiftyone_revseg as revseg
        from fiftyone_revseg.evaluation.benchmarks import import_benchmark

        dataset = import_benchmark("reasonvos", "/data/ReasonVOS")
        revseg.segment_view(dataset, "revseg-nano", prompt_field="queries")

    Args:
        name: "revos", "reasonvos", "mevis", "ref-youtube-vos", "ref-davis17" or "lv-vis"
        directory: the benchmark's folder
        split (None): the name of a split. By default, the one that figures are reported on, or
            the only one that is there
        dataset_name (None): the name of the dataset. By default, benchmark and split
        masks (True): whether to import the true masks
        max_videos (None): only the first so many videos
        persistent (True): whether the dataset stays when the session ends
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`, and raises
            ``KeyboardInterrupt`` to stop. By default, as FiftyOne is configured
        videos (None): a folder for mp4 files of the videos, which the App can play as it cannot
            image folders. By default, none are made

    Returns:
        the :class:`fiftyone.core.dataset.Dataset`

    Raises:
        LayoutError: if the folder is not laid out like the benchmark
        ValueError: if there is no such benchmark, or the dataset is one of something else
    """
    benchmark = open_benchmark(name, directory, split, masks)
    dataset, summary = import_opened(
        benchmark, dataset_name, max_videos, persistent, progress, videos
    )
    if summary.broken:
        logger.warning("%s", summary)
    return dataset


def import_opened(
    benchmark: Benchmark,
    dataset_name: str | None = None,
    max_videos: int | None = None,
    persistent: bool = True,
    progress: bool | Callable[..., Any] | None = None,
    videos: str | Path | None = None,
) -> tuple[fo.Dataset, ImportSummary]:
    """Imports what :func:`open_benchmark` opened; otherwise as :func:`import_benchmark`.

    Returns:
        the dataset, and an :class:`ImportSummary`
    """
    dataset_name = dataset_name or f"{benchmark.name}-{benchmark.split}"
    if fo.dataset_exists(dataset_name):
        dataset = fo.load_dataset(dataset_name)
        _check_same(dataset, benchmark)
    else:
        dataset = fo.Dataset(dataset_name, persistent=persistent)
    return dataset, add_videos(dataset, benchmark, max_videos, progress, videos)


def add_videos(
    dataset: fo.Dataset,
    benchmark: Benchmark,
    max_videos: int | None = None,
    progress: bool | Callable[..., Any] | None = None,
    videos: str | Path | None = None,
    tags: list[str] | None = None,
) -> ImportSummary:
    """Adds the videos of a benchmark that a dataset does not have yet, see above."""
    names = benchmark.names()[:max_videos]
    declare_benchmark_fields(dataset, benchmark)
    _describe(dataset, benchmark)
    writer = BenchmarkWriter(dataset, tags or [benchmark.split])
    summary = ImportSummary(total=len(names))
    for name in with_progress(names, len(names), progress, "Importing"):
        try:
            video = benchmark.read(name)
            filepath = _filepath(video, videos)
            added = writer.write(video, filepath, benchmark.masks and video.has_truth)
        except Exception as error:  # whatever a file holds, the other videos are imported
            summary.broken[name] = _about(name, error)
            continue
        summary.added += added
        summary.present += not added
    writer.flush()
    # Once more: what a database server wrote last before it was killed may be lost when it is back,
    # and a dataset that does not say what it holds could not be gone on with
    _describe(dataset, benchmark, ended=True)
    return summary


def _about(name: str, error: Exception) -> str:
    """Says what is wrong with a video, in words that name it."""
    reason = reason_of(error)
    return reason if isinstance(error, BrokenVideoError) else f"Video '{name}': {reason}"


def _filepath(video: BenchmarkVideo, videos: str | Path | None) -> str:
    """Where the pictures of a video are: a pattern of its images, or an mp4 that is made here."""
    if videos is not None:
        from fiftyone_revseg.evaluation.benchmarks.encode import encode_video

        return encode_video(video, videos)
    pattern = video.pattern
    if pattern is None:
        raise BrokenVideoError(
            f"The images in '{os.path.dirname(video.images[0])}' are not numbered, or more than"
            f" the {len(video.images)} of the list; with a folder for videos, mp4 files are made"
            " of those"
        )
    return pattern


def _describe(dataset: fo.Dataset, benchmark: Benchmark, ended: bool = False) -> None:
    dataset.info[BENCHMARK] = {
        "name": benchmark.name,
        "split": benchmark.split,
        "root": str(benchmark.root),
        "protocol": benchmark.protocol,
        "has_truth": benchmark.has_truth,
        "ended": ended,  # FiftyOne writes only what has changed
    }
    dataset.save()


def _check_same(dataset: fo.Dataset, benchmark: Benchmark) -> None:
    known = dataset.info.get(BENCHMARK) or {}
    same = (known.get("name"), known.get("split")) == (benchmark.name, benchmark.split)
    if not same and count_samples(dataset):
        what = f"{known.get('name')}, split {known.get('split')}" if known else "something else"
        raise ValueError(
            f"Dataset '{dataset.name}' exists and holds {what}: give another name, or delete it"
        )


class _Importer(foud.BatchDatasetImporter):
    """What ``fo.Dataset.from_dir`` and ``dataset.add_dir`` use.

    It writes all samples itself, as FiftyOne would take a document for each frame through its
    schema one by one.
    """

    benchmark = ""

    def __init__(
        self,
        dataset_dir: str | None = None,
        split: str | None = None,
        masks: bool = True,
        videos: str | None = None,
        shuffle: bool = False,
        seed: int | None = None,
        max_samples: int | None = None,
    ):
        super().__init__(
            dataset_dir=dataset_dir, shuffle=shuffle, seed=seed, max_samples=max_samples
        )
        self.split = split
        self.masks = masks
        self.videos = videos

    @property
    def has_dataset_info(self) -> bool:
        return False  # written with the samples

    def import_samples(self, dataset: fo.Dataset, tags: Any = None, progress: Any = None) -> Any:
        """Imports the videos; see :class:`fiftyone.utils.data.importers.BatchDatasetImporter`."""
        benchmark = open_benchmark(self.benchmark, self.dataset_dir, self.split, self.masks)
        if count_samples(dataset):
            _check_same(dataset, benchmark)
        before = set(dataset.values("id"))
        summary = add_videos(dataset, benchmark, self.max_samples, progress, self.videos, tags)
        if summary.broken:
            logger.warning("%s", summary)
        return [sample_id for sample_id in dataset.values("id") if sample_id not in before]


def _importer(name: str) -> type[_Importer]:
    return type(f"{name.title().replace('-', '')}Importer", (_Importer,), {"benchmark": name})


class _BenchmarkDataset(fo.types.Dataset):
    """A benchmark in its official layout, for ``fo.Dataset.from_dir(dataset_type=...)``.

    Beside ``dataset_dir`` and ``max_samples``, it takes ``split``, ``masks`` and ``videos``; see
    :func:`import_benchmark`.
    """

    benchmark = ""

    def get_dataset_importer_cls(self) -> type[_Importer]:
        return _importer(self.benchmark)


class RevosDataset(_BenchmarkDataset):
    """ReVOS."""

    benchmark = "revos"


class ReasonVosDataset(_BenchmarkDataset):
    """ReasonVOS."""

    benchmark = "reasonvos"


class MevisDataset(_BenchmarkDataset):
    """MeViS."""

    benchmark = "mevis"


class RefYouTubeVosDataset(_BenchmarkDataset):
    """Ref-YouTube-VOS."""

    benchmark = "ref-youtube-vos"


class RefDavis17Dataset(_BenchmarkDataset):
    """Ref-DAVIS17."""

    benchmark = "ref-davis17"


class LvVisDataset(_BenchmarkDataset):
    """LV-VIS."""

    benchmark = "lv-vis"
