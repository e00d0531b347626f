"""The operators ``accept`` and ``reject``: objects get a tag that review queues go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms, objects
from fiftyone_revseg.dataset.review import accept, reject


class _Review(foo.Operator):
    """What both operators have in common; they differ in the tag."""

    name: ClassVar[str]
    icon: ClassVar[str]
    tag: ClassVar[str]
    work: ClassVar[Callable[..., int]]

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.name,
            label=f"ReVSeg: {self.name} an object",
            description=f'Tags an object\'s labels on all frames, and its answer, as "{self.tag}"',
            icon=self.icon,
            dynamic=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.LOW,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        several = _label_ids(ctx) or ctx.params.get("all") or _is_about_several(ctx)
        if not several:
            objects.object_input(inputs, ctx)
        elif forms.existing_label_field_input(inputs, ctx):
            what = "All objects of the selected videos"
            if ctx.params.get("all"):
                what = "All objects of the view"
            if _label_ids(ctx):
                what = "The objects with the selected labels"
            forms.tell(inputs, "several", what)
        view = types.PromptView(label=self.config.label, submit_button_label=self.name.capitalize())
        return types.Property(inputs, view=view)

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        label_field, label_ids = objects.label_field_of(ctx), _label_ids(ctx)
        arguments: dict[str, Any] = {"label_field": label_field}
        if label_ids:
            arguments["label_ids"] = label_ids
            samples = ctx.view if ctx.current_sample is None else objects.sample_of(ctx)
        elif ctx.params.get("all"):
            arguments["index"] = ctx.params.get("index")
            samples = ctx.view
        elif _is_about_several(ctx):
            samples = ctx.view.select(ctx.selected)
        else:
            stored = objects.chosen_object(ctx)
            arguments.update(index=stored.index, support=stored.support)
            samples = objects.sample_of(ctx)
        count = type(self).work(samples, **arguments)
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        what = "1 object" if count == 1 else f"{count} objects"
        return {"count": count, "summary": f"{what} {self.tag}"}

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        return objects.output_of(ctx, self.config.label)

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
        params: dict[str, Any] = {"all": True, "index": index, "label_field": label_field}
        if label_ids is not None:
            params["label_ids"] = list(label_ids)
        kind = "dataset" if isinstance(sample_collection, fo.Dataset) else "view"
        context = {kind: sample_collection, "params": params, "request_delegation": delegate}
        execution = foo.execute_operator(self.uri, context)
        return execution if delegate else execution.result


class Accept(_Review):
    """Tags objects as accepted."""

    name, icon, tag, work = "accept", "thumb_up", "accepted", accept


class Reject(_Review):
    """Tags objects as rejected."""

    name, icon, tag, work = "reject", "thumb_down", "rejected", reject


def _label_ids(ctx: foo.ExecutionContext) -> Sequence[str]:
    """The labels that are meant; the panel's buttons name an object, whatever is selected."""
    given = ctx.params.get("label_ids")
    if given is not None or ctx.params.get("index") is not None or ctx.params.get("all"):
        return given or ()
    names = set(forms.label_fields(ctx.dataset))
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
