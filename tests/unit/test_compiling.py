"""Which models a build with the method "auto" makes to choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.artifacts import Teacher
from pipeline.build_config import BuildConfig
from pipeline.compiling import quantize_model
from pipeline.errors import StageError
from pipeline.events import Warned, listening

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Recorded:
    """Runs no stage, and keeps the settings of each; ``fails`` says which one fails."""

    fails: Callable[[str], bool] = lambda _: False
    settings: dict[str, Any] = field(default_factory=dict)

    def step(self, stage: Any, *inputs: Any, **settings: Any) -> Any:
        if self.fails(stage.__name__):
            raise StageError(stage.__name__, "it failed", "give up")
        self.settings[stage.__name__] = settings
        return stage.__name__, inputs


@pytest.fixture
def quantized(tmp_path, prepared_model):
    """Return what the stages of a build are given, by whether fine-tuning improved the teacher."""

    def made(*, fine_tuned: bool = False, fails: Any = lambda _: False, **config: Any) -> dict[str, Any]:
        prepared = prepared_model(tmp_path)
        teacher = Teacher(**{**vars(prepared.keras), "folder": tmp_path}, share=0.5, fine_tuned=fine_tuned)
        run = Recorded(fails)
        settings = BuildConfig.model_validate(
            {"model": {"path": "m.keras"}, "data": {"source": "d.npz"}, **config}
        )
        quantize_model(prepared, teacher, teacher, None, None, None, settings, run)
        return run.settings

    return made


@pytest.fixture
def candidates(quantized):
    """Return the names of the candidates of a build."""
    return lambda **given: quantized(**given)["choose_quantized"]["names"]


def test_weights_that_fine_tuning_improved_are_also_trained_without_compression(candidates):
    names = candidates(fine_tuned=True)

    assert names == ("qat", "ptq", "qat, not compressed", "ptq, not compressed")


def test_weights_that_it_did_not_improve_are_only_converted_without_compression(candidates):
    assert candidates(fine_tuned=False) == ("qat", "ptq", "ptq, not compressed")


def test_without_compression_there_is_one_model_of_each_method(candidates):
    assert candidates(fine_tuned=True, compress=()) == ("qat", "ptq")


def test_a_candidate_that_fails_is_left_out_with_a_warning(candidates):
    heard: list[Any] = []
    with listening(heard.append):
        names = candidates(fails=lambda stage: stage == "find_ranges")

    assert names == ("qat",)
    warnings = [record.event.text for record in heard if isinstance(record.event, Warned)]
    assert [text.partition(" is not")[0] for text in warnings] == ["'ptq'", "'ptq, not compressed'"]


def test_a_training_that_fails_is_not_passed_over(candidates):
    with pytest.raises(StageError, match="it failed"):
        candidates(fails=lambda stage: stage == "train_qat")


def test_where_every_candidate_fails_the_build_does(candidates):
    with pytest.raises(StageError, match="it failed"):
        candidates(quantize={"method": "auto"}, fails=lambda stage: stage.startswith("convert"))


@pytest.mark.parametrize("method", ["auto", "ptq"])
def test_repairs_are_those_of_the_settings(quantized, method):
    ran = quantized(quantize={"method": method, "repairs": ("rounding",)})
    unrepaired = quantized(quantize={"method": method, "repairs": ()})

    assert ran["repair_model"]["repairs"] == ("rounding",)
    assert "repair_model" not in unrepaired
