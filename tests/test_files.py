import json

import pytest

from fiftyone_revseg.files import replacing, to_json, write_json, write_text


def test_a_file_is_written_into_a_new_directory_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "for the first time")
    write_text(path, "größer")
    assert path.read_text(encoding="utf-8") == "größer"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_what_interrupts_the_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_json_does_not_know_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", {"path": tmp_path})
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "run.json", {"steps": 3}, indent=2)
    assert json.loads((tmp_path / "run.json").read_text()) == {"steps": 3}


def test_numbers_that_are_not_finite_become_null(tmp_path):
    value = {"a": float("nan"), "b": [1.5, (float("inf"), {"c": -float("inf")})], "d": "NaN"}
    write_json(tmp_path / "figures.json", value)
    text = (tmp_path / "figures.json").read_text()
    assert text == '{"a": null, "b": [1.5, [null, {"c": null}]], "d": "NaN"}\n'
    assert to_json({"ü": 0.5}, ensure_ascii=False) == '{"ü": 0.5}'
