"""Ref-YouTube-VOS (Seo et al., ECCV 2020): every fifth frame of videos from YouTube."""

from __future__ import annotations

from typing import Any

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META, read_json
from fiftyone_revseg.evaluation.benchmarks.palette import ANNOTATIONS, PaletteBenchmark


class RefYouTubeVos(PaletteBenchmark):
    """Ref-YouTube-VOS."""

    name = "ref-youtube-vos"
    default_split = "valid"
    protocol = "J&F of each expression, mean over expressions; scored by a server"
    layout = (
        f"meta_expressions/SPLIT/{META}, SPLIT/{IMAGES}/VIDEO/*.jpg,"
        f" train/{ANNOTATIONS}/VIDEO/*.png (not for valid)"
    )
    server = ("valid", "test")

    @property
    def has_truth(self) -> bool:
        """Whether the split has true masks of every frame, see :attr:`Benchmark.has_truth`."""
        # Where the archive of YouTube-VOS was extracted, "valid" has those of some first frames
        return self.split not in self.server and super().has_truth

    def _read_videos(self) -> dict[str, dict[str, Any]]:
        videos = super()._read_videos()
        test = self.meta_path.parents[1] / "test" / META
        if self.split == "valid" and test.is_file():
            # The official file of "valid" lists the videos of "test" as well
            others = read_json(test).get("videos", {})
            videos = {name: meta for name, meta in videos.items() if name not in others}
        return videos
