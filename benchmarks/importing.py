"""Speed and memory of importing a benchmark: this project against a plain loop.

    python benchmarks/importing.py [--videos 2000] [--frames 8]

A benchmark in the layout of MeViS is made: videos of tiny images (a size that a benchmark has can
be chosen with --size), with two objects each. It is imported as a whole, and the plain loop (masks
from ``json.load``, an ``fo.Sample`` with an ``fo.Frame`` for each frame, ``dataset.add_sample``)
imports its first videos; what counts is the time for each video. The datasets are temporary, in
the database that FiftyOne is configured to use, and deleted at the end.
"""

import argparse
import gc
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import fiftyone as fo
import numpy as np
from peak_memory import peak
from PIL import Image

from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.masks.rle import decode_masks, encode_masks


def write_layout(root, videos, frames, size):
    """All videos share one image, by hard links, and the same masks under other names."""
    width, height = size
    folder = root / "train"
    (folder / "JPEGImages").mkdir(parents=True)
    image = root / "image.jpg"
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(image)
    y, x = np.mgrid[:height, :width]
    radius = height / 6
    tracks = []
    for row in (0.3, 0.7):
        centers = [(width * (0.2 + 0.6 * k / frames), height * row) for k in range(frames)]
        discs = [(x - cx) ** 2 + (y - cy) ** 2 < radius**2 for cx, cy in centers]
        tracks.append(encode_masks(np.stack(discs)))
    meta = {}
    names = [f"{k:05d}" for k in range(frames)]
    with (folder / "mask_dict.json").open("w") as file:
        for v in range(videos):
            path = folder / "JPEGImages" / f"video{v:05d}"
            path.mkdir()
            for name in names:
                os.link(image, path / f"{name}.jpg")
            for i, track in enumerate(tracks):
                file.write(f'{", " if v or i else "{"}"{2 * v + i}": {json.dumps(track)}')
            expressions = {
                str(i): {"exp": f"disc {i} that moves", "obj_id": [i], "anno_id": [2 * v + i]}
                for i in range(2)
            }
            meta[f"video{v:05d}"] = {"expressions": expressions, "frames": names}
        file.write("}")
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": meta}))


def plain_loop(root, count):
    """What one would write first."""
    folder = root / "train"
    masks = json.loads((folder / "mask_dict.json").read_text())
    meta = json.loads((folder / "meta_expressions.json").read_text())["videos"]
    dataset = fo.Dataset()
    started = time.perf_counter()  # reading the files is not what is compared
    for name, video in list(meta.items())[:count]:
        images = folder / "JPEGImages" / name
        with Image.open(images / f"{video['frames'][0]}.jpg") as image:
            size = image.size
        sample = fo.Sample(str(images / "%05d.jpg"), media_type="video", video_name=name)
        instances = [fo.Instance(), fo.Instance()]
        tracks = [masks[str(e["anno_id"][0])] for e in video["expressions"].values()]
        for k in range(len(video["frames"])):
            detections = []
            for i, track in enumerate(tracks):
                (mask,) = decode_masks([track[k]], size)
                detection = fo.Detection.from_mask(mask, label="object", index=i + 1)
                detection.instance = instances[i]
                detections.append(detection)
            sample.frames[k + 1] = fo.Frame(ground_truth=fo.Detections(detections=detections))
        dataset.add_sample(sample)
    return time.perf_counter() - started, dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 48), metavar=("W", "H"))
    parser.add_argument("--plain-videos", type=int, default=200)
    args = parser.parse_args()
    print(
        f"{args.videos} videos of {args.frames} frames of {args.size[0]} x {args.size[1]}, "
        f"FiftyOne {fo.__version__}, {os.cpu_count()} cores ({platform.machine()})"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_layout(root, args.videos, args.frames, args.size)
        megabytes = (root / "train" / "mask_dict.json").stat().st_size / 2**20
        print(f"mask_dict.json: {megabytes:.0f} MiB; memory before: {peak():.0f} MiB")
        name, options = fo.get_default_dataset_name(), {"persistent": False, "progress": False}
        seconds, tenth = {}, max(args.videos // 10, 1)
        for title, videos in {"a tenth": tenth, "all": None, "all again": None}.items():
            started = time.perf_counter()
            import_benchmark(
                "mevis", root, "train", dataset_name=name, max_videos=videos, **options
            )
            seconds[title] = time.perf_counter() - started
            print(f"  import of {title:10s} {seconds[title]:7.2f} s   peak {peak():.0f} MiB")
        dataset = fo.load_dataset(name)
        frames = args.videos * args.frames
        assert dataset.count("frames.ground_truth.detections") == 2 * frames
        dataset.delete()
        each = (seconds["a tenth"] + seconds["all"]) / args.videos

        count = min(args.plain_videos, args.videos)
        plain, dataset = plain_loop(root, count)
        print(f"  plain loop over {count}   {plain:7.2f} s   peak {peak():.0f} MiB")
        print(
            f"for each video {1000 * each:.1f} ms against {1000 * plain / count:.1f} ms: "
            f"{plain / count / each:.1f} times as fast"
        )
        gc.collect()  # FiftyOne cannot delete a dataset of image patterns while samples are held
        dataset.delete()


if __name__ == "__main__":
    main()
