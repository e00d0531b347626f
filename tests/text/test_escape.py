"""Text that others wrote, on a terminal, in Markdown and in spreadsheets."""

import json
import re
import unicodedata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import fiftyone_revseg.cli
from fiftyone_revseg.cli.output import Group, echo
from fiftyone_revseg.text.escape import (
    cell,
    from_cell,
    markdown,
    markdown_block,
    markdown_line,
    one_line,
    printable,
)

ANY = st.text(st.characters(), max_size=60)
# What gives a terminal commands: colours, its title, a link, the clipboard, another direction
COMMANDS = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\here",
    "\x9b2J",
    "\rover",
    "back\x08",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "half \ud83d",
    "\x00",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_a_terminal_gets_no_commands(text):
    shown = printable(f"before {text}\tafter\n")
    assert shown.startswith("before ")
    assert shown.endswith("\tafter\n")
    assert all(part.isprintable() for part in shown.replace("\t", " ").split("\n"))
    shown.encode("utf-8")


def test_what_is_shown_is_how_json_writes_it():
    value = {"label": "".join(COMMANDS)}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


@given(ANY)
def test_one_line(text):
    line = one_line(text, 20)
    assert not commands_in(line)
    assert len(line) <= 20
    if len(text) <= 20 and text == " ".join(text.split()) and not commands_in(text):
        assert line == text


def test_a_long_line_is_cut():
    assert one_line("a dog and a cat", 10) == "a dog ..."
    assert one_line("x" * 1000, 10) == "xxxxxx ..."


def commands_in(text):
    """Characters of categories that are no text: controls, halves, ends of lines, directions."""
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    odd = ("Cc", "Cs", "Zl", "Zp")
    return [c for c in text if unicodedata.category(c) in odd or c in turning]


def rendered(text):
    """The kinds of all that Markdown makes of a text, and the text that is read."""
    tokens = MarkdownIt("commonmark", {"linkify": False}).enable("table").parse(text)
    kinds = [t.type for t in tokens] + [c.type for t in tokens for c in t.children or ()]
    read = "".join(c.content for t in tokens for c in t.children or () if c.type == "text")
    return set(kinds), read.replace("\u2060", "")


@given(ANY | st.text("\\`*_{}[]()<>#+-.!|~$&=:@\"' \t1ax/h\n", max_size=60))
def test_markdown_shows_the_text(text):
    kinds, read = rendered(f"* {markdown_line(text)}")
    allowed = {"bullet_list_open", "list_item_open", "paragraph_open", "inline", "text"}
    assert kinds <= allowed | {kind.replace("open", "close") for kind in allowed}
    assert read == one_line(text).replace("\u2060", "")


def test_ordinary_text_stays_readable():
    text = 'J&F 61.2 (J 60.1), the cat\'s 2nd - "left": a/b.mp4! # 3 + 4 = 7'
    assert markdown(text) == text.replace("&", "\\&")
    assert markdown("# a_b <img>") == r"\# a\_b \<img\>"


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://evil.example/a.png)",
        "[x](javascript:alert(1))",
        "<img src=http://evil.example/a.png>",
        "<http://evil.example>",
        "![x][y]\n\n[y]: http://evil.example/a.png",
        "a | b |\n|---|---|",
        "# no\n---\n> heading\n1. and\n- list\n```\ncode\n```",
        "&lt;b&gt; ~~a~~ **b** $x$",
        "a\n===\nb\n---\n\n    code\n\n\tcode\n- a\n+ b\n12) c\n1. d\n: e",
    ],
)
def test_markdown_is_only_text(text):
    kinds, _ = rendered(markdown(text))
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "softbreak"}


def test_commands_print_through_one_door():
    folder = Path(fiftyone_revseg.cli.__file__).parent
    others = [path for path in folder.glob("*.py") if path.name != "output.py"]
    assert len(others) > 10
    found = [path.name for path in others if re.search(r"click\.s?echo", path.read_text())]
    assert found == []


@pytest.mark.parametrize("text", COMMANDS)
def test_what_commands_say(text):
    @click.group(cls=Group)
    def main():
        pass

    @main.command()
    @click.argument("how")
    def say(how):
        echo(f"said {text}", (text, "red"), bold=True)
        echo(text, err=True)
        if how == "fail":
            raise click.ClickException(text)
        raise click.BadParameter(text)

    for how in ("fail", "usage"):
        result = CliRunner().invoke(main, ["say", how])
        assert result.exit_code in (1, 2)
        assert f"said {printable(text)}" in result.output
        assert result.output.count(printable(text)) == 4
        assert result.output.replace("\n", "").isprintable()


@given(ANY | st.text("'=+-@ \t\n1a", max_size=6))
def test_a_cell_comes_back(text):
    written = cell(text)
    assert from_cell(written) == printable(text)
    assert not re.match(r"\s*[=+\-@]|[\t\r\n]", written)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\n=1", " =1", "\uff1d1", "'=1", '=cmd|"/c"!A1'],
)
def test_a_formula_is_text(text):
    assert cell(text).startswith("'")


def test_other_cells_stay():
    ordinary = ["a dog", "'quoted'", "a=b", "", -1.5, 3, None, True]
    assert [cell(value) for value in ordinary] == ordinary


@given(ANY | st.text("`~ \n", max_size=20))
def test_nothing_ends_a_block(text):
    tokens = MarkdownIt("commonmark").parse(markdown_block(text))
    assert [token.type for token in tokens] == ["fence"]
    shown = tokens[0].content.removesuffix("\n")
    assert shown.replace("\ufffd", "\u0000") == printable(text).replace("\ufffd", "\u0000")
