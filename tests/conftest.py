"""What holds for every test: a database server of its own, nothing from the network, two threads.

All of it is set before anything is imported, as FiftyOne, transformers and torch look only once.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections import Counter

import pytest

from fiftyone_revseg.cli.doctor import find_mongod

os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
os.environ["FIFTYONE_SHOW_PROGRESS_BARS"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
# More threads than cores are far slower, and the workers of pytest-xdist share the cores
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"

_FOLDER = tempfile.mkdtemp(prefix="revseg-tests-db-")
os.environ["FIFTYONE_DATABASE_DIR"] = _FOLDER
os.environ["FIFTYONE_DATABASE_NAME"] = "revseg-tests"
os.environ["REVSEG_HOME"] = os.path.join(_FOLDER, "revseg-home")  # not the person's own models


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _start_server() -> subprocess.Popen | None:
    """Starts a database server that ends with this process, however that ends.

    FiftyOne would start one itself, but rather joins one that runs already, wherever that keeps
    its data: tests would write to the database of an App that is open, or of other tests.
    """
    mongod = find_mongod()
    if mongod is None:
        return None  # FIFTYONE_DATABASE_URI says where one is, or tests with FiftyOne fail
    port = _free_port()
    os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}"
    command = [mongod, "--dbpath", _FOLDER, "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    # The shell waits for its input to close, which the system does when this process ends.
    return subprocess.Popen(
        ["sh", "-c", '"$@" >/dev/null 2>&1 & read _; kill -9 $!', "sh", *map(str, command)],
        stdin=subprocess.PIPE,
    )


_SERVER = _start_server()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: the last one to begin would be waited for alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def _own_database():
    yield
    if _SERVER is not None:
        _SERVER.communicate()  # closes its input, and waits for its end
    shutil.rmtree(_FOLDER, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_estimates(monkeypatch):
    """Fails where the package takes the server's estimate for the number of samples."""
    fo = sys.modules.get("fiftyone")
    if fo is None:  # the test has no use for it, and importing takes long
        yield []
        return
    estimate, found = fo.Dataset._estimated_count, []

    def watched(dataset, frames=False):
        frame = sys._getframe(1)
        while frame.f_code.co_name in ("count", "__len__", "__bool__", "wrapper"):
            frame = frame.f_back
        if frame.f_globals["__name__"].startswith("fiftyone_revseg"):
            found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return estimate(dataset, frames)

    monkeypatch.setattr(fo.Dataset, "_estimated_count", watched)
    yield found
    assert not found, f"count_samples counts, this is an estimate: {found}"


@pytest.fixture
def make_dataset():
    """Makes datasets from samples, and deletes them."""
    import fiftyone as fo

    datasets = []

    def make(*samples):
        dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
        datasets.append(dataset)
        dataset.add_samples(list(samples))
        return dataset

    yield make
    for dataset in datasets:
        # Deleting copies each sample that is still in memory, with all of its frames
        fo.Sample._clear(dataset._sample_collection_name)
        dataset.delete()


@pytest.fixture
def log():
    """What anybody logs, as a file would have it."""
    lines, root = [], logging.getLogger()

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    loggers = [root, *(v for v in root.manager.loggerDict.values() if hasattr(v, "level"))]
    levels = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler := Handler())
    yield lines
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)
