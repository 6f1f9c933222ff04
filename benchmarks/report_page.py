"""How fast pages open in a browser without a network, and what it objects to: errors, overflow, axe-core.

Usage: python benchmarks/report_page.py PAGE.html ... [--runs 9]

Each run is a new window of one browser; its time is that from the request to the load event and the first
frame after it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from pipeline.emulation.provisioning import provision_browser

LIMIT_S = 1.0
LIMIT_BYTES = 3_000_000
PHONE, DESKTOP, HEIGHT = 390, 1280, 844
FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def opened(browser: Browser, page: Path, width: int, scheme: str) -> tuple[float, list[str]]:
    """Return the seconds in which a page is shown, and the console's errors."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, offline=True
    )
    try:
        window, errors = context.new_page(), list[str]()
        window.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        window.on("pageerror", lambda error: errors.append(str(error)))
        start = time.perf_counter()
        window.goto(page.resolve().as_uri())
        window.evaluate(FRAME)
        return time.perf_counter() - start, errors
    finally:
        context.close()


def objections(browser: Browser, page: Path, width: int, scheme: str) -> tuple[int, int]:
    """Return how many nodes axe-core objects to, and by how many CSS pixels the page is too wide."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, offline=True
    )
    try:
        window = context.new_page()
        window.goto(page.resolve().as_uri())
        violations = Axe().run(window).response["violations"]
        return sum(len(found["nodes"]) for found in violations), window.evaluate(OVERFLOW)
    finally:
        context.close()


def row(browser: Browser, page: Path, runs: int) -> str:
    found = [opened(browser, page, DESKTOP, "light") for _ in range(runs)]
    times, errors = [seconds for seconds, _ in found], sum(len(each) for _, each in found)
    looks = [
        objections(browser, page, width, scheme) for width in (PHONE, DESKTOP) for scheme in ("light", "dark")
    ]
    size = page.stat().st_size
    median, low, high = statistics.median(times), min(times), max(times)
    return (
        f"| {page.name} | {size:,} | {median:.2f} | {low:.2f} to {high:.2f} | {runs} | {errors} "
        f"| {sum(count for count, _ in looks)} | {max(wide for _, wide in looks)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", type=Path, nargs="+", metavar="PAGE.html")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=provision_browser())
        rows = [row(browser, page, options.runs) for page in options.pages]
        machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Chromium {browser.version}"
        browser.close()
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}; at most {LIMIT_BYTES:,} bytes and {LIMIT_S} s\n")
    print("| page | bytes | median, s | range, s | runs | errors | axe-core | too wide, px |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
