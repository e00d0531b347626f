"""The curator's loop: label a few, train, apply, evaluate, compare, all of it from FiftyOne."""

import json

import fiftyone as fo
import pytest

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.compare import compare_fields
from fiftyone_revseg.dataset.training import train_view
from fiftyone_revseg.dataset.training_runs import list_training_runs
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.synthetic.queries import pick_queries
from fiftyone_revseg.training import GrpoConfig

LABELLED, UNLABELLED = 30, 2


def make_sample(folder, seed, field):
    """Every fourth frame of a world, what is asked about it, and what answers that."""
    world = make_world(seed, "val")
    query = pick_queries(world, 1)[0]
    drawn = [world.draw(k) for k in range(0, world.frame_count, 4)]
    path = folder / f"{seed}.mp4"
    write_video(path, [(k / 5, frame) for k, (frame, _) in enumerate(drawn)], 5)
    sample = fo.Sample(str(path), query=query.text)
    for number, (_, masks) in enumerate(drawn, 1):
        there = [
            fo.Detection.from_mask(masks[i], label="object", index=i + 1)
            for i in query.targets
            if masks[i].any()
        ]
        sample.frames[number] = fo.Frame(**{field: fo.Detections(detections=there)})
    return sample


@pytest.mark.slow
def test_label_train_apply_evaluate_compare(make_dataset, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "home"))
    # The curator has labelled thirty; the truth about the others is known to this test only
    fields = ["ground_truth"] * LABELLED + ["truth"] * UNLABELLED
    samples = [make_sample(tmp_path, 300 + i, field) for i, field in enumerate(fields)]
    dataset = make_dataset(*samples)
    others = dataset[LABELLED:]
    options = {"label_field": "before", "prompt_field": "query", "progress": False}
    old = revseg.load_model(device="cpu")
    revseg.segment_view(others, old, **options)

    # From all of them: what has no labels is left out, and counted
    config = GrpoConfig(steps=2, prompts=2, rollouts=4, batch=4, warmup=0, max_turn_tokens=64)
    told = []
    summary = train_view(dataset, tmp_path / "run", config, name="curated", progress=told.append)
    assert summary.state == "done", summary
    assert summary.rows == LABELLED
    assert summary.skipped == {"it has no labels in 'ground_truth'": UNLABELLED}
    assert (told[-1].done, told[-1].total, told[-1].unit) == (2, 2, "step")
    assert {"format", "temporal", "spatial", "total"} <= set(summary.curves)
    (run,) = list_training_runs(dataset)
    assert (run["state"], run["checkpoint"]) == ("done", summary.checkpoint)

    checkpoint = tmp_path / "run" / "checkpoint"
    assert (checkpoint / "README.md").is_file()
    was, now = (
        load_file(path / "model.safetensors") for path in (CHECKPOINTS / "revseg-nano", checkpoint)
    )
    assert any((was[name].float() != now[name].float()).any() for name in now)

    # The new checkpoint answers under its name, with the tracker of the one it came from
    new = revseg.load_model("curated", device="cpu")
    assert new.pipeline.settings()["weights"] != old.pipeline.settings()["weights"]
    revseg.segment_view(others, new, **{**options, "label_field": "after"})
    assert all(others.values("after_status"))
    assert set(others.values("after_status")) <= {"ok", "no_target", "bad_box", "lost"}
    assert all(others.values("after_trajectory"))

    for field in ("before", "after"):
        evaluation = evaluate_view(
            others, field, "truth", eval_key=field, progress=False, workers=0
        )
        assert len(evaluation.scores) == UNLABELLED
        assert all(0 <= row["jf"] <= 1 for row in evaluation.table)
        assert len(others.exists(f"{field}_jf")) == UNLABELLED
    assert {"before", "after"} <= set(dataset.list_evaluations())

    comparison = compare_fields(others, "before", "after", progress=False)
    assert len(comparison.agreements) == UNLABELLED
    assert 0 <= comparison.mean <= 1
    assert comparison.view.first()["before_vs_after"] == min(comparison.agreements.values())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"] == LABELLED
