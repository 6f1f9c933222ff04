"""README, troubleshooting, how-tos and pictures: they fit, and say what the code does."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from PIL import Image

from pipeline.config import GateName
from pipeline.targets import CpuInfo, Device, Target, load_devices
from pipeline.validation.gates import structure

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
IMAGES = DOCS / "images"
SCREENS = 2
ROWS = 60
"""Lines of a screen of a code host."""
MAX_IMAGE_BYTES = 200_000


def _parts_of_messages() -> str:
    """Return the parts between the variables of every text in the code that is not a docstring."""
    parts = []
    for package in ("pipeline", "models", "calibration", "deploy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            parts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docstrings
            ]
    return "\0".join(parts)


PARTS = _parts_of_messages()
TROUBLES = (DOCS / "troubleshooting.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)` \|", TROUBLES, re.MULTILINE)


def is_message(text: str) -> bool:
    """Return whether the code has every part of a message in which "..." stands for variables."""
    parts = [part.strip() for part in text.split("...")]
    return max(map(len, parts)) >= 12 and all(part in PARTS for part in parts)


def test_there_is_help_with_many_messages():
    assert len(MESSAGES) > 40


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_of_troubleshooting_is_one_of_the_code(message):
    assert is_message(message)


@pytest.mark.parametrize(
    "text", ["the model is broken; buy a new one", "...", "...: no such file; give a ... pony"]
)
def test_a_message_that_the_code_lacks_is_found(text):
    assert not is_message(text)


def test_troubleshooting_has_advice_for_gates_that_exist():
    section = TROUBLES.split("## A gate failed\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")][2:]
    named = {name.strip() for row in rows for name in row.split(",")}
    assert named <= set(get_args(GateName))
    assert {"accuracy", "shift", "size", "bit-exactness", "latency"} <= named


def test_the_readme_fits_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= SCREENS * ROWS


def test_the_readme_shows_the_report_in_light_and_dark():
    shown = re.findall(r'(?:src|srcset)="([^"]+)"', (ROOT / "README.md").read_text())
    assert shown == ["docs/images/report-dark.png", "docs/images/report-light.png"]
    brightness = [Image.open(ROOT / path).convert("L").resize((1, 1)).getpixel((0, 0)) for path in shown]
    assert brightness[0] < 100 < 155 < brightness[1]


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.name)
def test_a_picture_is_small_shown_somewhere_and_needs_no_other_host(path):
    assert path.stat().st_size < MAX_IMAGE_BYTES
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    assert [page for page in pages if f"images/{path.name}" in page.read_text()]
    if path.suffix == ".svg":
        addresses = set(re.findall(r"https?://[^\s\"')<]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


def test_the_gate_of_the_how_to_judges(report):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "how-to" / "add-a-gate.md").read_text(), re.DOTALL)
    names = dict(vars(structure))
    exec(compile("from __future__ import annotations\n" + code, "add-a-gate.md", "exec"), names)
    size = report.quantized.size_bytes

    assert names["file_bytes"](report, SimpleNamespace(file_bytes=None)) == ()
    for limit, outcome in ((size, "passed"), (size - 1, "failed")):
        (verdict,) = names["file_bytes"](report, SimpleNamespace(file_bytes=limit))
        assert (verdict.gate, verdict.outcome) == ("file bytes", outcome)


def test_the_board_of_the_how_to_is_a_device_and_a_target():
    page = (DOCS / "how-to" / "use-your-own-board.md").read_text()
    (text,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    rows = tomllib.loads(text)
    [(name, row)] = rows["devices"].items()
    [(target, about)] = rows["targets"].items()
    keys = tomllib.loads((ROOT / "pipeline" / "targets.toml").read_text())["devices"]["rpi5"]

    assert row.keys() == keys.keys()
    assert row["cpuinfo"].keys() == keys["cpuinfo"].keys()
    assert about == {"title": "My board", "devices": [name]}
    cpuinfo = CpuInfo(**row["cpuinfo"] | {"features": tuple(row["cpuinfo"]["features"])})
    device = Device(name=name, **row | {"cpuinfo": cpuinfo})
    assert device.has_dot_product
    assert Target(target, about["title"], (device,)).runtime == load_devices()["rpi5"].runtime
