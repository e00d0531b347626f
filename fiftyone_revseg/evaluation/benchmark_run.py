"""A benchmark from its folder to its table: import, segment, evaluate, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset import RevSegModel, segment_view
from fiftyone_revseg.dataset.collection import count_samples
from fiftyone_revseg.dataset.expressions import QUERIES
from fiftyone_revseg.evaluation.benchmarks import Benchmark, open_benchmark
from fiftyone_revseg.evaluation.benchmarks.importer import import_opened
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.report import PAGES, write_report
from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.evaluation.submission import Submission, validate_submission, write_submission
from fiftyone_revseg.evaluation.tables import write_table
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.files.names import safe_name
from fiftyone_revseg.files.written import Written
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.progress import RunProgress
from fiftyone_revseg.synthetic.mevis_layout import write_mevis

#: Made-up videos, which are written in the layout of MeViS first
SYNTHETIC = "synthetic"

_TABLES = ("results.md", "results.csv", "results.json")
_SYNTHETIC_VIDEOS = 200

#: Makes what shows the progress of a stage, from the title of the stage
Bars = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class BenchmarkRun:
    """What came of a benchmark.

    Attributes:
        dataset: the name of the dataset
        directory: where the files are
        evaluation: the figures; None for a split whose truth only a server knows
        files: what was written
        submission: the archive for that server; None for other splits
        problems: what that server would not like about it
    """

    dataset: str
    directory: Path
    evaluation: Evaluation | None = None
    files: tuple[Path, ...] = ()
    submission: Submission | None = None
    problems: tuple[str, ...] = field(default=())


def run_benchmark(
    name: str,
    directory: str | Path,
    model: RevSegModel | RevSeg | str | Path = "revseg-nano",
    split: str | None = None,
    label_field: str = "revseg",
    out: str | Path | None = None,
    max_videos: int | None = None,
    dataset_name: str | None = None,
    overwrite: bool = False,
    bars: Bars | None = None,
) -> BenchmarkRun:
    """Measures a model on a benchmark.

    The videos are imported into a dataset, or added to the one that an earlier run made; all their
    expressions are asked; and the table and a report are written. Whatever stops it, the same call
    goes on: what is imported and segmented already is kept.

    A split whose truth only a server knows (MeViS and Ref-YouTube-VOS "valid") gets the archive
    for that server instead of a table.

    Examples::

        from fiftyone_revseg.evaluation import run_benchmark

        run = run_benchmark("reasonvos", "/data/ReasonVOS", "revseg-qwen2.5-vl-7b")
        print(run.evaluation.table[-1]["jf"])

    Args:
        name: a benchmark, see :func:`fiftyone_revseg.evaluation.benchmarks.import_benchmark`, or
            "synthetic", which is written first
        directory: the benchmark's folder
        model ("revseg-nano"): a model, a pipeline, a preset, a hub id or a path
        split (None): the name of a split. By default, the one that figures are reported on
        label_field ("revseg"): the label field to write
        out (None): where the files go. By default, ``runs/<dataset>-<label_field>``
        max_videos (None): only the first so many videos
        dataset_name (None): the name of the dataset. By default, benchmark and split
        overwrite (False): whether to ask again what was asked of another model, or with other
            settings
        bars (None): what shows the progress of each stage. By default, as FiftyOne is configured

    Returns:
        a :class:`BenchmarkRun`

    Raises:
        ValueError: if the benchmark cannot be read, or the label field holds the answers of
            another model; the message says what to do
    """
    bars = bars or (lambda _: nullcontext())
    opened = _open(name, directory, split, max_videos, bars)
    if name == SYNTHETIC:
        dataset_name = dataset_name or f"revseg-{SYNTHETIC}-{opened.split}"
    with bars("Importing") as bar:
        dataset, imported = import_opened(opened, dataset_name, max_videos, progress=bar)
    out = Path(out or Path("runs") / safe_name(f"{dataset.name}-{label_field}"))
    check_writable(out)  # before the work that takes long
    Written(out).check(*(out / name for name in (*_TABLES, *PAGES)))
    if not count_samples(dataset):
        raise ValueError(f"No video of {name} could be imported: {imported}")
    names = opened.names()[:max_videos]
    view = dataset if max_videos is None else dataset.select_by("video_name", names)
    with bars("Segmenting") as bar:
        summary = segment_view(
            view,
            model,
            prompt_field=QUERIES,
            label_field=label_field,
            overwrite="changed" if overwrite else False,
            progress=bar,
        )
    if summary.changed:
        # Else the figures of one model would go under the name of another
        difference, count = next(iter(summary.changed.items()))
        raise ValueError(
            f"{count} videos in '{label_field}' of dataset '{dataset.name}' were segmented with"
            f" other settings ({difference}): name another label field, or overwrite"
        )
    if not opened.has_truth:
        return _submit(view, opened, label_field, out, bars)
    notes = [f"Not imported, so not counted: {why}" for why in imported.broken.values()]
    by_person = summary.corrected + summary.kept
    if by_person:
        notes.append(f"Videos whose masks a person corrected, accepted or changed: {by_person}")
    return _evaluate(view, "" if name == SYNTHETIC else name, label_field, out, notes, bars)


def _open(
    name: str, directory: str | Path, split: str | None, max_videos: int | None, bars: Bars
) -> Benchmark:
    if name != SYNTHETIC:
        return open_benchmark(name, directory, split)

    split = split or "test"
    with bars("Writing") as bar:

        def tell(_: str, done: int, total: int) -> None:
            if bar is not None:
                bar(RunProgress(done, total))

        root = write_mevis(directory, split, max_videos or _SYNTHETIC_VIDEOS, progress=tell)
    return open_benchmark("mevis", root, split)


def _evaluate(
    view: Any, benchmark: str, label_field: str, out: Path, notes: list[str], bars: Bars
) -> BenchmarkRun:
    with bars("Evaluating") as bar:
        evaluation = evaluate_view(view, label_field, benchmark=benchmark, progress=bar)
    evaluation = replace(evaluation, notes=(*notes, *evaluation.notes))
    files = []
    for name in _TABLES:
        with Written(out).replacing(out / name) as partial:
            write_table(evaluation, partial)
        files.append(out / name)
    with bars("Drawing") as bar:
        files.append(write_report(evaluation, out, view, progress=bar))
    return BenchmarkRun(evaluation.dataset, out, evaluation, tuple(files))


def _submit(view: Any, opened: Benchmark, label_field: str, out: Path, bars: Bars) -> BenchmarkRun:
    path = out / "submission.zip"
    with bars("Writing") as bar:
        submission = write_submission(view, label_field, opened.name, path, progress=bar)
    with bars("Checking") as bar:
        problems = validate_submission(path, opened.root, opened.name, progress=bar)
    name = view.dataset_name if hasattr(view, "dataset_name") else view.name
    return BenchmarkRun(name, out, None, (path,), submission, tuple(problems))
