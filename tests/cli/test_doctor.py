"""The doctor: finds what is missing, says what to do, and never fails itself."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main

# The package names the command like its module
doctor = importlib.import_module("fiftyone_revseg.cli.doctor")


def by_name(checks) -> dict:
    return {check.name: check for check in checks}


def test_every_finding_that_is_not_ok_has_advice():
    checks = doctor.diagnose()
    assert {"ffmpeg", "torch", "sam2", "mongod", "revseg-nano"} <= by_name(checks).keys()
    assert all(check.advice for check in checks if not check.ok)


def test_missing_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")
    checks = doctor.diagnose()
    assert not by_name(checks)["ffmpeg"].ok
    assert "install ffmpeg" in by_name(checks)["ffmpeg"].advice
    assert not doctor.healthy(checks)


def test_missing_and_old_packages(monkeypatch):
    versions = {"transformers": "4.57.0"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    checks = by_name(doctor.diagnose())
    assert "older than 5.15" in checks["transformers"].found
    assert "--no-build-isolation" in checks["sam2"].advice
    assert not checks["decord"].ok
    assert not checks["decord"].needed  # PyAV stands in for it


def test_both_decords_are_reported(monkeypatch):
    monkeypatch.setattr(doctor, "_version", {"decord": "0.6.0", "decord2": "3.4.0"}.get)
    assert "overwrite" in by_name(doctor.diagnose())["decord"].advice


def test_embedded_models_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CHECKPOINTS", tmp_path)
    (tmp_path / "sam2-nano").mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / "sam2-nano" / name).write_bytes(b"x" * 1_000_000)
    checks = by_name(doctor.diagnose())
    assert checks["sam2-nano"].found == "2.0 MB"
    assert "model.safetensors" in checks["revseg-nano"].found


def test_database_elsewhere_without_showing_its_password(monkeypatch):
    monkeypatch.setenv(
        "FIFTYONE_DATABASE_URI", "mongodb://me:secret@127.0.0.1:9/?serverSelectionTimeoutMS=1"
    )
    check = by_name(doctor.diagnose())["mongod"]
    assert not check.ok
    assert "secret" not in check.found + check.advice


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise OSError("libcudart.so: cannot open shared object file\nand more")

    monkeypatch.setattr(doctor, "_torch", broken)
    check = by_name(doctor.diagnose())["torch"]
    assert (check.ok, check.found) == (False, "libcudart.so: cannot open shared object file")


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_command_tells_by_its_exit_code(monkeypatch, ok, code):
    checks = [
        doctor.Check("ffmpeg", ok, "somewhere", "" if ok else "install it"),
        doctor.Check("decord", False, "not installed", "pip install decord2", needed=False),
    ]
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == code
    assert "pip install decord2" in result.output
    assert ("MISSING" in result.output) is not ok


@pytest.mark.slow
def test_fiftyone_is_not_imported():
    code = (
        "import sys; from fiftyone_revseg.cli.doctor import diagnose; diagnose(); "
        "sys.exit('fiftyone' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
