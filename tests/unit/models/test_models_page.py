"""The page on models lists what the code reads, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.allowlist import ACTIVATION_SYNONYMS, ACTIVATIONS, DO_NOTHING, REASONS
from models.layer_rules import LAYERS
from models.layers import OWN_LAYERS
from models.operation_layers import READERS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "models.md"


def section(heading):
    return PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(heading):
    lines = [line for line in section(heading).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_layer_is_listed_with_the_settings_that_are_read():
    documented = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in rows("Layers")}

    assert documented == {kind: rule.config for kind, rule in LAYERS.items() if kind not in OWN_LAYERS}


def test_every_refused_layer_is_listed_with_its_reason():
    assert {row[0].strip("`"): row[1] for row in rows("Unsupported layers")} == REASONS


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Ignored layers", DO_NOTHING),
        ("Activations", ACTIVATIONS | ACTIVATION_SYNONYMS.keys() | {"hard_silu"}),
        ("Operations", READERS),
    ],
)
def test_lists_are_whole(heading, expected):
    last = section(heading).strip().split("\n\n")[-1]

    assert set(re.findall(r"`(\w+)`", last)) == set(expected)
