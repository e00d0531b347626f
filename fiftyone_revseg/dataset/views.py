"""Views that curators use: what failed, what is unsure, what a person has to look at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F

from fiftyone_revseg.dataset.collection import (
    check_collection,
    in_all_slices,
    is_clips,
    source_dataset,
)
from fiftyone_revseg.dataset.drift import SUSPECTED
from fiftyone_revseg.dataset.explain import TrackSeries, areas_of
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo, reason_of, walk_videos
from fiftyone_revseg.dataset.numbers import check_number_field, write_numbers
from fiftyone_revseg.dataset.playback_fields import mark_playback
from fiftyone_revseg.dataset.review_order import place_expression
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.progress import OnProgress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ViewKind:
    """A kind of view.

    Attributes:
        description: which samples are in it, in words
        make: makes the view of the samples, the label field, the threshold and what to report to
        threshold: the threshold's default; None if there is none
    """

    description: str
    make: Callable[[Any, str, float | None, Any], Any]
    threshold: float | None = None


_IS_OBJECT = F("index") != None  # noqa: E711


def _unsure(threshold: float | None) -> Any:
    """Where there is no certainty, the confidence of the box decides."""
    known, confidence = F("certainty").exists(), F("confidence")
    sure = known.if_else(F("certainty"), confidence)
    # For the database, no number is less than any
    return (known | confidence.exists()) & (sure < threshold)


def _answered(wanted: Callable[[float | None], Any], is_queue: bool = False) -> Callable[..., Any]:
    """The samples with an answer for which an expression holds, which the threshold makes.

    In a queue, those with the least certain answer come first.
    """

    def make(samples: Any, label_field: str, threshold: float | None, progress: Any) -> Any:
        answers = f"{label_field}_answers"
        own = wanted(threshold)
        found = F(f"{answers}.classifications").filter(own).length() > 0
        order = [(place_expression(label_field, own), 1), ("id", 1)]
        if is_clips(samples) and not samples.has_field(answers):
            source = source_dataset(samples)
            _check_answers(source, label_field)
            matching = source.match(found)
            if is_queue:
                matching = matching.sort_by(order)
            return samples.select_by("sample_id", matching.values("id"), ordered=is_queue)
        _check_answers(samples, label_field)
        return samples.match(found).sort_by(order) if is_queue else samples.match(found)

    return make


def _drifting(samples: Any, label_field: str, threshold: float | None, progress: Any) -> Any:
    field = measure_drift(samples, label_field, progress)
    if not samples.has_field(field):  # there was nothing to measure
        return samples.limit(0)
    return samples.match(F(field) > threshold).sort_by(field, reverse=True)


def _playing_wrongly(samples: Any, label_field: str, threshold: float | None, progress: Any) -> Any:
    found = mark_playback(samples, progress)
    ids = list(found.problems)
    return samples.select_by("sample_id", ids) if is_clips(samples) else samples.select(ids)


#: The queue of a review
NOT_REVIEWED = "not yet reviewed"

#: name -> :class:`ViewKind`
VIEWS = {
    "failures": ViewKind(
        "A query could not be answered: no readable key frame or box, nothing to track, or an "
        "unreadable video",
        _answered(lambda _: ~F("status").is_in(["ok", "no_target"])),
    ),
    "low confidence": ViewKind(
        "The model was unsure: the certainty of an answer, or where there is none the confidence "
        "of its box, is under the threshold; the least certain first",
        _answered(_unsure, is_queue=True),
        threshold=0.5,
    ),
    "drift suspected": ViewKind(
        "The area or the score of an object jumps by more than the threshold from one frame to "
        "the next; the worst first",
        _drifting,
        threshold=SUSPECTED,
    ),
    "plays wrongly in the App": ViewKind(
        "The App shows other pictures than those of the labels, or cannot play the video; what is "
        "wrong is in the field playback_problem",
        _playing_wrongly,
    ),
    "found": ViewKind(
        "The model found an object",
        _answered(lambda _: _IS_OBJECT & (F("status") == "ok")),
    ),
    "no target": ViewKind(
        "The model found that there is no such object",
        _answered(lambda _: F("status") == "no_target"),
    ),
    "corrected by hand": ViewKind(
        "A person corrected a box or a key frame",
        _answered(lambda _: F("corrected") == True),  # noqa: E712
    ),
    "accepted": ViewKind(
        "A person accepted an object",
        _answered(lambda _: F("tags").contains("accepted")),
    ),
    "rejected": ViewKind(
        "A person rejected an object",
        _answered(lambda _: F("tags").contains("rejected")),
    ),
    NOT_REVIEWED: ViewKind(
        "There is an object that no person has accepted or rejected; the least certain first",
        _answered(
            lambda _: _IS_OBJECT & ~F("tags").contains(["accepted", "rejected"]), is_queue=True
        ),
    ),
}


def check_view(name: str) -> ViewKind:
    """Returns the view of a name; raises a ``ValueError`` if there is none."""
    if name not in VIEWS:
        raise ValueError(f"There is no view {name!r}. Views are: {', '.join(VIEWS)}")
    return VIEWS[name]


def make_view(
    samples: Any,
    name: str,
    label_field: str = "revseg",
    threshold: float | None = None,
    progress: bool | OnProgress | None = None,
) -> Any:
    """Makes one of the views of :data:`VIEWS`.

    Samples are shown whole, with all of their labels. "drift suspected" first measures how much
    each video's masks jump, and writes that to the field ``<label_field>_drift``; "plays wrongly in
    the App" measures how the App plays each video, see
    :func:`fiftyone_revseg.dataset.playback_fields.mark_playback`, and needs no results.

    Examples::

        session.view = make_view(dataset, "failures")
        dataset.save_view("unsure", make_view(dataset, "low confidence", threshold=0.7))

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view. Of clips that have no answers of
            their own, those are taken whose videos are wanted
        name: one of :data:`VIEWS`
        label_field ("revseg"): the label field, with or without "frames."
        threshold (None): for "low confidence" and "drift suspected", a number in [0, 1]
        progress (None): whether to show a progress bar while drift is measured; or a function, see
            :func:`fiftyone_revseg.dataset.segment.segment_view`

    Returns:
        a :class:`fiftyone.core.view.DatasetView`

    Raises:
        ValueError: if there is no such view, field or threshold
    """
    kind = check_view(name)
    if threshold is None:
        threshold = kind.threshold
    elif kind.threshold is None:
        raise ValueError(f"The view '{name}' has no threshold: leave it out")
    elif isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise ValueError(f"threshold must be a number from 0 to 1, not {threshold!r}")
    elif not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a number from 0 to 1, not {threshold}")
    label_field = valid_label_field(label_field)
    samples = in_all_slices(samples)
    return kind.make(samples, label_field, threshold, progress)


def measure_drift(
    samples: Any, label_field: str = "revseg", progress: bool | OnProgress | None = None
) -> str:
    """Measures how much each video's masks jump, and writes it to a field.

    The number is that of :func:`fiftyone_revseg.dataset.drift.drift_score`, of the object that is
    the worst; None where there is no object.

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view: videos, clips, or ordered
            dynamic groups of images
        label_field ("revseg"): the label field
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`

    Returns:
        the name of the field, ``"<label_field>_drift"``

    Raises:
        ValueError: if there are no such labels, or the field holds something else
    """
    label_field = valid_label_field(label_field)
    samples = check_collection(samples)
    videos = walk_videos(samples, [label_field], progress, "Measuring drift")
    name = f"{label_field}_drift"
    check_number_field(samples, name, own_name=True)
    values: dict[str, float | None] = {}
    for video in videos:
        values.update(dict.fromkeys(video.ids, _worst_drift(video, label_field)))
    write_numbers(samples, name, values)
    return name


def _worst_drift(video: LabelledVideo, label_field: str) -> float | None:
    try:
        return _worst_of(video, label_field)
    except Exception as error:  # the others are to be measured, whatever is wrong with one
        logger.warning("%s is left out: %s", video.name, reason_of(error))
        return None


def _worst_of(video: LabelledVideo, label_field: str) -> float | None:
    objects: dict[Any, dict[int, Any]] = {}  # index -> frame number -> see TrackSeries.of
    for number, found in video.frames([label_field]):
        for detection in found[label_field] or ():
            # As the reasoning panel: masks in files are not read for this
            areas, box = areas_of(detection.bounding_box, detection.mask), detection.bounding_box
            rows = objects.setdefault(detection.index, dict.fromkeys(video.numbers))
            rows[number] = (*areas, detection.confidence, box)
    return max((TrackSeries.of(rows).drift for rows in objects.values()), default=None)


def _check_answers(samples: Any, label_field: str) -> None:
    if samples.has_field(f"{label_field}_answers"):
        return
    schema = samples.get_field_schema(ftype=fo.EmbeddedDocumentField)
    suffix = "_answers"
    known = [name.removesuffix(suffix) for name in schema if name.endswith(suffix)]
    raise ValueError(
        f"There are no results in label field '{label_field}'. Label fields with results are: "
        f"{', '.join(known) or 'none'}"
    )
