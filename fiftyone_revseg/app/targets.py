"""Which videos an operator is about."""

from __future__ import annotations

import os
from typing import Any

import fiftyone.operators.types as types
from fiftyone import ViewField as F

from fiftyone_revseg.app.forms import Form, label_fields
from fiftyone_revseg.app.operator import Operator
from fiftyone_revseg.dataset.collection import (
    check_collection,
    count_samples,
    is_image_groups,
)
from fiftyone_revseg.dataset.labelled_videos import detection_fields
from fiftyone_revseg.dataset.playback import ADVICE, playback_of
from fiftyone_revseg.dataset.playback_fields import PROBLEM

_LOOKED_AT = 5  # videos, of which how they play is measured in a form
_QUICK = 64 * 2**20  # bytes, of which the packets are read in no time

#: Where the true objects are, unless the form names another field
GT_FIELD = "ground_truth"


class VideosOperator(Operator[Any]):
    """An operator on the videos of a view.

    Of a grouped dataset, those are in the slice that the params name, or that is shown, or the
    first one with videos.
    """

    def subject(self, form: Form) -> Any:
        target, slices = form.ctx.target_view(), []
        if target.media_type == "group" and not is_image_groups(target):
            slices = [name for name, kind in target.group_media_types.items() if kind == "video"]
        videos = check_collection(target, self.group_slice(form, slices) if slices else None)
        if not count_samples(videos):
            raise ValueError("There are no videos here: choose another view")
        return videos

    def group_slice(self, form: Form, slices: list[str]) -> str:
        """Says which of the slices with videos is meant."""
        wanted = [form.typed("group_slice"), form.ctx.group_slice, *slices]
        return next(name for name in wanted if name in slices)


def playback_notice(form: Form, videos: Any) -> None:
    """Says in a form if the App plays some of the videos wrongly, as far as that is known at once.

    Args:
        form: the form
        videos: a collection of videos or clips
    """
    if is_image_groups(videos):
        return
    if videos.has_field(PROBLEM):
        count = count_samples(videos.match(F(PROBLEM) != None))  # noqa: E711
        where = "here"
    else:
        count, where = 0, "among the first"
        for sample in videos.limit(_LOOKED_AT).select_fields("metadata").iter_samples():
            if os.path.exists(sample.filepath) and os.path.getsize(sample.filepath) < _QUICK:
                playback = playback_of(sample)
                count += bool(playback and playback.problem)
    if count:
        label = f"The App plays {count} video{'s'[: count - 1]} {where} wrongly"
        description = f"Masks are right, but are drawn on other pictures, or on none: {ADVICE}"
        form.inputs.view("playback", types.Warning(label=label, description=description))


def detections_to_choose(form: Form, videos: Any) -> list[str]:
    """Lists the label fields with detections, those that hold results first."""
    found = detection_fields(videos)
    results = [name for name in label_fields(form.dataset) if name in found]
    return [*results, *(name for name in found if name not in results)]


def truth_to_choose(form: Form, videos: Any) -> list[str]:
    """Lists the label fields with detections, :data:`GT_FIELD` first, and results last."""
    names = detections_to_choose(form, videos)
    results = label_fields(form.dataset)
    return sorted(names, key=lambda name: (name != GT_FIELD, name in results))
