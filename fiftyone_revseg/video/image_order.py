"""In which order the images of a folder follow each other, by the numbers in their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from statistics import fmean, pstdev

# One dot between two numbers, as no part of a version or a date (1.2.10, 2024.05.01)
_DECIMAL = r"(?<!\d)(?<!\d\.)\d+\.\d+(?:e[+-]\d+)?(?!\.?\d)"
_EXPONENT = r"(?<![\w.])\d+e[+-]\d+(?!\w)"
_SIGN = r"(?:(?<![^_= ])-)?"


def in_order(names: Iterable[str]) -> list[str]:
    """Sorts the names of files as a person would number them.

    * Numbers in names count by their value: ``2.jpg`` comes before ``10.jpg``.
    * A dot between two numbers is a decimal point (seconds: ``52.3`` comes after ``52.25``) or a
      separator (``shot1.9`` comes before ``shot1.10``). Where the orders differ, it is a separator
      if numbers behind it end with a zero, which decimals are written without, or if these numbers
      are far more evenly spaced than the decimals.
    * Several dots (``1.2.10``, ``2024.05.01``) are always separators.
    * A minus sign at the beginning, or after ``_``, ``=`` or a space, is one where there are also
      such names without it.

    Args:
        names: the names, with their extensions

    Returns:
        the sorted names
    """
    stems = {name: os.path.splitext(name)[0] for name in names}
    number = r"\d+"
    if _points_are_decimal(stems.values()):
        number = f"{_DECIMAL}|{_EXPONENT}|{number}"
    pattern = re.compile(f"({_SIGN}(?:{number}))")
    if not _signs_count(stems.values(), pattern):
        pattern = re.compile(f"({number})")

    def key(name: str) -> tuple[list, str]:
        parts = pattern.split(stems[name])
        return [(Decimal(p), p) if i % 2 else p for i, p in enumerate(parts)], name

    return sorted(stems, key=key)


def _points_are_decimal(stems: Iterable[str]) -> bool:
    stems = list(stems)
    if any(re.search(_EXPONENT, stem) for stem in stems):
        return True
    groups: dict[tuple, list[str]] = {}  # what is behind the point, by what is before it
    for stem in stems:
        for match in re.finditer(_DECIMAL, stem):
            whole, fraction = match.group().split(".")
            before = re.sub(r"\d+", "#", stem[: match.start()])
            groups.setdefault((before, whole), []).append(fraction)
    fractions = [fraction for group in groups.values() for fraction in group]
    if len({len(fraction) for fraction in fractions}) < 2:
        return True  # both orders are the same, but where there is a minus sign
    if any("e" in fraction for fraction in fractions):
        return True
    if any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions):
        return False
    as_separator = _unevenness([sorted(map(float, group)) for group in groups.values()])
    as_decimal = _unevenness([sorted(float(f"0.{f}") for f in group) for group in groups.values()])
    return as_separator >= as_decimal / 2


def _unevenness(groups: list[list[float]]) -> float:
    """How much the gaps between neighbours differ, relative to their mean."""
    gaps = [b - a for group in groups for a, b in pairwise(group)]
    return pstdev(gaps) / (fmean(gaps) or 1.0) if gaps else 0.0


def _signs_count(stems: Iterable[str], pattern: re.Pattern) -> bool:
    signed: set[str] = set()
    unsigned: set[str] = set()
    for stem in stems:
        numbers = pattern.findall(stem)
        (signed if any(n.startswith("-") for n in numbers) else unsigned).add(
            pattern.sub("#", stem)
        )
    return bool(signed & unsigned)
