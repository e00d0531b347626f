#!/usr/bin/env bash
# FiftyOne's metadata promises frames that a video does not have, and the size of a phone's clip before it is turned.
#
# Guess before the run: total_frame_count is what decoding gives, and (frame_width, frame_height) is what is shown.
# Seen, FiftyOne 1.22.1, on a file of each kind (decoded by PyAV 18.1.0):
#   30, then 15 frames a second, WebM    decoded 300, metadata 398 (the length in seconds times the higher rate)
#   cut without encoding anew, mp4       decoded 217, metadata 240 (with the frames before the cut)
#   stored 160 x 96, turned by 90, mp4   shown 96 x 160, metadata 160 x 96
# Masks exported for "every frame", or resized to "the video's size", go by these numbers.
set -euo pipefail
command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q fiftyone==1.22.1 av==18.1.0 numpy==2.4.6
quiet=(-y -v error)
ffmpeg "${quiet[@]}" -f lavfi -i testsrc=s=160x96:r=30:d=6.66 -f lavfi -i testsrc=s=160x96:r=15:d=6.66 \
    -filter_complex "[0:v][1:v]concat=n=2:v=1" -fps_mode vfr -c:v libvpx-vp9 -deadline realtime -cpu-used 8 phone.webm
ffmpeg "${quiet[@]}" -f lavfi -i testsrc=s=160x96:r=25:d=12 -c:v libx264 -pix_fmt yuv420p -g 30 whole.mp4
ffmpeg "${quiet[@]}" -ss 3.3 -i whole.mp4 -c copy cut.mp4
ffmpeg "${quiet[@]}" -i whole.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4
# No database is asked; without this, one would be started
FIFTYONE_DATABASE_URI=mongodb://127.0.0.1:1 FIFTYONE_DO_NOT_TRACK=true v/bin/python - <<'PY'
import av
from fiftyone.core.metadata import VideoMetadata
seen = {}
for name in ("phone.webm", "cut.mp4", "turned.mp4"):
    m = VideoMetadata.build_for(name)
    with av.open(name) as c:
        frames = list(c.decode(video=0))
    seen[name] = (len(frames), m.total_frame_count)
    print(name, "decoded", len(frames), "metadata", m.total_frame_count, "size", (m.frame_width, m.frame_height),
          "to be turned by", abs(frames[0].rotation))
    turned = abs(frames[0].rotation) == 90
    assert turned == (name == "turned.mp4") and (m.frame_width, m.frame_height) == (160, 96)
assert seen["phone.webm"][0] == 300 and seen["phone.webm"][1] > 390
assert seen["cut.mp4"] == (217, 240) and seen["turned.mp4"] == (300, 300)
print("as described")
PY
