#!/usr/bin/env bash
# A decoded frame can be wider than its stream: FFmpeg leaves a crop at the left out where it is not aligned.
#
# Guess before the run: frame.width == stream.width for every frame of a file with one size, and a crop that the
# stream declares is applied wholly or not at all.
# Seen, PyAV 18.1.0 (FFmpeg inside), HEVC of 160 x 96 whose header crops 16 columns at the left and 8 rows at the top:
#   stream 144 x 88, decoded frames 160 x 88: the rows are gone, the columns are there, without a word.
#   OpenCV 5.0.0 (its own FFmpeg) gives 144 x 88. A box in pixels is off by 16 between the two.
# With the flag "unaligned" of the decoder, PyAV gives 144, too. The same with H.264, and with a crop of 2 or 32 columns.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
ffmpeg -y -v error -f lavfi -i testsrc=s=160x96:r=25:d=0.4 -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p whole.mp4
ffmpeg -y -v error -i whole.mp4 -c copy -bsf:v hevc_metadata=crop_left=16:crop_top=8 cropped.mp4
v/bin/python - <<'PY'
import av, cv2, numpy as np
def first(path):
    with av.open(path) as c:
        s = c.streams.video[0]
        return (s.width, s.height), next(c.decode(s)).to_ndarray(format="rgb24")
_, whole = first("whole.mp4")
size, cropped = first("cropped.mp4")
other = cv2.VideoCapture("cropped.mp4").read()[1]
print("stream", size, "frame", cropped.shape[1::-1], "OpenCV", cv2.__version__, other.shape[1::-1])
assert size == (144, 88) and cropped.shape == (88, 160, 3)
assert (cropped == whole[8:]).all()  # the columns that the header hides
assert other.shape == (88, 144, 3)
print("as described")
PY
