"""What the reasoning panel is about: one answer on the sample that is open or selected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from bson import ObjectId

from fiftyone_revseg.app.forms import label_fields
from fiftyone_revseg.dataset.collection import group_of
from fiftyone_revseg.dataset.explain import (
    Explanation,
    explain,
    in_review_order,
    index_of_label,
)
from fiftyone_revseg.dataset.review import ACCEPTED, REJECTED
from fiftyone_revseg.dataset.review_queue import Queued, ReviewQueue
from fiftyone_revseg.text.escape import markdown_line


@dataclass
class Page:
    """What is looked at: one answer on one sample; or why there is nothing to look at.

    Attributes:
        fields: the label fields that the dataset has, the most recent one first
        label_field: the one that is shown
        sample: the sample; of an image in an ordered group, all images of the group
        number: which of the answers is shown, from 0
        answers: all answers on the sample
        nothing: why there are none, and what to do
    """

    fields: list[str] = field(default_factory=list)
    label_field: str = ""
    sample: Any = None
    sample_id: str = ""
    number: int = 0
    answers: list[Explanation] = field(default_factory=list)
    nothing: str = ""

    @property
    def answer(self) -> Explanation:
        """The answer that is shown."""
        return self.answers[self.number]

    @property
    def key(self) -> str:
        """Names the page among all pages of all samples."""
        return f"{self.label_field}_{self.sample_id}_{self.number}"

    @property
    def title(self) -> str:
        """The name of the video; of a group, that of its first image."""
        first = self.sample if hasattr(self.sample, "filepath") else self.sample.first()
        return Path(first.filepath).name

    @property
    def judgment(self) -> str:
        """The tag of a person's judgment; "" if nobody has judged the answer."""
        return _judgment(self.answer)

    def queue(self, view: Any) -> ReviewQueue:
        """Reads the queue of a view, in which this answer always is.

        What was judged may have left the view, and the samples of some views, such as those of
        groups, have no answers of their own.
        """
        queue = ReviewQueue.of(view, self.label_field)
        if queue.place(self.sample_id, self.number) is not None:
            return queue
        own = [
            Queued(self.sample_id, k, None, bool(_judgment(one)))
            for k, one in enumerate(self.answers)
        ]
        return queue.beginning_with(own)


def look(ctx: foo.ExecutionContext) -> Page:
    """Finds what is to be shown.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext` of an event of the panel

    Returns:
        a :class:`Page`
    """
    page = Page()
    try:
        _fill(page, ctx)
    except _Nothing as why:
        page.nothing = str(why)
    return page


def selected_index(ctx: foo.ExecutionContext, page: Page) -> int | None:
    """The index of the object that the label belongs to which was selected last."""
    if page.nothing or not ctx.selected_labels:
        return None
    label = ctx.selected_labels[-1]
    if label.get("field") not in (page.label_field, f"frames.{page.label_field}"):
        return None
    return index_of_label(page.sample, label.get("label_id"), page.label_field)


def _judgment(answer: Explanation) -> str:
    return next((tag for tag in (REJECTED, ACCEPTED) if tag in answer.tags), "")


class _Nothing(Exception):  # noqa: N818  not an error
    """There is nothing to look at."""


def _fill(page: Page, ctx: foo.ExecutionContext) -> None:
    if ctx.dataset is None:
        raise _Nothing("Open a dataset to see how its videos were segmented.")
    page.fields = label_fields(ctx.dataset)
    if not page.fields:
        raise _Nothing(
            "Nothing has been segmented in this dataset yet. Run the operator "
            "`ReVSeg: segment what a query describes`."
        )
    chosen = ctx.panel.state.label_field
    page.label_field = chosen if chosen in page.fields else page.fields[0]
    sample_id = ctx.current_sample or next(reversed(ctx.selected or []), None)
    if sample_id is None:
        raise _Nothing("Open a video, or select one, to see how it was segmented.")
    page.sample = _find_sample(ctx, sample_id)
    if page.sample is None:
        raise _Nothing("This sample is not in the dataset any more. Reload the view.")
    page.sample_id = page.sample.id
    images = group_of(ctx.view, page.sample)
    page.sample = page.sample if images is None else images
    page.answers = in_review_order(explain(page.sample, page.label_field))
    if not page.answers:
        name = markdown_line(page.label_field)
        raise _Nothing(f"This sample has not been segmented into '{name}', or not to the end.")
    at = ctx.panel.state.at or {}  # of another sample, where the App has just left that
    number = int(at.get("number") or 0) if at.get("sample_id") == page.sample_id else 0
    page.number = min(max(0, number), len(page.answers) - 1)


def _find_sample(ctx: foo.ExecutionContext, sample_id: str) -> Any:
    """A sample of the view, as clips are only there; else of the dataset."""
    if not ObjectId.is_valid(sample_id):
        return None
    for samples in (ctx.dataset, ctx.view):
        try:
            return samples[sample_id]
        except KeyError:
            continue
    return None
