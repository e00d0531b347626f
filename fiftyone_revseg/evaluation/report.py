"""One report for each evaluation: the table, plots, and the worst and best cases in pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from fiftyone_revseg.dataset.labelled_videos import with_progress
from fiftyone_revseg.evaluation.report_cases import COLOURS, Case, choose_cases, make_cases
from fiftyone_revseg.evaluation.report_plots import make_plots
from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.evaluation.summary import COLUMNS, headline, summarize
from fiftyone_revseg.evaluation.tables import INTERVAL, SHARES, table_cells
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.files.written import Written
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.text.escape import markdown_line
from fiftyone_revseg.version import __version__

_TEMPLATES = Path(__file__).parent / "templates"
_PICTURES = "pictures"
#: The files of a report
PAGES = ("report.md", "report.html")


def write_report(
    evaluation: Evaluation,
    directory: str | Path,
    samples: Any = None,
    worst: int = 6,
    best: int = 3,
    progress: bool | OnProgress | None = None,
) -> Path:
    """Writes ``report.html``, which is one file with all in it, and ``report.md``.

    The pictures of ``report.md`` are beside it, in the folder "pictures". A report that is there
    is replaced, but no file of another kind. Without the videos, or without matplotlib, there is
    less in it, and it says so.

    Args:
        evaluation: what to report on
        directory: where to write; created if missing
        samples (None): the dataset or view that was evaluated, for the pictures
        worst (6): how many of the worst cases to show; expressions without a prediction have
            nothing to show
        best (3): how many of the best
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured

    Returns:
        the path of ``report.html``

    Raises:
        NotWritableError: (a ValueError) if nothing can be written there
    """
    directory = Path(directory).expanduser()
    check_writable(directory)
    notes = list(evaluation.notes)
    table = list(evaluation.table) or summarize(evaluation.scores, evaluation.benchmark)
    titles, rows = table_cells(table)
    plots = _plots(evaluation, notes)
    groups = _cases(evaluation, samples, worst, best, progress, notes)
    contents = {
        "evaluation": evaluation,
        "headline": headline(table)["jf"] if table else None,
        "titles": titles,
        "rows": rows,
        "legend": _legend(titles),
        "notes": notes,
        "plots": plots,
        "groups": groups,
        "colours": _colours(),
        "version": __version__,
    }
    shown = [*plots, *(item.picture for _, items in groups for item in items if item.picture)]
    files = {f"{_PICTURES}/{picture.name}": picture.data for picture in shown}
    for name in PAGES:
        files[name] = _render(f"{name}.jinja", contents).encode()
    try:
        _write(directory, files)
    except OSError as error:
        raise ValueError(f"Nothing can be written to {directory}: {error.strerror}") from error
    return directory / "report.html"


@dataclass(frozen=True)
class _Picture:
    """A picture of a report: a file beside it, or a part of it."""

    name: str
    title: str
    data: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return f"{_PICTURES}/{self.name}"

    @property
    def uri(self) -> str:
        kind = "png" if self.name.endswith(".png") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class _Shown:
    """A case as a template needs it."""

    case: Case
    picture: _Picture | None

    @property
    def figures(self) -> str:
        score = self.case.score
        parts = [f"J&F {100 * score.jf:.1f} (J {100 * score.j:.1f}, F {100 * score.f:.1f})"]
        if score.kind:
            parts.append(score.kind.replace("_", " "))
        if score.no_target:
            parts.append("there is no such object")
        if score.key_frame_quality is not None:
            parts.append(f"quality of the key frame {100 * score.key_frame_quality:.0f}")
        if score.status:
            parts.append(f"status {score.status}")
        return ", ".join(parts)


def _plots(evaluation: Evaluation, notes: list[str]) -> list[_Picture]:
    try:
        plots = make_plots([score for score in evaluation.scores if not score.missing])
    except ImportError as error:
        notes.append(str(error))
        return []
    return [
        _Picture(f"plot-{number}.png", title, data)
        for number, (title, data) in enumerate(plots.items(), start=1)
    ]


def _cases(
    evaluation: Evaluation,
    samples: Any,
    worst: int,
    best: int,
    progress: bool | OnProgress | None,
    notes: list[str],
) -> list[tuple[str, list[_Shown]]]:
    if samples is None:
        notes.append("There are no pictures of single cases, as the dataset was not given")
        return []

    lowest, highest = choose_cases(evaluation.scores, worst, best)
    chosen = [*lowest, *highest]
    try:
        made = make_cases(evaluation, samples, chosen)
        cases = list(with_progress(made, len(chosen), progress, "Drawing"))
    except ValueError as error:  # for example a field that was deleted since
        notes.append(f"There are no pictures of single cases: {error}")
        return []
    by_score = {id(case.score): case for case in cases}
    groups = []
    for name, scores in (("worst", lowest), ("best", highest)):
        found = [by_score[id(score)] for score in scores if id(score) in by_score]
        if found:
            items = [_shown(case, f"{name}-{n}") for n, case in enumerate(found, start=1)]
            groups.append((f"{name.title()} cases", items))
    return groups


def _shown(case: Case, name: str) -> _Shown:
    if case.picture is None:
        return _Shown(case, None)
    stream = io.BytesIO()
    Image.fromarray(case.picture).save(stream, "JPEG", quality=88)
    return _Shown(case, _Picture(f"{name}.jpg", case.score.query, stream.getvalue()))


def _legend(head: Sequence[str]) -> list[str]:
    """What the heads of a table mean."""
    meanings = []
    for name, title in SHARES.items():
        if title in head:
            meanings.append(f"{title}: {COLUMNS[name].removeprefix(title).lstrip(':, ')}")
    if INTERVAL in head:
        meanings.append(f"{INTERVAL}: of J&F, over the choice of videos")
    return meanings


def _colours() -> dict[str, str]:
    """What a colour in the pictures means -> the colour, as CSS writes it."""
    return {
        meaning: "#{:02x}{:02x}{:02x}".format(*pictures.object_color(index))
        for meaning, index in COLOURS.items()
    }


def _render(name: str, contents: Mapping[str, Any]) -> str:
    # Queries and replies come from outside: in HTML all text is escaped
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = markdown_line
    return environment.get_template(name).render(contents)


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Writes each file as a whole, the pages last, and removes pictures of an earlier report."""
    written = Written(directory)
    written.check(*(directory / name for name in files))
    directory.mkdir(parents=True, exist_ok=True)
    for name in PAGES:  # of an earlier report: not about the pictures that come now
        (directory / name).unlink(missing_ok=True)
    for name, data in files.items():
        with written.replacing(directory / name, durable=name in PAGES) as partial:
            partial.write_bytes(data)
    for path in (directory / _PICTURES).glob("*"):
        ours = re.fullmatch(r"(plot|worst|best)-\d+\.(png|jpg)", path.name)
        if ours and f"{_PICTURES}/{path.name}" not in files and written.is_replaceable(path):
            path.unlink()
