"""After the conversion: the file itself is asked whether it is int8 throughout and kept its zeros."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import sandbox
from pipeline.artifacts import AwareModel, CalibrationSet, Dataset, Preprocessing
from pipeline.errors import StageError
from pipeline.quantize.convert import convert_int8

AWARE = AwareModel(zero_weights=98, layers=())


@pytest.fixture
def convert(monkeypatch, tmp_path):
    """Run the stage with a converter that writes these bytes."""

    def run(content, aware=AWARE):
        def written(*arguments, **options):
            (tmp_path / "int8.tflite").write_bytes(content)

        monkeypatch.setattr(sandbox, "run", written)
        return convert_int8(
            aware,
            CalibrationSet(samples=1),
            Dataset(classes=("a",), train_samples=1, test_samples=1),
            Preprocessing(scale=1.0, offset=0.0, reason="declared"),
            timeout_s=1,
            out=tmp_path,
        )

    return run


def test_size_hash_and_sparsity_are_the_files_own(convert, tiny_tflite):
    found = convert(tiny_tflite)

    assert found.size_bytes == len(tiny_tflite)
    assert found.sha256 == hashlib.sha256(tiny_tflite).hexdigest()
    assert found.sparsity == pytest.approx(98 / 228)


def test_a_float_operator_that_is_left_is_named(convert, tiny_tflite_with):
    def edit(model):
        for tensor in (8, 9):
            model.subgraphs[0].tensors[tensor].type = schema.TensorType.FLOAT32
            model.subgraphs[0].tensors[tensor].quantization = None

    with pytest.raises(StageError, match=r"convert_int8: float operators are left: .*SOFTMAX.*; replace"):
        convert(tiny_tflite_with(edit))


def test_zeros_that_were_lost_on_the_way_are_an_error(convert, tiny_tflite):
    with pytest.raises(StageError, match=r"150 weights were zero before the conversion and 98 after"):
        convert(tiny_tflite, replace(AWARE, zero_weights=150))
