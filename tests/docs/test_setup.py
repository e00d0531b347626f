"""Packaging and set-up scripts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fiftyone_revseg

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "scripts" / "setup.sh"


def make_python(folder: Path, version: str, venv: bool = True) -> Path:
    """Makes a stand-in for an interpreter of some version, with or without its venv package."""
    path = folder / "python3"
    answer = "0" if version in ("3.10", "3.11", "3.12") else "1"
    path.write_text(
        "#!/bin/sh\n"
        f'case "$2" in *version_info*) exit {answer};; *ensurepip*) exit {int(not venv)};; esac\n'
    )
    path.chmod(0o755)
    return path


def run_setup_copy(folder: Path, path: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs the set-up script in an empty checkout, with only these programs to be found."""
    (folder / "scripts").mkdir()
    (folder / "scripts" / "setup.sh").write_text(SETUP.read_text())
    (folder / "setup.py").write_text("")
    return subprocess.run(
        ["/bin/bash", "scripts/setup.sh"],
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def tools(tmp_path):
    """A folder with the few programs that the script starts with, and an ffmpeg."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "cksum", "dirname", "id", "rm"):
        (folder / name).symlink_to(
            f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}"
        )
    for name in ("ffmpeg", "ffprobe"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("script", [SETUP, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_scripts_are_valid_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_no_supported_python_is_one_clear_sentence(tools, checkout):
    make_python(tools, "3.13")
    result = run_setup_copy(checkout, str(tools))
    assert result.returncode == 1
    assert "Python 3.10, 3.11 or 3.12 is needed" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_python_without_venv_says_what_to_install(tools, checkout):
    make_python(tools, "3.11", venv=False)
    result = run_setup_copy(checkout, str(tools))
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr


def test_a_named_python_that_does_not_fit_is_refused(tools, checkout):
    python = make_python(tools, "3.9")
    result = run_setup_copy(checkout, str(tools), PYTHON=str(python))
    assert result.returncode == 1
    assert f"PYTHON={python}" in result.stderr


def test_ffmpeg_that_cannot_be_installed_is_one_clear_sentence(tools, checkout):
    make_python(tools, "3.11")
    (tools / "ffprobe").unlink()
    result = run_setup_copy(checkout, str(tools))
    assert result.returncode == 1
    assert "install ffmpeg yourself" in result.stderr


def test_a_browser_that_cannot_be_installed_is_done_without(tools, checkout):
    make_python(tools, "3.13")
    result = run_setup_copy(checkout, str(tools))
    assert "tests in a browser will be skipped" in result.stdout
    assert "Python 3.10, 3.11 or 3.12 is needed" in result.stderr  # it went on to the next step


def test_version_is_the_same_everywhere():
    manifest = (ROOT / "fiftyone.yml").read_text()
    version = fiftyone_revseg.__version__
    assert re.search(r'^version: "?([^"\n]+)"?$', manifest, re.MULTILINE)[1] == version
    printed = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert printed.stdout.split()[-1] == version, printed.stderr


def test_everything_that_is_not_code_is_packaged(tmp_path):
    # Built from a copy, as setuptools leaves files beside its sources.
    import shutil

    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fiftyone_revseg", source / "fiftyone_revseg", ignore=skip)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", target],
        cwd=source,
        check=True,
        capture_output=True,
    )

    def files(root: Path) -> set[str]:
        return {
            str(p.relative_to(root)) for p in (root / "fiftyone_revseg").rglob("*") if p.is_file()
        }

    assert files(target) == files(source)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, fiftyone_revseg, fiftyone_revseg.cli\n"
        "heavy = {'torch', 'transformers', 'fiftyone', 'sam2', 'decord', 'av'} & set(sys.modules)\n"
        "sys.exit(repr(sorted(heavy)) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no_such_name"):
        fiftyone_revseg.no_such_name  # noqa: B018
    assert "load_model" in dir(fiftyone_revseg)
