"""The operators ``accept`` and ``reject``: objects get a tag that review queues go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.chosen_object import Chosen, label_field_of, object_input, sample_of
from fiftyone_revseg.app.forms import Form, existing_label_field_input, label_fields
from fiftyone_revseg.app.operator import Operator, Run, Settings, from_script
from fiftyone_revseg.dataset.review import accept, reject
from fiftyone_revseg.text.escape import markdown


class _Review(Operator[Chosen]):
    """What both operators have in common; they differ in the tag."""

    risk = types.RiskLevel.LOW
    streams = False
    tag: ClassVar[str]
    apply: ClassVar[Callable[..., int]]

    def __init_subclass__(cls) -> None:
        cls.label = f"ReVSeg: {cls.name} an object"
        cls.description = f'Tags an object\'s labels on all frames, and its answer, as "{cls.tag}"'
        cls.button = cls.name.capitalize()

    def ask(self, form: Form, subject: Any) -> Settings | None:
        """Several objects are meant by labels, by "all", or by several videos; else it is one."""
        ctx, label_ids = form.ctx, _label_ids(form.ctx)
        settings: Settings = {"label_field": label_field_of(ctx)}
        if label_ids:
            what = "The objects with the selected labels"
            settings["label_ids"] = label_ids
            samples = ctx.view if ctx.current_sample is None else sample_of(ctx)
        elif ctx.params.get("all"):
            what = "All objects of the view"
            settings["index"] = ctx.params.get("index")
            samples = ctx.view
        elif _is_about_several(ctx):
            what = "All objects of the selected videos"
            samples = ctx.view.select(ctx.selected)
        else:
            chosen = object_input(form)
            if chosen is None:
                return None
            one = {"index": chosen.stored.index, "support": chosen.stored.support}
            return {**settings, **one, "samples": chosen.sample}
        if existing_label_field_input(form):
            form.tell("several", what)
        return {**settings, "samples": samples}

    def work(self, run: Run[Any], samples: Any, **settings: Any) -> dict[str, Any]:
        count = type(self).apply(samples, **settings)
        if not run.ctx.delegated:
            run.ctx.ops.reload_dataset()
        what = "1 object" if count == 1 else f"{count} objects"
        return {"count": count, "summary": f"{what} {self.tag}"}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        return {"summary": markdown(result["summary"])}

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return self.name

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        label_ids = given["label_ids"]
        return {**given, "all": True, "label_ids": None if label_ids is None else list(label_ids)}

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | None = None,
        label_ids: Iterable[str] | None = None,
        label_field: str = "revseg",
        delegate: bool = False,
    ) -> Any:
        """Tags objects of all videos of a collection.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            index (None): the ``index`` of the object of each video. By default, all objects
            label_ids (None): ids of labels, each of which stands for its whole object
            label_field ("revseg"): the label field
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with the "count" of objects that were tagged; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """


class Accept(_Review):
    """Tags objects as accepted."""

    name, icon, tag, apply = "accept", "thumb_up", "accepted", accept


class Reject(_Review):
    """Tags objects as rejected."""

    name, icon, tag, apply = "reject", "thumb_down", "rejected", reject


def _label_ids(ctx: foo.ExecutionContext) -> Sequence[str]:
    """The labels that are meant; the panel's buttons name an object, whatever is selected."""
    given = ctx.params.get("label_ids")
    if given is not None or ctx.params.get("index") is not None or ctx.params.get("all"):
        return given or ()
    names = set(label_fields(ctx.dataset))
    return [
        label["label_id"]
        for label in ctx.selected_labels
        if _label_field(label.get("field") or "") in names
    ]


def _label_field(path: str) -> str:
    name = path.removeprefix("frames.")
    return name.removesuffix("_answers").removesuffix("_keyframes")


def _is_about_several(ctx: foo.ExecutionContext) -> bool:
    open_one = ctx.params.get("sample_id") or ctx.current_sample
    return not open_one and len(ctx.selected) > 1
