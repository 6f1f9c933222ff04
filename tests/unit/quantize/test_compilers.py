"""The compiler of a target: none leaves the model alone, and a new one is one row."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.artifacts import QuantizedModel
from pipeline.quantize.compilers import COMPILERS, compile_for
from pipeline.targets import get_target, load_targets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def quantized(tmp_path: Path) -> QuantizedModel:
    made = QuantizedModel(
        folder=tmp_path, size_bytes=5, sha256="", sparsity=0.0, format="int8", reason="", layers=()
    )
    made.tflite.write_bytes(b"model")
    return made


def test_a_target_without_a_compiler_gets_the_model_itself(quantized: QuantizedModel) -> None:
    assert compile_for(get_target("arm64"), quantized, pytest.fail) is quantized


def test_a_compiler_runs_as_a_step_of_its_own(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_reversed(model: QuantizedModel, *, target: object, out: Path) -> QuantizedModel:
        content = model.tflite.read_bytes()[::-1]
        compiled = replace(model, folder=out, sha256=hashlib.sha256(content).hexdigest())
        compiled.tflite.write_bytes(content)
        return compiled

    def step(stage, *inputs, **settings):
        (tmp_path / "step").mkdir()
        return stage(*inputs, **settings, out=tmp_path / "step")

    monkeypatch.setitem(COMPILERS, "reversed", compile_reversed)
    compiled = compile_for(replace(get_target("arm64"), compiler="reversed"), quantized, step)
    assert compiled.tflite.read_bytes() == b"ledom"
    assert quantized.tflite.read_bytes() == b"model"


def test_every_compiler_that_a_row_names_is_there() -> None:
    assert {target.compiler for target in load_targets().values()} - {None} <= COMPILERS.keys()
