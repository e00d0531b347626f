"""J, F and J&F of the predictions on the videos of a view, expression by expression."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from fiftyone_revseg.dataset.collection import check_collection, count_samples, source_dataset
from fiftyone_revseg.dataset.labelled_videos import masks_path, walk_videos
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.evaluation.backend_writer import EvaluationRun
from fiftyone_revseg.evaluation.benchmarks import BENCHMARKS
from fiftyone_revseg.evaluation.davis import REF_DAVIS, assign
from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.evaluation.scored_videos import Scorer
from fiftyone_revseg.evaluation.summary import protocol_of, summarize
from fiftyone_revseg.evaluation.video_masks import beside_truth
from fiftyone_revseg.measures.scoring import score_many
from fiftyone_revseg.progress import OnProgress


def evaluate_view(
    view: Any,
    pred_field: str = "revseg",
    gt_field: str = "ground_truth",
    queries: str | Sequence[str] | None = None,
    eval_key: str | None = None,
    benchmark: str | None = None,
    progress: bool | OnProgress | None = None,
    workers: int | None = None,
    group_slice: str | None = None,
) -> Evaluation:
    """Scores predicted masks against true ones.

    What is scored on each video, in this order:

    * ``queries``, if given: a field with a query or a list of queries for each sample, or a list
      of queries for all. Where one is the text of one of the sample's ``expressions``, that is
      scored
    * the sample's ``expressions``, as importers of benchmarks and :func:`expression_values`
      <fiftyone_revseg.dataset.expressions.expression_values> write them. Those without truth
      (``objects`` is None) are left out, and counted in the notes
    * the texts in its field ``query``, or else ``queries``
    * the queries that the predictions answer, or if they do not say, one comparison of all
      predicted with all true objects

    The truth of an expression is the union of its ``objects``. Of a query without an expression
    it is that of the true objects whose own attribute ``query`` is the query, or if the truth has
    no such attribute, of all of them. The prediction is the union of the detections whose
    ``query`` is the expression's text; detections without that attribute count as the answer only
    if the video has no more than one query.

    All frames with truth count, also if that is an empty ``Detections``; those without any value
    in ``gt_field`` are not annotated, and are left out. Where both masks are empty, J and F are
    1, so "there is no such object" is right where there is none. A prediction is missing, and J,
    F and accuracy are 0, if the query was never asked, or the video was unreadable or ended in an
    error, or its labels cannot be used. Videos whose truth cannot be used are left out. The notes
    count what is missing and what was left out.

    Examples::

        import fiftyone as fo
        import fiftyone_revseg as revseg

        dataset = fo.load_dataset("my-videos")
        evaluation = revseg.evaluate_view(dataset, "revseg", eval_key="nano")
        for row in evaluation.table:
            print(row["name"], row["jf"])
        dataset.sort_by("nano_jf")  # the worst first

    Args:
        view: a :class:`fiftyone.core.dataset.Dataset` or view: videos, clips, or ordered dynamic
            groups of images
        pred_field ("revseg"): the label field with the predictions, with or without "frames."
        gt_field ("ground_truth"): the label field with the truth
        queries (None): the name of a field of queries, or a list of queries
        eval_key (None): a name for the evaluation in FiftyOne. The figures are then written to
            fields of that name, see :mod:`fiftyone_revseg.evaluation.backend`
        benchmark (None): the benchmark whose rules hold for the summary. By default the one that
            the dataset was imported from; "" for none
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`, and raises
            ``KeyboardInterrupt`` to stop, which leaves nothing behind
        workers (None): how many processes measure. By default, one for each core
        group_slice (None): the slice with the videos, if the dataset is grouped

    Returns:
        an :class:`fiftyone_revseg.evaluation.results.Evaluation`

    Raises:
        ValueError: if there is nothing to compare, or a field does not exist or cannot be
            written; in one sentence. A video that cannot be read does not raise: its
            expressions are missing, with the reason
    """
    pred_field, gt_field = valid_label_field(pred_field), valid_label_field(gt_field)
    if pred_field == gt_field:
        raise ValueError(f"'{pred_field}' is both prediction and truth here: name two label fields")
    samples = check_collection(view, group_slice)
    if not count_samples(samples):
        raise ValueError("There is nothing to compare: the view holds no videos")
    for name in (pred_field, gt_field):
        masks_path(samples, name)
    run = None
    if eval_key is not None:
        run = EvaluationRun(samples, pred_field, gt_field, eval_key)
    dataset = source_dataset(samples)
    imported = dataset.info.get("benchmark") or {}
    if benchmark is None:
        benchmark = str(imported.get("name") or "")
    elif benchmark and benchmark not in BENCHMARKS:
        raise ValueError(
            f"There is no benchmark {benchmark!r}: choose from {', '.join(BENCHMARKS)}"
        )
    more = beside_truth(samples)
    scorer = Scorer(samples, pred_field, gt_field, queries, more, benchmark == REF_DAVIS)
    videos = walk_videos(samples, [pred_field, gt_field, *more], progress, "Evaluating")
    for job, frames in score_many(scorer.pairs(videos), workers):
        scorer.add(job, frames)
    scored = scorer.finish()
    scores = tuple(own.score for video in scored for own in video.expressions)
    if not scores:
        raise ValueError(
            f"There is nothing to compare between '{pred_field}' and '{gt_field}': "
            + ("; ".join(scorer.notes()) or "no video has an expression with known truth")
        )
    evaluation = Evaluation(
        dataset=dataset.name,
        benchmark=benchmark,
        protocol=protocol_of(benchmark),
        pred_field=pred_field,
        gt_field=gt_field,
        model=", ".join(sorted(scorer.models)),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        scores=scores,
        table=tuple(summarize(scores, benchmark, assign(scorer.shared, scores))),
        notes=tuple(scorer.notes()),
    )
    if run is not None:
        run.write(scored, evaluation)
    return evaluation
