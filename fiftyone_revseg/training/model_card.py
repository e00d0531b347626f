"""The card of a trained checkpoint: where it comes from, how it was trained, what came out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.files import from_json, write_text
from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.text.escape import markdown_line, one_line
from fiftyone_revseg.training.run_folder import RunFolder

#: What the hub shows of a repository
FILE_NAME = "README.md"

_CURVES = ("format", "temporal", "spatial", "truth", "total", "turns", "tokens", "kl")
_SETTINGS = (
    *("steps", "prompts", "rollouts", "learning_rate", "beta", "temporal", "temperature"),
    *("spatial", "verdict_share", "lora_rank", "seed"),
)


def write_card(
    directory: str | Path,
    run: str | Path,
    name: str | None = None,
    license: str | None = None,
) -> Path:
    """Writes the model card of a checkpoint, in the form that the Hugging Face hub reads.

    Args:
        directory: the checkpoint's
        run: the folder of the run that made it, with ``run.json`` and ``curves.csv``; what is
            missing there is left out
        name (None): what to call it. By default, as its directory
        license (None): the licence's name. By default, that of what it was trained from, if known

    Returns:
        the path of the card
    """
    path = Path(directory) / FILE_NAME
    made = _read(Path(run) / "run.json")
    config = made.get("config", {})
    name = name or path.parent.name
    base = str(config.get("model") or "")
    license = license or _license(base)
    lines = ["---"]
    if license:
        lines.append(f"license: {_yaml(license.lower())}")
    if base and not Path(base).expanduser().exists():  # a folder of this machine says nobody much
        lines.append(f"base_model: {_yaml(PRESETS[base].reasoner if _on_hub(base) else base)}")
    lines += [
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "tags: [revseg, reasoning-video-segmentation, grpo]",
        "---",
        "",
        f"# {markdown_line(name)}",
        "",
        "A vision-language model that answers ReVSeg's two turns (arXiv 2512.02835): it picks the "
        "key frame of a video in which what a query describes is easiest to segment, and boxes it "
        "there. `revseg.json` says how it wants to be asked.",
        "",
        "```python",
        "import fiftyone_revseg as revseg",
        "",
        f"model = revseg.load_model({json.dumps(f'/path/to/{name}')}, "
        'query="the dog that jumps last")',
        'dataset.apply_model(model, label_field="revseg")',
        "```",
        "",
        "## Training",
        "",
    ]
    if config:
        lines.append(
            f"By GRPO from {_code(Path(base).name if Path(base).is_absolute() else base)}, on "
            f"{markdown_line(made.get('rows', 'some'))} (video, query) pairs, with "
            "`revseg train grpo`:"
        )
        lines += ["", "| setting | value |", "|---|---|"]
        lines += [f"| {key} | {markdown_line(config[key])} |" for key in _SETTINGS if key in config]
        lines.append("")
    lines += _table(Path(run))
    write_text(path, "\n".join(lines).rstrip() + "\n")
    return path


def summarize_curves(curves: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Says of each curve where it began and where it ended.

    Args:
        curves: a dict of values for each logged step

    Returns:
        name -> its means over the first and the last quarter of the steps, at most ten
    """
    few = max(1, min(10, len(curves) // 4))
    found = {}
    for name in _CURVES:
        values = [row[name] for row in curves if name in row]
        if values:
            ends = values[:few], values[-few:]
            found[name] = [sum(end) / len(end) for end in ends]
    return found


def _table(run: Path) -> list[str]:
    curves = RunFolder(run, 0).curves() if (run / "curves.csv").is_file() else []
    ends = summarize_curves(curves)
    if not ends:
        return []
    return [
        f"On its own training rows, means over the beginning and the end of {len(curves)} steps; "
        "they are no evaluation:",
        "",
        "| curve | beginning | end |",
        "|---|---:|---:|",
        *(f"| {name} | {first:.3f} | {last:.3f} |" for name, (first, last) in ends.items()),
        "",
    ]


def _code(text: str) -> str:
    """Shows a name as code, as which nothing in it means anything but what would end it."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def _yaml(text: str) -> str:
    """Writes a value, in quotes if YAML could take it for more than a name."""
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) else json.dumps(text)


def _license(base: str) -> str:
    try:
        return resolve(base).license
    except ValueError:
        return ""


def _on_hub(base: str) -> bool:
    return base in PRESETS and not PRESETS[base].embedded


def _read(path: Path) -> dict[str, Any]:
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
