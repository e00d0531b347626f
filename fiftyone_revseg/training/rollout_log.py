"""What the rollouts of a step were like, as figures and as text to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fiftyone_revseg.files import write_text
from fiftyone_revseg.training.environment import ENDINGS, Rewards, Rollout
from fiftyone_revseg.training.verdict_rows import JudgedScene


class RolloutLog:
    """Counts how rollouts end, and writes some of them out.

    Args:
        directory: where the texts go, one file for each step that is written
        every: how many steps lie between two of them; 0 for none
        groups (2): how many groups of rollouts a file shows
    """

    def __init__(self, directory: str | Path, every: int, groups: int = 2) -> None:
        self.directory = Path(directory)
        self.every = every
        self.groups = groups

    def add(
        self,
        step: int,
        rollouts: Sequence[Rollout],
        rewards: Sequence[Rewards | None],
        group: int,
    ) -> dict[str, float]:
        """Takes the rollouts of a step.

        Args:
            step: the number of the step, from 1
            rollouts: groups of ``group`` rollouts of the same row
            rewards: what they earned; None where nothing can be learned
            group: the size of a group

        Returns:
            name -> value: the total reward, turns (of those that are not about turn 3 alone), the
            share of each ending, and how diverse the groups are: distinct key frames and distinct
            replies in a group. What no rollout tells is left out
        """
        if self.every and (step % self.every == 0 or step == 1):
            self._write(step, rollouts, rewards, group)
        groups = [rollouts[i : i + group] for i in range(0, len(rollouts), group)]
        frames = [[r.choices[0].frame for r in g if r.choices] for g in groups]
        frames = [chosen for chosen in frames if chosen]
        values = {ending: _mean([r.ending == ending for r in rollouts]) for ending in ENDINGS}
        turns = [len(r.replies) for r in rollouts if not isinstance(r.scene, JudgedScene)]
        if turns:
            values["turns"] = _mean(turns)
        values["tokens"] = _mean([r.tokens for r in rollouts])
        totals = [r.total for r in rewards if r is not None]
        if totals:
            values["total"] = _mean(totals)
        if frames:
            values["distinct_key_frames"] = _mean([len(set(chosen)) for chosen in frames])
        values["distinct_replies"] = _mean([len({r.replies[0] for r in g}) for g in groups])
        return values

    def _write(
        self,
        step: int,
        rollouts: Sequence[Rollout],
        rewards: Sequence[Rewards | None],
        group: int,
    ) -> None:
        starts = range(0, len(rollouts), group)
        # The first group about both turns and the first about turn 3, then whatever comes next
        kinds = {type(rollouts[i].scene): i for i in reversed(starts)}
        shown = list(dict.fromkeys([*kinds.values(), *starts]))[: self.groups]
        lines = [f"Step {step}"]
        for start in sorted(shown):
            lines += ["", "=" * 80, *_heading(rollouts[start])]
            for i in range(start, min(start + group, len(rollouts))):
                lines += ["", "-" * 80, *_telling(rollouts[i], rewards[i])]
        write_text(self.directory / f"step_{step:06d}.txt", "\n".join(lines) + "\n")


def _heading(rollout: Rollout) -> list[str]:
    row, scene = rollout.row, rollout.scene
    lines = [f"{row.id}  {row.kind}", f"Query: {row.query}"]
    lines += [f"Sampled frames: {', '.join(map(str, scene.frame_table.indices))}"]
    if isinstance(scene, JudgedScene):
        names = [f"{n} {one.description}" for n, one in enumerate(scene.objects, 1)]
        lines.append(f"Tracks: {', '.join(names)}. Right: {sorted(scene.right)}")
    else:
        for i, areas in enumerate(scene.areas.astype(int).tolist()):
            lines.append(f"Areas of object {i + 1}: {', '.join(map(str, areas))}")
    if rollout.problem:
        lines.append(f"Nothing can be learned from it: {rollout.problem}")
    return lines


def _telling(rollout: Rollout, earned: Rewards | None) -> list[str]:
    first = 3 if isinstance(rollout.scene, JudgedScene) else 1
    lines = [f"Turn {turn}: {reply}" for turn, reply in enumerate(rollout.replies, first)]
    if rollout.choices and rollout.shown is not None:
        k = rollout.choices[rollout.shown].frame
        true = "; ".join(_rounded(box) for box in rollout.scene.boxes_at(k)) or "none"
        lines.append(f"Shown: frame {k}. True boxes there: {true}")
    if rollout.box_xyxy_px is not None:
        lines.append(f"Box: {_rounded(rollout.box_xyxy_px)}")
    lines.append(f"Ended: {rollout.ending}" + (f" ({rollout.error})" if rollout.error else ""))
    if earned is not None:
        parts = {**earned.parts, "total": earned.total}
        lines.append("Rewards: " + ", ".join(f"{name} {v:.2f}" for name, v in parts.items()))
    return lines


def _rounded(box: Sequence[float]) -> str:
    return " ".join(f"{side:.0f}" for side in box)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))
