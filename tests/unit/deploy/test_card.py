"""What a user wrote is shown as it is, whatever Markdown would make of it."""

from __future__ import annotations

import html

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from deploy.card import escape

PARSER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
HEAD = "| a | b |\n|---|---|\n"


def shown(text):
    """The text as a page shows it: without what cannot be printed, and without spaces around it."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return html.escape(plain.strip(), quote=False).replace('"', "&quot;")


@given(st.text(st.characters(codec="utf-8")) | st.text("`*_[]()<>!#|~-+=.:@$\\& 1a\n\t/{}"))
@example("1. x")
@example("- x")
@example("# x")
@example("> x")
@example("***")
@example("a_b_ ~~c~~ ![d](e) &copy;")
@example("<!-- x")
@settings(deadline=None, max_examples=300, derandomize=True)
def test_text_is_shown_as_it_is(text):
    item = PARSER.render(f"x {escape(text)}").replace("&#x27;", "'")
    assert item in (f"<p>x {shown(text)}</p>\n", f"<p>x{shown(text)}</p>\n")
    listed = PARSER.render(f"- {escape(text)}")
    assert listed.count("<li>") == 1
    assert "<h" not in listed
    assert "<blockquote>" not in listed
    cells = PARSER.render(f"{HEAD}| {escape(text)} | c |\n")
    assert cells.count("<td>") == 2


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("fashion-resnet8-1.0", "fashion-resnet8-1.0"),
        ("raw x 0.0039 +0 (declared)", "raw x 0.0039 +0 (declared)"),
        ("www.evil.org", r"www\.evil\.org"),
        ("https://evil.org", r"https\://evil\.org"),
        ("@someone", r"\@someone"),
    ],
)
def test_plain_names_stay_readable_and_addresses_are_no_links(text, written):
    assert escape(text) == written
