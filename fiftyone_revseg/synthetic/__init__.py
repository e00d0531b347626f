"""Made-up worlds: rendered videos with queries and exact masks.

They are the sample data of the demo, the material of the tests, and all that the embedded
models were trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.synthetic.breaks import BREAKS, BrokenWorld, make_broken_world
    from fiftyone_revseg.synthetic.queries import KINDS, Query, all_queries, pick_queries
    from fiftyone_revseg.synthetic.world import Body, World, make_world
    from fiftyone_revseg.synthetic.world_files import make_dataset, render, write_video

__getattr__, __dir__, __all__ = lazy_names(__name__)
