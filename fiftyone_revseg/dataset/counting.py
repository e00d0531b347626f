"""How many samples there are."""

from __future__ import annotations

from typing import Any


def count_samples(samples: Any) -> int:
    """Counts the samples of a collection; of dynamic groups, the groups.

    ``len(dataset)``, ``dataset.count()`` and the truth of a dataset or of a view of all of it are
    the database server's estimate, which is wrong after the server was killed: often 0.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
    """
    return int(samples.count("id"))
