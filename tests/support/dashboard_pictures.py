"""Make the pictures of docs/how-to/watch-builds.md from a report of a build:

python tests/support/dashboard_pictures.py build/report/NAME/report.json
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from browser import chromium, visit
from dashboard_server import started
from library import add_all
from PIL import Image

from pipeline.validation.report import read_report

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PAGES = {
    "dashboard-builds": ("", 1180),
    "dashboard-compare": ("compare?build=build-1&build=rejected", 900),
    "dashboard-devices": ("devices", 830),
}
"""Address and height of each picture."""
WIDTH, COLOURS = 1100, 256


def main(path):
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as temporary:
        os.chdir(temporary)
        Path("builds").mkdir()
        add_all(Path("builds"), read_report(path))
        with started("builds") as process, chromium() as browser:
            address = process.stdout.readline().strip()
            for name, (page, height) in PAGES.items():
                with visit(browser, address + page, WIDTH) as seen:
                    seen.page.set_viewport_size({"width": WIDTH, "height": height})
                    shot = Image.open(io.BytesIO(seen.page.screenshot()))
                shot.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(
                    IMAGES / f"{name}.png", optimize=True
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
