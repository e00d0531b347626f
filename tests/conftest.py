"""What holds for every test: a database of its own, nothing from the network, two threads."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

# Set before anything is imported: FiftyOne, transformers and torch read these only once. FiftyOne
# starts its server in this directory when (and only when) a test imports it.
_DATABASE = tempfile.mkdtemp(prefix="revseg-tests-db-")
os.environ["FIFTYONE_DATABASE_DIR"] = _DATABASE
os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
os.environ["FIFTYONE_SHOW_PROGRESS_BARS"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")  # more threads than cores are far slower


@pytest.fixture(scope="session", autouse=True)
def _own_database():
    yield
    shutil.rmtree(_DATABASE, ignore_errors=True)
