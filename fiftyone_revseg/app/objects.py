"""Which object an operator is about: the open or selected video, and one of its objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
import numpy as np

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import Report, result_of, run_delegated, stream
from fiftyone_revseg.dataset import RunProgress
from fiftyone_revseg.dataset.collection import group_of, is_clips
from fiftyone_revseg.dataset.correct import Correction, made_with
from fiftyone_revseg.dataset.counting import count_samples
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.objects import StoredObject, find_object, find_place, list_objects
from fiftyone_revseg.dataset.playback import ADVICE
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.pipeline import Progress
from fiftyone_revseg.text.escape import markdown
from fiftyone_revseg.video import VideoError, open_video


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


def object_of(ctx: foo.ExecutionContext) -> StoredObject:
    """Finds the one object that is meant.

    Raises:
        ValueError: if there is none
    """
    place = find_place(sample_of(ctx), label_field_of(ctx))
    support = ctx.params.get("support")
    index = ctx.params.get("index")
    if index is None:
        index = ctx.params.get("label_id")
    if index is None:
        selected = [label for label in ctx.selected_labels if label.get("label_id")]
        index = selected[0]["label_id"] if selected else None
    if index is None:
        objects = list_objects(place)
        if not objects:
            raise ValueError("The model found no object in this video, so there is none to choose")
        return objects[0]
    return find_object(place, index, support)


def label_field_of(ctx: foo.ExecutionContext) -> str:
    """Returns the label field that is meant: the one typed in, else the most recent one."""
    names = forms.label_fields(ctx.dataset)
    return forms.text(ctx, "label_field") or (names[0] if names else forms.DEFAULT_LABEL_FIELD)


def object_input(inputs: types.Object, ctx: foo.ExecutionContext) -> StoredObject | None:
    """Asks for an object: "label_field", "index" and, of several clips, "support".

    Args:
        inputs: the form
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Returns:
        the object; None if there is none, which is said in the form
    """
    label_field = forms.existing_label_field_input(inputs, ctx)
    if label_field is None:
        return None
    try:
        place = find_place(sample_of(ctx), label_field)
        chosen = object_of(ctx)
    except ValueError as error:
        objects = _clips_of(ctx, label_field)
        if not objects:
            forms.refuse(inputs, "no_object", str(error))
            return None
        chosen, place = None, objects[0].place  # several clips have it: which one?
    objects = list_objects(place)
    choices = types.Dropdown()
    for stored in objects:
        if stored.index not in choices.values():
            answer = stored.answer
            status = "" if answer.get("status") == "ok" else f" ({answer.get('status')})"
            label = f"{stored.index}: {stored.label}{status}"
            choices.add_choice(stored.index, label=label, description=answer.get("query"))
    inputs.enum(
        "index",
        choices.values(),
        default=chosen.index if chosen else ctx.params.get("index"),
        label="Object",
        view=choices,
    )
    if chosen is not None:
        return chosen
    clips = types.Dropdown()
    for stored in objects:
        if stored.index == ctx.params.get("index"):
            first, last = stored.support
            clips.add_choice(f"{first}-{last}", label=f"Frames {first} to {last}")
    clip = forms.text(ctx, "clip")
    prop = inputs.enum("clip", clips.values(), label="Clip", view=clips)
    for stored in objects:
        if stored.index == ctx.params.get("index") and clip == "{}-{}".format(*stored.support):
            return stored
    forms.check(prop, "Several clips have an object with this number: choose the clip")
    return None


def chosen_object(ctx: foo.ExecutionContext) -> StoredObject:
    """Returns the object that a form of :func:`object_input` names.

    Raises:
        ValueError: if there is none
    """
    clip = forms.text(ctx, "clip")
    if clip:
        ctx.params["support"] = [int(number) for number in clip.split("-")]
    return object_of(ctx)


def model_inputs(inputs: types.Object, ctx: foo.ExecutionContext, stored: StoredObject) -> bool:
    """Asks for a model; by default, the one that the object was found with."""
    valid = forms.model_inputs(inputs, ctx)
    for name, default in _made_with(stored).items():
        inputs.properties[name].default = default
    return valid


def model_arguments(ctx: foo.ExecutionContext, stored: StoredObject) -> dict[str, Any]:
    """Returns the arguments of :func:`fiftyone_revseg.app.held_models.get_model` for a form.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`, whose form has :func:`model_inputs`
        stored: the object; what found it is the default
    """
    arguments = forms.model_arguments(ctx)
    default = _made_with(stored)
    if not forms.text(ctx, "model") and default:
        arguments["name_or_path"] = default["model"]
        arguments["tracker"] = arguments["tracker"] or default["tracker"]
        if "server" in default and arguments["server"] is None:
            # Whoever made the dataset wrote this address: only one that is typed gets the key
            arguments.update(server=default["server"], server_key="")
    return arguments


def playback_warning(inputs: types.Object, stored: StoredObject, number: int | None = None) -> None:
    """Says in a form that the App plays the video wrongly, if it does.

    Args:
        inputs: the form
        stored: an object of the video
        number (None): a frame number that the form names
    """
    playback = stored.place.playback
    if playback is None or not playback.problem:
        return
    words = "Numbers here are those of the video's frames, which the labels have."
    if not playback.unplayable and number is not None and number <= len(playback.pictures):
        words += f" When the App says frame {number}, you see frame {playback.picture_of(number)}."
    inputs.view(
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
    height, width = image.shape[:2]
    if box is not None:
        x, y, w, h = box
        corners = [x * width, y * height, (x + w) * width, (y + h) * height]
        image = pictures.draw_boxes(image, [corners], [f"frame {number}"])
    step = max(1, width // 480)
    return pictures.data_uri(np.ascontiguousarray(image[::step, ::step]))


def run(
    ctx: foo.ExecutionContext, title: str, work: Callable[[Progress], Correction]
) -> dict[str, Any] | Any:
    """Corrects an object, immediately or delegated; progress is shown, and it can be stopped.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        title: what is done
        work: does it; is given what to report frames to

    Returns:
        what an operator's ``execute`` returns
    """
    started = time.perf_counter()

    def corrected(report: Report) -> dict[str, Any]:
        def progress(stage: str, done: int, total: int) -> None:
            seconds = time.perf_counter() - started
            report(RunProgress(0, 1, title, stage, done, total, seconds))

        try:
            done = work(progress)
        except KeyboardInterrupt:
            return {"state": "stopped", "summary": "Stopped: nothing was changed"}
        return {"state": "done", "summary": str(done), **_plain(done)}

    return (run_delegated if ctx.delegated else stream)(ctx, corrected, title)


def output_of(ctx: foo.ExecutionContext, label: str) -> types.Property:
    """Shows the summary that an operator returned."""
    outputs = types.Object()
    if ctx.results:
        outputs.md(markdown(ctx.results["summary"]), name="summary")
    return types.Property(outputs, view=types.View(label=label))


def call(uri: str, samples: Any, delegate: bool, params: dict[str, Any]) -> Any:
    """Executes one of these operators for a script.

    Args:
        uri: the operator
        samples: a sample, or a collection; of a collection with one sample, that is meant
        delegate: whether to schedule it
        params: its parameters; those that are None are left out

    Returns:
        its result; if it was delegated, the
        :class:`fiftyone.operators.executor.ExecutionResult`
    """
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    params = {name: value for name, value in params.items() if value is not None}
    if isinstance(params.get("index"), str):
        params["label_id"] = params.pop("index")
    if "sample_id" not in params and count_samples(samples) == 1:
        params["sample_id"] = samples.first().id
    context = {kind: samples, "params": params, "request_delegation": delegate}
    execution = foo.execute_operator(uri, context)
    return execution if delegate else result_of(execution)


def sentence(words: str) -> str:
    """Begins words with a capital."""
    return words[:1].upper() + words[1:]


def _clips_of(ctx: foo.ExecutionContext, label_field: str) -> list[StoredObject]:
    """All objects of a video, if several of its clips have one of the chosen number."""
    try:
        objects = list_objects(find_place(sample_of(ctx), label_field))
    except ValueError:
        return []
    same = [stored for stored in objects if stored.index == ctx.params.get("index")]
    return objects if len(same) > 1 else []


def _made_with(stored: StoredObject) -> dict[str, str]:
    """The names of the models that found an object, if they can be loaded by these names."""
    settings = made_with(stored)
    name, tracker = settings.get("model") or "", settings.get("tracker") or ""
    server = settings.get("server")
    if forms.problem(forms.check_tracker, tracker):
        return {}
    if server:
        return {"model": name, "tracker": tracker, "server": server}
    return {} if forms.problem(forms.resolve, name) else {"model": name, "tracker": tracker}


def _plain(done: Correction) -> dict[str, Any]:
    values = dict(vars(done))
    # JSON has no whole numbers for keys
    values["prompts"] = {str(number): box for number, box in done.prompts.items()}
    return values
