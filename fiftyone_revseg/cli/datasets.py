"""Opens what the command line names in the database of FiftyOne."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from fiftyone_revseg.cli.ctrl_c import CtrlC

_LISTED = 12  # more names than that are not read by anyone


def list_datasets() -> list[str]:
    """Lists the names of all datasets, which also imports FiftyOne and connects to its database.

    Raises:
        click.ClickException: if FiftyOne is missing, or its database cannot be reached; in one
            sentence
    """
    try:
        # FiftyOne logs to what is the output when it is imported, which is for results. It may
        # also swallow Ctrl-C
        with CtrlC() as ctrl_c, contextlib.redirect_stdout(sys.stderr):
            import fiftyone as fo

            names = list(fo.list_datasets())
            ctrl_c.check()
            return names
    except ImportError as error:
        raise click.ClickException(
            f"FiftyOne is missing ({error}): pip install fiftyone"
        ) from error
    except Exception as error:  # of FiftyOne, its server, or the driver: all say what is wrong
        what = " ".join(str(error).split())
        raise click.ClickException(
            f"The database of FiftyOne cannot be reached ({what}): see revseg doctor"
        ) from error


def open_dataset(name: str) -> Any:
    """Loads a dataset.

    Args:
        name: its name

    Returns:
        the :class:`fiftyone.core.dataset.Dataset`

    Raises:
        click.ClickException: if FiftyOne is missing, its database cannot be reached, or there is
            no such dataset; in one sentence
    """
    names = list_datasets()
    import fiftyone as fo

    if name not in names:
        raise click.ClickException(
            f"There is no dataset {name!r}: {list_names(name, names)}. FiftyOne deletes a dataset"
            " with the session that made it, unless dataset.persistent = True"
        )
    return fo.load_dataset(name)


def open_view(name: str, view: str | None = None) -> Any:
    """Loads a dataset or a saved view of it, whatever is in it.

    Args:
        name: the dataset's name
        view (None): the name of a saved view

    Returns:
        a :class:`fiftyone.core.collections.SampleCollection`

    Raises:
        click.ClickException: if there is no such thing; in one sentence
    """
    dataset = open_dataset(name)
    return dataset if view is None else _saved_view(dataset, view)


def open_collection(
    name: str,
    view: str | None = None,
    group_by: str | None = None,
    order_by: str | None = None,
    group_slice: str | None = None,
) -> Any:
    """Loads a dataset or a part of it.

    Args:
        name: the dataset's name
        view (None): the name of a saved view
        group_by (None): the field that tells the videos apart that images are frames of
        order_by (None): the field with the order of the images
        group_slice (None): the slice of a grouped dataset that will be looked at

    Returns:
        a :class:`fiftyone.core.collections.SampleCollection`

    Raises:
        click.ClickException: if there is no such thing, or it holds no videos; in one sentence
    """
    dataset = open_dataset(name)
    samples = dataset if view is None else _saved_view(dataset, view)
    if group_by is not None:
        fields = list(samples.get_field_schema())
        for field in (group_by, order_by):
            if field not in fields:
                raise click.ClickException(
                    f"Dataset {name!r} has no field {field!r}: {list_names(str(field), fields)}"
                )
        samples = samples.group_by(group_by, order_by=order_by)
    elif samples.media_type == "image":
        raise click.ClickException(
            f"Dataset {name!r} holds images: if they are frames of videos, say which and in what"
            " order, --group-by FIELD --order-by FIELD"
        )
    elif samples.media_type == "group" and dataset.media_type == "group" and group_slice is None:
        slices = ", ".join(k for k, v in dataset.group_media_types.items() if v == "video")
        raise click.ClickException(
            f"Dataset {name!r} is grouped: choose a slice with videos, --group-slice NAME"
            f" (there is {slices or 'none'})"
        )
    return samples


def select_videos(samples: Any, names: Collection[str]) -> Any:
    """Selects the videos of a collection that have a path, a file name, or an id.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        names: of each video, one of these

    Returns:
        a view of them

    Raises:
        click.ClickException: if there is no such video, or several; in one sentence
    """
    from fiftyone_revseg.dataset.collection import in_all_slices

    videos = in_all_slices(samples)
    ids, paths = videos.values(["id", "filepath"])
    chosen = []
    for name in names:
        own = [
            video_id
            for video_id, path in zip(ids, paths, strict=True)
            if name in (video_id, path, Path(path).name) or os.path.abspath(name) == path
        ]
        if not own:
            known = list_names(name, [Path(path).name for path in paths])
            raise click.ClickException(f"There is no video {name!r}: {known}")
        if len(own) > 1:
            raise click.ClickException(
                f"There are {len(own)} videos called {name!r}: name the path, or the sample's id"
                f" ({', '.join(own[:3])})"
            )
        chosen += own
    return videos.select(chosen)


def _saved_view(dataset: Any, view: str) -> Any:
    names = dataset.list_saved_views()
    if view not in names:
        raise click.ClickException(
            f"Dataset {dataset.name!r} has no saved view {view!r}: {list_names(view, names)}"
        )
    return dataset.load_saved_view(view)


def list_names(wanted: str, names: Collection[str]) -> str:
    """Says which names there are; if they are many, those most like the one that was wanted."""
    if not names:
        return "there are none"
    if len(names) <= _LISTED:
        return f"there is {', '.join(names)}"
    like = difflib.get_close_matches(wanted, names, n=_LISTED)
    first = list(dict.fromkeys([*like, *names]))[:_LISTED]
    return f"there is {', '.join(first)} (and {len(names) - len(first)} more)"
