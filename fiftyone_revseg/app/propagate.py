"""The operator ``propagate``: an object is tracked again from what a person drew or typed in."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.chosen_object import (
    Chosen,
    Correct,
    frame_input,
    loading_of,
    object_input,
    playback_warning,
    preview,
    tracker_only_input,
)
from fiftyone_revseg.app.forms import Form, problem, text
from fiftyone_revseg.app.operator import Settings, from_script
from fiftyone_revseg.dataset.correct import Correction, propagate
from fiftyone_revseg.dataset.objects import StoredObject
from fiftyone_revseg.dataset.prompt_boxes import (
    Given,
    changed_prompts,
    check_frame,
    check_prompts,
    current_box,
    earlier_prompts,
    find_prompts,
    misplaced,
    pending_prompts,
    refuse_misplaced,
)
from fiftyone_revseg.dataset.prompts import Prompt
from fiftyone_revseg.pipeline import Loading

_SEEN = "seen_in_"  # and the number of the frame that a box is stored in
_POINTS = {"on": "Points on the object", "beside": "Points beside it"}
_HOW = "x and y as parts of the frame, such as 0.4, 0.5; 0.6, 0.5"
_SIDES = {"left": "Left", "top": "Top", "width": "Width", "height": "Height"}


class Propagate(Correct):
    """Tracks one object again from what a person drew, painted, clicked on or chose."""

    name = "propagate"
    label = "ReVSeg: propagate a corrected box"
    description = (
        "Tracks an object again from boxes, points or masks that you drew, and replaces its masks "
        "on all frames; other objects stay as they are"
    )
    icon = "moving"
    button = "Propagate"

    def subject(self, form: Form) -> Chosen | None:
        return object_input(form, prefer=lambda stored: bool(changed_prompts(stored)))

    def ask_model(self, form: Form, stored: StoredObject) -> None:
        tracker_only_input(form, stored)

    def ask_how(self, form: Form, stored: StoredObject) -> Settings:
        ctx = form.ctx
        if not ctx.params.get("boxes"):
            playback_warning(form, stored)
            _boxes_input(form, stored)
        elif message := problem(_check, ctx, stored):
            form.refuse("wrong_boxes", message)
        return {"boxes": _boxes(ctx, stored), "seen": _seen(ctx, stored), "keep": _keep(ctx)}

    def correct(self, sample: Any, index: int, model: Loading, **how: Any) -> Correction:
        return propagate(sample, index, model=models.get_tracker(model), **how)

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        params = super().params(given)
        boxes, seen = params.pop("boxes"), params.pop("seen")
        if boxes is not None:  # JSON has no whole numbers for keys
            params["boxes"] = [[n, _plain(n, b)] for n, b in boxes.items()]
        params.update({f"{_SEEN}{number}": picture for number, picture in (seen or {}).items()})
        return params

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: propagate object {ctx.params.get('index', '')}".strip()

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | str | None = None,
        boxes: Mapping[int, Given] | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
        support: Sequence[int] | None = None,
        model: str | None = None,
        tracker: str | None = None,
        device: str | None = None,
        delegate: bool = False,
        seen: Mapping[int, int] | None = None,
        keep: bool = False,
    ) -> Any:
        """Tracks one object again.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            index (None): the object's ``index``, or the id of one of its labels. By default, the
                first object
            boxes (None): frame number -> relative ``[x, y, width, height]``, or None for the box
                that the object has there, or points or a mask, see
                :func:`fiftyone_revseg.dataset.correct.propagate`. By default, what was drawn
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field
            support (None): the first and last frame number of the object's clip, where several
                clips of a video have an object with this index
            model (None): a preset, a hub id or a path. By default, what the object was found with
            tracker (None): a tracker's short name, hub id or path
            device (None): for example "cuda:1"
            delegate (False): whether to schedule this rather than to do it now
            seen (None): number of the frame that has a box -> the frame whose picture it was drawn
                on, where the App shows another one
            keep (False): whether to track from what was said in earlier corrections, too

        Returns:
            a dict that says how it went, with a "summary" in words; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """


def _boxes_input(form: Form, stored: StoredObject) -> None:
    """Asks for where to track from."""
    ctx, inputs = form.ctx, form.inputs
    selected, found = _selected(ctx, stored), find_prompts(stored)
    ways = {
        "selected": selected and f"The selected boxes ({_frames(selected)})",
        "changed": found and _in_words(found),
        "frame": not stored.is_new and "Another key frame: the box that the object has there",
        "box": "A box that I type in",
        "points": "Points that I type in",
    }
    there = {way: words for way, words in ways.items() if words}
    kind = _kind(ctx, stored)
    form.enum("start", there, view=types.RadioGroup(), default=kind, label="Track from")
    if kind in ("selected", "changed"):
        boxes: Mapping[int, Any] = selected if kind == "selected" else found
        _keep_input(form, stored, boxes)
        _seen_inputs(form, stored, boxes)
        return
    _keep_input(form, stored, ())
    number = frame_input(form, stored, "From")
    if kind == "box":
        for name, label in _SIDES.items():
            inputs.float(name, min=0, max=1, label=label, description="As a part of the frame")
    if kind == "points":
        for name, label in _POINTS.items():
            inputs.str(name, label=label, description=_HOW)
    form.check(number, problem(_check, ctx, stored))


def _keep_input(form: Form, stored: StoredObject, but: Container[int]) -> None:
    """Asks whether what was said in earlier corrections still holds: "keep"."""
    earlier = earlier_prompts(stored, but)
    if earlier:
        form.inputs.bool(
            "keep",
            default=True,
            label=f"Go on from what was corrected before, too ({_frames(earlier)})",
            view=types.CheckboxView(),
        )


def _seen_inputs(form: Form, stored: StoredObject, boxes: Mapping[int, Any]) -> None:
    """Asks which picture boxes were drawn on, where the App shows that of another frame."""
    ctx, inputs = form.ctx, form.inputs
    first, last = stored.support
    elsewhere = {} if pending_prompts(stored) else misplaced(stored, boxes)
    for number, picture in elsewhere.items():
        chosen = ctx.params.get(f"{_SEEN}{number}") or picture
        prop = inputs.int(
            f"{_SEEN}{number}",
            default=picture,
            min=first,
            max=last,
            label=f"The App stored a box in frame {number}, but showed another frame: which?",
            description=f"Most likely frame {picture}, or one beside it. Below is frame {chosen}",
        )
        if form.check(prop, problem(check_frame, stored, chosen)):
            box = boxes[number]
            image = preview(stored, int(chosen), box.box if isinstance(box, Prompt) else box)
            if image:
                inputs.str(
                    f"picture_{number}_{chosen}", default=image, label="", view=types.ImageView()
                )
    if message := problem(_check, ctx, stored):
        form.refuse("wrong_boxes", message)


def _seen(ctx: foo.ExecutionContext, stored: StoredObject) -> dict[int, int]:
    """The frames on whose pictures boxes were drawn, as the form says."""
    if not ctx.params.get("boxes") and _kind(ctx, stored) not in ("selected", "changed"):
        return {}  # what is left of an earlier choice
    return {
        int(name.removeprefix(_SEEN)): int(value)
        for name, value in ctx.params.items()
        if name.startswith(_SEEN) and value is not None
    }


def _keep(ctx: foo.ExecutionContext) -> bool:
    return bool(ctx.params.get("keep", True))


def _check(ctx: foo.ExecutionContext, stored: StoredObject) -> None:
    """Raises a ``ValueError`` that says what is wrong with the boxes of a form."""
    boxes, seen = _boxes(ctx, stored), _seen(ctx, stored)
    tracker = loading_of(ctx, stored).tracker_name()
    check_prompts(stored, boxes, seen, _keep(ctx), tracker)
    if not ctx.params.get("boxes") and _kind(ctx, stored) == "selected":
        refuse_misplaced(stored, boxes or {}, seen)


def _kind(ctx: foo.ExecutionContext, stored: StoredObject) -> str:
    kind = text(ctx, "start")
    if kind:
        return kind
    if _selected(ctx, stored):
        return "selected"
    return "changed" if find_prompts(stored) else "box" if stored.is_new else "frame"


def _boxes(ctx: foo.ExecutionContext, stored: StoredObject) -> dict[int, Given] | None:
    """What the form says of where the object is; None for what was drawn."""
    given = ctx.params.get("boxes")
    if given:
        return {number: box for number, box in given}
    kind = _kind(ctx, stored)
    if kind == "changed":
        return None
    if kind == "selected":
        return _selected(ctx, stored)
    number: Any = ctx.params.get("frame_number") or stored.answer.get("keyframe")
    if kind == "frame":
        return {number: None}
    if kind == "points":
        return {number: {name: _points(text(ctx, name)) for name in _POINTS}}
    return {number: [ctx.params.get(name) for name in _SIDES]}


def _points(typed: str) -> Any:
    """The points that were typed in; what is no number stays as it is, and is refused later."""
    try:
        parts = [part.replace(",", " ").split() for part in typed.split(";") if part.strip()]
        return [[float(value) for value in part] for part in parts]
    except ValueError:
        return typed


def _plain(number: int, given: Given) -> Any:
    """What a script gave for a frame, as JSON has it."""
    if given is None:
        return None
    if isinstance(given, (Mapping, Prompt)):
        return Prompt.of(number, given).to_dict()
    return list(given)


def _selected(ctx: foo.ExecutionContext, stored: StoredObject) -> dict[int, Given]:
    """The boxes of labels that are selected in the App, of this object or of none."""
    boxes: dict[int, Given] = {}
    for label in ctx.selected_labels:
        number = label.get("frame_number")
        if label.get("field", "").removeprefix("frames.") == stored.place.label_field and number:
            box = current_box(stored, number, label.get("label_id"))
            if box is not None:
                boxes[number] = box
    return boxes


def _in_words(found: Mapping[int, Prompt]) -> str:
    if all(prompt.kind == "box" for prompt in found.values()):
        return f"The boxes that were moved or drawn ({_frames(found)})"
    parts = []
    for number, prompt in found.items():
        both = prompt.kind == "points" and prompt.box is not None
        parts.append(f"{'box and points' if both else prompt.kind} in frame {number}")
    return f"What was drawn ({', '.join(parts)})"


def _frames(boxes: Mapping[int, Any]) -> str:
    numbers = ", ".join(map(str, boxes))
    return f"frame {numbers}" if len(boxes) == 1 else f"frames {numbers}"
