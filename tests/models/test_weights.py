"""Weights in memory: shared, released, named by content; and the devices they go to."""

import gc
import json
import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest
import torch
from fake_models import BoxTracker, ScriptedReasoner
from helper_scripts import run_script
from random_weights import save_random_checkpoint

from fiftyone_revseg.files import digests
from fiftyone_revseg.files.digests import digest_files, digest_texts
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.weights import share, stamp
from fiftyone_revseg.pipeline import RevSeg, load_pipeline
from fiftyone_revseg.reasoning import LocalReasoner
from fiftyone_revseg.tracking import Sam2Tracker


class Loaded:
    """Something that can be held weakly."""


def nano(**options):
    return load_pipeline("revseg-nano", device="cpu", **options)


@pytest.fixture
def checkpoint(tmp_path):
    return save_random_checkpoint(tmp_path / "tiny", "tiny-qwen2.5-vl", seed=0)


def copy_of_nano(directory):
    return Path(shutil.copytree(CHECKPOINTS / "sam2-nano", directory))


def test_the_same_key_is_loaded_once_while_somebody_holds_it():
    loads = []

    def load():
        loads.append(1)
        return Loaded()

    first = share("a key", load)
    assert share("a key", load) is first
    assert share("another key", load) is not first
    assert len(loads) == 2
    del first
    gc.collect()
    again = share("a key", load)
    assert len(loads) == 3
    assert again is not None


def test_threads_that_load_the_same_load_once_and_others_do_not_wait():
    loads, results = [], []
    started, other_done = threading.Event(), threading.Event()

    def slow():
        loads.append(1)
        started.set()
        assert other_done.wait(30)  # while this one loads, another key is loaded
        return Loaded()

    threads = [
        threading.Thread(target=lambda: results.append(share("slow", slow))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    share("quick", Loaded)
    other_done.set()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(results) == 4
    assert len(set(map(id, results))) == 1


def test_a_load_that_fails_is_tried_again():
    def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        share("a broken key", fail)
    assert isinstance(share("a broken key", Loaded), Loaded)


def test_pipelines_share_weights_and_nothing_else():
    short, plain = nano(spec={"frames": 6}), nano()
    assert short.reasoner.model is plain.reasoner.model
    assert short.reasoner.processor is plain.reasoner.processor
    assert short.tracker.model is plain.tracker.model
    assert short.spec.frames == short.reasoner.spec.frames == 6
    assert plain.spec.frames == plain.reasoner.spec.frames == 8
    short.reasoner.name = "mine"
    assert plain.reasoner.name == "revseg-nano"
    assert plain.settings()["weights"] == short.settings()["weights"]


def test_another_precision_is_another_model_but_the_same_tracker():
    plain, half = nano(), nano(dtype="bfloat16")
    assert half.reasoner.model is not plain.reasoner.model
    assert half.reasoner.model.dtype == half.tracker.dtype == torch.bfloat16
    assert half.tracker.model is plain.tracker.model
    assert plain.tracker.dtype == torch.float32
    assert half.settings() == plain.settings()


def test_threads_load_a_pipeline_once(checkpoint, monkeypatch):
    from fiftyone_revseg.reasoning import local

    loads, load = [], local._load
    monkeypatch.setattr(local, "_load", lambda *a: loads.append(1) or load(*a))
    reasoners = []
    threads = [
        threading.Thread(
            target=lambda: reasoners.append(LocalReasoner.load(checkpoint, device="cpu"))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(reasoner.model) for reasoner in reasoners}) == 1


def test_reasoners_that_share_a_model_answer_in_parallel_as_alone(checkpoint):
    import numpy as np

    from fiftyone_revseg.reasoning import ChainSpec, Conversation, Image

    spec = ChainSpec(frame_size=56, key_frame_size=112, max_new_tokens=8)
    reasoners = [LocalReasoner.load(checkpoint, device="cpu", spec=spec) for _ in range(2)]

    def conversation(i):
        pixels = np.random.default_rng(i).integers(0, 256, (56, 56, 3), dtype=np.uint8)
        # of different lengths, and so of different positions
        return Conversation().say("user", *[Image(pixels)] * (i + 1), "what is it?" * (i + 1))

    alone = [reasoners[0].generate([conversation(i)], spec)[0].text for i in range(2)]
    answers = {0: [], 1: []}

    def ask(i):
        for _ in range(5):
            answers[i].append(reasoners[i].generate([conversation(i)], spec)[0].text)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {0: [alone[0]] * 5, 1: [alone[1]] * 5}


def test_changed_files_are_loaded_anew(checkpoint, tmp_path):
    before = LocalReasoner.load(checkpoint, device="cpu")
    save_random_checkpoint(tmp_path / "tiny", "tiny-qwen2.5-vl", seed=1)
    after = LocalReasoner.load(checkpoint, device="cpu")
    assert after.model is not before.model
    assert after.digest != before.digest

    directory = copy_of_nano(tmp_path / "tracker")
    first = Sam2Tracker.load(directory, device="cpu")
    os.utime(directory / "model.safetensors", ns=(1, 1))
    second = Sam2Tracker.load(directory, device="cpu")
    assert second.model is not first.model
    assert second.digest == first.digest  # touched, not changed


def test_how_to_ask_may_change_without_loading_anew(checkpoint):
    before = LocalReasoner.load(checkpoint, device="cpu")
    before.spec.replace(frames=3).save(checkpoint)
    after = LocalReasoner.load(checkpoint, device="cpu")
    assert after.model is before.model
    assert (before.spec.frames, after.spec.frames) == (16, 3)
    assert after.digest == before.digest


def test_closing_releases_the_models_and_says_so(checkpoint):
    pipeline = load_pipeline(checkpoint, tracker="sam2-nano", device="cpu")
    shared = load_pipeline(checkpoint, tracker=BoxTracker(), device="cpu")
    model, tracker = weakref.ref(pipeline.reasoner.model), weakref.ref(pipeline.tracker)
    settings = pipeline.settings()
    with pipeline as same:
        assert same is pipeline
    assert tracker() is None
    assert model() is shared.reasoner.model  # others still use it
    shared.close()
    assert model() is None
    pipeline.close()  # once more does no harm
    assert pipeline.settings() == settings
    assert pipeline.name == "tiny + sam2-nano"
    for use in (
        lambda: pipeline.segment("clip.mp4", "a cat"),
        lambda: pipeline.segment("clip.mp4", []),
        lambda: pipeline.reasoner,
        lambda: pipeline.tracker,
        pipeline.__enter__,
    ):
        with pytest.raises(ValueError, match=r"'tiny \+ sam2-nano' was closed: load it again"):
            use()


def test_a_pipeline_that_is_garbage_releases_its_models(checkpoint):
    pipeline = load_pipeline(checkpoint, tracker=BoxTracker(), device="cpu")
    model = weakref.ref(pipeline.reasoner.model)
    del pipeline
    gc.collect()
    assert model() is None


@pytest.mark.slow
def test_settings_are_the_same_in_every_process():
    settings = nano(spec={"frames": 5}).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["model"], settings["tracker"]) == ("revseg-nano", "sam2-nano")
    assert settings["spec"]["frames"] == 5
    assert len(bytes.fromhex(settings["weights"])) == 8
    code = (
        "import json, fiftyone_revseg as r; "
        "print(json.dumps(r.load_pipeline(device='cpu', spec={'frames': 5}).settings()))"
    )
    printed = run_script(code, PYTHONHASHSEED="7")
    assert json.loads(printed.splitlines()[-1]) == settings


def test_weights_go_by_their_content_not_by_their_name(tmp_path):
    def tiny(directory, seed):
        save_random_checkpoint(directory, "tiny-qwen2.5-vl", seed=seed)
        pipeline = load_pipeline(directory, tracker=BoxTracker(), device="cpu")
        return pipeline.settings()

    one, other = tiny(tmp_path / "a" / "m", 0), tiny(tmp_path / "b" / "m", 1)
    moved = tiny(tmp_path / "c" / "renamed", 0)
    assert one["model"] == other["model"]
    assert one["weights"] != other["weights"]
    assert one["weights"] == moved["weights"]


def test_the_tracker_and_its_config_are_part_of_the_weights(tmp_path):
    def weights(directory):
        tracker = Sam2Tracker.load(directory, device="cpu")
        return RevSeg(ScriptedReasoner({}), tracker).settings()["weights"]

    same, config = copy_of_nano(tmp_path / "same"), copy_of_nano(tmp_path / "config")
    text = (config / "config.yaml").read_text()
    (config / "config.yaml").write_text(text.replace("image_size: 256", "image_size: 320"))
    assert weights("sam2-nano") == weights(same) != weights(config)


def test_models_from_nowhere_go_by_their_names():
    class OtherTracker(BoxTracker):
        name = "other box"

    def weights(tracker):
        return RevSeg(ScriptedReasoner({}), tracker).settings()["weights"]

    assert weights(BoxTracker()) == weights(BoxTracker()) != weights(OtherTracker())


def test_a_digest_is_the_content_whatever_the_name(tmp_path):
    for name, content in {"a": b"same", "b": b"same", "c": b"else"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest_files([tmp_path / name]) for name in "abc")
    assert a == b != c
    assert digest_files([tmp_path / "a", tmp_path / "c"]) != digest_files(
        [tmp_path / "c", tmp_path / "a"]
    )
    assert digest_texts(["ab", "c"]) != digest_texts(["a", "bc"])
    # Stored in databases, so it must stay what it is
    assert a.startswith("8de95019ce1d4dd1")


def test_a_large_file_goes_by_its_size_and_samples_from_all_over(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_WHOLE", 1000)
    path = tmp_path / "large"
    size = 8 * 2**20
    path.write_bytes(bytes(size))
    before = digest_files([path])
    assert digest_files([path]) == before
    for place in (0, size // 3, size - 1):
        content = bytearray(size)
        content[place : place + 2 * size // 256] = b"x" * min(2 * size // 256, size - place)
        path.write_bytes(content)
        assert digest_files([path]) != before
    path.write_bytes(bytes(size + 1))
    assert digest_files([path]) != before


def test_a_stamp_notices_a_file_replaced_within_one_tick(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    before = stamp([path])
    assert stamp([path]) == before
    (tmp_path / "new").write_bytes(b"two")
    os.utime(tmp_path / "new", ns=(5, 5))
    os.replace(tmp_path / "new", path)
    assert stamp([path]) != before


@pytest.mark.skipif(torch.accelerator.is_available(), reason="says what is there without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:9", "gpu", "mps", "meta", "", "cuda:x"])
def test_a_device_that_is_not_there_is_one_sentence(device):
    with pytest.raises(ValueError, match=r"^There is no device '.*': this machine has only 'cpu'$"):
        choose_device(device)


def test_a_device_that_is_not_there_is_said_next_to_those_that_are(monkeypatch):
    pretend_gpus(monkeypatch, 2)
    for wrong in ("cuda:9", "mps", "gpu"):
        with pytest.raises(ValueError, match=rf"no device '{wrong}': .* 'cpu', 'cuda:0' and 'cuda"):
            choose_device(wrong)
    assert choose_device(None) == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cpu") == torch.device("cpu")


def pretend_gpus(monkeypatch, count, bfloat16=True):
    """Makes torch say that there are CUDA GPUs, of which the last is current."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: count - 1)
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bfloat16)


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_the_precision_suits_the_device(monkeypatch, bfloat16, expected):
    assert choose_dtype(None, torch.device("cpu")) == torch.float32
    pretend_gpus(monkeypatch, 1, bfloat16)
    assert choose_dtype(None, torch.device("cuda:0")) == getattr(torch, expected)


def test_a_precision_by_its_name():
    cpu = torch.device("cpu")
    for name in ("bfloat16", "bf16", "torch.bfloat16", torch.bfloat16):
        assert choose_dtype(name, cpu) == torch.bfloat16
    assert choose_dtype("fp16", cpu) == choose_dtype("half", cpu) == torch.float16
    for wrong in ("float8", "int8", torch.int8, "", 16):
        with pytest.raises(ValueError, match=r"^There is no precision '.*' here: give 'bfloat16'"):
            choose_dtype(wrong, cpu)


@pytest.mark.parametrize("wrong", [{"device": "gpu"}, {"dtype": "float8"}])
def test_a_wrong_device_is_said_before_anything_is_loaded(wrong, monkeypatch):
    def load(*_, **__):
        raise AssertionError("something was loaded")

    monkeypatch.setattr(LocalReasoner, "load", load)
    monkeypatch.setattr(Sam2Tracker, "load", load)
    with pytest.raises(ValueError, match=r"There is no (device|precision)"):
        load_pipeline("revseg-nano", **wrong)
