#!/usr/bin/env bash
# Frames of H.264 with B-frames in ASF (.asf, .wmv) come out with the times of decoding.
#
# Guess before the run: frame.time of decoded frames increases, as with the same pictures in mp4.
# Seen, PyAV 18.1.0 and the system's ffmpeg as the writer, 25 frames a second:
#   mp4: 0.00 0.04 0.08 0.12 0.16 ...    asf: 0.04 0.08 0.16 0.12 0.20 0.24 0.32 0.28 ...
# The packets' stamps in ASF increase in the order of decoding; the pictures come out in the right order, and
# their stamps not. Who sorts frames by time, or looks one up by it, swaps neighbours.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q av==18.1.0 numpy==2.4.6
for name in a.asf a.mp4; do
    ffmpeg -y -v error -f lavfi -i testsrc=s=160x96:r=25:d=2 -c:v libx264 -pix_fmt yuv420p -bf 3 $name
done
v/bin/python - <<'PY'
import av, numpy as np
times, pictures = {}, {}
for name in ("a.asf", "a.mp4"):
    with av.open(name) as container:
        frames = list(container.decode(video=0))
    times[name] = [round(frame.time, 3) for frame in frames]
    pictures[name] = [frame.to_ndarray(format="rgb24") for frame in frames]
    print(name, len(frames), times[name][:8])
assert times["a.mp4"] == sorted(times["a.mp4"]) and times["a.asf"] != sorted(times["a.asf"])
assert all(np.array_equal(a, b) for a, b in zip(*pictures.values(), strict=True))
print("as described")
PY
