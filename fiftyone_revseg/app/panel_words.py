"""The words of the reasoning panel about one answer, as Markdown."""

from __future__ import annotations

from typing import Any

from fiftyone_revseg.app.page import Page
from fiftyone_revseg.dataset.explain import Explanation, TrackSeries
from fiftyone_revseg.dataset.review import ACCEPTED, REJECTED
from fiftyone_revseg.dataset.review_queue import ReviewQueue
from fiftyone_revseg.text.escape import markdown, markdown_block, markdown_line


def where(page: Page, queue: ReviewQueue) -> str:
    """Names the video and the answer, and says how far the review of the view is."""
    words = [f"**{markdown_line(page.title)}**"]
    if len(page.answers) > 1:
        words.append(f"answer {page.number + 1} of {len(page.answers)}")
    if len(queue):
        words.append(f"{queue.reviewed} of {len(queue)} reviewed")
    return " · ".join(words)


def note(answer: Explanation) -> str:
    """Says what the pictures are."""
    words = []
    if answer.key_frame is not None:
        words.append(f"Key frame: {answer.key_frame}.")
    if answer.sampled:
        words.append(f"The model saw {len(answer.sampled)} frames.")
    if answer.key_frame is not None and answer.chosen is None:
        words.append("The key frame is not one of them, so a person chose it.")
    return " ".join(words)


def status_line(answer: Explanation) -> str:
    """Says how the answer came out, a person's judgment first."""
    parts = [_judged(answer, tag) for tag in (REJECTED, ACCEPTED) if tag in answer.tags]
    parts.append(markdown(answer.status))
    if answer.confidence is not None:
        parts.append(f"confidence {answer.confidence:.2f}")
    if answer.certainty is not None:
        raw = answer.certainty_raw
        said = "" if raw is None else f" (the model said {raw:.2f})"
        parts.append(f"certainty {answer.certainty:.2f}{said}")
    if answer.agreement is not None:
        parts.append(f"agreement {answer.agreement:.2f}")
    if answer.corrections:
        parts.append("corrected by a person")
    return ", ".join(parts)


def _judged(answer: Explanation, tag: str) -> str:
    by = f" by {markdown_line(answer.reviewer)}" if answer.reviewer else ""
    when = answer.reviewed_at
    return f"{tag}{by}" + ("" if when is None else f" at {when:%Y-%m-%d %H:%M}")


def series_line(series: TrackSeries) -> str:
    """Says what the curve shows."""
    areas = [100 * area for area in series.areas if area is not None]
    words = [f"Visible in {series.visible} of {len(series.numbers)} frames"]
    if areas:
        words.append(f"{series.area_of} area {min(areas):.2f} to {max(areas):.2f} % of the picture")
    suspected = series.suspected
    if suspected:
        shown = ", ".join(map(str, suspected[:8])) + (", ..." if len(suspected) > 8 else "")
        words.append(f"**drift suspected at frame {shown}**")
    if series.unusable:
        words.append(f"**labels in {series.unusable} frames cannot be used: no relative box**")
    return ", ".join(words) + "."


def timings_line(answer: Explanation) -> str:
    """Says what the models are, and how long they took."""
    stages = [f"{name} {seconds:.2f} s" for name, seconds in answer.timings.items()]
    return ", ".join(filter(None, [markdown(answer.model), *stages]))


def reply(turn: dict[str, Any]) -> str:
    """One prompt and its reply, as they were, in blocks that nothing in them can end."""
    title = f"Turn {turn.get('turn', 1)}, attempt {turn.get('attempt', 0) + 1}"
    if turn.get("candidate"):
        title = f"Candidate {turn['candidate'] + 1}, {title[0].lower()}{title[1:]}"
    facts = f"{turn.get('tokens', 0)} tokens, {turn.get('seconds', 0):.2f} s"
    parts = [f"**{title}** ({facts})"]
    if turn.get("error"):
        parts.append(f"Not used: {markdown(turn['error'])}")
    for name in ("prompt", "reply"):
        parts.append(f"{name.capitalize()}:\n\n{markdown_block(turn.get(name) or '', 'text')}")
    return "\n\n".join(parts)
