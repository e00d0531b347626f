"""The words of the reasoning panel for what became of looking again."""

from __future__ import annotations

from fiftyone_revseg.dataset.looked_again import LookedAgain
from fiftyone_revseg.reasoning.looking_again import Candidate, Look, Verdict
from fiftyone_revseg.text.escape import markdown, markdown_line
from fiftyone_revseg.types import Status


def in_words(found: LookedAgain) -> str:
    """Says what each dialogue answered, what the model made of it, and what was tracked again.

    Args:
        found: what is known of it

    Returns:
        Markdown; "" if it was not looked at again
    """
    parts = []
    windows = [look for look in found.looks if look.kind == "window"]
    if windows:
        lines = [f"{k}. {_look(found, one)}" for k, one in enumerate(windows, start=1)]
        parts.append(f"**Looked at in {len(windows)} windows**\n\n" + "\n".join(lines))
    for look in found.looks:
        if look.kind != "window":
            parts.append(f"**Closer look**: {_look(found, look)}")
    if found.candidates:
        rows = [f"{k}. {_candidate(found, one)}" for k, one in enumerate(found.candidates, start=1)]
        parts.append(
            f"**{len(rows)} candidates**, the first by greedy decoding\n\n" + "\n".join(rows)
        )
    several = len(found.verdicts) > 1
    for k, verdict in enumerate(found.verdicts, start=1):
        parts.append(_verdict(found, verdict, f"Verdict {k}" if several else "Verdict"))
    if found.asked and not found.verdicts:
        parts.append(
            "**No verdict** that could be used, so the answer is as the model gave it first"
        )
    for repair in found.repairs:
        first, last, at = map(found.number_of, (repair.first, repair.last, repair.frame))
        why = f": {markdown_line(repair.why)}" if repair.why else ""
        parts.append(f"**Repaired** in frames {first} to {last}, from a box in frame {at}{why}")
    return "\n\n".join(parts)


def _look(found: LookedAgain, look: Look) -> str:
    numbers = [found.number_of(k) for k in look.frames]
    words = f"frames {numbers[0]} to {numbers[-1]}, " if numbers else ""
    if look.error:
        return f"{words}no usable reply: {markdown_line(look.error)}"
    if look.stretch is not None:
        first, last = (numbers[k] for k in look.stretch)
        return f"{words}of which frames {first} to {last} were to be seen closer"
    objects = [f"{markdown_line(c.description)} at frame {numbers[c.frame]}" for c in look.choices]
    return words + ("; ".join(objects) or "nothing that is meant")


def _candidate(found: LookedAgain, one: Candidate) -> str:
    objects = []
    for choice, number in zip(one.choices, one.objects, strict=False):
        at = found.key_frame(choice.frame)
        where = "" if at is None else f" at frame {at}"
        which = f"object {number}" if number is not None else "without a box"
        objects.append(f"{markdown_line(choice.description)}{where} ({which})")
    if objects:
        words = "; ".join(objects)
    elif one.status is Status.NO_TARGET:
        words = "no such object"
    else:
        words = f"{markdown_line(one.status)}: {markdown_line(one.reason)}"
    if one.agreement is not None:
        words += f", agrees {one.agreement:.2f} with the others"
    return words


def _verdict(found: LookedAgain, verdict: Verdict, title: str) -> str:
    of = f" of {verdict.count}" if verdict.count else ""
    which = ", ".join(map(str, verdict.objects))
    if not which:
        said = "none of the objects that were found" if verdict.count != 1 else "not this object"
    else:
        said = f"object{'s' if len(verdict.objects) > 1 else ''} {which}{of}"
    words = f"**{title}**: {said}"
    if verdict.probability is not None:
        words += f", probability {verdict.probability:.2f}"
    shown = tuple(map(found.number_of, verdict.shown))
    wrong = [str(shown[k]) for k in verdict.wrong_frames if k < len(shown)]
    if wrong:
        words += f"; the outline is not right in frame{'s'[: len(wrong) - 1]} {', '.join(wrong)}"
    if verdict.why:
        words += "\n\n> " + markdown(verdict.why).replace("\n", "\n> ")
    return words
