#!/usr/bin/env bash
# pycocotools takes masks of two sizes together without an error: their union is no mask, their IoU -1.
#
# Guess before the run: merge, iou and decode raise for RLEs whose sizes differ, as one of a mask that was annotated on
# a scaled copy of a frame; there is nothing sensible to return.
# Seen, pycocotools 2.0.11 with numpy 2.4.6, a square of four pixels in a mask of 4 x 6 and the same in one of 6 x 4:
#   merge([a, b]), also with intersect=True:  {'size': [0, 0], 'counts': b''}, whose area is 0
#   merge([a, b, a]):                         the same, so one odd mask takes all others along
#   iou([a], [b], [0]):                       [[-1.]], which a mean over matches takes for a number
#   decode([a, b]):                           (4, 6, 2), the second one's pixels in the shape of the first
# Beside it: iou of two empty masks of one size is 0, where J of video segmentation is 1.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v
v/bin/pip install -q pycocotools==2.0.11 numpy==2.4.6
cat > two.py <<'PY'
import numpy as np
from pycocotools import mask as coco
def square(height, width):
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[1:3, 1:3] = 1
    return coco.encode(mask)
a, b = square(4, 6), square(6, 4)
empty = coco.encode(np.zeros((4, 6), np.uint8, order="F"))
unions = [coco.merge([a, b]), coco.merge([a, b], intersect=True), coco.merge([a, b, a])]
print("unions", unions, "area", coco.area(unions[0]))
iou, both = coco.iou([a], [b], [0]), coco.decode([a, b])
print("iou", iou, "decoded", both.shape, np.argwhere(both[:, :, 1]).tolist())
print("iou of two empty ones", coco.iou([empty], [empty], [0]))
assert all(one == {"size": [0, 0], "counts": b""} for one in unions) and coco.area(unions[0]) == 0
assert iou.tolist() == [[-1.0]] and both.shape == (4, 6, 2)
assert both[:, :, 1].sum() == 4 and np.argwhere(both[:, :, 1]).tolist() != [[1, 1], [1, 2], [2, 1], [2, 2]]
assert coco.iou([empty], [empty], [0]).tolist() == [[0.0]]
PY
v/bin/python two.py
