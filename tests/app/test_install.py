"""``revseg install``, and the other road: downloading the repository as a plugin."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.plugins as fop
import pytest
from click.testing import CliRunner

from fiftyone_revseg.app.manifest import PLUGIN_NAME
from fiftyone_revseg.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """FiftyOne without plugins; returns the folder for plugins."""
    monkeypatch.setattr(fo.config, "plugins_dir", str(tmp_path / "plugins"))
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    return tmp_path / "plugins"


def revseg(*arguments):
    return CliRunner().invoke(main, arguments)


def contents(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def operators():
    found = foo.list_operators(builtin=False, type="operator")
    return [operator.uri for operator in found]


def test_installs_and_uninstalls(empty, tmp_path):
    assert operators() == []
    result = revseg("install")
    assert result.exit_code == 0
    assert f"The plugin is installed in {empty / PLUGIN_NAME}" in result.output
    assert f"The models are registered in {tmp_path / 'zoo'}" in result.output
    assert fop.list_enabled_plugins() == [PLUGIN_NAME]
    assert "fiftyone_revseg/segment" in operators()

    before = contents(tmp_path)
    result = revseg("install")
    assert "installed already" in result.output
    assert contents(tmp_path) == before

    result = revseg("install", "--uninstall")
    assert result.exit_code == 0
    assert result.output.count("removed from") == 2
    assert operators() == []
    assert contents(tmp_path) == {}
    assert "Nothing is installed" in revseg("install", "--uninstall").output


def test_another_version_is_updated(empty):
    revseg("install")
    manifest = empty / PLUGIN_NAME / "fiftyone.yml"
    manifest.write_text(manifest.read_text().replace("- segment\n", ""))
    assert "fiftyone_revseg/segment" not in operators()
    assert "The plugin is updated" in revseg("install").output
    assert "fiftyone_revseg/segment" in operators()


def test_what_others_installed_is_left_alone(empty):
    theirs = empty / "theirs"
    theirs.mkdir(parents=True)
    shutil.copy(ROOT / "fiftyone.yml", theirs)
    before = contents(empty)
    result = revseg("install")
    assert result.exit_code == 1
    assert f"The plugin is in '{theirs}' already" in result.output

    theirs.rename(empty / PLUGIN_NAME)
    (empty / PLUGIN_NAME / "README.md").write_text("mine")
    before = contents(empty)
    result = revseg("install")
    assert result.exit_code == 1
    assert "There is another plugin" in result.output
    assert "left there" in revseg("install", "--uninstall").output
    assert contents(empty) == before


@pytest.fixture
def archive_url(tmp_path):
    """The repository's files as a host of repositories serves them: a zip with one folder."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    paths = [Path(name) for name in listed] or [
        path.relative_to(ROOT) for path in (ROOT / "fiftyone_revseg").rglob("*.py")
    ]
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "main.zip", "w") as archive:
        for path in {*paths, Path("fiftyone.yml")}:
            if (ROOT / path).is_file():
                archive.write(ROOT / path, Path("fiftyone-revseg-main") / path)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/main.zip"
        server.shutdown()
        thread.join()


def fiftyone(*arguments):
    """Runs FiftyOne's command line with this process's folder for plugins."""
    command = [sys.executable, "-c", "from fiftyone.core.cli import main; main()", *arguments]
    environment = {**os.environ, "FIFTYONE_PLUGINS_DIR": fo.config.plugins_dir}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_downloaded_as_a_plugin(empty, archive_url):
    fiftyone("plugins", "download", archive_url)
    assert fop.list_enabled_plugins() == [PLUGIN_NAME]
    assert (Path(fop.find_plugin(PLUGIN_NAME)) / "setup.py").is_file()
    assert "fiftyone_revseg/segment" in operators()
    assert f"fiftyone plugins delete {PLUGIN_NAME}" in revseg("install").output


WITHOUT = """
import sys
import fiftyone as fo
import fiftyone.plugins.context as fopc

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fiftyone_revseg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
fo.config.plugins_dir = sys.argv[1]
(context,) = [c for c in fopc.build_plugin_contexts() if c.name == "fiftyone_revseg"]
print(context.errors[0])
"""


def test_downloaded_without_the_package(empty, tmp_path):
    folder = empty / PLUGIN_NAME
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "fiftyone.yml", folder)
    shutil.copytree(ROOT / "fiftyone_revseg" / "app", folder / "fiftyone_revseg" / "app")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(empty)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The plugin needs the package fiftyone-revseg" in result.stdout
    assert "pip install" in result.stdout


STAND_IN = """
(operator,) = context.instances
form = operator.resolve_input(None).type.properties["missing"]
print(operator.uri, form.error_message)
"""


@pytest.mark.parametrize("whole", [True, False])
def test_the_app_says_what_to_type(empty, tmp_path, whole):
    folder = empty / PLUGIN_NAME
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "fiftyone.yml", folder)
    shutil.copytree(ROOT / "fiftyone_revseg" / "app", folder / "fiftyone_revseg" / "app")
    if whole:
        shutil.copy(ROOT / "setup.py", folder)
    command = [sys.executable, "-c", WITHOUT + STAND_IN, str(empty)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = result.stdout.splitlines()[-1]
    assert said.startswith("fiftyone_revseg/segment The plugin needs the package")
    where = f'-e "{folder}"' if whole else "-U fiftyone-revseg"
    assert f'"{sys.executable}" -m pip install {where}' in said
