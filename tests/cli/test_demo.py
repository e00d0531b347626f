"""The demo on a real database, with a stand-in for the model and two tiny videos."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fiftyone_revseg.cli import main

# The package names the command like its module
demo = importlib.import_module("fiftyone_revseg.cli.demo")

SQUARE = (8, 20, 24, 36)  # in a 64 x 48 video


class SquareReasoner:
    """Knows where the square is, and that there is nothing else."""

    name = "square"

    def __init__(self):
        from fiftyone_revseg.reasoning import ChainSpec

        self.spec = ChainSpec(frames=3, box_convention="relative-1000", retries=0)
        self.asked = 0

    def generate(self, conversations, spec):
        from fiftyone_revseg.reasoning import Reply

        return [Reply(self._reply(str(conversation))) for conversation in conversations]

    def _reply(self, text):
        if "as JSON" in text:
            x0, y0, x1, y1 = SQUARE
            box = [1000 * x0 / 64, 1000 * y0 / 48, 1000 * x1 / 64, 1000 * y1 / 48]
            return json.dumps([{"bbox_2d": box, "label": "square"}])
        self.asked += 1
        found = [] if "horse" in text else [{"frame_idx": 1, "object description": "square"}]
        return f"<think>I look.</think><answer>{json.dumps(found)}</answer>"


class BoxFiller:
    """Takes the box itself for the mask."""

    name = "filler"

    def track(self, frames, boxes_xyxy_px):
        from fiftyone_revseg.tracking import FrameMasks, encode_masks

        for k, frame in frames:
            masks = np.zeros((len(boxes_xyxy_px), *frame.shape[:2]), bool)
            for mask, box in zip(masks, boxes_xyxy_px, strict=True):
                x0, y0, x1, y1 = (round(v) for v in box)
                mask[y0:y1, x0:x1] = True
            yield FrameMasks(k, encode_masks(masks), np.ones(len(masks)))


def make_small_dataset(directory, split="test", count=2, seed=0, name=None):
    """Stands in for the synthetic world: a square that stands still, and two queries."""
    import fiftyone as fo

    from fiftyone_revseg.masks.pictures import write_video

    frame = np.full((48, 64, 3), 40, np.uint8)
    x0, y0, x1, y1 = SQUARE
    frame[y0:y1, x0:x1] = 220
    samples = []
    for i in range(count):
        path = directory / f"{i}.mp4"
        write_video(path, [(k / 10, frame) for k in range(6)], fps=10)
        sample = fo.Sample(filepath=str(path), query=["the square", "the horse"][i % 2])
        for number in range(1, 7):
            truth = fo.Detection(
                label="square",
                bounding_box=[x0 / 64, y0 / 48, (x1 - x0) / 64, (y1 - y0) / 48],
                mask=np.ones((y1 - y0, x1 - x0), bool),
            )
            detections = [truth] if i % 2 == 0 else []
            sample.frames[number] = fo.Frame(ground_truth=fo.Detections(detections=detections))
        samples.append(sample)
    dataset = fo.Dataset(name)
    dataset.add_samples(samples, progress=False)
    return dataset


@pytest.fixture
def reasoner(monkeypatch):
    import fiftyone as fo

    from fiftyone_revseg import dataset, synthetic
    from fiftyone_revseg.pipeline import RevSeg

    square = SquareReasoner()
    load_model = dataset.load_model
    monkeypatch.setattr(synthetic, "make_dataset", make_small_dataset)

    def load(name, spec):
        assert spec == {"samples": 4, "verdict": True}
        square.name = name
        return load_model(RevSeg(square, BoxFiller()))

    monkeypatch.setattr(dataset, "load_model", load)
    monkeypatch.setattr(demo.presets, "resolve", lambda model: None)
    yield square
    if fo.dataset_exists(demo.DATASET):
        fo.delete_dataset(demo.DATASET)


def test_demo_segments_scores_and_shows(tmp_path, reasoner):
    lines = []
    results = demo.run_demo(tmp_path, count=2, echo=lines.append)
    found, none = results
    assert (found.status, found.description, found.score) == ("ok", "square", 1.0)
    assert (none.status, none.description, none.score) == ("no_target", "", 1.0)
    assert len(found.pictures) == len(none.pictures) == 5
    text = "\n".join(lines)
    assert "the square" in text
    assert "100.0" in text
    assert Image.open(tmp_path / "contact-sheet.png").width > 1000


def test_second_run_keeps_what_it_finds(tmp_path, reasoner):
    first = demo.run_demo(tmp_path, count=2, echo=lambda line: None)
    assert reasoner.asked == 2
    second = demo.run_demo(tmp_path, count=2, echo=lambda line: None)
    assert reasoner.asked == 2
    assert [r.score for r in second] == [r.score for r in first]
    demo.run_demo(tmp_path, count=2, fresh=True, echo=lambda line: None)
    assert reasoner.asked == 4
    demo.run_demo(tmp_path, count=2, model="another", echo=lambda line: None)
    assert reasoner.asked == 6  # never the answers of another model


def test_a_dataset_of_that_name_is_not_overwritten(tmp_path, reasoner):
    import fiftyone as fo

    fo.Dataset(demo.DATASET)
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not the demo's" in result.output
    assert fo.dataset_exists(demo.DATASET)


def test_an_unknown_model_is_one_sentence(tmp_path):
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path), "--model", "no-such-model"])
    assert result.exit_code == 1
    assert "no-such-model" in result.output
    assert len(result.output.splitlines()) == 1


def test_table_lines_up():
    results = [
        demo.Result("the red star", "red star", (3,), "ok", "", 0.5, 1.0, ()),
        demo.Result("all", "", (), "bad_keyframe", "why", 0.0, 2.0, ()),
    ]
    lines = demo.table(results)
    assert lines[0].split() == ["query", "description", "key", "frame", "status", "J&F", "seconds"]
    assert lines[-1].split() == ["mean", "25.0", "1.5"]
    column = lines[0].index("status")
    assert lines[2][column:].startswith("ok")
    assert lines[3][column:].startswith("bad_keyframe")
