"""The settings of a build, each with where it comes from."""

from __future__ import annotations

import tomllib

from pipeline.effective_settings import Layer, effective_settings, settings_lines
from pipeline.settings import make_config

RAW = {
    "model": {"path": "m.keras"},
    "data": {"source": "d"},
    "compress": [{"method": "weights", "sparsity": 0.5}],
    "preprocessing": {"photo": {"scale": 0.5}},
}


def shown(raw, *layers):
    return effective_settings(make_config(raw, "x"), [Layer(*each) for each in layers])


def origins(raw, *layers):
    return {each.key: each.origin for each in shown(raw, *layers)}


def test_the_last_layer_that_sets_a_key_is_its_origin():
    found = origins(
        RAW | {"gates": {"size_ratio": 0.4}},
        ("pipeline.toml", RAW),
        ("--set", {"gates": {"size_ratio": 0.4}}),
    )

    assert found["gates.size_ratio"] == "--set"
    assert found["data.source"] == found["compress.0.sparsity"] == "pipeline.toml"
    assert found["gates.accuracy_drop_points"] == found["compress.0.tries"] == "default"
    assert found["preprocessing.photo.scale"] == "pipeline.toml"
    assert "preprocessing.photo.offset" not in found


def test_the_lines_are_toml_that_gives_the_same_settings():
    lines = settings_lines(shown(RAW, ("pipeline.toml", RAW)))

    assert make_config(tomllib.loads("\n".join(lines)), "x") == make_config(RAW, "x")
    assert "# download_bytes is not set" in lines
