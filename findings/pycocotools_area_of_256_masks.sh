#!/usr/bin/env bash
# pycocotools cannot say the areas of more than 255 masks at once with a current numpy.
#
# Guess before the run: area() of a list of N run-length masks gives N numbers for any N, as encode and decode do.
# Seen, pycocotools 2.0.11 with numpy 2.4.6: up to 255 fine, from 256 on
#   OverflowError: Python integer 256 out of bounds for uint8
# The result's shape is computed in a uint8 there. toBbox, decode, merge and iou take 256 without complaint.
# With numpy 1.26.4, 256 works. A video of ten seconds at 30 frames a second has 300 masks.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q pycocotools==2.0.11 numpy==2.4.6
v/bin/python - <<'PY'
import numpy as np
from pycocotools import mask
one = mask.encode(np.asfortranarray(np.ones((4, 6), np.uint8)))
print("255:", set(mask.area([one] * 255).tolist()), "boxes of 256:", mask.toBbox([one] * 256).shape)
try:
    print("256:", mask.area([one] * 256).shape)
except OverflowError as error:
    print("256: OverflowError:", error)
else:
    raise SystemExit("area of 256 masks works now")
print("as described")
PY
