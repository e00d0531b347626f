#!/usr/bin/env bash
# motmetrics moves every box of a MOTChallenge file by one pixel when it reads it, and says so nowhere in its result.
#
# Guess before the run: loadtxt gives the numbers of the file.
# Seen, motmetrics 1.4.0: "1,1,13,101,18,50,1,1,1" is read as X=12, Y=100 (the format counts pixels from 1);
# the same numbers in its "vatic-txt" format stay as they are. So a tracker's file that was written with
# 0-based corners is compared at (-1, -1), and files from tools that differ in this meet as boxes that are off by one.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q motmetrics==1.4.0 numpy==2.4.6 pandas==3.1.1
v/bin/python - <<'PY'
import motmetrics
with open("gt.txt", "w") as f:
    f.write("1,1,13,101,18,50,1,1,1\n")
row = motmetrics.io.loadtxt("gt.txt", fmt="mot15-2D").iloc[0]
print(row.to_dict())
assert (row.X, row.Y, row.Width, row.Height) == (12, 100, 18, 50)
print("as described")
PY
