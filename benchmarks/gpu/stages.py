"""The stages, the most important one first, each with the seconds that it may take.

What a stage leaves of its time is for those after it: together they take less than 8 minutes, as
installing takes some, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from limited import Ended, run_limited

from fiftyone_revseg.files import write_json

FOLDER = Path(__file__).parent
RUN = "run.json"  # how the stages ended


@dataclass(frozen=True)
class Stage:
    """One of them.

    Attributes:
        name: of its script, ``stage_NAME.py``, its JSON and its log
        seconds: that it may take
        about: what it measures
    """

    name: str
    seconds: float
    about: str

    def command(self, out: Path, device: str, tiny: bool) -> list[str]:
        """What runs it in a process of its own."""
        script = str(FOLDER / f"stage_{self.name}.py")
        command = [sys.executable, script, "--device", device]
        return [*command, "--out", str(out / f"{self.name}.json"), *(["--tiny"] if tiny else [])]


STAGES = (
    Stage("pair", 85, "the embedded pair against itself on the CPU"),
    Stage("full_size", 145, "Qwen2.5-VL 7B and SAM2.1 large: engine, loop, floor"),
    Stage("tracker", 130, "the tracker against sam2's compiled predictor"),
    Stage("switches", 50, "what each part of the engine gains here"),
    Stage("grpo", 55, "steps of reinforcement learning against the dry run"),
)


def run_stages(
    stages: Sequence[Stage],
    out: Path,
    device: str,
    tiny: bool,
    patience: float = 1.0,
    tell: Callable[[str], None] = print,
) -> dict[str, Ended]:
    """Runs stages one after the other, whatever becomes of each.

    Args:
        stages: which, in order
        out: the folder of the results; how each stage ended is kept there, too
        device: to run on
        tiny: whether in miniature
        patience (1): times the seconds that each may take
        tell (print): called with what to show

    Returns:
        the name of each stage, and how it ended
    """
    ended: dict[str, Ended] = {}
    deadline = time.monotonic()
    for stage in stages:
        deadline += patience * stage.seconds
        left = deadline - time.monotonic()
        tell(f"{stage.name}: {stage.about}, {left:.0f} s at most")
        command = stage.command(out, device, tiny)
        ended[stage.name] = run_limited(command, left, out / f"{stage.name}.log")
        write_json(out / RUN, {name: asdict(how) for name, how in ended.items()}, indent=1)
        tell(f"{stage.name}: {ended[stage.name].outcome}, {ended[stage.name].seconds:.0f} s")
    return ended
