"""The engine against the straightforward sequential loop, and against one video after the other.

All runs get the same videos and queries, in turn and several times, in one process: other work on
the machine then slows all of them alike. Time on the clock, CPU time and the ratios are shown, with
where the engine's time goes and what memory it takes.

* ``sequential``: for each (video, query), both turns with transformers' ``generate``, one dialogue
  at a time; then sam2's own ``SAM2VideoPredictor``, all frames loaded up front, forward and then
  backward; torch with all its threads
* ``one by one``: ``RevSeg.segment`` for each video, likewise
* ``engine``: ``LocalEngine`` over all videos; the same number of threads in all

    python benchmarks/engine.py                                   # embedded pair on a CPU
    python benchmarks/engine.py --videos 8 --repeats 1            # in miniature
    python benchmarks/engine.py --scaling --memory                # and how it scales
    python benchmarks/engine.py --device cuda --full-size         # sizes of Qwen2.5-VL 7B, SAM2.1 L
    python benchmarks/engine.py --full-size --tiny --videos 2     # the same, to see that it works

What no engine can do without is counted by ``engine_floor.py``.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class Forwards:
    """Measures what the models' forward passes take: CPU time, and when any of them runs."""

    def __init__(self):
        self.cpu = defaultdict(float)
        self.busy = 0.0
        self._running, self._since = 0, 0.0
        self._lock = threading.Lock()
        self._depth = threading.local()

    @contextmanager
    def __call__(self, name):
        depth = getattr(self._depth, "value", 0)
        if depth:  # inside another one
            yield
            return
        self._depth.value = 1
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._since = time.perf_counter()
        started = time.thread_time()
        try:
            yield
        finally:
            self._depth.value = 0
            with self._lock:
                self.cpu[name] += time.thread_time() - started
                self._running -= 1
                if not self._running:
                    self.busy += time.perf_counter() - self._since

    def watch(self, owner, method, name):
        original = getattr(owner, method)

        @functools.wraps(original)  # transformers looks at the parameters
        def watched(*args, **kwargs):
            with self(name):
                return original(*args, **kwargs)

        setattr(owner, method, watched)

    @contextmanager
    def of(self, pipeline):
        """Watches the models of a pipeline meanwhile."""
        vlm, sam2 = model_of(pipeline).model, pipeline.tracker.model
        watched = [
            (vlm.model.language_model, "forward", "language model"),
            (vlm.get_output_embeddings(), "forward", "language model"),
            (vlm.model.visual, "forward", "vision tower"),
            (sam2, "forward_image", "image encoder"),
            (sam2, "_track_step", "mask decoder with memory"),
            (sam2, "_encode_memory_in_output", "memory encoder"),
        ]
        for owner, method, name in watched:
            self.watch(owner, method, name)
        try:
            yield self
        finally:
            for owner, method, _ in watched:
                delattr(owner, method)


# ---- what is measured -------------------------------------------------------------------------


def sequential(pipeline, predictor, jobs):
    """Transformers one dialogue at a time, then sam2's own predictor."""
    from fiftyone_revseg.reasoning import ChainRequest, run_chain
    from fiftyone_revseg.tracking import encode_masks
    from fiftyone_revseg.video import open_video

    answers = []
    for path, queries in jobs:
        for query in queries:
            with open_video(path) as video:
                table = video.sample(pipeline.spec.frames)
                images = video.frames(table.indices)
                request = ChainRequest(query, table, images, video.__getitem__, video.size)
                (trajectory,) = run_chain(pipeline.reasoner, pipeline.spec, [request], 1)
                masks = [[None] * len(video) for _ in trajectory.choices]
            together = {}
            for i, grounding in enumerate(trajectory.groundings):
                if grounding is not None:
                    boxes = together.setdefault(trajectory.key_frames[i], {})
                    boxes[i] = grounding.box_xyxy_px
            with pipeline.tracker._computing():  # in the tracker's precision
                state = predictor.init_state(str(path)) if together else None
                for key_frame, boxes in together.items():
                    predictor.reset_state(state)
                    for i, box in boxes.items():
                        predictor.add_new_points_or_box(state, key_frame, i, box=np.array(box))
                    for reverse in (False, True):
                        for k, ids, logits in predictor.propagate_in_video(
                            state, start_frame_idx=key_frame, reverse=reverse
                        ):
                            rles = encode_masks((logits[:, 0] > 0).cpu().numpy())
                            for i, rle in zip(ids, rles, strict=True):
                                masks[i][k] = rle
            answers.append((str(trajectory.status), boxes_of(trajectory), masks))
    return answers


def model_of(pipeline):
    """The reasoner with the model, which may be behind stand-in replies."""
    return getattr(pipeline.reasoner, "reasoner", pipeline.reasoner)


@contextmanager
def remembering_nothing(local):
    """Has a reasoner read and look at all of each dialogue meanwhile, by plain ``generate``."""
    from fiftyone_revseg.reasoning.seen_images import SeenImages

    kept = local._decoder, local._seen
    local._decoder, local._seen = None, SeenImages(local.model, held_bytes=0)
    try:
        yield
    finally:
        local._decoder, local._seen = kept


def one_by_one(pipeline, jobs):
    model_of(pipeline).forget()  # what another run may have left
    answers = []
    for path, queries in jobs:
        answers += [plain(answer) for answer in pipeline.segment(path, queries)]
    return answers


def with_engine(pipeline, jobs, **options):
    from fiftyone_revseg.engine import EngineJob, LocalEngine

    model_of(pipeline).forget()
    engine = LocalEngine(pipeline, **options)
    todo = [EngineJob(path, tuple(queries), key=i) for i, (path, queries) in enumerate(jobs)]
    answered = {job.key: answers for job, answers in engine.run(todo)}
    return [plain(answer) for i in range(len(todo)) for answer in answered[i]]


def boxes_of(trajectory):
    return [g and g.box_xyxy_px for g in trajectory.groundings]


def plain(answer):
    masks = [track.rles if track else [None] * answer.frame_count for track in answer.tracks]
    return str(answer.status), boxes_of(answer.trajectory), masks


def make_predictor(tracker):
    """sam2's own predictor with the tracker's weights, and frames resized as the tracker does."""
    import sam2.sam2_video_predictor as module
    import torch

    from fiftyone_revseg.tracking.preprocess import to_model_images
    from fiftyone_revseg.video import open_video

    def load_up_front(video_path, image_size, offload_video_to_cpu, *_, compute_device=None, **__):
        with open_video(video_path) as video:
            frames = [frame for _, frame in video.walk(0)]
            width, height = video.size
        return to_model_images(frames, image_size, compute_device or "cpu"), height, width

    module.load_video_frames = load_up_front
    module.tqdm = lambda items, **_: items
    predictor = module.SAM2VideoPredictor.__new__(module.SAM2VideoPredictor)
    torch.nn.Module.__init__(predictor)
    predictor.__dict__.update(tracker.model.__dict__)  # the same weights
    defaults = {
        "fill_hole_area": 0,
        "non_overlap_masks": False,
        "clear_non_cond_mem_around_input": False,
        "add_all_frames_to_correct_as_cond": False,
    }
    for name, value in defaults.items():
        setattr(predictor, name, value)
    return predictor


# ---- results ----------------------------------------------------------------------------------


def agreement(ours, theirs, sizes):
    """How much two lists of answers have in common."""
    from fiftyone_revseg.tracking import decode_masks

    same_status = same_boxes = 0
    ious = []
    compared = [three for three in zip(ours, theirs, sizes, strict=True) if three[1] is not None]
    for (status, boxes, masks), (other, other_boxes, other_masks), size in compared:
        same_status += status == other
        same_boxes += boxes == other_boxes
        for track, other_track in zip(masks, other_masks, strict=False):
            for rle, other_rle in zip(track, other_track, strict=False):
                if rle == other_rle:
                    if rle is not None:
                        ious.append(1.0)
                    continue
                a, b = decode_masks([rle, other_rle], size)
                ious.append((a & b).sum() / (a | b).sum())
    return {
        "answers": len(compared),
        "same status": same_status,
        "same boxes": same_boxes,
        "masks": len(ious),
        "equal masks": float(np.mean(np.array(ious) == 1)) if ious else 1.0,
        "mean IoU": float(np.mean(ious)) if ious else 1.0,
        "least IoU": float(np.min(ious)) if ious else 1.0,
    }


def measure(function):
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def make_jobs(folder, videos, queries, frames=None):
    """Rendered videos with their queries, as (path, queries), and the size of each answer."""
    from fiftyone_revseg.synthetic import make_world, write_video
    from fiftyone_revseg.synthetic.queries import pick_queries

    jobs, sizes = [], []
    for seed in range(videos):
        world = make_world(seed, "test", **({"frame_count": frames} if frames else {}))
        path = Path(folder) / f"{seed}-{frames or 'own'}.mp4"
        if not path.exists():
            write_video(path, world.render()[0], world.fps)
        texts = [query.text for query in pick_queries(world, 100)][:queries]
        jobs.append((str(path), texts))
        sizes += [(world.width, world.height)] * len(texts)
    return jobs, sizes


def compare(pipeline, folder, args):
    """All three, in turn."""
    import torch

    predictor = make_predictor(pipeline.tracker)
    jobs, sizes = make_jobs(folder, args.videos, args.queries)
    chunk = max(1, args.videos // args.repeats)
    runs = {
        "sequential": remembering_nothing(model_of(pipeline))(
            lambda part: sequential(pipeline, predictor, part)
        ),
        "one by one": lambda part: one_by_one(pipeline, part),
        "engine": lambda part: with_engine(pipeline, part),
    }
    for run in runs.values():
        run(jobs[:1])  # what is done only once
    totals = {name: [0.0, 0.0] for name in runs}
    answers = {name: [] for name in runs}
    forwards, engine_cpu, engine_wall = Forwards(), 0.0, 0.0
    compared = 0
    for i, start in enumerate(range(0, len(jobs), chunk)):
        part = jobs[start : start + chunk]
        among = i % args.loops_every == 0
        compared += among * len(part)
        for name, run in runs.items():
            if name != "engine" and not among:
                answers[name] += [None] * sum(len(queries) for _, queries in part)
                continue
            if name == "engine":
                with forwards.of(pipeline):
                    found, wall, cpu = measure(lambda run=run, part=part: run(part))
                engine_wall, engine_cpu = engine_wall + wall, engine_cpu + cpu
            else:
                found, wall, cpu = measure(lambda run=run, part=part: run(part))
            answers[name] += found
            if among:
                totals[name][0] += wall
                totals[name][1] += cpu
            print(f"  videos {start}-{start + len(part) - 1}: {name} {wall:.1f} s, CPU {cpu:.1f} s")
    threads = torch.get_num_threads()
    print(f"\n{len(jobs)} videos, {len(sizes)} answers, {threads} threads")
    print(f"the engine alone: {engine_wall:.1f} s, {3600 * len(jobs) / engine_wall:.0f} videos/h")
    print(f"all three, with {compared} of the videos\n")
    print(f"{'':12}{'clock':>9}{'CPU':>9}{'videos/h':>10}{'clock x':>9}{'CPU x':>9}")
    base = totals["sequential"]
    for name, (wall, cpu) in totals.items():
        print(
            f"{name:12}{wall:8.1f}s{cpu:8.1f}s{3600 * compared / wall:10.0f}"
            f"{base[0] / wall:9.2f}{base[1] / cpu:9.2f}"
        )
    print("\nthe engine's CPU time")
    for name, seconds in sorted(forwards.cpu.items(), key=lambda item: -item[1]):
        print(f"  {name:28}{seconds:8.1f}s {100 * seconds / engine_cpu:5.1f} %")
    rest = engine_cpu - sum(forwards.cpu.values())
    print(f"  {'everything else':28}{rest:8.1f}s {100 * rest / engine_cpu:5.1f} %")
    idle = engine_wall - forwards.busy
    print(f"  time on the clock without any forward pass: {100 * idle / engine_wall:.1f} %")
    agreed = {
        "engine, one by one": agreement(answers["engine"], answers["one by one"], sizes),
        "engine, sequential": agreement(answers["engine"], answers["sequential"], sizes),
    }
    for names, values in agreed.items():
        print(f"\n{names}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items()))
    return {
        "totals": totals,
        "forwards": dict(forwards.cpu),
        "engine_cpu": engine_cpu,
        "engine_wall": engine_wall,
        "without_forward": idle,
        "agreement": agreed,
    }


def scale(pipeline, folder):
    """Seconds per video, on the clock and of CPU time, as one thing grows."""
    results = {}

    def run(title, settings):
        print(f"\n{title}")
        results[title] = []
        for label, (videos, queries, frames, options) in settings.items():
            jobs, _ = make_jobs(folder, videos, queries, frames)
            _, wall, cpu = measure(lambda jobs=jobs, o=options: with_engine(pipeline, jobs, **o))
            results[title].append((label, wall / videos, cpu / videos))
            print(f"  {label:>4}: {wall / videos:6.2f} s, CPU {cpu / videos:6.2f} s per video")

    run("videos", {n: (n, 1, 24, {}) for n in (1, 4, 16)})
    run("frames", {n: (4, 1, n, {}) for n in (12, 24, 48, 96)})
    run("queries per video", {n: (4, n, 24, {}) for n in (1, 2, 4)})
    run("dialogues in a batch", {n: (8, 2, 12, {"dialogues": n}) for n in (1, 2, 4, 8, 16)})
    run("objects in a step", {n: (8, 2, 24, {"objects": n}) for n in (1, 2, 4, 8, 16)})
    return results


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scaling = results.get("scaling", {})
    rows = 2 if scaling else 1
    figure = plt.figure(figsize=(13, 3.6 * rows), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    left, right = parts[0].subplots(1, 2)
    for column, (what, offset) in enumerate((("clock", -0.2), ("CPU", 0.2))):
        values = [total[column] for total in results["totals"].values()]
        left.bar(np.arange(len(values)) + offset, values, 0.4, label=what)
    left.set_xticks(range(len(results["totals"])), results["totals"])
    left.set_ylabel("seconds")
    left.legend()
    shares = dict(results["forwards"])
    shares["everything else"] = results["engine_cpu"] - sum(shares.values())
    right.barh(list(shares), list(shares.values()))
    right.set_xlabel("seconds of CPU time in the engine")
    below = parts[1].subplots(1, len(scaling)) if scaling else []
    for i, (axes, (title, points)) in enumerate(zip(below, scaling.items(), strict=True)):
        labels, clock, cpu = zip(*points, strict=True)
        axes.plot(labels, clock, marker="o", label="clock")
        axes.plot(labels, cpu, marker="o", label="CPU")
        axes.set_xscale("log", base=2)
        axes.set_xticks(labels, labels)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel(title)
        if i == 0:
            axes.set_ylabel("seconds per video")
            axes.legend()
    figure.savefig(path, dpi=110)
    print(f"\nplot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4, help="parts that take turns")
    parser.add_argument("--loops-every", type=int, default=1, help="do every n-th part with loops")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU, in every run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="with --full-size: in miniature")
    parser.add_argument("--new-tokens", type=int, default=128, help="with --full-size")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("engine-benchmark"))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    if args.full_size:
        from engine_full_size import make_pipeline

        pipeline = make_pipeline(args.device, args.new_tokens, args.tiny)
    else:
        import fiftyone_revseg as revseg

        pipeline = revseg.load_pipeline("revseg-nano", device=args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        results = compare(pipeline, folder, args)
        if args.scaling:
            results["scaling"] = scale(pipeline, folder)
    if args.memory:
        print("\npeak memory of the process")
        from engine_memory import memory

        results["memory"] = memory()
    (args.out / "engine.json").write_text(json.dumps(results, indent=2))
    plot(results, args.out / "engine.png")


if __name__ == "__main__":
    main()
