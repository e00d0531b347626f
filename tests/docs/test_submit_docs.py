"""The page on submitting and reporting, run from top to bottom on a miniature."""

import gc
import re
from pathlib import Path

import fiftyone as fo
from click.testing import CliRunner
from miniatures import write_miniature
from png_predictions import write_predictions

from fiftyone_revseg.cli import main
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.predictions import load_predictions

PAGE = (Path(__file__).parents[2] / "docs" / "submit-and-report.md").read_text()


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hidden = write_miniature("mevis", tmp_path / "data" / "MeViS", "valid")
    scored = write_miniature("mevis", tmp_path / "scored", "valid_u")
    datasets = [import_benchmark("mevis", hidden.root, "valid", "mevis-valid")]
    datasets.append(import_benchmark("mevis", scored.root, "valid_u", "mevis-valid_u"))
    try:
        for miniature, dataset in zip((hidden, scored), datasets, strict=True):
            masks = write_predictions(miniature, tmp_path / f"masks-{miniature.split}")
            load_predictions(dataset, masks, "revseg")
        evaluate_view(datasets[1], workers=1).save("results.json")
        names: dict = {}
        for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
            exec(compile(code, "submit-and-report.md", "exec"), names)
        said = capsys.readouterr().out
        assert "6 expressions of 2 videos, 30 masks, written to" in said
        assert "6 expressions of 2 videos" in said.split("loaded into 'theirs'")[0].splitlines()[-1]
        assert "problem" not in names  # the archive is valid
        assert (tmp_path / "report" / "report.html").is_file()
    finally:
        names.clear()
        gc.collect()
        for dataset in datasets:
            dataset.delete()
    assert not {"mevis-valid", "mevis-valid_u"} & set(fo.list_datasets())


def test_commands_and_options_exist():
    for line in re.findall(r"^(revseg .*)$", PAGE, re.MULTILINE):
        command, *words = line.split()[1:]
        result = CliRunner().invoke(main, [command, "--help"])
        assert result.exit_code == 0, line
        for option in (word for word in words if word.startswith("-")):
            assert option in result.stdout, line
