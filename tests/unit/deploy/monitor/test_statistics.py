"""Statistics from a device are read as somebody else's file: whole, or refused in one line."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from deploy.device.observe import Observer
from deploy.errors import DeployError
from deploy.monitor.statistics import MAX_BYTES, read_saved, read_statistics

TENSOR = {"name": "x", "shape": [1, 4], "dtype": "int8", "scale": 0.1, "zero_point": 0, "range": None}
CONTRACT = {
    "name": "m",
    "version": "1",
    "target": "t",
    "inputs": [TENSOR],
    "outputs": [TENSOR | {"name": "y", "task": "classification", "logits": True}],
}


@pytest.fixture
def plain():
    observer = Observer(CONTRACT, digest="d")
    for sample in np.random.default_rng(0).integers(-128, 128, (20, 1, 4)).astype(np.int8):
        observer.see([sample], [sample], 100.0)
    return observer.statistics()


def test_what_a_device_counted_is_read(plain):
    found = read_statistics(json.dumps(plain).encode(), "device")

    assert (found.observed, found.inferences, found.digest) == (20, 20, "d")
    assert sum(found.outputs[0].classes) == 20
    assert sum(found.latency_us.counts) == 20


DAMAGE = {
    "negative": lambda found: found["inputs"][0]["means"].__setitem__(0, -1),
    "a fraction": lambda found: found["inputs"][0]["means"].__setitem__(0, 1.5),
    "true": lambda found: found.update(observed=True),
    "huge": lambda found: found.update(inferences=10**30),
    "too few bins": lambda found: found["inputs"][0]["values"].pop(),
    "more observed than inferred": lambda found: found.update(inferences=3),
    "a sample too many": lambda found: found["inputs"][0]["means"].__setitem__(3, 999),
    "an answer too many": lambda found: found["outputs"][0]["classes"].__setitem__(0, 999),
    "another version": lambda found: found.update(schema_version=2),
    "no inputs": lambda found: found.pop("inputs"),
    "no ratio": lambda found: found["latency_us"].update(ratio=1.0),
    "NaN": lambda found: found["latency_us"].update(lowest=float("nan")),
    "text": lambda found: found.update(outputs="x" * 1000),
    "null of others": lambda found: found.update(null={"inputs": [], "outputs": []}),
    "edges that fall": lambda found: found.update(
        null={"inputs": [{"edges": [0, 9, 3], "weight": 1, "square": 1}], "outputs": []}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_in_one_line_that_names_the_file(plain, damage):
    damaged = copy.deepcopy(plain)
    damage(damaged)

    with pytest.raises(DeployError, match="device 7: damaged statistics") as caught:
        read_statistics(json.dumps(damaged).encode(), "device 7")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": 1}',
        b" " * (MAX_BYTES + 1),
    ],
    ids=["empty", "cut", "null", "list", "no UTF-8", "nested", "short", "huge"],
)
def test_what_is_no_statistics_is_refused(raw):
    with pytest.raises(DeployError, match="statistics"):
        read_statistics(raw, "device")


def test_names_from_a_device_cannot_move_the_cursor(plain):
    plain["inputs"][0]["means"] = "\x1b[2J\x1b[H"

    with pytest.raises(DeployError) as caught:
        read_statistics(json.dumps(plain).encode(), "device")
    assert str(caught.value).isprintable()


def test_a_devices_own_file_is_no_saved_one(plain):
    with pytest.raises(DeployError, match=r"contract.*--save"):
        read_saved(json.dumps(plain).encode(), "device")
