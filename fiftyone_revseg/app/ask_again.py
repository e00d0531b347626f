"""The operator ``ask_again``: a query is put in other words, and its answer replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.chosen_object import (
    OneVideo,
    loading_of,
    model_inputs,
    progress_of,
    sample_of,
)
from fiftyone_revseg.app.forms import Form, existing_label_field_input
from fiftyone_revseg.app.operator import Run, Settings, from_script
from fiftyone_revseg.dataset.ask_again import ask_again
from fiftyone_revseg.dataset.jobs import check_queries
from fiftyone_revseg.dataset.objects import StoredAnswer, find_place, list_answers
from fiftyone_revseg.pipeline import Loading


@dataclass(frozen=True)
class Asked:
    """The answer that is to be replaced.

    Attributes:
        sample: the sample; the images of one group, if the view is one of such groups
        stored: the first of the answers to the query
    """

    sample: Any
    stored: StoredAnswer


def query_input(form: Form) -> Asked | None:
    """Asks for one of the queries that a video was asked: "label_field" and "asked".

    The params may name it: "query" and "support"; or an answer to it, "label_id" or "index".

    Args:
        form: the form

    Returns:
        the first of the answers to it; None if there is none, which is said in the form

    Raises:
        ValueError: if there is no video, or it was asked nothing
    """
    label_field = existing_label_field_input(form)
    if label_field is None:
        return None
    sample = sample_of(form.ctx)
    answers = [a for a in list_answers(find_place(sample, label_field)) if a.support]
    if not answers:
        raise ValueError("There are no frames here that an object could be in")
    asked: dict[str, StoredAnswer] = {}
    several = len({tuple(answer.support or ()) for answer in answers}) > 1
    for answer in answers:
        part = ", frames {} to {}".format(*(answer.support or ())) if several else ""
        asked.setdefault(f"{answer.query}{part}", answer)
    ctx = form.ctx
    support = ctx.params.get("support")
    if support:
        answers = [a for a in answers if a.support == list(support)] or answers
    named = (form.typed("query"), form.typed("label_id"), ctx.params.get("index"))
    meant = next((a for a in answers if _is_named(a, *named)), answers[0])
    default = next(
        key for key, a in asked.items() if (a.query, a.support) == (meant.query, meant.support)
    )
    chosen = form.choice("asked", dict.fromkeys(asked, ""), default, label="The answer to")
    return None if chosen is None else Asked(sample, asked[chosen])


def _is_named(answer: StoredAnswer, query: str, label_id: str, index: Any) -> bool:
    if label_id:
        return str(answer.answer["_id"]) == label_id
    if index is not None:
        return answer.index == index
    return bool(query) and answer.query == query


class AskAgain(OneVideo[Asked]):
    """Asks a query again, in other words, and replaces its answer."""

    name = "ask_again"
    label = "ReVSeg: ask again in other words"
    description = (
        "Asks a query about the open video again, in other words if you like, and replaces its "
        "answer; answers to other queries stay as they are"
    )
    icon = "question_answer"
    button = "Ask"
    risk = types.RiskLevel.HIGH
    stopped = "Stopped: nothing was changed"

    def subject(self, form: Form) -> Asked | None:
        return query_input(form)

    def ask(self, form: Form, subject: Asked) -> Settings:
        new_query = form.text(
            "new_query",
            subject.stored.query,
            check=check_queries,
            missing="Say what to look for",
            label="Ask",
            description="In place of what was asked; the answer is replaced",
        )
        model_inputs(form, subject.stored)
        return {"new_query": new_query, "model": loading_of(form.ctx, subject.stored)}

    def work(
        self, run: Run[Asked], new_query: str, model: Loading, **settings: Any
    ) -> dict[str, Any]:
        stored = run.subject.stored
        done = ask_again(
            run.subject.sample,
            stored.query,
            new_query,
            models.get_model(model),
            stored.place.label_field,
            stored.support,
            progress_of(run),
            run.ctx.user_id,
        )
        objects = {str(index): label for index, label in done.objects.items()}
        return {**vars(done), "summary": str(done), "objects": objects}

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return "ReVSeg: ask again"

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        query: str | None = None,
        new_query: str | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
        model: str | None = None,
        server: str | None = None,
        tracker: str | None = None,
        device: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Asks a query about one video again.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            query (None): the query whose answer is replaced. By default, the first
            new_query (None): what to ask in its place. By default, the same
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field
            model (None): a preset, a hub id or a path. By default, what answered before
            server (None): the address of a server that has the model. By default, the one that
                had it, unless a model is named
            tracker (None): a tracker's short name, hub id or path
            device (None): for example "cuda:1"
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict that says how it went, with a "summary" in words; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
