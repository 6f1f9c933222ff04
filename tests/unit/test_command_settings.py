"""The settings of a build: how flags, a settings file and the default become one set of settings."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.command_settings import FAST_SAMPLES, FAST_SPARSITY, FLAGS, build_settings
from pipeline.errors import ConfigError
from pipeline.events import listening


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(config=None, given=(), **flags):
    unsaid = dict.fromkeys(FLAGS) | {"epochs": None, "fast": False}
    return build_settings(config, unsaid | flags, given)


def test_with_nothing_said_the_embedded_default_is_built():
    assert settings().project.name == "fashion-resnet8"


def test_a_pipeline_toml_that_lies_here_is_taken(folder):
    (folder / "pipeline.toml").write_text(
        '[project]\nname = "mine"\n[model]\npath = "m"\n[data]\nsource = "d"\n'
    )

    assert settings().project.name == "mine"


def test_a_model_and_data_need_no_settings_file_and_name_the_release(folder):
    found = settings(model=str(folder / "net.keras"), data="set.npz")

    assert found.project.name == "net"
    assert found.model.path == folder / "net.keras"
    assert found.data.source == "set.npz"


def test_a_model_and_data_leave_a_settings_file_that_is_not_asked_for_alone_and_say_so(folder):
    (folder / "pipeline.toml").write_text("[[compress]]\nmethod = 'weights'\nsparsity = 0.1\n")
    heard = []

    with listening(heard.append):
        found = settings(model=str(folder / "net.keras"), data="set.npz")

    assert found.compress[0].sparsity == "auto"
    assert [record.event.text for record in heard] == [
        "pipeline.toml is not read with --model; to use it, pass --config pipeline.toml"
    ]


def test_a_reference_model_comes_with_its_own_settings_and_flags_lie_over_them():
    found = settings(model="zoo:resnet8", data="mine.npz", name="other")

    assert found.model.path.name == "resnet8.keras"
    assert (found.project.name, found.data.source) == ("other", "mine.npz")


def test_a_settings_file_lies_over_the_settings_of_a_reference_model(folder):
    path = folder / "my.toml"
    path.write_text(
        '[model]\npath = "other.keras"\n[quantize]\nmethod = "ptq"\n'
        "[[compress]]\nmethod = 'weights'\nsparsity = 0.1\n[calibration]\nsamples = 77\n"
    )

    found = settings(config=path, model="zoo:ds_cnn")

    assert found.model.path.name == "ds_cnn.keras"
    assert (found.project.name, found.calibration.samples) == ("fashion-ds-cnn", 77)
    assert [step.sparsity for step in found.compress] == [0.1]
    assert found.quantize.method == "ptq"


def test_trust_is_given_by_a_flag_and_by_nothing_else(folder):
    given = {"model": str(folder / "net.keras"), "data": "set.npz"}

    assert settings(**given, trust_model=True).model.trust
    assert not settings(**given).model.trust


def test_flags_lie_over_the_file(folder):
    path = folder / "my.toml"
    path.write_text(
        'seed = 1\n[model]\npath = "m"\n[data]\nsource = "d"\n'
        '[[compress]]\nmethod = "weights"\ntraining.epochs = 9\nsparsity = 0.3\n'
    )

    found = settings(path, model=str(folder / "net.keras"), data="set.npz", name="flag", seed=7, epochs=2)

    assert (found.project.name, found.seed) == ("flag", 7)
    assert (found.compress[0].training.epochs, found.quantize.training.epochs) == (2, 2)
    assert found.compress[0].sparsity == 0.3
    assert found.model.path == folder / "net.keras"


def test_class_names_and_going_on_at_chance_are_flags(folder):
    found = settings(model=str(folder / "net.keras"), data="set.npz", labels=("b", "a"), allow_chance=True)

    assert found.data.labels == ("b", "a")
    assert found.gates.allow_chance


def test_fast_goes_through_every_stage_with_less_of_everything():
    found = settings(fast=True)

    assert found.compress[0].training.samples == found.quantize.training.samples == FAST_SAMPLES
    assert (found.compress[0].training.epochs, found.compress[0].sparsity) == (1, FAST_SPARSITY)
    assert settings(fast=True, epochs=3).compress[0].training.epochs == 3


def test_set_lies_over_flags_and_these_over_the_file(folder):
    path = folder / "my.toml"
    path.write_text('[project]\nversion = "1.0.0"\n[model]\npath = "m"\n[data]\nsource = "d"\n')

    found = settings(
        path, ["project.version=3.0.0", "compress.0.training.epochs=9"], version="2.0.0", epochs=2
    )

    assert found.project.version == "3.0.0"
    assert (found.compress[0].training.epochs, found.quantize.training.epochs) == (9, 2)


def test_a_flag_that_set_replaced_is_accepted_with_a_warning_that_names_it(folder):
    heard = []
    with listening(heard.append):
        found = settings(counter="7", weights="w.h5", expires="2031-02-03")

    assert (found.release.counter, found.model.weights) == (7, Path("w.h5"))
    assert found.release.expires == date(2031, 2, 3)
    assert [one.event.text.partition(";")[0] for one in heard] == [
        "--weights is now --set model.weights=w.h5",
        "--counter is now --set release.counter=7",
        "--expires is now --set release.expires=2031-02-03",
    ]


@pytest.mark.parametrize("given", [{"model": "m.keras"}, {"data": "d.npz"}])
def test_a_model_without_data_is_refused_and_the_other_way_round(given):
    with pytest.raises(ConfigError, match="--model and --data go together"):
        settings(**given)


def test_a_model_whose_file_name_is_no_release_name_asks_for_another(folder):
    with pytest.raises(ConfigError, match=r"--name: 'my net' contains a space"):
        settings(model=str(folder / "my net.keras"), data="d.npz")


def test_flags_for_training_reach_every_step_that_trains_and_no_other(folder):
    path = folder / "my.toml"
    path.write_text(
        '[model]\npath = "m"\n[data]\nsource = "d"\n[quantize]\nmethod = "ptq"\n'
        '[[compress]]\nmethod = "weights"\n[[compress]]\nmethod = "weights"\n'
    )

    found = settings(path, epochs=2)

    assert [step.training.epochs for step in found.compress] == [2, 2]
    assert found.quantize.method == "ptq"
