"""The command line, with stand-ins for the models."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fiftyone_revseg import __version__
from fiftyone_revseg.cli import main
from fiftyone_revseg.files.written import LIST


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def make_clip(path, frames=12, size=(48, 64)):
    """Writes a video in which a bright square moves right, four pixels a frame."""
    from fiftyone_revseg.masks.pictures import write_video

    def pictures():
        for k in range(frames):
            frame = np.full((*size, 3), 30, np.uint8)
            frame[16:32, 4 * k : 4 * k + 12] = 220
            yield k / 10, frame

    write_video(path, pictures(), fps=10)
    return path


class BrightTracker:
    """Takes what is bright inside the frame for the object, whatever the box."""

    name = "bright"

    def track(self, frames, boxes_xyxy_px):
        from fiftyone_revseg.tracking import FrameMasks, encode_masks

        for k, frame in frames:
            mask = frame.mean(axis=-1) > 128
            rles = encode_masks(np.stack([mask] * len(boxes_xyxy_px)))
            yield FrameMasks(k, rles, np.full(len(boxes_xyxy_px), 0.9))


class ScriptedReasoner:
    """Gives one turn-1 reply by query, and one box to whatever turn 2 asks for."""

    name = "scripted"

    def __init__(self, turn1: dict[str, str]):
        from fiftyone_revseg.reasoning import ChainSpec

        self.spec = ChainSpec(frames=4, box_convention="relative-1000", retries=0)
        self.turn1 = turn1

    def generate(self, conversations, spec):
        from fiftyone_revseg.reasoning import Reply

        replies = []
        for conversation in conversations:
            text = str(conversation)
            second = "as JSON" in text
            answer = '[{"bbox_2d": [100, 300, 300, 700], "label": "square"}]'
            if not second:
                answer = next(reply for query, reply in self.turn1.items() if query in text)
            replies.append(Reply(answer, seconds=0.1))
        return replies


ONE = (
    '<think>it is bright</think><answer>[{"frame_idx": 1, "object description": "square"}]</answer>'
)


@pytest.fixture
def scripted(monkeypatch):
    """Replaces the models; returns what the command would have loaded."""
    from fiftyone_revseg import pipeline

    asked = {}
    reasoner = ScriptedReasoner(
        {
            "the bright square": ONE,
            "a horse": "<think>there is none</think><answer>[]</answer>",
            "gibberish": "I would rather not say",
        }
    )

    def load(loading):
        names = ("name", "tracker", "device", "spec")
        asked.update({name: getattr(loading, name) for name in names})
        return pipeline.RevSeg(reasoner, BrightTracker())

    monkeypatch.setattr(pipeline.Loading, "load", load)
    return asked


def test_version_and_help():
    assert __version__ in run("--version").output
    output = run("--help").output
    for command in ("segment", "demo", "doctor", "train"):
        assert command in output
    assert "Examples:" in run("segment", "--help").output


def test_segment_writes_everything(tmp_path, scripted):
    clip = make_clip(tmp_path / "clip.mp4")
    out = tmp_path / "out"
    result = run("segment", clip, "the bright square", "-o", out, "--frames", 4, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert scripted == {
        "name": "revseg-nano",
        "tracker": None,
        "device": "cpu",
        "spec": {"frames": 4},
    }

    about = json.loads((out / "trajectory.json").read_text())
    assert about["status"] == "ok"
    assert about["trajectory"]["think"] == "it is bright"
    assert about["key_frames"] == [about["trajectory"]["frame_table"]["indices"][1]]

    from fiftyone_revseg.tracking import MaskTrack

    (track,) = json.loads((out / "masks.json").read_text())
    track = MaskTrack.from_dict(track)
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == track.frame_count == 12
    for k, path in enumerate(masks):
        values = np.asarray(Image.open(path))
        np.testing.assert_array_equal(values == 1, track.mask(k))
        assert values[24, min(4 * k + 6, 63)] == 1

    key_frame = np.asarray(Image.open(out / "keyframe.png"))
    assert key_frame.shape == (48, 64, 3)

    import av

    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_several_queries_get_a_folder_each(tmp_path, scripted):
    clip = make_clip(tmp_path / "clip.mp4")
    result = run("segment", clip, "the bright square", "a horse", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output  # that there is none is an answer
    folders = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert folders == ["1-the-bright-square", "2-a-horse"]
    about = json.loads((tmp_path / "out" / "2-a-horse" / "trajectory.json").read_text())
    assert about["status"] == "no_target"
    assert not (tmp_path / "out" / "2-a-horse" / "overlay.mp4").exists()


def test_a_failed_query_is_told_and_counted(tmp_path, scripted):
    clip = make_clip(tmp_path / "clip.mp4")
    result = run("segment", clip, "the bright square", "gibberish", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: 'gibberish': bad_keyframe: ")
    assert (tmp_path / "out" / "1-the-bright-square" / "overlay.mp4").exists()


def test_no_earlier_result_is_left_beside_a_new_one(tmp_path, scripted):
    clip, out = make_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    assert run("segment", clip, "the bright square", "-o", out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert run("segment", clip, "a horse", "-o", out).exit_code == 0
    left = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert left == {"notes.txt", "trajectory.json", LIST}


@pytest.mark.parametrize("name", ["masks/00000.png", "overlay.mp4", "keyframe-3.png", "masks/x"])
def test_a_file_of_ones_own_is_not_replaced_and_that_is_said_before_the_work(
    tmp_path, scripted, name
):
    clip, out = make_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    result = run("segment", clip, "the bright square", "-o", out)
    assert result.exit_code == 1
    assert "not written by revseg" in result.output
    assert not scripted  # no model was loaded
    files = [path for path in out.rglob("*") if path.is_file()]
    assert [(path.read_text(), path) for path in files] == [("mine", out / name)]


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path, scripted):
    clip = make_clip(tmp_path / "clip.mp4")
    (tmp_path / "file").write_text("mine")
    result = run("segment", clip, "the bright square", "-o", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert not scripted


def test_the_default_folder_is_beside_no_other(tmp_path, scripted, monkeypatch):
    (tmp_path / "in").mkdir()
    clip = make_clip(tmp_path / "clip.mp4").rename(tmp_path / "..%05d.mp4")
    monkeypatch.chdir(tmp_path / "in")
    assert run("segment", clip, "the bright square").exit_code == 0
    (folder,) = (tmp_path / "in").iterdir()
    assert not set(folder.name) & set("%/")
    assert folder.name[0] != "."
    assert sorted(p.name for p in tmp_path.iterdir()) == ["..%05d.mp4", "in"]


def test_only_a_range_of_frames(tmp_path, scripted):
    clip, out = make_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    result = run("segment", clip, "the bright square", "-o", out, "--range", "4:9", "--no-png")
    assert result.exit_code == 0, result.output
    about = json.loads((out / "trajectory.json").read_text())
    assert (about["first_frame"], about["trajectory"]["frame_table"]["frame_count"]) == (4, 5)
    assert not (out / "masks").exists()


@pytest.mark.parametrize("text", ["9:4", "a:b", "5", "-1:4"])
def test_a_bad_range_is_explained(text):
    result = run("segment", "clip.mp4", "x", "--range", text)
    assert result.exit_code == 2
    assert "START:STOP" in result.output


@pytest.mark.parametrize("content", [None, b"", b"not a video at all"])
def test_an_unreadable_video_is_one_sentence(tmp_path, content):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    result = run("segment", path, "a horse", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.startswith("Error: unreadable: ")
    assert len(result.output.splitlines()) == 1
    assert "clip.mp4" in result.output


def test_an_unknown_model_is_one_sentence(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4")
    result = run("segment", clip, "a horse", "--model", "no-such-model")
    assert result.exit_code == 1
    assert "no-such-model" in result.output
    assert len(result.output.splitlines()) == 1


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    image_steps: int = 100
    chain_steps: int = 200
    word_steps: int = 100
    clip_steps: int = 300
    threads: int = 1
    steps = 400


@pytest.mark.parametrize(
    ("command", "module", "config", "later"),
    [
        ("sft", "sft", "SftConfig", {"chain_steps": 20, "word_steps": 10}),
        ("tracker", "tracker_training", "TrackerTraining", {"clip_steps": 30}),
    ],
)
def test_train_passes_its_options_on(monkeypatch, tmp_path, command, module, config, later):
    calls = []

    def train(out, settings):
        calls.append((out, settings))
        return out

    stand_in = types.SimpleNamespace(**{config: Settings, f"train_{command}": train})
    monkeypatch.setitem(sys.modules, f"fiftyone_revseg.nano.{module}", stand_in)
    out = tmp_path / "run"
    result = run("train", command, "-o", out, "--seed", 3, "--steps", 40, "--threads", 2)
    assert result.exit_code == 0, result.output
    assert calls == [(out, Settings(seed=3, image_steps=10, threads=2, **later))]

    assert "no run" in run("train", command, "-o", out, "--resume").output
    out.mkdir()
    (out / "state.pt").write_bytes(b"")
    assert "--resume" in run("train", command, "-o", out).output
    assert run("train", command, "-o", out, "--resume").exit_code == 0
    assert len(calls) == 2


def test_real_settings_have_what_the_options_need():
    from fiftyone_revseg.cli.train import SFT_STAGES, TRACKER_STAGES, _settings
    from fiftyone_revseg.nano.sft import SftConfig
    from fiftyone_revseg.nano.tracker_training import TrackerTraining

    for kind, stages in ((SftConfig, SFT_STAGES), (TrackerTraining, TRACKER_STAGES)):
        settings = _settings(kind, stages, seed=5, steps=40, threads=2)
        assert (settings.seed, settings.steps, settings.threads) == (5, 40, 2)
