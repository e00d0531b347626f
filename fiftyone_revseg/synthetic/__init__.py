"""Made-up worlds: rendered videos with queries and exact masks.

They are the sample data of the demo, the material of the tests, and all that the embedded
models were trained on.
"""

from fiftyone_revseg.synthetic.queries import KINDS, Query, all_queries, pick_queries
from fiftyone_revseg.synthetic.world import Body, World, make_world
from fiftyone_revseg.synthetic.world_files import make_dataset, render, write_video

__all__ = [
    "KINDS",
    "Body",
    "Query",
    "World",
    "all_queries",
    "make_dataset",
    "make_world",
    "pick_queries",
    "render",
    "write_video",
]
