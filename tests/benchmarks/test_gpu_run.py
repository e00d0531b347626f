"""The run of all stages on a GPU: what becomes of a stage that ends badly, and the table."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import busy
import numpy as np
import pytest
import stage_pair
from limited import run_limited
from results import Results
from stages import STAGES, Stage, run_stages
from table import is_good, make_table

from fiftyone_revseg.tracking import encode_masks


def script(code):
    return [sys.executable, "-c", code]


@dataclass(frozen=True)
class Scripted(Stage):
    """A stage that runs some code, which finds the JSON file in its first argument."""

    code: str = ""

    def command(self, out, device, tiny):
        return [*script(self.code), str(out / f"{self.name}.json")]


FINDS = """
import json, sys
row = {"what": "speed", "found": "2 | 3", "wanted": "2", "holds": HOLDS}
json.dump({"rows": [row], "data": {}}, open(sys.argv[1], "w"))
"""


def run(tmp_path, *stages):
    ended = run_stages(stages, tmp_path, "cpu", True, tell=lambda line: None)
    return ended, make_table(tmp_path).splitlines()[2:]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_at_its_limit_a_command_ends_with_all_that_it_started(tmp_path):
    log = tmp_path / "log"
    began = time.monotonic()
    ended = run_limited(["sh", "-c", "sleep 60 & echo $!; wait"], 2, log)
    assert time.monotonic() - began < 30
    assert ended.outcome.startswith("out of time")
    child = int(log.read_text())
    until = time.monotonic() + 10
    while alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(child)


def test_the_last_line_says_why_a_command_failed(tmp_path):
    ended = run_limited(script("raise ValueError('no such card')"), 60, tmp_path / "log")
    assert ended.outcome == "failed with exit code 1: ValueError: no such card"
    assert run_limited(script("raise SystemExit(3)"), 60, tmp_path / "log").outcome == (
        "failed with exit code 3: it said nothing"
    )


def test_a_stage_that_fails_stops_no_other_and_is_told(tmp_path):
    ended, lines = run(
        tmp_path,
        Scripted("slow", 1, "", "import time; time.sleep(60)"),
        Scripted("broken", 60, "", "raise RuntimeError('a bug')"),
        Scripted("last", 60, "", FINDS.replace("HOLDS", "True")),
    )
    assert [how.outcome.split()[0] for how in ended.values()] == ["out", "failed", "done"]
    assert lines == [
        f"| slow | **the stage itself** | {ended['slow'].outcome} | done | NO |",
        "| broken | **the stage itself** | failed with exit code 1: RuntimeError: a bug | done "
        "| NO |",
        "| last | speed | 2 \\| 3 | 2 | yes |",
    ]
    assert not is_good(tmp_path)


def test_what_a_stage_had_found_by_the_end_of_its_time_is_told(tmp_path):
    Results(tmp_path / "slow.json").say("speed", "3 x")
    ended = {"slow": {"outcome": "out of time after 9 s", "seconds": 9.0}}
    (tmp_path / "run.json").write_text(json.dumps(ended))
    _, _, *lines = make_table(tmp_path).splitlines()
    assert lines == [
        "| slow | speed | 3 x |  |  |",
        "| slow | **the stage itself** | out of time after 9 s | done | NO |",
    ]
    assert not is_good(tmp_path)


def test_what_a_stage_leaves_of_its_time_is_for_the_next(tmp_path):
    ended, _ = run(
        tmp_path,
        Scripted("quick", 30, "", FINDS.replace("HOLDS", "None")),
        Scripted("slow", 0, "", FINDS.replace("HOLDS", "None") + "\nimport time; time.sleep(1)"),
    )
    assert {how.outcome for how in ended.values()} == {"done"}
    assert is_good(tmp_path)


@pytest.mark.parametrize(("holds", "good"), [("True", True), ("None", True), ("False", False)])
def test_a_run_is_good_if_all_holds_that_was_wanted(tmp_path, holds, good):
    _, lines = run(tmp_path, Scripted("one", 60, "", FINDS.replace("HOLDS", holds)))
    assert is_good(tmp_path) == good
    assert lines[0].endswith({"True": "| yes |", "None": "|  |", "False": "| NO |"}[holds])


def test_a_stage_that_found_nothing_is_not_good(tmp_path):
    _, lines = run(tmp_path, Scripted("idle", 60, "", "pass"))
    assert "found nothing" in lines[0]
    assert not is_good(tmp_path)


def test_results_are_whole_after_each_finding(tmp_path, capsys):
    results = Results(tmp_path / "one.json")
    results.say("speed", "3 x", "2 x", True)
    results.keep("seconds", [1.0])
    assert json.loads((tmp_path / "one.json").read_text()) == {
        "rows": [{"what": "speed", "found": "3 x", "wanted": "2 x", "holds": True}],
        "data": {"seconds": [1.0]},
    }
    assert "3 x" in capsys.readouterr().out


def test_all_stages_take_8_minutes_at_most():
    assert sum(stage.seconds for stage in STAGES) <= 8 * 60 - 15  # for installing
    for stage in STAGES:
        command = stage.command(Path("out"), "cuda", True)
        assert Path(command[1]).is_file()
        assert command[2:] == ["--device", "cuda", "--out", f"out/{stage.name}.json", "--tiny"]


def test_time_that_streams_share_counts_once():
    assert busy.covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4
    assert busy.covered([]) == 0


def test_a_device_that_is_not_there_is_said_in_a_sentence(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "benchmarks" / "gpu" / "run.py"), "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 1
    assert "There is no device 'cuda'" in ran.stderr
    assert "--device cpu --tiny" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_masks_are_compared_where_the_boxes_are_the_same(tmp_path):
    full = encode_masks(np.ones((1, 4, 4), bool))[0]
    half = encode_masks(np.pad(np.ones((1, 2, 4), bool), ((0, 0), (0, 2), (0, 0))))[0]
    here, there = (0, 0, 4, 4), (0, 0, 4, 2)
    reference = [("ok", [here], [[full, full]])] * 3 + [("no_target", [], [])] * 2
    found = [("ok", [there], [[half, half]]), *reference[1:]]  # another box: another answer
    sizes = [(4, 4)] * 5

    def holds(found, dtype):
        results = Results(tmp_path / "one.json")
        stage_pair._say(results, "engine", found, reference, sizes, dtype)
        (row,) = json.loads((tmp_path / "one.json").read_text())["rows"]
        return row["holds"], row["found"]

    assert holds(reference, "float32")[0]
    said = "status 5 of 5, boxes 4 of 5; their 4 masks: mean IoU 1.0000, equal 100.0%"
    assert holds(found, "float32") == (False, said)  # boxes, not masks
    assert holds(found, "bfloat16") == (True, said)
    worse = [*reference[:2], ("ok", [here], [[half, half]]), *reference[3:]]
    assert not holds(worse, "bfloat16")[0]
    nothing = [("error", [], [])] * 5
    assert not holds(nothing, "bfloat16")[0]
