"""Everything that the package leaves behind, stored, and compared after a change of the code.

    python benchmarks/golden.py store runs/golden      # before: about 3 minutes on one core
    python benchmarks/golden.py compare runs/golden    # after: says what differs; exit code 1 then
    python benchmarks/golden.py compare runs/golden --only segment  # things with such a name

Made-up videos, clips, groups of images and benchmarks go through the public functions and the
``revseg`` command. Of each thing that is done, one JSON file is stored: the raw documents of the
dataset, its samples, frames, runs and evaluations as the database has them, the bytes of all masks
as digests, all files that were written (texts whole, so that a difference can be read), what was
printed, and figures. Nothing inside of the package is called, so that it may be rebuilt.

What two runs that did the same differ in is put aside, and nothing else:

* ids of FiftyOne, keys of runs and random names are numbered in the order in which they appear, so
  who refers to whom is compared
* dates and seconds; in ``.revseg-written`` the digests of single files, if they are right; names of
  host and user, process ids, the port of the server, and the folders of the package and of the run
* the pixels of ``curves.png``, which draws seconds, too; its figures are in the CSV file
* the order of fields in a schema, and of tags in a model card: FiftyOne and TRL have them from sets
* ``written``, a sum over labels with their ids; that it is there is compared, and that the labels
  count as unchanged afterwards
* in the one thing that runs in batches, as large as the moment has it: differences of figures of
  less than 0.0001, and the bytes of masks

A lock makes a second golden run on the same machine wait: the folder is always the same, as digests
are stored that depend on it. With another TMPDIR, store anew.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import hashlib
import http.server
import importlib.util
import io
import itertools
import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(tempfile.gettempdir()).resolve() / "revseg-golden"
PACKAGE = os.path.dirname(importlib.util.find_spec("fiftyone_revseg").origin)
MODEL = "revseg-nano"
VIDEOS = 4
TEXTS = (".csv", ".html", ".json", ".jsonl", ".log", ".md", ".txt", ".yaml", ".jinja", "")
SECONDS = ("seconds", "process_started", "step_time")
PEOPLE = ("host", "user", "machine")
TOLERANCE = {"segment_in_batches": 1e-4}

THINGS: list[tuple[str, Callable[[], Any]]] = []


def thing(function: Callable[[], Any]) -> Callable[[], Any]:
    """Notes a thing that is done, under the name of its function; they are done in this order."""
    THINGS.append((function.__name__, function))
    return function


# -- what is put aside ---------------------------------------------------------------------------

_NAMED = [  # what is numbered, and what its places are called
    (re.compile(r"(?<!\d)(\d{8}_\d{6}_[0-9a-f]{4})\b"), "run"),
    (re.compile(r"\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b"), "uuid"),
    (re.compile(r"(?<![0-9a-f])([0-9a-f]{24})(?![0-9a-f])"), "id"),
]
_BLANK = [  # but not "frame 3 (0.2 s)", which is a time in a video
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"(?<=\bin )\d+(\.\d+)? (s|min|h)\b( \d+ (s|min)\b)?"), "<seconds>"),
    (re.compile(r"(?<=\bin )\d+:\d\d(:\d\d)?\b"), "<seconds>"),
    (re.compile(r"\b\d+(\.\d+)? (s|min)(?= each\))"), "<seconds>"),
    (re.compile(r"(?<=mean score \d\.\d\d, )\d+(\.\d+)? s$"), "<seconds>"),
    (re.compile(r"(?<=^  seconds    ).*", re.MULTILINE), lambda line: without_figures(line[0])),
]


def without_figures(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "<seconds>", text)


class Aside:
    """Puts aside what differs between two runs that did the same. One for each thing."""

    def __init__(self, in_batches: bool = False):
        self._in_batches = in_batches
        self._names: dict[str, dict[str, str]] = {}

    def text(self, text: str) -> str:
        text = text.replace(str(ROOT), "<root>").replace(PACKAGE, "<package>")
        for pattern, name in _NAMED:
            text = pattern.sub(lambda found, name=name: self._number(name, found.group(1)), text)
        for pattern, put in _BLANK:
            text = pattern.sub(put, text)
        return text

    def value(self, value: Any, key: str = "") -> Any:
        """Plain JSON values of anything that a database or a JSON file holds."""
        from bson import ObjectId

        if isinstance(value, dict):
            items = {self.text(str(k)): v for k, v in value.items()}
            if key == "written":
                return dict.fromkeys(sorted(items), "<sum>")
            if key == "timings":
                return dict.fromkeys(sorted(items), "<seconds>")
            return {k: self.value(items[k], k) for k in sorted(items)}
        if key in PEOPLE or key == "_rand":
            return f"<{key}>"
        if isinstance(value, ObjectId):
            return self._number("id", str(value))
        if isinstance(value, datetime | date):
            return "<time>"
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return self._figure(value, key)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(v) for v in value]
        if hasattr(value, "item"):
            return self.value(value.item(), key)
        raise TypeError(f"{key} is {type(value)}: {value!r}")

    def _figure(self, value: float, key: str) -> Any:
        if key == "pid":
            return "<pid>"
        if key in SECONDS:
            return "<seconds>"
        if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        return value

    def _bytes(self, value: bytes) -> str:
        if self._in_batches:
            return "<bytes>"
        about = f"sha256 {sha(value)}"
        with contextlib.suppress(Exception):  # how FiftyOne keeps arrays
            import numpy as np

            array = np.load(io.BytesIO(zlib.decompress(value)))
            return f"{array.dtype} {array.shape}, sum {array.sum()}, {about}"
        return f"{len(value)} bytes, {about}"

    def _number(self, name: str, value: str) -> str:
        known = self._names.setdefault(name, {})
        return known.setdefault(value, f"<{name} {len(known) + 1}>")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]


# -- what is looked at ---------------------------------------------------------------------------


def documents(name: str) -> dict[str, Any]:
    """All that the database holds about a dataset."""
    import gridfs
    from fiftyone.core.odm import get_db_conn

    base = get_db_conn()
    (dataset,) = base.datasets.find({"name": name})
    samples = list(base[dataset["sample_collection_name"]].find())
    samples.sort(key=lambda d: (str(d["filepath"]), str(d["_id"])))
    for kind in ("sample_fields", "frame_fields"):
        dataset[kind] = by_name(dataset.get(kind) or [])
    found: dict[str, Any] = {"dataset": dataset, "samples": samples}
    if frames := dataset.get("frame_collection_name"):
        order = {sample["_id"]: i for i, sample in enumerate(samples)}
        rows = list(base[frames].find())
        rows.sort(key=lambda d: (order.get(d["_sample_id"], -1), d["frame_number"]))
        found["frames"] = rows
    for kind in ("runs", "evaluations", "brain_methods"):
        ids = dataset.get(kind)
        ids = list(ids.values() if isinstance(ids, dict) else ids or ())
        rows = [d for i in ids for d in base["runs"].find({"_id": i})]
        rows.sort(key=lambda d: (d["timestamp"], str(d["_id"])))
        files = gridfs.GridFS(base)
        for row in rows:
            if row.get("results") is not None:
                row["results_file"] = json.loads(files.get(row["results"]).read())
        found[kind] = rows
    ids = dataset.get("saved_views") or ()
    found["views"] = [d for i in ids for d in base["views"].find({"_id": i})]
    return found


def by_name(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    fields = [{**field, "fields": by_name(field.get("fields") or [])} for field in fields]
    return sorted(fields, key=lambda field: str(field["name"]))


def rows_of(view: Any) -> list[dict[str, Any]]:
    """The documents of the samples of a view; of clips, those that exist in the view only."""
    return [sample.to_mongo_dict() for sample in view.iter_samples()]


def files(folder: str | Path, aside: Aside, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """All files in a folder, hidden ones too: relative path -> what is in it."""
    folder = Path(folder)
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    found = {}
    for path in paths:
        relative = str(path.relative_to(folder)) if path != folder else path.name
        if not any(re.search(pattern, relative) for pattern in skip):
            found[aside.text(relative)] = content(path.name, path.read_bytes(), aside)
        if path.name == ".revseg-written" and relative in found:
            lines = path.read_text().splitlines()
            names = [line.partition("  ")[2] for line in lines]
            found[relative] = [
                aside.text(_written(path.parent, line, name in names[i + 1 :]))
                for i, (line, name) in enumerate(zip(lines, names, strict=True))
            ]
    return found


def _written(folder: Path, line: str, again: bool) -> str:
    """A line with a digest and the name of a file: whether it is the digest of that file."""
    digest, _, name = line.partition("  ")
    if not (folder / name).is_file():
        return line
    if again:
        return f"<the digest of an earlier one>  {name}"
    data = (folder / name).read_bytes()
    inner = hashlib.sha256(len(data).to_bytes(8, "big") + data).hexdigest()
    outer = hashlib.sha256(len(inner).to_bytes(8, "big") + inner.encode()).hexdigest()
    return f"<its digest>  {name}" if digest == outer else line


def content(name: str, data: bytes, aside: Aside) -> Any:
    """What is in a file."""
    suffix = Path(name).suffix.lower()
    if suffix in TEXTS:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode()
            if name == "README.md":  # the tags of a model card
                text = re.sub(r"(?m)^tags:\n(- .*\n)+", lambda tags: _in_order(tags[0]), text)
            return _text_content(suffix, text, aside)
    found: dict[str, Any] = {"bytes": len(data), "sha256": sha(data)}
    if suffix in (".png", ".jpg"):
        import numpy as np
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image)
            form = f"{image.mode} {image.size}"
            if name == "curves.png":
                return {"form": form}
            found |= {"form": form, "pixels": sha(pixels.tobytes())}
    elif suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            found["files"] = {n: content(n, archive.read(n), aside) for n in names}
    elif suffix == ".safetensors":
        from safetensors.numpy import load

        found["tensors"] = {
            k: f"{v.dtype} {v.shape}, sum {float(v.sum())!r}, sha256 {sha(v.tobytes())}"
            for k, v in load(data).items()
        }
    elif suffix == ".mp4" and data[4:8] == b"ftyp":
        import av

        with av.open(io.BytesIO(data)) as video:
            found["frames"] = [
                sha(frame.to_ndarray(format="rgb24").tobytes()) for frame in video.decode(video=0)
            ]
    return found


def _in_order(lines: str) -> str:
    first, *tags = lines.splitlines(keepends=True)
    return "".join([first, *sorted(tags)])


def _text_content(suffix: str, text: str, aside: Aside) -> Any:
    """A text as lines; JSON as values, and its form (order, spaces) as a digest."""
    if suffix in (".json", ".jsonl"):
        lines = text.splitlines() if suffix == ".jsonl" else [text]
        with contextlib.suppress(ValueError):
            values = [aside.value(json.loads(line)) for line in lines]
            form = re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "0", aside.text(text))
            return {"form": sha(form.encode()), "values": values}
    if suffix == ".csv":
        rows = list(csv.reader(io.StringIO(text)))
        blank = [i for i, name in enumerate(rows[0] if rows else ()) if name in SECONDS]
        for row, i in itertools.product(rows[1:], blank):
            text = text.replace(row[i], "<seconds>")
    pictures = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
    text = pictures.sub(lambda found: f"<picture {sha(found.group().encode())}>", text)
    return aside.text(text).splitlines()


def revseg(*arguments: Any) -> dict[str, Any]:
    """Runs ``python -m fiftyone_revseg.cli``, in this process: its exit code and what it prints.

    What goes to stderr counts where the command fails; else it is how far it is.
    """
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["revseg", *map(str, arguments)]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_module("fiftyone_revseg.cli", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    said: dict[str, Any] = {"exit code": code}
    try:
        said["stdout, JSON"] = json.loads(out.getvalue())
    except ValueError:
        said["stdout"] = out.getvalue().splitlines()
    if code not in (0, 1):
        said["stderr"] = err.getvalue().splitlines()
    elif code:
        said["last of stderr"] = err.getvalue().strip().splitlines()[-1:]
    return said


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The error that a call ends with."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


# -- a server that says what a script says -------------------------------------------------------

_ANSWERS = {
    "two things": [(0, "the first thing"), (2, "the second thing")],
    "nothing": [],
    "a bad box": [(1, "something without a box")],
    "an empty place": [(1, "an empty place")],
    "at the second try": [(3, "the first thing")],
}
_BOXES = {
    "the first thing": [100, 200, 500, 700],
    "the second thing": [400, 300, 900, 800],
    "an empty place": [0, 0, 12, 12],
}


def scripted_reply(texts: list[str]) -> str:
    """What the model says to a user's messages."""
    for description, box in _BOXES.items():
        if texts[-1].endswith(f"Detect {description}"):
            return json.dumps([{"bbox_2d": box, "label": description}])
    for query, answer in _ANSWERS.items():
        tries = 2 if query == "at the second try" else 1
        if texts[0].endswith(f"Find {query}") and len(texts) == tries:
            return _said(query, answer)
    return "I cannot say."


def _said(query: str, answer: list[tuple[int, str]]) -> str:
    items = [{"frame_idx": k, "object description": text} for k, text in answer]
    return f"<think> About {query}. </think> <answer> {json.dumps(items)} </answer>"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        card = {"id": MODEL, "object": "model", "owned_by": "vllm", "root": MODEL}
        self._send({"object": "list", "data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = []
        for message in body["messages"]:
            parts = message["content"]
            if message["role"] == "user":
                if not isinstance(parts, str):
                    parts = "".join(part.get("text", "<picture>") for part in parts)
                texts.append(parts)
        reply = scripted_reply(texts)
        message = {"role": "assistant", "content": reply}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if body.get("logprobs"):
            tokens = re.findall(r"\w+|\W", reply)
            choice["logprobs"] = {
                "content": [
                    {"token": t, "bytes": list(t.encode()), "logprob": -0.125} for t in tokens
                ]
            }
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        about = {"id": "1", "object": "chat.completion", "created": 0, "model": MODEL}
        self._send({**about, "choices": [choice], "usage": usage})

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def scripted_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


# -- the material --------------------------------------------------------------------------------


def videos() -> Any:
    """The dataset of videos, the last of which cannot be read."""
    import fiftyone as fo

    from fiftyone_revseg.synthetic import make_dataset

    if fo.dataset_exists("golden"):
        return fo.load_dataset("golden")
    dataset = make_dataset(ROOT / "videos", "test", VIDEOS, seed=3, name="golden")
    dataset.persistent = True
    for i, sample in enumerate(dataset):
        if i < 2:
            first = fo.TemporalDetection(label="start", support=[1, 9])
            second = fo.TemporalDetection(label="end", support=[8, 20])
            sample["events"] = fo.TemporalDetections(detections=[first, second][: 2 - i])
            sample["both"] = [sample["query"], "the object that appears last"]
        sample.save()
    broken = ROOT / "videos" / "broken.mp4"
    broken.write_bytes(b"This is no video. " * 20)
    dataset.add_sample(fo.Sample(str(broken), query="the star", tags=["test"]))
    return dataset


def images() -> Any:
    """The dataset of images, which are the frames of two videos."""
    import fiftyone as fo
    from PIL import Image

    from fiftyone_revseg.synthetic import make_world

    if fo.dataset_exists("golden-images"):
        return fo.load_dataset("golden-images")
    dataset = fo.Dataset("golden-images", persistent=True)
    for seed in (5, 6):
        pictures, _ = make_world(seed, "test").render()
        for k, picture in enumerate(pictures[:8]):
            path = ROOT / "images" / f"{seed}-{k:02d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path)
            dataset.add_sample(fo.Sample(str(path), scene=f"scene {seed}", number=k))
    return dataset


def copy(name: str, samples: Any = None) -> Any:
    """A copy of the dataset of videos, or of some of them, for one thing alone."""
    samples = videos() if samples is None else samples
    return samples.clone(name, persistent=True)


_MODELS: dict[str, Any] = {}


def nano(label_field: str = "revseg", **settings: Any) -> Any:
    """The embedded model, loaded once for each thing: it remembers what it has seen."""
    import fiftyone_revseg as revseg

    if "nano" not in _MODELS:
        _MODELS["nano"] = revseg.load_pipeline(MODEL, device="cpu")
    return revseg.load_model(_MODELS["nano"], label_field=label_field, **settings)


def one_by_one(model: Any) -> Any:
    """An engine whose batches are always the same."""
    from fiftyone_revseg.engine import LocalEngine

    return LocalEngine(model.pipeline, dialogues=1, objects=1, trackers=1)


def segment(samples: Any, *args: Any, model: Any = None, **kwargs: Any) -> Any:
    """``segment_view``, one video after the other, so that nothing depends on the moment."""
    import fiftyone_revseg as revseg

    model = model or nano()
    engine = kwargs.pop("engine", None) or one_by_one(model)
    return revseg.segment_view(samples, model, *args, engine=engine, progress=False, **kwargs)


def summary_of(summary: Any) -> Any:
    return {"text": str(summary), "values": summary.to_dict()}


def segmented(name: str) -> Any:
    """A copy whose videos were segmented, each with its own query."""
    import fiftyone as fo

    if not fo.dataset_exists("golden-segmented"):
        _MODELS.clear()
        segment(copy("golden-segmented"), prompt_field="query")
        _MODELS.clear()
    return copy(name, fo.load_dataset("golden-segmented"))


# -- the things ----------------------------------------------------------------------------------


@thing
def synthetic() -> Any:
    aside = Aside()
    dataset = videos()
    return {
        "documents": aside.value(documents(dataset.name)),
        "files": files(ROOT / "videos", aside),
    }


@thing
def segment_own_queries() -> Any:
    aside, dataset = Aside(), copy("golden-own")
    first = segment(dataset, prompt_field="query")
    again = segment(dataset, prompt_field="query")
    found = {
        "summary": aside.value(summary_of(first)),
        "again": aside.value(summary_of(again)),
        "status": aside.value(revseg("status", dataset.name)),
        "status, JSON": aside.value(revseg("status", dataset.name, "--json")),
        "documents": aside.value(documents(dataset.name)),
    }
    return found


@thing
def segment_several_queries() -> Any:
    aside, dataset = Aside(), copy("golden-several", videos()[:2])
    queries = ["the object that appears last", "all squares", "the purple star"]
    summary = segment(dataset, queries, label_field="frames.many", confidence_thresh=0.5)
    changed = nano(spec={"frames": 6})
    kept = segment(dataset, queries, label_field="many", model=changed)
    redone = segment(dataset[:1], queries, label_field="many", model=changed, overwrite="changed")
    return {
        "summaries": [aside.value(summary_of(s)) for s in (summary, kept, redone)],
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def segment_masks_in_files() -> Any:
    aside, dataset = Aside(), copy("golden-files", videos()[:2])
    folder = ROOT / "masks"
    summaries = [segment(dataset, "the object that appears last", masks_dir=folder)]
    before = files(folder, aside)
    summaries.append(segment(dataset, prompt_field="both", masks_dir=folder, overwrite=True))
    return {
        "summaries": [aside.value(summary_of(s)) for s in summaries],
        "documents": aside.value(documents(dataset.name)),
        "files": {"first": before, "then": files(folder, aside)},
    }


@thing
def segment_clips() -> Any:
    aside, dataset = Aside(), copy("golden-clips", videos()[:2])
    clips = dataset.to_clips("events")
    summary = segment(clips, "the object that appears last")
    rows = rows_of(clips)
    return {
        "summary": aside.value(summary_of(summary)),
        "clips": aside.value(rows),
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def segment_images() -> Any:
    aside, dataset = Aside(), copy("golden-scenes", images())
    groups = dataset.group_by("scene", order_by="number")
    summary = segment(groups, ["the object that moves left", "the circle"])
    return {
        "summary": aside.value(summary_of(summary)),
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def segment_in_batches() -> Any:
    """As everybody does it; what goes into a batch together depends on the moment."""
    import fiftyone_revseg as package

    aside, dataset = Aside(in_batches=True), copy("golden-batches")
    summary = package.segment_view(dataset, nano(), prompt_field="query", progress=False)
    return {
        "summary": aside.value(summary_of(summary)),
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def segment_on_server() -> Any:
    """Every way in which an answer can end, from a server that says what a script says."""
    import fiftyone_revseg as package

    aside, dataset = Aside(), copy("golden-server", videos()[:1])
    with scripted_server() as url:
        model = package.load_model(MODEL, server=url, tracker="sam2-nano", device="cpu")
        summary = segment(dataset, [*_ANSWERS, "no form"], model=model)
        return {
            "summary": aside.value(summary_of(summary)),
            "documents": aside.value(documents(dataset.name)),
            "runs": aside.value(package.list_runs(dataset)),
        }


@thing
def refusals() -> Any:
    import fiftyone_revseg as package

    dataset = copy("golden-refused", videos()[:1])
    aside = Aside()
    unknown = revseg("apply", "golden-nothing", "--query", "x")
    # Which datasets there are instead depends on the things that were done before
    unknown["last of stderr"] = [s.partition(": there ")[0] for s in unknown["last of stderr"]]
    return aside.value(
        {
            "ground truth": refusal(segment, dataset, "x", label_field="ground_truth"),
            "no query": refusal(segment, dataset),
            "no field": refusal(segment, dataset, prompt_field="nothing"),
            "format": refusal(package.export_results, dataset, ROOT / "no", "nothing"),
            "view": refusal(package.make_view, dataset, "nothing"),
            "model": refusal(package.load_model, ROOT / "nothing"),
            "no results": refusal(package.compare_fields, dataset, "a", "b"),
            "option": revseg("status", "--nothing"),
            "dataset": unknown,
        }
    )


@thing
def apply_model() -> Any:
    aside, dataset = Aside(), copy("golden-applied")
    dataset[:2].apply_model(nano(query="the object that appears last"), label_field="revseg")
    model = nano("own")
    dataset.apply_model(model, label_field="own", prompt_field="query")
    return {"documents": aside.value(documents(dataset.name))}


@thing
def correct() -> Any:
    import fiftyone_revseg as package

    aside, dataset = Aside(), segmented("golden-corrected")
    model, said = nano(), []
    samples = [s for s in dataset if s["revseg_status"] == "ok"]
    moved = samples[0]
    number = next(k for k in sorted(moved.frames) if moved.frames[k]["revseg"].detections)
    detection = moved.frames[number]["revseg"].detections[0]
    x, y, width, height = detection.bounding_box
    detection.bounding_box = [x * 0.9, y * 0.9, width * 0.8, height * 0.9]
    moved.save()
    said.append(package.propagate(moved, detection.index, model=model, by="ann"))
    said.append(
        package.propagate(
            samples[1], 1, {3: [0.2, 0.3, 0.25, 0.3], 12: [0.4, 0.3, 0.25, 0.3]}, model
        )
    )
    said.append(package.reground(samples[0], 1, 5, model, by="bob"))
    counts = [package.accept(samples[0], 1), package.reject(dataset[1:3])]
    kept = segment(dataset, prompt_field="query", overwrite=True)
    return {
        "said": aside.value([str(s) for s in said]),
        "accepted, rejected": counts,
        "run afterwards": aside.value(summary_of(kept)),
        "documents": aside.value(documents(dataset.name)),
    }


def _views(dataset: Any, label_field: str = "revseg") -> dict[str, Any]:
    import fiftyone_revseg as package

    names = ["failures", "low confidence", "drift suspected", "plays wrongly in the App"]
    names += ["no target", "corrected by hand", "accepted", "rejected", "not yet reviewed"]
    views = {}
    for name in names:
        view = package.make_view(dataset, name, label_field, progress=False)
        views[name] = [Path(path).name for path in view.values("filepath")]
    view = package.make_view(dataset, "low confidence", label_field, threshold=0.9)
    return {**views, "low confidence, 0.9": [Path(p).name for p in view.values("filepath")]}


@thing
def review() -> Any:
    import fiftyone_revseg as package

    aside, dataset = Aside(), segmented("golden-reviewed")
    package.accept(dataset[:1])
    package.reject(dataset[1:2], 1)
    other = nano(spec={"frames": 5})
    segment(dataset[:2], prompt_field="query", label_field="second", model=other)
    comparison = package.compare_fields(dataset, "revseg", "second", progress=False)
    with_truth = package.compare_fields(dataset, "revseg", "ground_truth", "agrees", progress=False)
    return {
        "views": _views(dataset),
        "comparison": aside.value([str(comparison), str(with_truth)]),
        "least agreement first": [Path(p).name for p in comparison.view.values("filepath")],
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def export() -> Any:
    import fiftyone_revseg as package

    aside, dataset = Aside(), segmented("golden-exported")
    package.accept(dataset[:1])
    found = {}
    formats = [("coco-tracks", False), ("coco-frames", True), ("youtube-vos", True)]
    for name, images in [*formats, ("mot", False), ("jsonl", False)]:
        folder = ROOT / "exports" / name
        summary = package.export_results(dataset, folder, name, images=images, progress=False)
        found[name] = {"said": aside.text(str(summary)), "files": files(folder, aside)}
    again = package.export_results(dataset[:2], folder, "jsonl", overwrite=True, progress=False)
    found["again"] = {"said": aside.text(str(again)), "files": files(folder, aside)}
    folder = ROOT / "exports" / "view"
    accepted = package.make_view(dataset, "accepted")
    package.export_results(accepted, folder, "coco-tracks", progress=False)
    found["accepted"] = files(folder, aside)
    clips = dataset.to_clips("events", other_fields=["revseg_status"])
    folder = ROOT / "exports" / "clips"
    summary = package.export_results(clips, folder, "mot", progress=False)
    found["clips"] = {"said": aside.text(str(summary)), "files": files(folder, aside)}
    return found


@thing
def evaluate() -> Any:
    import fiftyone_revseg as package
    from fiftyone_revseg import evaluation as measures

    aside, dataset = Aside(), segmented("golden-evaluated")
    result = package.evaluate_view(dataset, eval_key="nano", progress=False, workers=0)
    folder = ROOT / "tables"
    for suffix in ("md", "csv", "json"):
        measures.write_table(result, folder / f"results.{suffix}")
    measures.write_report(result, ROOT / "report", dataset, worst=2, best=1, progress=False)
    again = measures.load_evaluation(dataset, "nano")
    mine = package.evaluate_view(dataset[:2], queries=["the star"], progress=False, workers=0)
    found = {
        "text": aside.text(measures.to_text(result)).splitlines(),
        "markdown": aside.text(measures.to_markdown(again)).splitlines(),
        "mine": aside.text(measures.to_text(mine)).splitlines(),
        "scores": aside.value([vars(score) for score in result.scores]),
        "tables": files(folder, aside),
        "report": files(ROOT / "report", aside),
        "documents": aside.value(documents(dataset.name)),
    }
    dataset.rename_evaluation("nano", "renamed")
    found["renamed"] = aside.value(documents(dataset.name)["dataset"])
    dataset.delete_evaluation("renamed")
    found["deleted"] = aside.value(documents(dataset.name))
    return found


@thing
def data_filter() -> Any:
    aside, dataset = Aside(), copy("golden-filtered")
    said = revseg("filter", dataset.name, "--starts", 2)
    return {"said": aside.value(said), "documents": aside.value(documents(dataset.name))}


@thing
def pipeline() -> Any:
    import fiftyone_revseg as package

    aside = Aside()
    nano()
    paths = sorted((ROOT / "videos").glob("*.mp4"))[:3]
    found: dict[str, Any] = {"settings": _MODELS["nano"].settings()}
    for path in paths:
        answers = _MODELS["nano"].segment(path, ["the object that appears last", "the star"])
        found[path.name] = [
            {**a.to_dict(), "masks": sha(a.masks().tobytes()) if a.frame_count else ""}
            for a in answers
        ]
    with package.open_video(paths[1], frame_range=(3, 17)) as source:
        found["range"] = [a.to_dict() for a in _MODELS["nano"].segment(source, ["the circle"])]
    return aside.value(found)


@thing
def command_segment() -> Any:
    aside = Aside()
    path = sorted((ROOT / "videos").glob("test*.mp4"))[0]
    found = {}
    queries = ("the object that appears last", "the purple star")
    for name, arguments in {
        "one": (path, queries[0]),
        "several": (path, *queries, "--range", "2:14", "--frames", 6),
        "images": (ROOT / "images" / "5-%02d.png", "the circle", "--no-png"),
        "broken": (ROOT / "videos" / "broken.mp4", "the star"),
    }.items():
        out = ROOT / "answers" / name
        said = revseg("segment", *arguments, "-o", out, "--device", "cpu")
        found[name] = {"said": aside.value(said), "files": files(out, aside)}
    return found


@thing
def command_apply() -> Any:
    aside, dataset = Aside(), copy("golden-command", videos()[:3])
    said = [revseg("apply", dataset.name, "--query", "the star", "--limit", 1, "--device", "cpu")]
    said.append(revseg("status", dataset.name))
    out = ROOT / "command"
    arguments = ("--key", "by_command", "-o", out / "r.json", "-o", out / "r.md")
    said.append(revseg("evaluate", dataset.name, *arguments, "--workers", 0))
    said.append(revseg("report", out / "r.json", "-o", out / "report", "--worst", 1))
    said.append(revseg("models"))
    said.append(revseg("import", "--list"))
    said.append(revseg("playable", dataset.name))
    return {
        "said": aside.value(said),
        "files": files(out, aside),
        "documents": aside.value(documents(dataset.name)),
    }


@thing
def zoo() -> Any:
    import fiftyone.zoo as foz

    aside, dataset = Aside(), copy("golden-zoo", videos()[:1])
    said = revseg("models", "--register")
    model = foz.load_zoo_model(MODEL, query="the object that appears last", device="cpu")
    dataset.apply_model(model, label_field="revseg")
    return {"said": aside.value(said), "documents": aside.value(documents(dataset.name))}


def _without_truth(folder: Path, to: Path) -> None:
    """Makes a benchmark in the layout of MeViS whose truth only a server knows."""
    about = json.loads((folder / "test" / "meta_expressions.json").read_text())
    for video in about["videos"].values():
        for expression in video["expressions"].values():
            for name in ("obj_id", "anno_id", "kind"):
                expression.pop(name, None)
    shutil.copytree(folder / "test" / "JPEGImages", to / "valid" / "JPEGImages")
    (to / "valid" / "meta_expressions.json").write_text(json.dumps(about))


@thing
def benchmark() -> Any:
    import fiftyone as fo

    from fiftyone_revseg import evaluation as measures

    aside, folder = Aside(), ROOT / "mevis"
    found: dict[str, Any] = {}
    said = revseg("import", "synthetic", folder, "--count", 2, "--name", "golden-mevis")
    found["import"] = aside.value(said)
    found["layout"] = files(folder, aside)
    dataset = fo.load_dataset("golden-mevis")
    found["imported"] = aside.value(documents(dataset.name))
    found["segmented"] = aside.value(summary_of(segment(dataset, prompt_field="queries")))
    result = measures.evaluate_view(dataset, eval_key="ours", progress=False, workers=0)
    found["table"] = aside.text(measures.to_text(result)).splitlines()

    server = ROOT / "mevis-server"
    _without_truth(folder, server)
    valid = measures.import_benchmark("mevis", server, "valid", "golden-valid", progress=False)
    segment(valid, prompt_field="queries")
    path = ROOT / "submission" / "ours.zip"
    path.parent.mkdir()
    written = measures.write_submission(valid, path=path, progress=False)
    found["submission"] = aside.text(str(written)).splitlines()
    found["archive"] = files(path, aside)
    found["problems"] = measures.validate_submission(path, server, "mevis", progress=False)
    found["submit"] = aside.value(revseg("submit", valid.name, path.with_name("again.zip")))
    found["archive again"] = files(path.with_name("again.zip"), aside)
    loaded = measures.load_predictions(dataset, path, "theirs", model="theirs", progress=False)
    found["loaded"] = aside.text(str(loaded)).splitlines()
    result = measures.evaluate_view(dataset, "theirs", progress=False, workers=0)
    found["their table"] = aside.text(measures.to_text(result)).splitlines()
    found["documents"] = aside.value(documents(dataset.name))
    found["valid"] = aside.value(documents(valid.name))
    return found


def _miniature(name: str, folder: Path) -> Path:
    """Writes one short video in the layout of Ref-DAVIS17, with four annotators, or of ReVOS."""
    import numpy as np
    from PIL import Image
    from pycocotools import mask as coco

    from fiftyone_revseg.synthetic import make_world

    pictures, masks = make_world(11, "test").render()
    pictures, masks = pictures[:6], masks[:2, :6]
    davis = name == "ref-davis17"
    inner = folder / "valid" if davis else folder
    frames = [f"{k:05d}" for k in range(len(pictures))]
    for kind in ("JPEGImages", "Annotations")[: 1 + davis]:
        (inner / kind / "a video").mkdir(parents=True)
    for k, frame in enumerate(frames):
        Image.fromarray(pictures[k]).save(inner / "JPEGImages" / "a video" / f"{frame}.jpg")
        if davis:
            numbers = np.zeros(masks.shape[2:], np.uint8)
            for i, mask in enumerate(masks):
                numbers[mask[k]] = i + 1
            numbers[:4, :9] = 255  # does not count
            picture = Image.fromarray(numbers, "P")
            picture.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87, *([128] * 3 * 253)])
            picture.save(inner / "Annotations" / "a video" / f"{frame}.png")

    def runs(mask: Any) -> list[Any]:
        codes = [coco.encode(np.asfortranarray(one.astype(np.uint8))) for one in mask]
        return [{"size": list(c["size"]), "counts": c["counts"].decode()} for c in codes]

    texts = ["the circle", "the object that appears last", "the star", "the purple star"]
    about: dict[str, Any] = {"expressions": {}, "frames": frames}
    if davis:
        for i, text in enumerate(texts + texts[::-1]):
            about["expressions"][str(i)] = {"exp": text, "obj_id": str(i // 4 + 1)}
        objects = {str(i + 1): {"category": f"thing {i}"} for i in range(len(masks))}
        (inner / "meta.json").write_text(json.dumps({"videos": {"a video": {"objects": objects}}}))
        meta = folder / "meta_expressions" / "valid" / "meta_expressions.json"
    else:
        height, width = masks.shape[2:]
        about |= {"height": height, "width": width, "vid_id": 0}
        asked = [([0], 0), ([1], 1), ([0, 1], 1), ([], 2)]
        for i, (objects_asked, kind_id) in enumerate(asked):
            ids = {"obj_id": objects_asked, "anno_id": objects_asked, "type_id": kind_id}
            about["expressions"][str(i)] = {"exp": texts[i], **ids}
        codes = {str(i): runs(mask) for i, mask in enumerate(masks)}
        (folder / "mask_dict.json").write_text(json.dumps(codes))
        codes = {"a video": {"masks_rle": runs(masks.any(axis=0))}}
        (folder / "mask_dict_foreground.json").write_text(json.dumps(codes))
        meta = folder / "meta_expressions_valid_.json"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(json.dumps({"videos": {"a video": about}}))
    return folder


@thing
def benchmark_rules() -> Any:
    """The benchmarks whose figures have rules of their own."""
    from fiftyone_revseg import evaluation as measures

    found = {}
    for name in ("ref-davis17", "revos"):
        aside = Aside()
        folder = _miniature(name, ROOT / name)
        dataset = measures.import_benchmark(
            name, folder, dataset_name=f"golden-{name}", progress=False
        )
        segment(dataset, prompt_field="queries")
        result = measures.evaluate_view(dataset, eval_key="ours", progress=False, workers=0)
        found[name] = {
            "table": aside.text(measures.to_text(result)).splitlines(),
            "scores": aside.value([vars(score) for score in result.scores]),
            "documents": aside.value(documents(dataset.name)),
        }
    return found


@thing
def train_grpo() -> Any:
    from fiftyone_revseg.training import GrpoConfig, view_rows, world_rows
    from fiftyone_revseg.training import train_grpo as train

    aside = Aside()
    few = {"steps": 1, "prompts": 2, "rollouts": 4, "batch": 4, "warmup": 0, "sample_every": 1}
    out = ROOT / "grpo"
    with contextlib.redirect_stdout(io.StringIO()):
        train(world_rows(4, seed=7), out, GrpoConfig(model=MODEL, **few))
    skip = (r"tensorboard/", r"\.(pt|pth|bin)$")
    found = {"worlds": files(out, aside, skip)}
    dry = revseg("train", "grpo", "--dataset", "golden", "--prompts", 4, "--dry-run")
    found["dry run"] = aside.value(dry)
    rows = view_rows(videos()[:VIDEOS])
    found["rows of a view"] = aside.text(str([(row.query,) for row in rows[0]])) if rows else ""
    return found


# -- storing and comparing -----------------------------------------------------------------------


def leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(leaves, value.values()))
    return sum(map(leaves, value)) if isinstance(value, list) else 1


def differences(old: Any, new: Any, tolerance: float, at: str = "") -> Iterator[str]:
    """Where two values differ, and how."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            place = f"{at}/{key}"
            if key not in new:
                yield f"{place}: is gone, was {short(old[key])}"
            elif key not in old:
                yield f"{place}: is new, {short(new[key])}"
            else:
                yield from differences(old[key], new[key], tolerance, place)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{at}: {len(new)} items, were {len(old)}"
        for i, pair in enumerate(zip(old, new, strict=False)):
            yield from differences(*pair, tolerance, f"{at}/{i}")
    elif isinstance(old, float) and isinstance(new, float) and abs(old - new) <= tolerance:
        return
    elif type(old) is not type(new) or old != new:
        yield f"{at}: {short(new)}, was {short(old)}"


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:120]} ... {text[-30:]}"


def start_server(folder: Path) -> subprocess.Popen[bytes]:
    """A database server of its own, which ends with this process, however that ends."""
    package = importlib.util.find_spec("fiftyone")
    assert package is not None
    assert package.origin is not None
    mongod = Path(package.origin).parent / "db" / "bin" / "mongod"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}"
    command = [str(mongod), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    end = '"$@" >/dev/null 2>&1 & read _; kill -9 $!'
    return subprocess.Popen(["sh", "-c", end, "sh", *command], stdin=subprocess.PIPE)


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """The folder, the database and the settings that all is done with."""
    with open(f"{ROOT}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(ROOT, ignore_errors=True)
        (ROOT / "db").mkdir(parents=True)
        os.environ |= {
            "FIFTYONE_DATABASE_DIR": str(ROOT / "db"),
            "FIFTYONE_DATABASE_NAME": "revseg-golden",
            "FIFTYONE_DEFAULT_DATASET_DIR": str(ROOT / "fiftyone"),
            "FIFTYONE_MODEL_ZOO_DIR": str(ROOT / "zoo"),
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_SHOW_PROGRESS_BARS": "false",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "REVSEG_HOME": str(ROOT / "home"),
            "COLUMNS": "100",
        }
        server = start_server(ROOT / "db")
        try:
            yield
        finally:
            server.communicate()
            shutil.rmtree(ROOT, ignore_errors=True)


def run(only: list[str]) -> Iterator[tuple[str, Any]]:
    """Does each thing, and gives what it leaves; an error is what it leaves, too."""
    import torch

    torch.set_num_threads(1)
    videos(), images()  # so that no thing depends on which were done before
    chosen = [t for t in THINGS if not only or any(part in t[0] for part in only)]
    for (name, function), number in zip(chosen, itertools.count(1)):
        started = time.monotonic()
        _MODELS.clear()
        try:
            left = function()
        except Exception as error:
            traceback.print_exc()
            left = {"failed": f"{type(error).__name__}: {Aside().text(str(error))}"}
        seconds = time.monotonic() - started
        print(f"{number}/{len(chosen)} {name}: {leaves(left)} values, {seconds:.1f} s", flush=True)
        yield name, json.loads(json.dumps(left, ensure_ascii=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("store", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names; all by default")
    parser.add_argument("--tolerance", type=float, default=0, help="of figures; none by default")
    parser.add_argument("--most", type=int, default=20, help="differences shown of each thing")
    args = parser.parse_args()
    folder, started = args.folder.absolute(), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    things = equal = different = 0
    with surroundings():
        for name, left in run(args.only):
            path = folder / f"{name}.json"
            things += 1
            if args.what == "store":
                path.write_text(json.dumps(left, indent=1, ensure_ascii=False))
                equal += leaves(left)
                different += "failed" in left
                continue
            if not path.is_file():
                print(f"  {name}: was not stored")
                different += 1
                continue
            tolerance = max(args.tolerance, TOLERANCE.get(name, 0))
            found = list(differences(json.loads(path.read_text()), left, tolerance))
            for line in found[: args.most]:
                print(f"  {name}{line}")
            if len(found) > args.most:
                print(f"  {name}: and {len(found) - args.most} more")
            different += len(found)
            equal += leaves(left) - len(found)
    minutes = (time.monotonic() - started) / 60
    word = "stored" if args.what == "store" else f"equal, {different} different"
    print(f"{things} things, {equal} values {word}; {minutes:.1f} min")
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
