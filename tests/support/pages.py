"""Read the HTML pages of reports."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
VOID = {"meta", "line", "circle", "br", "img"}


class Page(HTMLParser):
    """Collects tags, headings and text, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.headings, self.words = [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not any(
            name.startswith("on") or name == "href" or (name == "src" and not value.startswith("data:image/"))
            for name, value in attrs
        )
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data.strip())
            if self.open[-1] in {"h1", "h2"}:
                self.headings.append(data)


def text_of(page):
    return " ".join(" ".join(page.words).split())
