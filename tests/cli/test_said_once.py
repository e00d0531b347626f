"""FiftyOne's word on an old database server is said once, and everything else each time."""

import logging

from fiftyone_revseg.cli.said_once import say_once

OLD = "You are running the oldest supported major version of MongoDB. Please refer to ..."


def test_once_on_a_machine(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "home"))
    logger = logging.getLogger("fiftyone.core.odm.database")
    say_once()
    say_once()
    logger.warning(OLD)
    logger.warning(OLD)
    logger.warning("Another %s", "thing")
    assert [record.getMessage() for record in caplog.records] == [OLD, "Another thing"]
    (tmp_path / "home" / "said-database").write_text("fiftyone 1.0\n")  # of another release
    logger.warning(OLD)
    assert len(caplog.records) == 3

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "file"))  # where nothing can be remembered
    logger.warning(OLD)
    assert len(caplog.records) == 4
