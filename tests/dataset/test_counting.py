"""Samples are counted, whatever the database server believes to have."""

import os
import socket
import subprocess
import sys
import time

import fiftyone as fo
import numpy as np
import pymongo
import pytest

from fiftyone_revseg.cli.doctor import find_mongod
from fiftyone_revseg.dataset.collection import count_samples
from fiftyone_revseg.masks.pictures import write_video


def _events():
    spans = [[1, 2], [3, 4]]
    labels = [fo.TemporalDetection(label="a", support=span) for span in spans]
    return fo.TemporalDetections(detections=labels)


def test_counts_what_len_counts_where_the_estimate_is_right(make_dataset):
    videos = make_dataset(*(fo.Sample(f"{n}.mp4", events=_events()) for n in range(3)))
    images = make_dataset(*(fo.Sample(f"{n}.jpg", scene=n % 3, frame=n) for n in range(8)))
    assert count_samples(make_dataset()) == 0
    assert count_samples(videos) == count_samples(videos.view()) == 3
    assert count_samples(videos.limit(2)) == 2
    assert count_samples(videos.match({"filepath": "nowhere"})) == 0
    assert count_samples(videos.to_clips("events")) == 6
    assert count_samples(images.group_by("scene", order_by="frame")) == 3


def test_counts_the_samples_of_slices(make_dataset):
    dataset = make_dataset()
    dataset.add_group_field("group", default="left")
    groups = [fo.Group() for _ in range(3)]
    dataset.add_samples(
        [fo.Sample(f"left{n}.mp4", group=group.element("left")) for n, group in enumerate(groups)]
        + [fo.Sample("right.mp4", group=groups[0].element("right"))]
    )
    assert count_samples(dataset) == 3
    assert count_samples(dataset.select_group_slices("right")) == 1
    assert count_samples(dataset.select_group_slices()) == 4


def test_what_watches_for_estimates_sees_them(no_estimates, make_dataset):
    dataset = make_dataset(fo.Sample("a.mp4"))
    package = {"__name__": "fiftyone_revseg.made_up", "dataset": dataset}
    for code in ("len(dataset)", "dataset.count()", "not dataset.view()", "bool(dataset)"):
        eval(code, package)
    eval("dataset.limit(1).count(), dataset.first(), dataset.values('id')", package)
    assert len(no_estimates) == 4
    no_estimates.clear()


_MAKE = """
import fiftyone as fo
from pymongo import WriteConcern

dataset = fo.Dataset("killed", persistent=True)
dataset.add_sample(fo.Sample({!r}))
# Written to the journal, and so is all before it; what was counted is written now and then
journal = fo.core.odm.get_db_conn().get_collection("journal", write_concern=WriteConcern(j=True))
journal.insert_one({{}})
"""


@pytest.mark.slow
def test_a_server_that_was_killed(tmp_path):
    """It then estimates that there is nothing; and nothing is what was done, with exit code 0."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    database = tmp_path / "db"
    database.mkdir()
    env = {**os.environ, "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}"}
    command = [find_mongod(), "--dbpath", database, "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--syncdelay", "3600"]

    def start():
        server = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        while server.poll() is None:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return server
            time.sleep(0.05)
        raise RuntimeError("the server ended")

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=120
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    video = tmp_path / "a.mp4"
    write_video(video, ((n / 4, np.zeros((32, 32, 3), np.uint8)) for n in range(2)), 4)
    server = start()
    try:
        python("-c", _MAKE.format(str(video)))
        server.kill()
        server.wait()
        server = start()
        client = pymongo.MongoClient("127.0.0.1", port)
        names = client["revseg-tests"].list_collection_names(
            filter={"name": {"$regex": "^samples"}}
        )
        assert [client["revseg-tests"][n].estimated_document_count() for n in names] == [0]
        said = python("-m", "fiftyone_revseg.cli", "apply", "killed", "--query", "the star")
        assert "1 of 1 segmented" in said
    finally:
        server.kill()
        server.wait()
