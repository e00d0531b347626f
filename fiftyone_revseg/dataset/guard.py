"""Looks again, when a result is there, whether it may be written: models take their time.

What a run may replace is decided before it begins (:mod:`fiftyone_revseg.dataset.resume`,
:mod:`fiftyone_revseg.dataset.ownership`). Until a video's turn has come, hours later, a person may
have corrected its labels, or drawn some of their own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import fiftyone as fo

from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.ownership import ForeignLabelsError, check_videos
from fiftyone_revseg.dataset.resume import is_changed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guard:
    """What keeps results from replacing what is not theirs to replace.

    Attributes:
        dataset: the :class:`fiftyone.core.dataset.Dataset`; of clips, the one with whole videos
        label_field: the label field, without "frames."
        replace_foreign_labels: whether labels that this product did not write may be replaced
        replace_corrections: whether labels that a person corrected, accepted or changed may be
    """

    dataset: fo.Dataset
    label_field: str
    replace_foreign_labels: bool = False
    replace_corrections: bool = False

    def keeps_changed(self, video: VideoRef) -> bool:
        """Returns whether a result would replace what a person changed in an earlier one."""
        if self.replace_corrections:
            return False
        return is_changed(self.dataset, self.label_field, video)

    def keeps_meanwhile(self, video: VideoRef) -> bool:
        """Returns whether a person was faster than the model, and logs that.

        Args:
            video: what would be written, of which nothing was to be kept when the model began
        """
        why = "a person corrected, accepted or changed its labels"
        if not self.keeps_changed(video):
            try:
                check_videos(self.dataset, self.label_field, [video], self.replace_foreign_labels)
            except ForeignLabelsError as error:
                why = str(error)
            else:
                return False
        logger.warning("%s is left as it is. While it was worked on, %s", video.filepath, why)
        return True
