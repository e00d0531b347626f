"""A part of many jobs, for schedulers that start the same command several times."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One of the parts that work is split into.

    What belongs to a part depends on its name alone, and neither on its position nor on what else
    there is. So parts never overlap and leave nothing out, even if each was started at another
    time, on a view that changes with every answer. Their sizes differ by chance.

    Example::

        Shard.parse("2/8").holds("66f0c1d2e3a4b5c6d7e8f901")  # an id of a sample

    Args:
        number: which part, counted from 1
        count: how many parts there are

    Raises:
        ValueError: if there is no such part
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"There is no shard {self}: shards count from 1, so those of {max(self.count, 1)} "
                f"are 1/{max(self.count, 1)} to {max(self.count, 1)}/{max(self.count, 1)}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads a text such as "2/8".

        Raises:
            ValueError: if it is no such text
        """
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text, re.ASCII)
        if match is None:
            raise ValueError(f"{text!r} is no shard: write its number and how many, such as 2/8")
        return cls(int(match[1]), int(match[2]))

    def holds(self, name: str) -> bool:
        """Returns whether what has this name belongs to the part."""
        digest = hashlib.sha256(name.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
