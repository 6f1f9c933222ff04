"""Settings of a trial are written such that they are read as they were, wherever the file lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.searching.written import plain_settings, settings_text
from pipeline.settings import make_config, read_toml


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings with every kind of path, given from the folder of the user."""
    monkeypatch.chdir(tmp_path)
    for name in ("m.keras", "d.npz", "night.npz", "into.json", "old.tflite", "key.pem"):
        (tmp_path / name).write_bytes(b"")
    return make_config(
        {
            "seed": 3,
            "model": {"path": "m.keras"},
            "data": {"source": "d.npz", "labels": ["a", "b"]},
            "compress": [{"method": "distill", "into": "into.json"}, {"method": "weights", "sparsity": 0.5}],
            "quantize": {"method": "qat", "training": {"optimizer": "sgd", "momentum": 0.5}},
            "validate": {"against": "old.tflite", "shift": {"sources": {"night": "night.npz"}}},
            "release": {"public_key": "key.pem", "expires": "2030-01-02"},
        },
        "test",
    )


def test_settings_are_read_as_they_were_written(config, tmp_path):
    plain = plain_settings(config)
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(settings_text(plain, folder))

    read = make_config(read_toml(folder / "pipeline.toml"), "test")
    again = plain_settings(read)
    for key in ("seed", "project", "quantize"):
        assert again[key] == plain[key]
    assert read.release.expires == config.release.expires
    assert read.compress[1] == config.compress[1]
    assert read.model.path.resolve() == (tmp_path / "m.keras").resolve()
    assert read.validation.shift.sources["night"].endswith("night.npz")
    assert Path(read.compress[0].into).resolve() == (tmp_path / "into.json").resolve()


def test_paths_hold_in_the_folder_of_any_worker(config, tmp_path, monkeypatch):
    plain = plain_settings(config)
    monkeypatch.chdir("/")
    assert make_config(plain, "test").model.path.exists()
    assert plain["validate"]["shift"]["sources"] == {"night": str(tmp_path / "night.npz")}
    assert plain["compress"][0]["into"] == str(tmp_path / "into.json")


def test_the_file_names_no_folder_of_the_machine(config, tmp_path):
    assert str(tmp_path) not in settings_text(plain_settings(config), tmp_path)
