"""Kills whatever writes, and looks for what is mixed, half, lost, or where it should not be.

Every door of kills_doors.py is killed (SIGKILL) at random moments and at single calls that change
something on the disk or in the database, several times in a row on one target, over results of an
earlier run and without. After each kill, every file (or folder that is written as a whole) must be
that of the earlier run or that of the new one, or not be there, and so must the labels of every
sample that says it is finished. Then the same command runs once more to its end: what is there must
be what an undisturbed run leaves. So it must after two writers at one target, after the database
server was killed and came back in the middle of a run, and after the disk was full.

    python benchmarks/kills.py --kills 420 --out runs/kills      # about 20 minutes on two cores
    python benchmarks/kills.py --kills 60 --doors "export mot" presets
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from fork_server import ForkServer

HERE = Path(__file__).parent
IN_A_ROW = 5  # kills on one target, before it is finished and compared
FRAMES = 12
LEFT_OUT = ("mask_path", "fingerprint", "when")  # paths, digests of paths, times


class Server:
    """A database server of its own, which can be killed."""

    def __init__(self, folder: Path):
        from fiftyone_revseg.cli.doctor import find_mongod

        folder.mkdir(parents=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}"
        os.environ["FIFTYONE_DATABASE_NAME"] = "revseg-kills"
        command = [find_mongod(), "--dbpath", folder, "--port", port, "--bind_ip", "127.0.0.1"]
        command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
        self._command = [str(part) for part in command]
        self.start()

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Doors(ForkServer):
    """Processes of kills_doors.py."""

    def __init__(self, out: Path):
        self.log, self.counted = out / "log.txt", out / "counted"
        super().__init__(str(HERE / "kills_doors.py"))

    def start(self, door: str, kill_at: int | None = None, **arguments: Any) -> int:
        paths = {"log": str(self.log), "counted": str(self.counted)}
        return self.fork(door=door, kill_at=kill_at, **paths, **arguments)

    def run(self, door: str, **arguments: Any) -> int:
        return self.wait(self.start(door, **arguments))

    def changes(self) -> int:
        """How many calls of the last process changed something."""
        return int(self.counted.read_bytes() or 0)


@dataclass
class Door:
    """One way to write, and what it leaves.

    Attributes:
        name: for people
        door: the function in kills_doors.py
        arguments: its arguments, but for the target and the settings
        over: whether it writes over an earlier run, too
        needs_old: whether it needs one
        whole: the folders that are written as a whole, as patterns
        loose: what may differ between two runs that did the same, as suffixes
        in_data: whether it writes to the database
        in_files: whether it writes files
        disk: whether its files can be on a small disk
        twice: whether two writers may share a target
        weight: its share of the kills, beside those of others
        finish: the function that finishes what was killed, if it is another one
    """

    name: str
    door: str
    arguments: dict[str, Any] = field(default_factory=dict)
    over: bool = True
    needs_old: bool = False
    whole: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    in_data: bool = False
    in_files: bool = True
    disk: bool = True
    twice: bool = True
    weight: float = 1.0
    finish: str = ""


def doors(root: Path) -> list[Door]:
    videos = {"dataset": "kills-labelled"}
    archives = {"archives": [str(root / "0.zip"), str(root / "1.zip")]}
    folders = ("Annotations/*", "JPEGImages/*")
    data = {"in_data": True, "in_files": False, "disk": False, "twice": False}
    found = [
        Door("segment_view", "segment_view", **data, weight=2),
        Door("segment_view, masks in files", "segment_view", {"masks_dir": "PLACE"}, in_data=True,
             disk=False, twice=False),
        Door("apply_model", "apply_model", **data),
        Door("apply_model, finished by segment_view", "apply_model", **data, finish="segment_view"),
        Door("propagate", "propagate", **data, needs_old=True),
        Door("predictions", "predictions", archives, **data),
        Door("import", "import_benchmark", {"root": str(root / "mevis")}, in_data=True, over=False,
             disk=False, twice=False),
        *[Door(f"export {f}", "export", {**videos, "format": f}, whole=folders)
          for f in ("coco-tracks", "youtube-vos", "mot", "jsonl")],
        Door("submission", "submission", {"dataset": "kills-mevis"}),
        Door("revseg segment", "segment_command", {"video": str(root / "videos" / "a.mp4")},
             whole=("masks",)),
        Door("report", "report", {"evaluation": str(root / "evaluation.json")}),
        Door("presets", "presets", {"checkpoint": str(root / "checkpoint")}, loose=(".json",),
             disk=False, twice=False),
        Door("share", "share", {"checkpoint": str(root / "checkpoint")}, over=False,
             whole=("shared",), twice=False),
        Door("made-up videos", "made_up", whole=("test/JPEGImages/*",), disk=False),
        Door("train tracker", "train_tracker", {"config": str(root / "tracker.yaml")}, over=False,
             loose=(".csv", ".png", ".pt", ".safetensors"), disk=False, twice=False, weight=0.7),
        Door("train grpo", "train_grpo", {"model": str(root / "model")}, over=False,
             loose=("",), disk=False, twice=False, weight=0.3),
    ]  # fmt: skip
    return found


class DamageError(Exception):
    """What should never be seen."""


class Watch:
    """One door, its targets, and what an undisturbed run leaves there."""

    def __init__(self, door: Door, processes: Doors, out: Path):
        self.door, self.processes, self.out = door, processes, out
        self.figures: Counter[str] = Counter()
        self.damages: list[str] = []
        self._number = 0
        place, dataset = self.target()
        self.old = self.look(place, dataset)
        if door.over:
            self.run(place, dataset, 0)
            self.old = self.look(place, dataset)
        started = time.monotonic()
        self.run(place, dataset, 1)
        self.seconds = time.monotonic() - started
        self.changes = processes.changes()
        self.new = self.look(place, dataset)
        self.drop(place, dataset)

    def target(self) -> tuple[Path, str | None]:
        """A new folder, and a new dataset if need be."""
        self._number += 1
        slug = self.door.name.replace(" ", "-").replace(",", "")
        place = self.out / "targets" / f"{slug}-{self._number}" / "in"
        place.mkdir(parents=True)
        (place.parent / "beside").write_text("not to be touched")
        dataset = None
        if self.door.in_data:
            import fiftyone as fo

            dataset = f"kills-{slug}-{self._number}"
            if fo.dataset_exists(dataset):
                fo.delete_dataset(dataset)
            source = {"predictions": "kills-mevis", "import_benchmark": None}
            source = source.get(self.door.door, "kills-videos")
            if source is not None:
                fo.load_dataset(source).clone(dataset, persistent=True)
        return place, dataset

    def drop(self, place: Path, dataset: str | None) -> None:
        shutil.rmtree(place.parent)
        if dataset is not None:
            import fiftyone as fo

            gc.collect()  # FiftyOne cannot let go of samples of images that something still holds
            if fo.dataset_exists(dataset):
                with contextlib.suppress(AttributeError):
                    fo.delete_dataset(dataset)

    def arguments(self, place: Path, dataset: str | None, settings: int) -> dict[str, Any]:
        given = {k: str(place) if v == "PLACE" else v for k, v in self.door.arguments.items()}
        if dataset is not None:
            given["dataset"] = dataset
        if self.door.in_files and "masks_dir" not in given:
            given["place"] = str(place)
        return {"door": self.door.door, **given, "settings": settings}

    def run(self, place: Path, dataset: str | None, settings: int, door: str = "") -> None:
        arguments = self.arguments(place, dataset, settings)
        arguments["door"] = door or arguments["door"]
        if self.processes.run(**arguments):
            tail = self.processes.log.read_text(errors="replace")[-1500:]
            raise DamageError(f"a run that nobody disturbs fails:\n{tail}")

    def look(self, place: Path, dataset: str | None) -> dict[str, Any]:
        """Everything that is written as a whole -> what it is."""
        found: dict[str, Any] = {}
        if self.door.in_files and "masks_dir" not in self.door.arguments:
            found.update(units(place, self.door.whole))
        if dataset is not None:
            found.update(labels(dataset, self.door.door, str(place)))
        return found

    def check(self, place: Path, dataset: str | None, finished: bool) -> None:
        """Raises an error if something is mixed, half, or where it should not be."""
        if sorted(p.name for p in place.parent.iterdir()) != ["beside", "in"]:
            raise DamageError("something is outside of the target")
        found = self.look(place, dataset)
        loose = self.door.loose
        for name in self.old.keys() | self.new.keys() | found.keys():
            is_loose = any(name.endswith(end) for end in loose) and not finished
            now, old, new = found.get(name), self.old.get(name), self.new.get(name)
            if finished and name in self.old and name not in self.new:
                continue
            if finished and now != new and not (loose and equal_loosely(name, now, new, loose)):
                where = difference(now, new)
                raise DamageError(f"{name} is not what an undisturbed run leaves{where}")
            if not finished and not is_loose and now is not None and now not in (old, new):
                where = f"{difference(now, old)},{difference(now, new)}"
                raise DamageError(f"{name} is neither old nor new{where}")
        if not finished:
            whole_files(place)
        elif leftovers := [p for p in place.rglob(".*.partial")]:
            raise DamageError(f"{leftovers[0].relative_to(place)} is left behind")

    def kills(self, count: int, rng: random.Random) -> None:
        """Kills so many processes."""
        while self.figures["kills"] < count:
            place, dataset = self.target()
            try:
                if self.door.needs_old or (self.door.over and rng.random() < 0.7):
                    self.run(place, dataset, 0)
                for _ in range(min(IN_A_ROW, count - self.figures["kills"])):
                    arguments = self.arguments(place, dataset, 1)
                    if rng.random() < 0.5:
                        code = self.processes.run(**arguments, kill_at=rng.randrange(self.changes))
                    else:
                        pid = self.processes.start(**arguments)
                        time.sleep(rng.uniform(0, self.seconds))
                        os.kill(pid, signal.SIGKILL)
                        code = self.processes.wait(pid)
                    self.figures["kills" if code else "too late"] += 1
                    if code not in (0, -signal.SIGKILL):
                        raise DamageError(f"a run after a kill fails:\n{self.tail()}")
                    self.check(place, dataset, finished=False)
                    if not code:
                        break
                self.run(place, dataset, 1, self.door.finish)
                self.check(place, dataset, finished=True)
                self.figures["finished"] += 1
            except DamageError as damage:
                self.note(str(damage))
            self.drop(place, dataset)

    def two_writers(self, times: int) -> None:
        """Has two processes write to one target."""
        for _ in range(times):
            place, dataset = self.target()
            arguments = self.arguments(place, dataset, 1)
            pids = [self.processes.start(**arguments) for _ in range(2)]
            codes = [self.processes.wait(pid) for pid in pids]
            self.figures["pairs of writers"] += 1
            try:
                if any(codes):
                    raise DamageError(f"one of two writers fails:\n{self.tail()}")
                self.check(place, dataset, finished=True)
            except DamageError as damage:
                self.note(f"two writers: {damage}")
            self.drop(place, dataset)

    def server_away(self, server: Server, times: int, rng: random.Random) -> None:
        """Kills the database server in the middle, and starts it again."""
        for _ in range(times):
            place, dataset = self.target()
            if self.door.needs_old:
                self.run(place, dataset, 0)
            pid = self.processes.start(**self.arguments(place, dataset, 1))
            time.sleep(rng.uniform(0.2, 1) * self.seconds)
            server.kill()
            time.sleep(0.3)
            server.start()
            code = self.processes.wait(pid)
            self.figures["servers killed"] += 1
            self.figures["runs that went on"] += code == 0
            try:
                self.run(place, dataset, 1)
                self.check(place, dataset, finished=True)
            except DamageError as damage:
                self.note(f"server killed: {damage}")
            self.drop(place, dataset)

    def full_disk(self) -> None:
        """Writes over an earlier run on a disk on which the new one has no place."""
        place, dataset = self.target()
        shutil.rmtree(place)
        place.mkdir()
        mounted = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
        if subprocess.run(mounted, capture_output=True).returncode:
            return  # only root can
        try:
            if self.door.over:
                self.run(place, dataset, 0)
            used = sum(f.stat().st_blocks * 512 for f in place.rglob("*"))
            resize = ["mount", "-o", f"remount,size={(used // 4096 + 1) * 4096}", str(place)]
            subprocess.run(resize, check=True)
            code = self.processes.run(**self.arguments(place, dataset, 1))
            self.figures["disks full"] += code != 0
            self.check(place, dataset, finished=False)
            if left := [p for p in place.rglob(".*.partial")]:
                raise DamageError(f"{left[0].name} takes room on the full disk")
            subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
            self.run(place, dataset, 1)
            self.check(place, dataset, finished=True)
        except DamageError as damage:
            self.note(f"disk full: {damage}")
        finally:
            subprocess.run(["umount", str(place)], check=True)
        self.drop(place, dataset)

    def tail(self) -> str:
        return self.processes.log.read_text(errors="replace")[-1500:]

    def note(self, text: str) -> None:
        self.figures["damaged"] += 1
        self.damages.append(text)
        print(f"  DAMAGED {self.door.name}: {text}", flush=True)


def units(place: Path, whole: tuple[str, ...]) -> dict[str, Any]:
    """Each file, or folder that is written as a whole, but for hidden ones -> a digest."""
    found: dict[str, Any] = {}
    folders = {path for pattern in whole for path in place.glob(pattern) if path.is_dir()}
    for path in sorted(place.rglob("*")):
        relative = path.relative_to(place)
        hidden = any(part.startswith((".", "tensorboard")) for part in relative.parts)
        if hidden or not path.is_file():  # TensorBoard's names are times
            continue
        folder = next((f for f in folders if f in path.parents), None)
        name = str(relative if folder is None else folder.relative_to(place))
        inside = f"{relative}:{digest(path)}"
        found[name] = f"{found.get(name, '')}{inside}\n"
    return found


def digest(path: Path) -> str:
    data = path.read_bytes()
    if path.name == "trajectory.json":
        about = json.loads(data)
        about.pop("timings", None)
        data = json.dumps(about).encode()
    if path.suffix == ".mp4":  # x264's threads do not always make the same bytes
        import av

        with av.open(str(path)) as video:
            return f"{sum(1 for _ in video.decode(video=0))} frames"
    return hashlib.sha256(data).hexdigest()[:16]


def difference(one: Any, other: Any, at: str = "") -> str:
    """Where two values differ first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            if one.get(key) != other.get(key):
                return difference(one.get(key), other.get(key), f"{at}/{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, pair in enumerate(zip(one, other, strict=True)):
            if pair[0] != pair[1]:
                return difference(*pair, f"{at}/{i}")
    return f" at {at}: {str(one)[:120]!r} for {str(other)[:120]!r}"


def whole_files(place: Path) -> None:
    """Raises an error if a visible file cannot be read to its end."""
    from PIL import Image
    from safetensors import safe_open

    for path in place.rglob("*"):
        relative = path.relative_to(place)
        if not path.is_file() or any(
            part.startswith((".", "checkpoint-")) for part in relative.parts
        ):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".png", ".jpg") and path.stat().st_size:
                with Image.open(path) as image:
                    image.load()
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    file.keys()
        except Exception as error:
            raise DamageError(f"{relative} is half: {error}") from error


def equal_loosely(name: str, now: Any, new: Any, loose: tuple[str, ...]) -> bool:
    """Files of training differ in their times; names of presets in what was registered before."""
    return any(name.endswith(end) for end in loose) and (now is None) == (new is None)


def labels(dataset: str, door: str, place: str) -> dict[str, Any]:
    """The labels of each sample that says it is finished."""
    import fiftyone as fo
    from contents import contents

    if not fo.dataset_exists(dataset):
        return {}
    loaded = fo.load_dataset(dataset)
    loaded.reload()
    field = "theirs" if door == "predictions" else "revseg"
    found = {}
    for values in contents(loaded, by="filepath"):
        if door == "import_benchmark":
            if len(values["frames"]) == len(values["frame_names"]):
                found[values["video_name"]] = {**values, "filepath": Path(values["filepath"]).name}
        elif values.get(f"{field}_status") and is_finished(values, field):
            found[values["filepath"]] = without_paths(values, place)
    del loaded
    return found


def is_finished(values: dict[str, Any], field: str) -> bool:
    """Whether a sample is not being corrected."""
    answers = values[f"{field}_answers"]["classifications"]
    return all(answer["status"] != "error" for answer in answers)


def without_paths(value: Any, place: str) -> Any:
    """Files with masks have other names in each run: what is in them counts."""
    import numpy as np
    from PIL import Image

    if isinstance(value, dict):
        made = {k: without_paths(v, place) for k, v in value.items() if k not in LEFT_OUT}
        # A correction that is done again is noted again
        noted = made.get("corrections") or ()
        if noted:
            made["corrections"] = [c for i, c in enumerate(noted) if c not in noted[:i]]
        if value.get("mask_path"):
            with Image.open(value["mask_path"]) as image:
                made["mask_file"] = np.asarray(image).tobytes()
        return made
    if isinstance(value, str):
        return value.replace(place, "PLACE")
    return [without_paths(v, place) for v in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=420)
    parser.add_argument("--doors", nargs="*", help="parts of names; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    args = parser.parse_args()
    os.environ |= {
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    started = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(prefix="run-", dir=args.out)).absolute()
    server = Server(out / "db")
    processes = Doors(out)
    rng = random.Random(args.seed)
    rows = []
    try:
        root = out / "made"
        if processes.run("make", place=str(root), frames=FRAMES):
            raise SystemExit((out / "log.txt").read_text()[-3000:])
        chosen = [d for d in doors(root) if not args.doors or any(a in d.name for a in args.doors)]
        weights = sum(door.weight for door in chosen)
        for door in chosen:
            begun = time.monotonic()
            try:
                watch = Watch(door, processes, out)
            except DamageError as damage:
                rows.append({"door": door.name, "damaged": 1, "damages": [str(damage)]})
                print(f"  DAMAGED {door.name}: {damage}", flush=True)
                continue
            watch.kills(max(1, round(args.kills * door.weight / weights)), rng)
            if door.twice:
                watch.two_writers(3)
            if door.in_data or "dataset" in door.arguments:
                watch.server_away(server, 2, rng)
            if door.disk:
                watch.full_disk()
            seconds = time.monotonic() - begun
            rows.append({"door": door.name, **watch.figures, "seconds": round(seconds),
                         "damages": watch.damages})  # fmt: skip
            print({k: v for k, v in rows[-1].items() if k != "damages"}, flush=True)
    finally:
        processes.close()
        server.kill()
        shutil.rmtree(out / "db", ignore_errors=True)
    total = Counter()
    for row in rows:
        total.update({k: v for k, v in row.items() if isinstance(v, int)})
    summary = {"total": dict(total), "minutes": (time.monotonic() - started) / 60, "doors": rows}
    (args.out / "kills.json").write_text(json.dumps(summary, indent=2))
    print(f"{dict(total)} in {summary['minutes']:.1f} min")
    shutil.rmtree(out, ignore_errors=True)
    raise SystemExit(bool(total["damaged"]))


if __name__ == "__main__":
    main()
