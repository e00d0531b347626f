"""What a dataset holds, as plain values that can be compared.

Left out is what differs between two runs that did the same: ids, dates and times. Instances are
numbered in the order in which they appear.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Batches round otherwise than one video alone: confidences differ in their last digits
TOLERANCE = 1e-5

_LEFT_OUT = {"id", "_id", "created_at", "last_modified_at", "seconds", "timings", "sample_id"}
_LEFT_OUT |= {"written"}  # sums over what has ids and confidences


class Near(float):
    """A number that equals others that are nearly the same."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(float(self) - float(other)) <= TOLERANCE

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def contents(dataset, by: str = "filepath") -> list[dict[str, Any]]:
    """Returns all fields of all samples and frames, sorted by a field."""
    found = []
    for sample in dataset.iter_samples():
        instances: dict[str, int] = {}
        fields = {name: sample[name] for name in dataset.get_field_schema()}
        values = {name: _plain(value, instances) for name, value in fields.items()}
        if dataset.media_type == "video":
            values["frames"] = {
                number: {
                    name: _plain(frame[name], instances)
                    for name in dataset.get_frame_field_schema()
                    if name not in _LEFT_OUT
                }
                for number, frame in sorted(sample.frames.items())
            }
        found.append({k: v for k, v in values.items() if k not in _LEFT_OUT})
    return sorted(found, key=lambda values: str(values[by]))


def _plain(value: Any, instances: dict[str, int]) -> Any:
    if type(value).__name__ == "Instance":
        return ("instance", instances.setdefault(str(value.id), len(instances)))
    if hasattr(value, "iter_fields") and hasattr(value, "field_names"):
        names = [*value.field_names, *getattr(value, "_custom_fields", {})]
        value = {"_cls": type(value).__name__, **{n: value[n] for n in dict.fromkeys(names)}}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {k: _plain(v, instances) for k, v in value.items() if k not in _LEFT_OUT}
    if isinstance(value, np.ndarray):
        return (value.shape, str(value.dtype), value.tobytes())
    if type(value) is float:
        return Near(value)
    if isinstance(value, (list, tuple)) or type(value).__name__ in ("BaseList", "_BaseList"):
        return [_plain(v, instances) for v in value]
    return value
