"""The benchmarks by name."""

from __future__ import annotations

from pathlib import Path

from fiftyone_revseg.evaluation.benchmarks.layout import Benchmark
from fiftyone_revseg.evaluation.benchmarks.lv_vis import LvVis
from fiftyone_revseg.evaluation.benchmarks.mevis import Mevis
from fiftyone_revseg.evaluation.benchmarks.reasonvos import ReasonVos
from fiftyone_revseg.evaluation.benchmarks.ref_davis17 import RefDavis17
from fiftyone_revseg.evaluation.benchmarks.ref_youtube_vos import RefYouTubeVos
from fiftyone_revseg.evaluation.benchmarks.revos import Revos

#: name -> class of every benchmark that can be read
BENCHMARKS: dict[str, type[Benchmark]] = {
    kind.name: kind for kind in (Revos, ReasonVos, Mevis, RefYouTubeVos, RefDavis17, LvVis)
}


def open_benchmark(
    name: str, directory: str | Path, split: str | None = None, masks: bool = True
) -> Benchmark:
    """Opens a benchmark in its official layout.

    Args:
        name: one of :data:`BENCHMARKS`
        directory: its folder
        split (None): the name of a split. By default, the one that figures are reported on, or
            the only one that is there
        masks (True): whether true masks will be read

    Returns:
        a :class:`Benchmark`

    Raises:
        ValueError: if there is no such benchmark
        LayoutError: if the folder is not laid out like it
    """
    if name not in BENCHMARKS:
        raise ValueError(f"There is no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name](directory, split, masks)
