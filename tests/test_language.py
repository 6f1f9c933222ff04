"""Documents, messages, docstrings and comments use the words of docs/glossary.md."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
EXEMPT = {GLOSSARY, ROOT / "CHANGELOG.md", *(ROOT / "docs" / "adr").iterdir()}
PAGES = sorted(
    {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")} - EXEMPT
)
SOURCES = sorted(
    path
    for folder in ("calibration", "deploy", "models", "pipeline")
    for path in (ROOT / folder).rglob("*.py")
)


def _rows(heading: str) -> list[tuple[str, str]]:
    section = GLOSSARY.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [(first.strip(), second.strip()) for first, second in rows]


def _old_phrases() -> re.Pattern[str]:
    phrases = [phrase for _, olds in _rows("Write X, not Y") for phrase in olds.split(", ")]
    return re.compile("|".join(rf"(?<!\w){re.escape(phrase)}(?!\w)" for phrase in phrases), re.IGNORECASE)


OLD = _old_phrases()


def _of_page(text: str) -> str:
    """Return the prose of a page: without code, but with its line breaks."""

    def blank(code: re.Match[str]) -> str:
        return "\n" * code[0].count("\n")

    return re.sub(r"`[^`]*`", blank, re.sub(r"^ *```.*?^ *```", blank, text, flags=re.DOTALL | re.MULTILINE))


def _of_source(text: str) -> list[tuple[int, str]]:
    """Return each text constant and comment of a module with its line."""
    constants = [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return constants + [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def old_words_of_page(text: str) -> list[tuple[int, str]]:
    """Return the line and the words of each old phrase in a Markdown page."""
    prose = _of_page(text)
    flat = prose.replace("\n", " ")
    return [(prose.count("\n", 0, found.start()) + 1, found[0]) for found in OLD.finditer(flat)]


def old_words_of_source(text: str) -> list[tuple[int, str]]:
    """Return the line and the words of each old phrase in a Python module."""
    return [
        (line + part.count("\n", 0, found.start()), found[0])
        for line, part in _of_source(text)
        for found in OLD.finditer(re.sub(r"\s", " ", re.sub(r"``[^`]*``", "", part)))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_uses_the_words_of_the_glossary(page):
    assert old_words_of_page(page.read_text()) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(ROOT).as_posix())
def test_a_module_uses_the_words_of_the_glossary(source):
    assert old_words_of_source(source.read_text()) == []


def test_an_old_phrase_in_a_page_is_found_with_its_line_even_over_a_line_break():
    page = (
        "# Title\n\nThe outputs are equal to\nthe bit.\n\n```sh\nmend\n```\n\n"
        "`trouble` is code, trouble is not.\n"
    )
    assert old_words_of_page(page) == [(3, "to the bit"), (10, "trouble")]


def test_an_old_phrase_in_a_message_a_docstring_or_a_comment_is_found_with_its_line():
    source = '"""What mends it."""\n\nx = f"{trouble}: mended"  # of no use\nmend = "``mend``"\n'
    assert sorted(old_words_of_source(source)) == [(1, "mends"), (3, "mended"), (3, "of no use")]


def test_a_word_that_only_contains_an_old_one_is_not_found():
    assert old_words_of_page("Recommended, accompanying, beginning.") == []


def test_the_glossary_is_in_order_and_lists_a_term_once():
    terms = [term.lower() for term, _ in _rows("Terms")]
    assert terms == sorted(set(terms))
