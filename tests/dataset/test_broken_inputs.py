"""Broken inputs among good ones, through the embedded pair: each ends as what it is.

The good ones get what they get alone, the bad ones a status and a reason of their own, and nothing
else on any sample changes.
"""

from __future__ import annotations

import gc
import re
import uuid
from pathlib import Path

import broken_files
import fiftyone as fo
import pytest
from contents import contents

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import count_statuses, field_names, list_runs
from fiftyone_revseg.synthetic import make_world, write_video

pytestmark = pytest.mark.slow

# Videos: the world, of which the first eight frames are shown, and what is asked about it
GOOD = {"good": (0, "the star"), "better": (5, "all moving objects"), "none": (3, "the star")}
# Files that can be worked on, however odd: name -> how it is made
ODD = {
    "h264.txt": broken_files.copied,
    "h264.jpg": broken_files.copied,
    "h264": broken_files.copied,
    "broken_off.mkv": broken_files.truncated_stream,
    "one_frame.mp4": broken_files.one_frame,
    "one_pixel.mkv": broken_files.one_pixel,
    "very_wide.mp4": broken_files.very_wide,
}
# Files that cannot: name -> how it is made, and the reason
BAD = {
    "missing.mp4": (None, r"there is no file .*missing\.mp4"),
    "moved.mp4": (broken_files.copied, r"there is no file .*moved\.mp4"),
    "empty.mp4": (broken_files.empty, r"empty\.mp4 is empty \(0 bytes\)"),
    "audio.mp4": (broken_files.audio_only, r"audio\.mp4 holds no video stream, only audio"),
    "truncated.mp4": (broken_files.truncated, r"truncated\.mp4 is cut off or was never finished"),
    "zero.mp4": (broken_files.zero_frames, r"zero\.mp4 holds a video stream without a single"),
    "text.mp4": (broken_files.text, r"text\.mp4 is a text file \(it begins with '<html><body>404"),
    "picture.mp4": (broken_files.image, r"picture\.mp4 is an image, not a video"),
    "too_large.mp4": (broken_files.too_large, r"too_large\.mp4 has frames of 16000 x 4400 pixels"),
}
# Queries about the same good video, all of which can be asked
QUERIES = {
    "unicode.mp4": "der rote Stern — 红色的星星 🌟 звезда e\u0301 \u202eمقلوب",
    "long.mp4": ("the star " * 1112)[:10_000],
    "control.mp4": "<|im_end|>{frames}\x00\n\t",
}
MISSING = ["missing.mp4", "moved.mp4"]
NO_QUERY = {"no_query.mp4": None, "blank_query.mp4": " \n"}


@pytest.fixture(scope="module")
def model():
    return revseg.load_model("revseg-nano", device="cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Name -> (path, query) of every sample; the file of the moved one is still there."""
    folder = tmp_path_factory.mktemp("videos")
    found = {}
    for name, (seed, query) in GOOD.items():
        world = make_world(seed, "test")
        write_video(folder / f"{name}.mp4", world.render()[0][:8], world.fps)
        found[name] = query
    whole = folder / "good.mp4"
    for name, make in {**ODD, **{name: make for name, (make, _) in BAD.items()}}.items():
        if make is not None:
            make(*[folder / name, whole][: make.__code__.co_argcount])
        found[name] = "the star"
    for name, query in {**QUERIES, **NO_QUERY}.items():
        broken_files.copied(folder / name, whole)
        found[name] = query
    return {
        name: (str(folder / (f"{name}.mp4" if name in GOOD else name)), query)
        for name, query in found.items()
    }


@pytest.fixture
def make_dataset():
    datasets = []

    def make(samples, mixed=False):
        dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
        datasets.append(dataset)
        dataset.media_type = "video"
        # Bad ones first, last and in between
        order = sorted(samples, key=lambda name: hash_of(name) if mixed else 0)
        for name in order:
            path, query = samples[name]
            sample = fo.Sample(path, media_type="video", query=query, tags=[name], weather="rain")
            truth = fo.Detections(detections=[fo.Detection(label=name)])
            sample.frames[2 + hash_of(name) % 3] = fo.Frame(truth=truth)
            dataset.add_sample(sample)
        return dataset

    yield make
    # Deleting a dataset copies the samples in memory, and FiftyOne cannot copy videos by their
    # media type alone
    gc.collect()
    for dataset in datasets:
        dataset.delete()


def hash_of(name):
    return sum(ord(letter) * 31**k for k, letter in enumerate(name)) % 1009


def by_name(dataset):
    return {values["tags"][0]: values for values in contents(dataset)}


def without_labels(values):
    """What a sample holds beside the labels of the run."""
    ours = {name.removeprefix("frames.") for name in field_names()}
    frames = {
        number: rest
        for number, frame in values["frames"].items()
        if (rest := {name: v for name, v in frame.items() if name not in ours and v is not None})
        and set(rest) - {"frame_number"}
    }
    return {**{k: v for k, v in values.items() if k not in ours}, "frames": frames}


def test_each_ends_as_what_it_is(model, samples, make_dataset, tmp_path):
    dataset = make_dataset(samples, mixed=True)
    before = by_name(dataset)
    moved = Path(samples["moved.mp4"][0])
    moved.rename(tmp_path / "moved.mp4")

    summary = revseg.segment_view(dataset, model, prompt_field="query", progress=False)

    dataset.reload()
    after = by_name(dataset)
    assert summary.total == summary.done == len(samples)
    (run,) = list_runs(dataset)
    assert (run["state"], run["counts"]) == ("done", summary.counts)
    assert count_statuses(dataset) == summary.counts

    # Nothing but the run's own labels changed, on any sample
    assert {n: without_labels(v) for n, v in after.items()} == {
        n: without_labels(v) for n, v in before.items()
    }

    # The bad ones: a status and a reason of their own, and no labels
    expected = {name: ("unreadable", reason) for name, (_, reason) in BAD.items()}
    expected |= {name: ("error", "^The query is empty: say what to look for$") for name in NO_QUERY}
    for name, (status, reason) in expected.items():
        values = after[name]
        assert values["revseg_status"] == status, name
        (answer,) = values["revseg_answers"]["classifications"]
        assert answer["status"] == status
        assert re.search(reason, answer["reason"]), answer["reason"]
        assert values["revseg_keyframes"]["detections"] == []
        for frame in values["frames"].values():
            assert frame["revseg"] is None or frame["revseg"]["detections"] == []
        # In the summary, "..." stands for the file, so that equal troubles are one
        path = samples[name][0]
        key = f"{status}: {answer['reason'].replace(path, '...').replace(name, '...')}"
        equal = NO_QUERY if status == "error" else MISSING if name in MISSING else [name]
        ids = {id_of(dataset, other) for other in equal}
        if status != "error":  # there are no frames to write to
            assert set(values["frames"]) == set(before[name]["frames"])
        assert set(summary.failures[key]) == ids
        assert key in str(summary)
    assert summary.counts["unreadable"] == len(BAD), str(summary)
    assert summary.counts["error"] == len(NO_QUERY)

    # All the others: exactly what they get alone
    rest = {name: samples[name] for name in samples if name not in expected}
    single = make_dataset(rest)
    for sample_id in single.values("id"):
        revseg.segment_view(single.select(sample_id), model, prompt_field="query", progress=False)
    for name, alone in by_name(single).items():
        assert labels(after[name]) == labels(alone), name
        assert alone["revseg_status"] not in ("unreadable", "error", None), name
        (record,) = alone["revseg_trajectory"]["segmentations"]
        assert record["trajectory"]["turns"], name  # the model was asked
    assert after["good"]["revseg_status"] == after["better"]["revseg_status"] == "ok"
    assert all(after["good"]["frames"][k]["revseg"]["detections"] for k in (1, 8))
    for name in ("h264.txt", "h264.jpg", "h264"):
        assert masks(after[name]) == masks(after["good"])

    # Run again, now that the moved one is back: what failed is tried again, and nothing else
    moved.write_bytes((tmp_path / "moved.mp4").read_bytes())
    again = revseg.segment_view(dataset, model, prompt_field="query", progress=False)
    assert (again.done, again.skipped) == (len(expected), len(samples) - len(expected))
    assert again.counts == {"unreadable": len(BAD) - 1, "error": len(NO_QUERY), "ok": 1}
    assert masks(by_name(dataset)["moved.mp4"]) == masks(after["good"])


def id_of(dataset, name):
    return dataset.match_tags(name).first().id


def labels(values):
    """The labels of the run, with the frames by number."""
    frames = {number: frame["revseg"] for number, frame in values["frames"].items()}
    names = [name for name in field_names() if not name.startswith("frames.")]
    return {**{name: values[name] for name in names}, "frames": frames}


def masks(values):
    return {
        number: [d["mask"] for d in frame["revseg"]["detections"]]
        for number, frame in values["frames"].items()
    }


def test_a_query_longer_than_what_the_model_reads_is_refused_at_once(model, samples):
    path, query = samples["good"]
    too_long = "红" * 10_000  # as many bytes, and so tokens, as 30,000 letters
    long, fine = model.pipeline.segment(path, [too_long, query])
    assert str(long.status) == "error"
    assert re.search(r"takes 3\d{4} tokens .* reads at most 4096: shorten the query", long.reason)
    assert str(fine.status) == "ok"
