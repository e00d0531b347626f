"""Saved views that are made here, told from those that a person made."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import is_clips

# Their description
_MADE_HERE = "made by ReVSeg, which replaces it when it makes it again"


def keep_view(dataset: fo.Dataset, name: str, view: Any) -> str | None:
    """Saves a view in its dataset, in place of an earlier one of that name that was made here.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        name: the name; where a person has a view of that name, another one is taken
        view: the view

    Returns:
        the name; None for clips, whose own fields last no longer than the view
    """
    if is_clips(view):
        return None
    dataset.reload()
    while dataset.has_saved_view(name):
        if dataset.get_saved_view_info(name)["description"] == _MADE_HERE:
            break
        name = f"{name} (ReVSeg)"
    dataset.save_view(name, view, description=_MADE_HERE, overwrite=True)
    return name
