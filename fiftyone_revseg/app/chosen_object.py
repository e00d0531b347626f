"""Which object an operator is about: the open or selected video, and one of its objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
import numpy as np

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.forms import Form
from fiftyone_revseg.app.operator import Operator, Run, Settings, Subject
from fiftyone_revseg.dataset import RunProgress
from fiftyone_revseg.dataset.collection import count_samples, group_of, is_clips
from fiftyone_revseg.dataset.correct import Correction, made_with
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.objects import (
    StoredAnswer,
    StoredObject,
    find_object,
    find_place,
    list_objects,
)
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.playback import ADVICE
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.masks.boxes import corners_px
from fiftyone_revseg.pipeline import Loading, Progress
from fiftyone_revseg.text.escape import markdown
from fiftyone_revseg.video import VideoError, open_video


@dataclass(frozen=True)
class Chosen:
    """The one object that is meant.

    Attributes:
        sample: the sample; the images of one group, if the view is one of such groups
        stored: the object
    """

    sample: Any
    stored: StoredObject


class OneVideo(Operator[Subject]):
    """An operator that changes something about one video, which scripts need not name."""

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        return {"summary": markdown(result["summary"])}

    def call(self, samples: Any, given: dict[str, Any], delegate: bool = False) -> Any:
        return super().call(samples, by_sample(samples, given), delegate)


class Correct(OneVideo[Chosen]):
    """An operator that corrects one object of one video, with a model."""

    risk = types.RiskLevel.HIGH
    stopped = "Stopped: nothing was changed"

    def subject(self, form: Form) -> Chosen | None:
        return object_input(form)

    def ask(self, form: Form, subject: Chosen) -> Settings:
        settings = self.ask_how(form, subject.stored)
        self.ask_model(form, subject.stored)
        return {**settings, "model": loading_of(form.ctx, subject.stored)}

    def ask_how(self, form: Form, stored: StoredObject) -> Settings:
        """Asks for how to correct it: the arguments of :meth:`correct`."""
        raise NotImplementedError

    def ask_model(self, form: Form, stored: StoredObject) -> None:
        """Asks for what :func:`loading_of` reads."""
        model_inputs(form, stored)

    def correct(self, *args: Any, **how: Any) -> Correction:
        """Corrects it.

        Args:
            *args: the sample and the object's index
            **how: the settings, the "model" to load, and what
                :func:`fiftyone_revseg.dataset.correct.propagate` and ``reground`` both take
        """
        raise NotImplementedError

    def work(self, run: Run[Chosen], **settings: Any) -> dict[str, Any]:
        stored = run.subject.stored
        done = self.correct(
            run.subject.sample,
            stored.index,
            label_field=stored.place.label_field,
            support=stored.support,
            progress=progress_of(run),
            by=run.ctx.user_id,
            **settings,
        )
        # JSON has no whole numbers for keys
        prompts = {str(number): box for number, box in done.prompts.items()}
        return {"summary": str(done), **vars(done), "prompts": prompts}

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        params = dict(given)
        if isinstance(params["index"], str):
            params["label_id"] = params.pop("index")
        if params["support"] is not None:
            params["support"] = list(params["support"])
        return params


def progress_of(run: Run[Any]) -> Progress:
    """Returns what tells the App how far the work on one video is."""
    started = time.perf_counter()

    def progress(stage: str, done: int, total: int) -> None:
        seconds = time.perf_counter() - started
        run.report(RunProgress(0, 1, run.title, stage, done, total, seconds))

    return progress


def by_sample(samples: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Names the sample in the arguments of a script, where a collection has only one."""
    if given["sample_id"] is None and count_samples(samples) == 1:
        return {**given, "sample_id": samples.first().id}
    return given


def sample_of(ctx: foo.ExecutionContext) -> Any:
    """Finds the one video that is meant.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Returns:
        a sample; the images of one group, if the view is one of such groups

    Raises:
        ValueError: if none is open or selected, or several are
    """
    sample_id = forms.text(ctx, "sample_id") or ctx.current_sample
    if not sample_id:
        if len(ctx.selected) != 1:
            raise ValueError(
                "Open the video to correct, or select it"
                + (f" alone: {len(ctx.selected)} are selected" if ctx.selected else "")
            )
        sample_id = ctx.selected[0]
    view = ctx.view
    try:
        # A clip has an id of its own
        sample = view[sample_id] if is_clips(view) else ctx.dataset[sample_id]
        images = group_of(view, sample)
        return sample if images is None else images
    except KeyError as error:
        raise ValueError(f"There is no sample {sample_id} here: choose another view") from error


def label_field_of(ctx: foo.ExecutionContext) -> str:
    """Returns the label field that is meant: the one typed in, else the most recent one."""
    names = forms.label_fields(ctx.dataset)
    return forms.text(ctx, "label_field") or (names[0] if names else forms.DEFAULT_LABEL_FIELD)


def object_input(form: Form, prefer: Callable[[StoredObject], bool] | None = None) -> Chosen | None:
    """Asks for an object: "label_field", "index" and, of several clips, "clip".

    Args:
        form: the form
        prefer (None): tells which of several objects is likely to be meant

    Returns:
        the object; None if there is none, which is said in the form

    Raises:
        ValueError: if there is no video, or no such object in it
    """
    label_field = forms.existing_label_field_input(form)
    if label_field is None:
        return None
    sample = sample_of(form.ctx)
    place = find_place(sample, label_field)
    objects = list_objects(place)
    wanted = form.ctx.params.get("index")
    try:
        chosen = _object_of(form.ctx, place, objects, prefer)
    except ValueError:
        clips = [stored for stored in objects if stored.index == wanted]
        if len(clips) < 2:
            raise
        chosen = None  # several clips have it: which one?
    # Of several with one number, which clips may have, the first one is told of
    first = {stored.index: stored for stored in reversed(objects)}
    offered = {stored.index: first[stored.index] for stored in objects}
    form.enum(
        "index",
        {index: _in_words(stored) for index, stored in offered.items()},
        {index: stored.answer.get("query") for index, stored in offered.items()},
        default=chosen.index if chosen else wanted,
        label="Object",
    )
    if chosen is None:
        chosen = _clip_input(form, clips)
    return None if chosen is None else Chosen(sample, chosen)


def _in_words(stored: StoredObject) -> str:
    status = stored.answer.get("status")
    return f"{stored.index}: {stored.label}" + ("" if status == "ok" else f" ({status})")


def _object_of(
    ctx: foo.ExecutionContext,
    place: Place,
    objects: Sequence[StoredObject],
    prefer: Callable[[StoredObject], bool] | None = None,
) -> StoredObject:
    """The object that the params name, or that a selected label belongs to; else the first one."""
    index = ctx.params.get("index")
    if index is None:
        index = ctx.params.get("label_id")
    if index is None:
        selected = [label["label_id"] for label in ctx.selected_labels if label.get("label_id")]
        index = selected[0] if selected else None
    if index is not None:
        return find_object(place, index, ctx.params.get("support"))
    if not objects:
        raise ValueError("The model found no object in this video, so there is none to choose")
    return max(objects, key=prefer) if prefer and len(objects) > 1 else objects[0]


def _clip_input(form: Form, clips: Sequence[StoredObject]) -> StoredObject | None:
    """Asks for one of several clips that have an object with the same number."""
    by_name = {"{}-{}".format(*stored.support): stored for stored in clips}
    labels = {name: "Frames {} to {}".format(*c.support) for name, c in by_name.items()}
    prop = form.enum("clip", labels, label="Clip")
    chosen = by_name.get(form.typed("clip"))
    wrong = "Several clips have an object with this number: choose the clip"
    form.check(prop, None if chosen else wrong)
    return chosen


def model_inputs(form: Form, stored: StoredAnswer) -> None:
    """Asks for a model; by default, the one that the object was found with."""
    forms.model_inputs(form, unfolded=True)
    for name, default in _made_with(stored).items():
        form.inputs.properties[name].default = default


def tracker_only_input(form: Form, stored: StoredObject) -> None:
    """Asks for a tracker; by default, the one that the object was found with."""
    forms.tracker_input(form, default=_made_with(stored).get("tracker"))


def loading_of(ctx: foo.ExecutionContext, stored: StoredAnswer) -> Loading:
    """Returns which models a form names.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`, whose form has :func:`model_inputs`
        stored: the object; what found it is the default
    """
    loading, default = forms.loading(ctx), _made_with(stored)
    if forms.text(ctx, "model") or not default:
        return loading
    tracker = loading.tracker or default["tracker"]
    loading = replace(loading, name=default["model"], tracker=tracker)
    if "server" in default and loading.server is None:
        # Whoever made the dataset wrote this address: only one that is typed gets the key
        return replace(loading, server=default["server"], server_key="")
    return loading


def frame_input(form: Form, stored: StoredObject, description: str) -> types.Property:
    """Asks for a frame of an object's video, by default the key frame: "frame_number"."""
    first, last = stored.support
    return form.inputs.int(
        "frame_number",
        default=stored.answer.get("keyframe"),
        min=first,
        max=last,
        label="Frame",
        description=f"{description} {first} to {last}",
    )


def playback_warning(form: Form, stored: StoredObject, number: int | None = None) -> None:
    """Says in a form that the App plays the video wrongly, if it does.

    Args:
        form: the form
        stored: an object of the video
        number (None): a frame number that the form names
    """
    playback = stored.place.playback
    if playback is None or not playback.problem:
        return
    words = "Numbers here are those of the video's frames, which the labels have."
    if not playback.unplayable and number is not None and number <= len(playback.pictures):
        words += f" When the App says frame {number}, you see frame {playback.picture_of(number)}."
    form.inputs.view(
        "playback",
        types.Warning(label=sentence(playback.problem), description=f"{words} {sentence(ADVICE)}."),
    )


def preview(stored: StoredObject, number: int, box: Sequence[float] | None) -> str | None:
    """Draws a box on the picture of a frame, for a form.

    Args:
        stored: an object of the video
        number: the frame number
        box: the relative ``[x, y, width, height]`` box

    Returns:
        the picture as a ``data:`` address; None if it cannot be read
    """
    try:
        with open_video(stored.place.filepath) as video:
            image = video[index_of(number)]
    except (VideoError, IndexError):
        return None
    if box is not None:
        corners = corners_px(box, image.shape[1::-1])
        image = pictures.draw_boxes(image, [corners], [f"frame {number}"])
    step = max(1, image.shape[1] // 480)
    return pictures.data_uri(np.ascontiguousarray(image[::step, ::step]))


def sentence(words: str) -> str:
    """Begins words with a capital."""
    return words[:1].upper() + words[1:]


def _made_with(stored: StoredAnswer) -> dict[str, str]:
    """The names of the models that found an object, if they can be loaded by these names."""
    settings = made_with(stored)
    name, tracker = settings.get("model") or "", settings.get("tracker") or ""
    server = settings.get("server")
    if forms.problem(forms.check_tracker, tracker):
        return {}
    if server:
        return {"model": name, "tracker": tracker, "server": server}
    return {} if forms.problem(forms.resolve, name) else {"model": name, "tracker": tracker}
