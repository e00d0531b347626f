"""Whether the videos of a collection are of the world that demonstration models know."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from fiftyone_revseg.models.demonstration import demonstration_among, notice
from fiftyone_revseg.pipeline import Loading
from fiftyone_revseg.synthetic.made_up import is_made_up

_LOOKED_AT = 5  # videos: those of a collection are of one kind


def demonstration_notice(samples: Any, loading: Loading) -> str | None:
    """Says before a run that its model cannot know the videos, as far as that is known at once.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        loading: which models would be loaded

    Returns:
        a sentence; None if there is nothing to say
    """
    name = demonstration_among(loading.names())
    if name is None:
        return None
    paths = islice(samples.limit(_LOOKED_AT).values("filepath"), _LOOKED_AT)
    other = next((path for path in paths if not is_made_up(path)), None)
    return other and notice(name, Path(other).name)
