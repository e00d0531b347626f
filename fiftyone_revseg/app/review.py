"""The operators ``accept`` and ``reject``: answers get a tag that review queues go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.chosen_object import label_field_of, sample_of
from fiftyone_revseg.app.forms import Form, existing_label_field_input, label_fields, problem
from fiftyone_revseg.app.operator import Operator, Run, Settings, from_script
from fiftyone_revseg.dataset.objects import StoredAnswer, find_object, find_place, list_answers
from fiftyone_revseg.dataset.review import accept, check_acceptable, reject
from fiftyone_revseg.text.escape import markdown


class _Review(Operator[Any]):
    """What both operators have in common; they differ in the tag."""

    risk = types.RiskLevel.LOW
    streams = False
    tag: ClassVar[str]
    apply: ClassVar[Callable[..., int]]

    def __init_subclass__(cls) -> None:
        cls.label = f"ReVSeg: {cls.name} an answer"
        cls.description = (
            f'Tags an answer, and its object\'s labels on all frames, as "{cls.tag}"; that there '
            "is no such object is an answer, too"
        )
        cls.button = cls.name.capitalize()

    def check(self, stored: StoredAnswer) -> None:
        """Raises a ``ValueError`` if an answer cannot be tagged."""

    def ask(self, form: Form, subject: Any) -> Settings | None:
        """Several answers are meant by labels, by "all", or by several videos; else it is one."""
        ctx, label_ids = form.ctx, _label_ids(form.ctx)
        settings: Settings = {"label_field": label_field_of(ctx)}
        if label_ids:
            what = "The answers with the selected labels"
            settings["label_ids"] = label_ids
            samples = sample_of(ctx) if form.typed("sample_id") or ctx.current_sample else ctx.view
        elif ctx.params.get("all"):
            what = "All answers of the view"
            settings["index"] = ctx.params.get("index")
            settings["query"] = form.typed("query") or None
            samples = ctx.view
        elif _is_about_several(ctx):
            what = "All answers of the selected videos"
            samples = ctx.view.select(ctx.selected)
        else:
            one = self._answer_input(form)
            return None if one is None else {**settings, **one}
        if existing_label_field_input(form):
            form.tell("several", what)
        return {**settings, "samples": samples}

    def _answer_input(self, form: Form) -> Settings | None:
        """Asks for one answer on one video: "label_id"; the params may name an object of it."""
        label_field = existing_label_field_input(form)
        if label_field is None:
            return None
        sample = sample_of(form.ctx)
        place = find_place(sample, label_field)
        answers = {str(stored.answer["_id"]): stored for stored in list_answers(place)}
        meant = _meant(form, answers)
        if not meant:
            if form.ctx.params.get("index") is not None:
                find_object(place, form.ctx.params["index"])  # says which there are
            raise ValueError("There is no such answer on this video: choose another one")
        chosen = meant[0] if len(meant) == 1 or not form.ctx.params.get("index") else None
        several = len({tuple(stored.support or ()) for stored in answers.values()}) > 1
        labels = {
            key: stored.in_words()
            + (", frames {} to {}".format(*stored.support) if several and stored.support else "")
            for key, stored in answers.items()
        }
        prop = form.enum("label_id", labels, default=chosen, label="Answer")
        if chosen is None:
            form.check(prop, "Several clips have an object with this number: choose the answer")
            return None
        form.check(prop, problem(self.check, answers[chosen]))
        return {"label_ids": [chosen], "samples": sample}

    def work(self, run: Run[Any], samples: Any, **settings: Any) -> dict[str, Any]:
        count = type(self).apply(samples, **settings, by=run.ctx.user_id)
        if not run.ctx.delegated:
            run.ctx.ops.reload_dataset()
        what = "1 answer" if count == 1 else f"{count} answers"
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
        query: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Tags answers of all videos of a collection.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            index (None): the ``index`` of the object of each video. By default, all answers
            label_ids (None): ids of labels, each of which stands for its whole object; or of
                answers without one
            label_field ("revseg"): the label field
            query (None): only answers to this query
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with the "count" of answers that were tagged; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """


class Accept(_Review):
    """Tags answers as accepted."""

    name, icon, tag, apply = "accept", "thumb_up", "accepted", accept

    def check(self, stored: StoredAnswer) -> None:
        check_acceptable(stored)


class Reject(_Review):
    """Tags answers as rejected."""

    name, icon, tag, apply = "reject", "thumb_down", "rejected", reject


def _meant(form: Form, answers: dict[str, StoredAnswer]) -> list[str]:
    """The ids of the answers that the params name; of all, where they name none."""
    chosen, index, query = form.typed("label_id"), form.ctx.params.get("index"), form.typed("query")
    if chosen:
        return [chosen] if chosen in answers else []
    return [
        key
        for key, stored in answers.items()
        if index in (None, stored.index) and query in ("", stored.query)
    ]


def _label_ids(ctx: foo.ExecutionContext) -> Sequence[str]:
    """The labels that are meant; the panel's buttons name an answer, whatever is selected."""
    given = ctx.params.get("label_ids")
    named = any(ctx.params.get(name) for name in ("index", "label_id", "query", "all"))
    if given is not None or named:
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
