"""Which videos an operator is about, and how its result gets to the App."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone import ViewField as F
from fiftyone.operators.message import GeneratedMessage

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.dataset.collection import check_collection, is_clips, is_image_groups
from fiftyone_revseg.dataset.counting import count_samples
from fiftyone_revseg.dataset.labelled_videos import detection_fields
from fiftyone_revseg.dataset.playback import ADVICE, playback_of
from fiftyone_revseg.dataset.playback_fields import PROBLEM

_LOOKED_AT = 5  # videos, of which how they play is measured in a form
_QUICK = 64 * 2**20  # bytes, of which the packets are read in no time

#: Where the true objects are, unless the form names another field
GT_FIELD = "ground_truth"


def find_videos(ctx: foo.ExecutionContext) -> Any:
    """Returns the videos that an operator is about.

    Of a grouped dataset, those are in the slice that the form names, or that is shown, or the
    first one with videos.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Raises:
        ValueError: if there are none
    """
    target = ctx.target_view()
    group_slice = None
    if target.media_type == "group" and not is_image_groups(target):
        slices = [name for name, kind in target.group_media_types.items() if kind == "video"]
        wanted = [forms.text(ctx, "group_slice"), ctx.group_slice, *slices]
        group_slice = next((name for name in wanted if name in slices), None)
    videos = check_collection(target, group_slice)
    if not count_samples(videos):
        raise ValueError("There are no videos here: choose another view")
    return videos


def videos_input(inputs: types.Object, ctx: foo.ExecutionContext) -> Any:
    """The videos that a form is about; None if there are none, which is said in the form."""
    try:
        return find_videos(ctx)
    except ValueError as error:
        forms.refuse(inputs, "no_videos", str(error))
        return None


def playback_notice(inputs: types.Object, videos: Any) -> None:
    """Says in a form if the App plays some of the videos wrongly, as far as that is known at once.

    Args:
        inputs: the form
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
        inputs.view("playback", types.Warning(label=label, description=description))


def detections_to_choose(ctx: foo.ExecutionContext, videos: Any) -> list[str]:
    """Lists the label fields with detections, those that hold results first."""
    found = detection_fields(videos)
    results = [name for name in forms.label_fields(ctx.dataset) if name in found]
    return [*results, *(name for name in found if name not in results)]


def truth_to_choose(ctx: foo.ExecutionContext, videos: Any) -> list[str]:
    """Lists the label fields with detections, :data:`GT_FIELD` first, and results last."""
    names = detections_to_choose(ctx, videos)
    results = forms.label_fields(ctx.dataset)
    return sorted(names, key=lambda name: (name != GT_FIELD, name in results))


def choice_input(
    inputs: types.Object,
    ctx: foo.ExecutionContext,
    name: str,
    choices: dict[str, str],
    default: str | None = None,
    **kwargs: Any,
) -> str | None:
    """Asks for one of a few values.

    Args:
        inputs: the form
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        name: the name of the parameter
        choices: value -> its description, or "" if it needs none
        default (None): the default. By default, the first
        **kwargs: of ``inputs.enum``

    Returns:
        the value; None if it is not one of them, which is said in the form
    """
    default = default or next(iter(choices), None)
    view = types.Dropdown() if not any(choices.values()) else types.RadioGroup()
    for value, description in choices.items():
        view.add_choice(value, label=value, description=description)
    prop = inputs.str(name, default=default, view=view, **kwargs)
    chosen = forms.text(ctx, name) or default
    message = f"There is no {chosen!r} to choose from: {', '.join(choices) or 'nothing'}"
    return chosen if forms.check(prop, None if chosen in choices else message) else None


def showing(
    ctx: foo.ExecutionContext, messages: Iterator[GeneratedMessage], shown: dict[str, Any]
) -> Iterator[GeneratedMessage]:
    """Passes on the messages of work, and shows a view in the App when it has loaded what is new.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        messages: see :func:`fiftyone_revseg.app.running.stream`
        shown: a dict in which the work leaves the "view", if there is one to show
    """
    for message in messages:
        yield message
        loaded = getattr(message.body, "operator_uri", None) == "reload_dataset"
        if loaded and shown.get("view") is not None:
            yield ctx.ops.set_view(view=shown["view"])


def keep_view(dataset: fo.Dataset, name: str, view: Any) -> str | None:
    """Saves a view in its dataset, in place of an earlier one of that name.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        name: the name
        view: the view

    Returns:
        the name; None for clips, whose own fields last no longer than the view
    """
    if is_clips(view):
        return None
    dataset.reload()
    dataset.save_view(name, view, overwrite=True)
    return name


def execute(uri: str, samples: Any, params: dict[str, Any], delegate: bool = False) -> Any:
    """Executes an operator that streams, from a script.

    Args:
        uri: the operator's URI
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        params: its parameters; those that are None are left out
        delegate (False): whether to schedule this rather than to do it now

    Returns:
        the operator's result; if it was delegated, the
        :class:`fiftyone.operators.executor.ExecutionResult`
    """
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    params = {name: value for name, value in params.items() if value is not None}
    execution = foo.execute_operator(
        uri, {kind: samples, "params": params, "request_delegation": delegate}
    )
    return execution if delegate else result_of(execution)
