"""An overwrite replaces what was written before, and nothing else."""

import pytest

from fiftyone_revseg.files.written import LIST, NotOursError, Written, holds_only_ours


def write(directory, name="folder", files=("0.png", "1.png"), text="ours"):
    with Written(directory).replacing_folder(directory / name) as partial:
        for file in files:
            (partial / file).write_text(text)


def contents(path):
    return {p.name: p.read_text() for p in path.iterdir()}


def test_what_was_written_is_replaced(tmp_path):
    write(tmp_path)
    write(tmp_path, files=["0.png"], text="new")
    assert contents(tmp_path / "folder") == {"0.png": "new"}
    assert {p.name for p in tmp_path.iterdir()} == {"folder", LIST}
    assert not holds_only_ours(tmp_path)


@pytest.mark.parametrize("change", ["another file", "changed", "renamed", "removed", "folder"])
def test_what_a_person_changed_is_not(tmp_path, change):
    write(tmp_path)
    folder = tmp_path / "folder"
    if change == "another file":
        (folder / "notes.txt").write_text("mine")
    elif change == "changed":
        (folder / "0.png").write_text("painted")
    elif change == "renamed":
        (folder / "0.png").rename(folder / "2.png")
    elif change == "removed":
        (folder / "0.png").unlink()
    else:
        (folder / "more").mkdir()
    before = {p: p.read_text() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(NotOursError, match="not written by revseg"):
        write(tmp_path, text="new")
    assert {p: p.read_text() for p in folder.rglob("*") if p.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"folder", LIST}


def test_a_folder_of_the_same_names_that_was_there_before_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "0.png").write_text("true")
    with pytest.raises(NotOursError):
        write(tmp_path)
    assert contents(tmp_path / "folder") == {"0.png": "true"}


def test_a_file_that_comes_while_one_is_written_stays(tmp_path):
    write(tmp_path)

    def slowly():
        with Written(tmp_path).replacing_folder(tmp_path / "folder") as partial:
            (partial / "0.png").write_text("new")
            (tmp_path / "folder" / "mine").write_text("mine")

    with pytest.raises(NotOursError):
        slowly()
    assert contents(tmp_path / "folder") == {"0.png": "ours", "1.png": "ours", "mine": "mine"}


def test_what_systems_put_into_folders_by_themselves_does_not_count(tmp_path):
    write(tmp_path)
    (tmp_path / "folder" / ".DS_Store").write_text("x")
    (tmp_path / "folder" / "Thumbs.db").write_text("x")
    write(tmp_path, text="new")
    assert contents(tmp_path / "folder") == {"0.png": "new", "1.png": "new"}


def test_a_file_is_replaced_only_if_it_was_written_before(tmp_path):
    path = tmp_path / "results.json"
    for text in ("one", "two"):
        with Written(tmp_path).replacing(path) as partial:
            partial.write_text(text)
    path.write_text("mine")

    def again():
        with Written(tmp_path).replacing(path) as partial:
            partial.write_text("three")

    with pytest.raises(NotOursError, match=r"results\.json"):
        again()
    assert path.read_text() == "mine"


def test_a_line_that_a_full_disk_cut_does_not_hide_the_next_one(tmp_path):
    write(tmp_path)
    with open(tmp_path / LIST, "ab") as file:
        file.write(b"\n0123")
    write(tmp_path, text="new")
    write(tmp_path, text="newer")
    assert contents(tmp_path / "folder") == {"0.png": "newer", "1.png": "newer"}


def test_names_that_are_no_text_are_written_down(tmp_path):
    write(tmp_path, name="caf\udce9\n", files=["\udce9"])
    write(tmp_path, name="caf\udce9\n", files=["\udce9"], text="new")
    assert contents(tmp_path / "caf\udce9\n") == {"\udce9": "new"}
