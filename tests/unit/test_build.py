"""Which models a build with the method "auto" makes to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.artifacts import Teacher
from pipeline.build import quantize_model
from pipeline.build_config import BuildConfig


@dataclass
class Recorded:
    """Runs no stage, and keeps the settings of the last one."""

    settings: Any = None

    def step(self, stage: Any, *inputs: Any, **settings: Any) -> Any:
        self.settings = settings
        return stage.__name__, inputs


@pytest.fixture
def candidates(tmp_path, prepared_model):
    """Return the names of the candidates of a build, by whether fine-tuning improved the teacher."""

    def made(*, fine_tuned: bool, **config: Any) -> tuple[str, ...]:
        prepared = prepared_model(tmp_path)
        teacher = Teacher(**{**vars(prepared.keras), "folder": tmp_path}, share=0.5, fine_tuned=fine_tuned)
        run = Recorded()
        settings = BuildConfig.model_validate(
            {"model": {"path": "m.keras"}, "data": {"source": "d.npz"}, **config}
        )
        quantize_model(prepared, teacher, None, None, None, settings, run)
        return run.settings["names"]

    return made


def test_weights_that_fine_tuning_improved_are_also_trained_without_compression(candidates):
    names = candidates(fine_tuned=True)

    assert names == ("qat", "ptq", "qat, not compressed", "ptq, not compressed")


def test_weights_that_it_did_not_improve_are_only_converted_without_compression(candidates):
    assert candidates(fine_tuned=False) == ("qat", "ptq", "ptq, not compressed")


def test_without_compression_there_is_one_model_of_each_method(candidates):
    assert candidates(fine_tuned=True, compress=()) == ("qat", "ptq")
