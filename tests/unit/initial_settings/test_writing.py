"""Inferred settings as a file: valid, commented, and with nothing of this machine."""

from __future__ import annotations

import tomllib

import pytest

from pipeline.build_config import BuildConfig
from pipeline.initial_settings.inferring import Inferred
from pipeline.initial_settings.writing import (
    OFTEN_CHANGED,
    project_name,
    relative_paths,
    settings_text,
)
from pipeline.settings import make_config

SETTINGS = {
    "project": {"name": "tiny", "version": "0.1.0"},
    "model": {"path": "model.keras"},
    "data": {"source": "photos", "task": "classification", "labels": ["a b", "ö", '"c"']},
    "preprocessing": {"scale": 1 / 255},
}
REASONS = {
    "": ("float model: accuracy 98.0%",),
    "data.task": ("classification (3 softmax outputs, text labels of 3 classes)",),
    "preprocessing": (f"input 'x': scaled to 0..1 ({'long ' * 40}evidence\x1b[31m)",),
}


def text_of(settings=SETTINGS, reasons=REASONS, problem=""):
    inferred = Inferred(settings, reasons, (), problem)
    return settings_text(inferred, settings, "pipeline build --target arm64")


def uncommented(text):
    """The file with each setting that is in it as a comment."""
    lines = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in text.splitlines()
    ]
    return tomllib.loads("\n".join(lines))


def test_the_file_has_the_settings_and_nothing_else():
    assert tomllib.loads(text_of()) == SETTINGS


def test_reasons_are_above_their_keys_and_no_line_is_long():
    lines = text_of().splitlines()

    assert lines[0] == "#:schema ./pipeline.schema.json"
    assert lines[lines.index('task = "classification"') - 1] == f"# {REASONS['data.task'][0]}"
    assert max(map(len, lines)) <= 100
    assert all(line.isprintable() for line in lines)


def test_what_is_often_changed_is_there_with_its_default():
    settings = make_config(uncommented(text_of()), "x")
    default = make_config(SETTINGS, "x")

    assert settings.compress == default.compress
    assert settings.quantize.method == default.quantize.method
    for section in ("data", "gates", "release"):
        for key, value, _ in OFTEN_CHANGED[section]:
            field = type(getattr(default, section)).model_fields[key]
            assert field.default in (None, value, tuple(value) if isinstance(value, list) else value), key


def test_each_section_stands_once_where_a_key_of_it_is_given():
    given = SETTINGS | {
        "seed": 3,
        "gates": {"size_ratio": 0.4},
        "compress": [{"method": "weights", "training": {"epochs": 2}}, {"method": "clusters"}],
        "validate": {"shift": {"sources": {"my night": "night"}}},
    }
    text = text_of(given)

    assert tomllib.loads(text) == given
    assert uncommented(text)["gates"] == {
        "size_ratio": 0.4,
        "accuracy_drop_points": 1.0,
        "download_bytes": 40000,
    }


def test_no_compression_is_at_the_top():
    given = SETTINGS | {"compress": []}

    assert tomllib.loads(text_of(given)) == given
    assert make_config(tomllib.loads(text_of(given)), "x").compress == ()


def test_inputs_have_sections_of_their_own():
    given = SETTINGS | {"preprocessing": {"photo": {"scale": 0.5}, "my numbers": {"scale": 1.0}}}

    assert tomllib.loads(text_of(given)) == given
    assert set(BuildConfig.model_validate(given).preprocessing.per_input) == {"photo", "my numbers"}


def test_a_problem_is_said_at_the_top():
    assert "# PROBLEM: a build stops, because it is so" in text_of(problem="it is so").splitlines()


@pytest.mark.parametrize(
    ("file", "name"),
    [("my model v2.keras", "my-model-v2"), ("größe.h5", "gr-e"), ("__.keras", "model"), ("a" * 80, "a" * 64)],
)
def test_a_name_is_made_of_the_models_file_name(file, name):
    assert project_name(file) == name


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path):
    settings = {
        "model": {"path": str(tmp_path / "models" / "m.keras")},
        "data": {"source": "package.module:function"},
        "compress": [{"method": "distill", "into": "zoo:lenet5"}],
    }

    found = relative_paths(settings, tmp_path / "settings")

    assert found == settings | {"model": {"path": "../models/m.keras"}}
