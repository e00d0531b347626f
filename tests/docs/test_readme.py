"""The README: its script runs twice, and a package index can show it."""

import re
import runpy
from pathlib import Path

import fiftyone as fo
import setuptools

from fiftyone_revseg.synthetic import make_world, write_video

ROOT = Path(__file__).parents[2]


def test_the_script_can_be_run_twice(tmp_path, capsys):
    world = make_world(0, "test")
    write_video(tmp_path / "world.mp4", world.render()[0][::6], world.fps)
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    for written, here in (
        ("/path/to/videos", str(tmp_path)),
        ("revseg-qwen2.5-vl-7b", "revseg-nano"),
        ("my-videos", "readme-videos"),
        ("the dog that jumps last", "the star"),
    ):
        assert written in code
        code = code.replace(written, here)
    try:
        exec(compile(code, "README.md", "exec"), {})
        assert "1 of 1 segmented" in capsys.readouterr().out
        exec(compile(code, "README.md", "exec"), {})
        assert "0 of 1 segmented" in (said := capsys.readouterr().out)
        assert "1 were finished before" in said
        dataset = fo.load_dataset("readme-videos")
        assert dataset.persistent
        assert dataset.values("revseg_status") == ["ok"]
    finally:
        fo.delete_dataset("readme-videos")


def described(monkeypatch):
    """What setup.py says of the package."""
    said = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: said.update(arguments))
    runpy.run_path(str(ROOT / "setup.py"))
    return said


def test_a_package_index_can_show_it(monkeypatch):
    text = described(monkeypatch)["long_description"]
    assert text.startswith("# fiftyone_revseg")
    assert "[ReVSeg](https://arxiv.org/abs/2512.02835)" in text
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert all(target.startswith("https://") for target in targets), targets
    assert "![" not in text
    assert text.count("```") == (ROOT / "README.md").read_text().count("```")


def test_the_requirements_are_those_of_the_package(monkeypatch):
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == described(monkeypatch)[
        "install_requires"
    ]
