"""The operator ``propagate``: an object is tracked again from boxes that a person corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.chosen_object import Correct, frame_input, playback_warning, preview
from fiftyone_revseg.app.forms import Form, problem, text
from fiftyone_revseg.app.operator import Settings, from_script
from fiftyone_revseg.dataset.correct import Correction, propagate
from fiftyone_revseg.dataset.objects import StoredObject
from fiftyone_revseg.dataset.prompt_boxes import (
    check_frame,
    check_prompts,
    current_box,
    find_prompts,
    misplaced,
    pending_prompts,
    refuse_misplaced,
)
from fiftyone_revseg.pipeline import Loading

_SEEN = "seen_in_"  # and the number of the frame that a box is stored in
_SIDES = {"left": "Left", "top": "Top", "width": "Width", "height": "Height"}


class Propagate(Correct):
    """Tracks one object again from boxes that a person moved, drew or chose."""

    name = "propagate"
    label = "ReVSeg: propagate a corrected box"
    description = (
        "Tracks an object again from boxes that you moved or drew, and replaces its masks on all "
        "frames; other objects stay as they are"
    )
    icon = "moving"
    button = "Propagate"

    def ask_how(self, form: Form, stored: StoredObject) -> Settings:
        ctx = form.ctx
        if not ctx.params.get("boxes"):
            playback_warning(form, stored)
            _boxes_input(form, stored)
        elif message := problem(_check, ctx, stored):
            form.refuse("wrong_boxes", message)
        return {"boxes": _boxes(ctx, stored), "seen": _seen(ctx, stored)}

    def correct(self, sample: Any, index: int, model: Loading, **how: Any) -> Correction:
        return propagate(sample, index, model=models.get_tracker(model), **how)

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        params = super().params(given)
        boxes, seen = params.pop("boxes"), params.pop("seen")
        if boxes is not None:  # JSON has no whole numbers for keys
            params["boxes"] = [[n, None if b is None else list(b)] for n, b in boxes.items()]
        params.update({f"{_SEEN}{number}": picture for number, picture in (seen or {}).items()})
        return params

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: propagate object {ctx.params.get('index', '')}".strip()

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | str | None = None,
        boxes: Mapping[int, Sequence[float] | None] | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
        support: Sequence[int] | None = None,
        model: str | None = None,
        tracker: str | None = None,
        device: str | None = None,
        delegate: bool = False,
        seen: Mapping[int, int] | None = None,
    ) -> Any:
        """Tracks one object again.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            index (None): the object's ``index``, or the id of one of its labels. By default, the
                first object
            boxes (None): frame number -> relative ``[x, y, width, height]``, or None for the box
                that the object has there. By default, those that were moved or drawn
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
        "changed": found and f"The boxes that were moved or drawn ({_frames(found)})",
        "frame": not stored.is_new and "Another key frame: the box that the object has there",
        "box": "A box that I type in",
    }
    there = {way: words for way, words in ways.items() if words}
    kind = _kind(ctx, stored)
    form.enum("start", there, view=types.RadioGroup(), default=kind, label="Track from")
    if kind in ("selected", "changed"):
        _seen_inputs(form, stored, selected if kind == "selected" else found)
        return
    number = frame_input(form, stored, "From")
    if kind == "box":
        for name, label in _SIDES.items():
            inputs.float(name, min=0, max=1, label=label, description="As a part of the frame")
    form.check(number, problem(_check, ctx, stored))


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
            image = preview(stored, int(chosen), boxes[number])
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


def _check(ctx: foo.ExecutionContext, stored: StoredObject) -> None:
    """Raises a ``ValueError`` that says what is wrong with the boxes of a form."""
    boxes, seen = _boxes(ctx, stored), _seen(ctx, stored)
    check_prompts(stored, boxes, seen)
    if not ctx.params.get("boxes") and _kind(ctx, stored) == "selected":
        refuse_misplaced(stored, boxes or {}, seen)


def _kind(ctx: foo.ExecutionContext, stored: StoredObject) -> str:
    kind = text(ctx, "start")
    if kind:
        return kind
    if _selected(ctx, stored):
        return "selected"
    return "changed" if find_prompts(stored) else "box" if stored.is_new else "frame"


def _boxes(
    ctx: foo.ExecutionContext, stored: StoredObject
) -> dict[int, Sequence[float] | None] | None:
    """The boxes that the form names; None for those that were moved or drawn."""
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
    return {number: [ctx.params.get(name) for name in _SIDES]}


def _selected(ctx: foo.ExecutionContext, stored: StoredObject) -> dict[int, Sequence[float] | None]:
    """The boxes of labels that are selected in the App, of this object or of none."""
    boxes: dict[int, Sequence[float] | None] = {}
    for label in ctx.selected_labels:
        number = label.get("frame_number")
        if label.get("field", "").removeprefix("frames.") == stored.place.label_field and number:
            box = current_box(stored, number, label.get("label_id"))
            if box is not None:
                boxes[number] = box
    return boxes


def _frames(boxes: Mapping[int, Any]) -> str:
    numbers = ", ".join(map(str, boxes))
    return f"frame {numbers}" if len(boxes) == 1 else f"frames {numbers}"
