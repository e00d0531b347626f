"""Progress bars for the stages of the pipeline."""

from __future__ import annotations

from typing import Any

_TITLES = {"decode": "Reading frames", "reason": "Asking the model", "track": "Tracking"}


class StageBars:
    """Shows one bar after the other, as the pipeline goes from stage to stage.

    An instance is what ``RevSeg.segment(..., progress=)`` calls. Bars go to the terminal's error
    stream, and nowhere if that is not a terminal.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or stage != self._stage or done < self._bar.n:
            self.close()
            title = _TITLES.get(stage, stage)
            self._bar = tqdm(total=total, desc=f"{title:16}", disable=None, unit="")
            self._stage = stage
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
