#!/usr/bin/env bash
# FFmpeg's Theora decoder gives other pictures after a seek when it has four threads, and no error.
#
# Guess before the run: the number of threads changes the speed, never the pixels.
# Seen, PyAV 18.1.0 (FFmpeg inside), Ogg with Theora and Vorbis made by the system's ffmpeg: of 360 frames sought
# at random and compared with the same frames decoded from the start,
#   1 thread: 0 other, 2 threads: 0 other, 4 threads: about 16 other (3, 5 and 8 of 120)
# How many varies from run to run; with one thread it is always none.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q av==18.1.0 numpy==2.4.6
ffmpeg -y -v error -f lavfi -i testsrc2=s=320x192:r=25:d=5 -f lavfi -i sine=d=5 \
    -c:v libtheora -g 30 -b:v 400k -c:a libvorbis t.ogv
v/bin/python - <<'PY'
import av, numpy as np
def opened(threads):
    container = av.open("t.ogv")
    stream = container.streams.video[0]
    stream.thread_count, stream.thread_type = threads, "AUTO"
    return container, stream
container, stream = opened(1)
true = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
def others(threads, seed):
    container, stream = opened(threads)
    count = 0
    for k in np.random.default_rng(seed).integers(0, len(true), 120):
        container.seek(int(k / 25 / stream.time_base), stream=stream, backward=True)
        frame = next(f for f in container.decode(stream) if f.time is not None and f.time >= k / 25 - 1e-3)
        count += not np.array_equal(frame.to_ndarray(format="rgb24"), true[round(frame.time * 25)])
    return count
found = {threads: [others(threads, seed) for seed in range(3)] for threads in (1, 2, 4)}
print("other pictures of 120, three times, by number of threads:", found)
assert not any(found[1]) and not any(found[2]) and any(found[4])
print("as described")
PY
