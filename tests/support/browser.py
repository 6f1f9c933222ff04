"""Look at pages in a real browser: errors, requests, overflow, empty panels, accessibility (axe-core)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.emulation.provisioning import provision_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

PHONE, DESKTOP = 390, 1280
"""Widths of windows in CSS pixels."""
HEIGHT = 844
TIMEOUT_MS = 300_000
"""For whatever a page is waited for: much more than a busy machine takes."""
SCHEMES = ("light", "dark")
OFFLINE = ("", "data", "about", "blob", "file")

OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const clips = (one) => /auto|scroll|hidden/.test(getComputedStyle(one).overflowX);
  const scrolls = (one) => one && (clips(one) || scrolls(one.parentElement));
  const wide = [...document.body.querySelectorAll("*")].filter(
    (one) => one.getBoundingClientRect().right > width + 1 && !scrolls(one.parentElement));
  return ["page is " + document.documentElement.scrollWidth + " px wide in a window of " + width,
          ...wide.map((one) => "too wide: " + one.outerHTML.slice(0, 120))];
}"""
"""Returns what is wider than the window and does not scroll by itself."""

EMPTY = """() => {
  const shown = (one) => one.getClientRects().length > 0;
  const drawn = "path, line, polyline, polygon, circle, rect, text, use, image";
  const panels = "main, section, figure, article, details > *, header, nav, ul, ol";
  const full = (one) => one.textContent.trim() || one.querySelector("svg, img, canvas, input, button");
  const found = [];
  for (const table of document.querySelectorAll("table"))
    if (shown(table) && ![...table.rows].some((row) => row.querySelector("td"))) found.push(table);
  for (const svg of document.querySelectorAll("svg"))
    if (shown(svg) && !(svg.querySelector(drawn) && svg.clientWidth && svg.clientHeight)) found.push(svg);
  for (const panel of document.querySelectorAll(panels))
    if (shown(panel) && !full(panel)) found.push(panel);
  for (const heading of document.querySelectorAll("h1, h2, h3")) {
    if (!heading.textContent.trim()) found.push(heading);
    if (!shown(heading) || heading.tagName === "H1") continue;
    let next = heading.nextElementSibling;
    const ends = (one) => /^H[1-3]$/.test(one.tagName) || (shown(one) && full(one));
    while (next && !ends(next)) next = next.nextElementSibling;
    if (!next || (/^H[1-3]$/.test(next.tagName) && next.tagName <= heading.tagName)) found.push(heading);
  }
  return found.map((one) => "empty: " + one.outerHTML.slice(0, 120));
}"""
"""Returns tables without rows, drawings without lines, and panels and sections without content."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium without a window: this machine's, or else the provisioned one.

    Inside the block this thread has a running asyncio loop, so end it before code that calls ``asyncio.run``.
    """
    program = provision_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page, and what the browser complained about while it was shown.

    Attributes:
        page: Playwright's page.
        problems: console messages that are errors or warnings, exceptions of scripts, failed requests, and
            requests to another host than the page's own.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.problems = page, list[str]()
        self._host = urlsplit(url).netloc
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("request", lambda request: self._check(request.url))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        response = page.goto(url)
        if response is not None and response.status >= 400:
            self.problems.append(f"{url}: HTTP {response.status}")

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"console: {message.text}")

    def _check(self, url: str) -> None:
        place = urlsplit(url)
        if place.scheme not in OFFLINE and place.netloc != self._host:
            self.problems.append(f"request to another host: {url}")

    def look(self) -> list[str]:
        """Return all problems so far, what overflows, what is empty, and what axe-core objects to."""
        violations = [
            f"axe-core {found['id']} ({found['impact']}): {node['html']:.160}; {_advice(node)}"
            for found in Axe().run(self.page).response["violations"]
            for node in found["nodes"]
        ]
        return [*self.problems, *self.page.evaluate(OVERFLOW), *self.page.evaluate(EMPTY), *violations]


def _advice(node: dict[str, Any]) -> str:
    return "; ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])


@contextmanager
def visit(browser: Browser, url: str, width: int = DESKTOP, scheme: str = "light") -> Iterator[Visit]:
    """Show a page in a window of its own.

    Args:
        width: of the window, in CSS pixels.
        scheme: "light" or "dark", which the user prefers.
    """
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        yield Visit(context.new_page(), url)
    finally:
        context.close()


def problems_of(browser: Browser, url: str) -> list[str]:
    """Return what is wrong with a page on a phone and on a desktop, light and dark; [] if nothing is."""
    found = []
    for width in (PHONE, DESKTOP):
        for scheme in SCHEMES:
            with visit(browser, url, width, scheme) as seen:
                found += [f"{width} px, {scheme}: {problem}" for problem in seen.look()]
    return found
