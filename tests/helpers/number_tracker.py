"""A video whose frames are numbers, and a tracker that reads them."""

import numpy as np

from fiftyone_revseg.tracking import FrameMasks, encode_masks

WIDTH, HEIGHT = 20, 10


class ListVideo:
    """A video of which every frame shows its own number."""

    size = (WIDTH, HEIGHT)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def walk(self, start, step=1):
        stop = self.count if step > 0 else -1
        for k in range(start, stop, step):
            yield k, np.full((HEIGHT, WIDTH, 3), k, np.uint8)


class NumberTracker:
    """Answers each frame with as many pixels as the steps taken; notes what it was given."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []

    def track(self, frames, boxes_xyxy_px, known=()):
        self.passes.append([])
        for i, (k, frame) in enumerate(frames):
            assert (frame == k).all()
            self.passes[-1].append(k)
            masks = np.zeros((len(boxes_xyxy_px), HEIGHT, WIDTH), bool)
            masks[:, 0, : i + 1] = True
            masks[1:] = False  # only the first object is ever visible
            scores = np.full(len(boxes_xyxy_px), 1 / (1 + i + 10 * (len(self.passes) - 1)))
            yield FrameMasks(k, encode_masks(masks), scores)


BOXES = np.array([[0, 0, 5, 5], [5, 5, 9, 9]], np.float32)
