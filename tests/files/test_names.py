"""Names from outside as components of paths."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fiftyone_revseg.files.names import inside, safe_name, safe_names


@pytest.mark.parametrize(
    "name",
    ["clip", "my clip.v2", "00000", "Übung", "a-b_c~d", "走る犬", "clip~12345", "con1", "a.b.c"],
)
def test_an_ordinary_name_stays(name):
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "...", "/", "/etc/passwd", "../a", "a/../b", "a\\b", "C:\\x", "a:b"),
        *(".hidden", " a", "a ", "a.", "%05d", "100%", "a\nb", "a\0b", "con", "NUL.txt", "aux"),
        *("x" * 247, "é" * 200, "clip~0123456789", "\ud83d", "what?", "a|b", '"', "\u2028"),
    ],
)
def test_any_other_name_becomes_one_component(name, tmp_path):
    made = safe_name(name)
    assert made != name
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{made}.json").write_text("x")
    assert [f.name for f in (tmp_path / "in").iterdir()] == [f"{made}.json"]
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


@given(st.lists(st.text(), max_size=5, unique=True))
@example(["a/b", "a\\b", "a_b", "a:b"])
@example(["x" * 300, "x" * 301])
@example(["\udc80", "\udc81"])
def test_names_are_different_safe_and_stay_when_made_again(names):
    made = [safe_name(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert name == os.path.basename(name)
        assert 1 <= len(name.encode("utf-8")) <= 200
        assert not name.startswith(".")
        assert "%" not in name
        assert "\\" not in name


def test_a_name_that_looks_like_one_that_was_made_is_not_it():
    assert safe_name(safe_name("a/b")) != safe_name("a/b")


def test_names_that_differ_by_case_or_accents_are_different_files_everywhere():
    names = ["Clip", "clip", "other", "\u00e9", "e\u0301", "stra\u00dfe", "STRASSE"]
    made = safe_names(names)
    assert len({name.casefold() for name in made.values()}) == len(names)
    assert made["other"] == "other"
    assert made == safe_names(reversed(names))


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/a", "../a", "a/../../b", "a\\..\\..\\b", "C:\\a", "C:a", "\\a", "a\0b"],
)
def test_a_path_that_leads_out_of_a_folder_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="no path inside of a folder"):
        inside(tmp_path, path)


@pytest.mark.parametrize("path", ["a", "a/b.png", "a b/..c", "...x/y", "./a"])
def test_a_path_inside_is_joined(path, tmp_path):
    assert inside(tmp_path, path) == tmp_path / path
