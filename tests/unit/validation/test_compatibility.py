"""What a file needs of each runtime, and that the runtimes installed here agree."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter
from tflite_runtime.interpreter import Interpreter

from pipeline.errors import ConfigError
from pipeline.flatbuffer import read_tflite
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.compatibility import Compatibility, check_compatibility, needs_newer, runtimes


@pytest.fixture
def with_version(tiny_tflite_with):
    """A function that returns the tiny file with another version of one of its operators."""

    def build(code, version):
        return tiny_tflite_with(lambda model: setattr(model.operatorCodes[code], "version", version))

    return build


def stating(tiny_tflite_with, stated, edit=lambda model: None):
    def change(model):
        model.buffers[6].data = list(stated.encode().ljust(16, b"\0"))
        edit(model)

    return check_compatibility(read_tflite(tiny_tflite_with(change)))


def test_an_ordinary_file_runs_on_every_release(tiny_tflite):
    found = check_compatibility(read_tflite(tiny_tflite))

    assert found.oldest == {package: known.releases[0] for package, known in runtimes().items()}
    assert [(need.operator, need.version, need.dtype) for need in found.operators] == [
        ("CONV_2D", 3, "int8"),
        ("FULLY_CONNECTED", 1, "int8"),
        ("RESHAPE", 1, "int8"),
        ("SOFTMAX", 1, "int8"),
    ]
    assert found.operators[0].kernel == found.operators[0].since
    assert found.notes == ()


def test_a_newer_version_of_an_operator_needs_a_newer_release(with_version):
    found = check_compatibility(read_tflite(with_version(2, 14)))

    first = runtimes()["litert"].releases.index(found.oldest["litert"])
    assert first > 0
    assert found.oldest["tflite-runtime"] == ""
    assert "FULLY_CONNECTED version 14: no release of tflite-runtime up to 2.14.0 has it" in found.notes
    assert needs_newer(found, "litert 1.0.0").startswith("FULLY_CONNECTED version 14; it needs litert ")
    assert needs_newer(found, f"litert {found.oldest['litert']}") == ""
    assert needs_newer(found, "tflite-runtime 2.14.0") == (
        "FULLY_CONNECTED version 14; no release of tflite-runtime has all of its operators"
    )


def test_a_version_that_nobody_has_is_named(with_version):
    found = check_compatibility(read_tflite(with_version(0, 31)))

    assert set(found.oldest.values()) == {""}
    assert sum("CONV_2D version 31" in note for note in found.notes) == 2


@pytest.mark.parametrize("version", range(1, 16))
def test_the_table_says_what_the_installed_runtime_does(with_version, version):
    content = with_version(2, version)
    found = check_compatibility(read_tflite(content))

    refusal = ""
    try:
        Interpreter(model_content=content)
    except ValueError as error:
        refusal = str(error)
    assert bool(needs_newer(found, "tflite-runtime 2.14.0")) == ("FULLY_CONNECTED" in refusal)
    assert bool(refusal) == (version > 10)


@pytest.mark.parametrize("package", ["litert", "tflite-runtime"])
def test_the_table_covers_the_installed_runtimes(package):
    assert host_runtime(package).version in runtimes()[package].releases


def test_what_the_file_says_stands_beside_what_was_found(tiny_tflite_with):
    assert stating(tiny_tflite_with, "1.14.0").stated == "1.14.0"
    assert stating(tiny_tflite_with, "1.14.0").notes == ()
    assert stating(tiny_tflite_with, "2.15.0").notes == (
        "the file says that it needs TensorFlow 2.15.0, yet tflite-runtime 2.14.0 has all of its operators",
    )
    wrong = stating(tiny_tflite_with, "2.3.0", lambda model: setattr(model.operatorCodes[2], "version", 14))
    assert (
        "the file says that TensorFlow 2.3.0 is enough, yet tflite-runtime 2.14.0 lacks an operator"
        in wrong.notes
    )


@pytest.mark.parametrize("said", ["\x1b[31m", "2.3; rm", "999999999999999.", ""])
def test_what_the_file_says_is_dropped_where_it_is_no_version(tiny_tflite_with, said):
    assert stating(tiny_tflite_with, said).stated == ""


def test_custom_operators_run_on_no_plain_runtime(tiny_tflite_with):
    def edit(model):
        model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = 32
        model.operatorCodes[1].customCode = "Fancy"
        model.subgraphs[0].operators[1].builtinOptionsType = 0
        model.subgraphs[0].operators[1].builtinOptions = None

    found = check_compatibility(read_tflite(tiny_tflite_with(edit), allow_custom=None))

    assert found.custom == ("Fancy",)
    assert set(found.oldest.values()) == {""}
    assert needs_newer(found, "litert 1.0.0") == "custom operator Fancy, which no plain runtime has"


@pytest.mark.parametrize("setting", ["litert 0.1.0", "litert", "tensorflow 2.14.0", "tflite-runtime 2.14"])
def test_a_runtime_that_was_not_asked_is_refused_with_those_that_were(tiny_tflite, setting):
    found = check_compatibility(read_tflite(tiny_tflite))

    with pytest.raises(ConfigError, match=r"\[gates\] min_runtime: .*(2\.14\.0|1\.0\.1)"):
        needs_newer(found, setting)


def test_it_survives_json(tiny_tflite):
    found = check_compatibility(read_tflite(tiny_tflite))
    adapter = TypeAdapter(Compatibility)

    assert adapter.validate_json(adapter.dump_json(found)) == found
