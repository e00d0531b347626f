#!/usr/bin/env bash
# decord2 numbers the frames of MPEG transport streams and AVI files from another frame than the first.
#
# Guess before the run: frame 0 of a whole file is its first picture, and vr[k] is the same picture in
# any order; at worst, seeking costs time.
# Seen, decord2 3.4.0 (PyAV 18.1.0 gives 0, 1, 2, ... for all of them):
#   ts.ts   read in order: 12, 13, 14, 15 ... 59, 59, 59    read at random: 60 of 60 wrong
#   avi.avi read in order: 0, 1, 2, 3 ... 57, 58, 59       read at random: wrong from frame 12 on
#   mp4.mp4 right both ways
# H.264 with default settings, 60 frames whose pictures show their number; the length is right (60), no
# error and no warning. In the transport stream the reader begins at the second group of pictures and repeats
# the last picture to fill up; in AVI, a frame that is sought is one of those behind the first key frame or another one.
# What it means: frame numbers of labels made with decord on .ts, .mts or .avi belong to other pictures.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q decord2==3.4.0 av==18.1.0 numpy==2.4.6
cat > make.py <<'PY'
import sys
import numpy as np
for k in range(60):  # eight blocks: the bits of the frame's number
    picture = np.zeros((96, 160, 3), np.uint8)
    for bit in range(8):
        picture[:, bit * 20 : bit * 20 + 20] = 235 if k >> bit & 1 else 20
    sys.stdout.buffer.write(picture.tobytes())
PY
for name in ts.ts avi.avi mp4.mp4; do
    v/bin/python make.py | ffmpeg -y -v error -f rawvideo -pix_fmt rgb24 -s 160x96 -r 25 -i - \
        -c:v libx264 -pix_fmt yuv420p -g 12 -sc_threshold 0 $name
done
v/bin/python - <<'PY'
import av, decord, numpy as np
decord.logging.set_level(decord.logging.QUIET)
def number(x):
    return sum(1 << b for b in range(8) if x[20:76, b * 20 + 6 : b * 20 + 14].mean() > 128)
seen = {}
for name in ("ts.ts", "avi.avi", "mp4.mp4"):
    with av.open(name) as c:
        assert [number(f.to_ndarray(format="rgb24")) for f in c.decode(video=0)] == list(range(60))
    reader = decord.VideoReader(name)
    order = [number(reader[k].asnumpy()) for k in range(len(reader))]
    reader, ks = decord.VideoReader(name), np.random.default_rng(0).permutation(60).tolist()
    wrong = {k: v for k in ks if (v := number(reader[k].asnumpy())) != k}
    print(name, len(order), "in order", order[:4], "...", order[-3:], "| at random", len(wrong), "wrong", dict(sorted(wrong.items())[:4]))
    seen[name] = (order, wrong)
assert seen["ts.ts"][0][:4] == [12, 13, 14, 15] and len(seen["ts.ts"][1]) == 60
assert seen["avi.avi"][0] == list(range(60)) and seen["avi.avi"][1] .keys() == set(range(12, 60))
assert seen["mp4.mp4"] == (list(range(60)), {})
print("as described")
PY
