#!/usr/bin/env bash
# decord2 turns a small portrait clip into pictures with four channels, sheared.
#
# Guess before the run: a clip with a rotation of 90 degrees comes out upright, (H, W, 3), as one of 180 does.
# Seen, decord2 3.4.0:
#   160 x 96 stored, rotation 90:  vr[0].shape == (160, 96, 4), and the numbers are not the picture
#                                  (mean difference from the upright picture about 100 of 255)
#   176 x 144 stored, rotation 90: (176, 144, 4), likewise
#   320 x 180 stored, rotation 90: (320, 180, 3), right
#   160 x 96 stored, rotation 180: (96, 160, 3), right
# The number of channels is the padded length of a row divided by the width: 3 x 96 bytes are padded to 384 = 4 x 96,
# and 3 x 144 to 576 = 4 x 144. get_batch raises on such a clip; single frames do not.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q decord2==3.4.0 av==18.1.0 numpy==2.4.6
v/bin/python - <<'PY'
import subprocess
import av, decord, numpy as np
decord.logging.set_level(decord.logging.QUIET)
for (w, h), turn, channels in (((160, 96), 90, 4), ((176, 144), 90, 4), ((320, 180), 90, 3), ((160, 96), 180, 3)):
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-f", "lavfi", "-i", f"testsrc=s={w}x{h}:r=25:d=0.2",
                    "-c:v", "libx264", "-pix_fmt", "yuv420p", "flat.mp4"], check=True)
    # What a phone writes: the pictures lie, and a matrix says how to turn them
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", "flat.mp4", "-c", "copy",
                    "-metadata:s:v:0", f"rotate={turn}", "phone.mp4"], check=True)
    got = decord.VideoReader("phone.mp4")[0].asnumpy()
    with av.open("phone.mp4") as c:
        frame = next(c.decode(video=0))
        true = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    off = np.abs(got[..., :3].astype(int) - true).mean()
    print((w, h), turn, "decord", got.shape, "upright", true.shape, "mean difference", round(off, 1))
    assert got.shape == (*true.shape[:2], channels) and (off > 50) == (channels == 4)
print("as described")
PY
