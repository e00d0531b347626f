"""The pictures of a page of the reasoning panel, or in words why there are none."""

from __future__ import annotations

from typing import Any

from fiftyone_revseg.app.page import Page
from fiftyone_revseg.app.panel_words import note
from fiftyone_revseg.dataset.explain import (
    TrackSeries,
    has_pictures,
    make_pictures,
    picture_key,
    track_series,
)
from fiftyone_revseg.dataset.looked_again import masks_at
from fiftyone_revseg.dataset.playback import ADVICE, playback_of
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.text.escape import markdown
from fiftyone_revseg.video import VideoError


def is_cached(page: Page) -> bool:
    """Returns whether the pictures of a page are there at once."""
    try:
        return has_pictures(picture_key(page.sample, page.answer))
    except VideoError:
        return True  # there is nothing to wait for


def picture_values(
    page: Page, with_masks: bool = True, series: TrackSeries | None = None
) -> dict[str, Any]:
    """Makes the pictures of a page.

    Args:
        page: the page
        with_masks (True): whether the object is drawn on the frames that the model was shown
        series (None): the object over time, if it is known

    Returns:
        what the parts of the panel show, by their names
    """
    answer, box = page.answer, None
    if answer.box_xywh_rel is None and answer.key_frame is not None:
        # Where no box was asked for, the one that the tracker found is shown
        series = series or track_series(page.sample, answer, page.label_field)
        box = dict(zip(series.numbers, series.boxes, strict=True)).get(answer.key_frame)
    try:
        key = picture_key(page.sample, answer)
        masks = None
        if answer.index is not None:
            numbers = {*answer.judged, *(answer.sampled if with_masks else ())}
            masks = masks_at(page.sample, answer.index, tuple(numbers), page.label_field)
        found = make_pictures(answer, key, box, masks)
    except VideoError as error:
        return {f"note_{page.key}": f"No pictures: {markdown(error.reason)}"}
    values: dict[str, Any] = {f"note_{page.key}": note(answer)}
    values[f"playback_{page.key}"] = _playback(page)
    for name in ("key_frame", "judged"):
        image = getattr(found, name)
        if image is not None:
            values[f"{name}_{page.key}"] = pictures.data_uri(image)
    if found.thumbnails:
        shown = zip(answer.sampled, found.thumbnails, strict=True)
        values[f"strip_{page.key}"] = {f"at_{k}": pictures.data_uri(image) for k, image in shown}
    if found.judged is not None:
        values[f"about_judged_{page.key}"] = (
            "The frames of the verdict, with the object outlined as it is now:"
        )
    return values


def _playback(page: Page) -> str:
    """Says that the App plays the video wrongly, if it does."""
    playback = playback_of(page.sample)
    if playback is None or not playback.problem:
        return ""
    return f"**Beware: {markdown(playback.problem)}.** The pictures below are right; {ADVICE}."
