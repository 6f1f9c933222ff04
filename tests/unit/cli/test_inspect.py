"""``pipeline inspect``: what it prints, as tables and as JSON, and that it needs no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import models.zoo
from pipeline.cli.inspect import inspect
from pipeline.errors import InputError


@pytest.fixture
def tflite(tmp_path, tiny_tflite):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


def _run(*arguments, columns=80):
    result = CliRunner().invoke(
        inspect,
        [str(argument) for argument in arguments],
        env={"COLUMNS": str(columns)},
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    return result.output


def test_the_summary_says_size_arithmetic_sparsity_and_scales(tflite, tiny_tflite):
    summary = " ".join(_run(tflite).split())

    assert f"size {len(tiny_tflite):,} bytes" in summary
    assert "arithmetic full integer" in summary
    assert "sparsity 43.0% of 228 kernel weights are zero" in summary
    assert "input int8 ?x4x4x1, scale 0.00392157, zero point -128 (image)" in summary
    assert "output int8 1x3, scale 0.00390625, zero point -128 (probabilities)" in summary


def test_operators_are_listed_in_order_and_fit_into_80_columns(tflite):
    lines = _run(tflite).splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[:3] for line in lines[-4:]] == [
        ["0", "CONV_2D", "3"],
        ["1", "RESHAPE", "1"],
        ["2", "FULLY_CONNECTED", "1"],
        ["3", "SOFTMAX", "1"],
    ]
    assert lines[-4].split()[3:] == ["1x4x4x4", "int8", "int8", "per-channel", "52", "5.6%"]


def test_a_wide_terminal_also_sees_the_tensors_names(tflite):
    lines = _run(tflite, columns=120).splitlines()

    assert max(map(len, lines)) <= 120
    assert "dense/logits" in lines[-2]


def test_json_holds_everything_the_tables_show(tflite):
    found = json.loads(_run(tflite, "--json"))

    assert (found["format"], found["full_integer"], found["float_operators"]) == ("tflite", True, [])
    assert (found["kernel_zeros"], found["kernel_weights"]) == (98, 228)
    assert found["inputs"][0]["shape_signature"] == [-1, 4, 4, 1]
    assert found["operators"][0]["weights"]["quantization"] == "per-channel"
    assert found["compressed_bytes"] < found["size_bytes"]


def test_a_name_in_the_file_cannot_drive_the_terminal(tmp_path, tiny_tflite_with):
    def edit(model):
        model.subgraphs[0].tensors[0].name = "[bold]\x1b[2Jimage"

    path = tmp_path / "hostile.tflite"
    path.write_bytes(tiny_tflite_with(edit))

    output = _run(path)

    assert "\x1b" not in output
    assert r"[bold]\x1b[2Jimage" in "".join(output.split())


def test_an_operator_that_no_runtime_has_is_listed_all_the_same(tmp_path, tiny_tflite_with):
    def edit(model):
        model.operatorCodes[3].builtinCode = model.operatorCodes[3].deprecatedBuiltinCode = 32
        model.operatorCodes[3].customCode = "FlexErf"

    path = tmp_path / "flex.tflite"
    path.write_bytes(tiny_tflite_with(edit))

    assert "FlexErf" in _run(path)


@pytest.mark.parametrize("name", ["gone.tflite", "gone.keras", "gone"])
def test_a_missing_file_is_an_input_error(name, tmp_path):
    with pytest.raises(InputError, match="gone"):
        _run(tmp_path / name)


def test_a_file_of_another_kind_is_an_input_error(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b,label\n1,2,0\n")

    with pytest.raises(
        InputError, match=r"x\.csv: cannot inspect \.csv; pass a \.tflite, \.keras or \.h5 file"
    ):
        _run(path)


def test_a_text_file_with_the_suffix_of_tflite_is_called_text(tmp_path):
    path = tmp_path / "notes.tflite"
    path.write_text("a model card\n")

    with pytest.raises(InputError, match="not a TFLite model: it is text"):
        _run(path)


def test_it_imports_no_tensorflow(tflite):
    program = (
        "import sys; from pipeline.cli.inspect import inspect; inspect([sys.argv[1]], standalone_mode=False);"
        "print(sorted({'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(tflite)], capture_output=True, text=True, check=True
    )

    assert output.stdout.splitlines()[-1] == "[]"


def test_the_layers_of_a_keras_file_are_listed():
    path = Path(models.zoo.__file__).with_name("resnet8.keras")

    lines = _run(path).splitlines()
    found = json.loads(_run(path, "--json"))

    assert max(map(len, lines)) <= 80
    assert lines[-1].split() == ["class", "Dense", "?x10", "float32", "650"]
    assert (found["format"], found["parameters"]) == ("keras", 78_426)
    assert found["layers"][0]["output_shape"] == [None, 28, 28, 1]
