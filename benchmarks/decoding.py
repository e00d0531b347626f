"""Speed of reading frames: this project against OpenCV and against PyAV from the start.

    python benchmarks/decoding.py [VIDEO]

Without a video, one is rendered with FFmpeg. All readers run in turn, several times, in the same
process; the best time of each counts, and the ratios are what to look at.
"""

import argparse
import random
import subprocess
import tempfile
import time
from pathlib import Path

from fiftyone_revseg.video import open_video


def ours(path, indices, decoder=None):
    with open_video(path, decoder=decoder) as video:
        for k in indices:
            video[k]


def opencv(path, indices):
    import cv2

    capture = cv2.VideoCapture(path)
    for k in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, k)
        cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()


def pyav_from_start(path, indices):
    import av

    for k in indices:
        with av.open(path) as container:
            container.streams.video[0].thread_type = "AUTO"
            for i, frame in enumerate(container.decode(video=0)):
                if i == k:
                    frame.to_ndarray(format="rgb24")
                    break


def walk(path, step, decoder=None):
    with open_video(path, decoder=decoder) as video:
        for _ in video.walk(0 if step == 1 else len(video) - 1, step):
            pass


def opencv_walk(path):
    import cv2

    capture = cv2.VideoCapture(path)
    while True:
        good, frame = capture.read()
        if not good:
            break
        cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()


def best_of(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def render(folder):
    path = str(Path(folder) / "video.mp4")
    source = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=12"]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "100", "-preset", "fast"]
    subprocess.run(["ffmpeg", "-y", "-v", "error", *source, *codec, path], check=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", help="a video file; rendered if left out")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(args.video or render(folder), args.repeats)


def compare(path, repeats):
    with open_video(path) as video:
        print(f"{video}; key frames: {len(video._source.key_frames)}; {video.why_decoder}")
        sampled = video.sample(16).indices
        scattered = random.Random(0).sample(range(len(video)), min(16, len(video)))
    tasks = {
        "16 sampled frames": {
            "ours": lambda: ours(path, sampled),
            "ours, PyAV only": lambda: ours(path, sampled, "pyav"),
            "OpenCV seeking": lambda: opencv(path, sampled),
            "PyAV from start": lambda: pyav_from_start(path, sampled),
        },
        "16 random frames": {
            "ours": lambda: ours(path, scattered),
            "ours, PyAV only": lambda: ours(path, scattered, "pyav"),
            "OpenCV seeking": lambda: opencv(path, scattered),
            "PyAV from start": lambda: pyav_from_start(path, scattered),
        },
        "all frames": {
            "ours, forward": lambda: walk(path, 1),
            "ours, backward": lambda: walk(path, -1),
            "PyAV only, forward": lambda: walk(path, 1, "pyav"),
            "PyAV only, backward": lambda: walk(path, -1, "pyav"),
            "OpenCV, forward": lambda: opencv_walk(path),
        },
    }
    for task, readers in tasks.items():
        print(f"\n{task:22s} seconds   times ours")
        times = {name: best_of(reader, repeats) for name, reader in readers.items()}
        first = next(iter(times.values()))
        for name, seconds in times.items():
            print(f"  {name:20s} {seconds:7.2f}   {seconds / first:6.2f}")


if __name__ == "__main__":
    main()
