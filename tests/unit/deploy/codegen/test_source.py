"""Generated C: compiled, run, and held to the release's own Python, bit for bit."""

from __future__ import annotations

import ctypes
import re
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.codegen.source import c_files, c_prefix, kotlin_files
from deploy.device.predict import to_input, to_real
from deploy.errors import DeployError
from deploy.manifest import Preprocessing

pytestmark = pytest.mark.usefixtures("proofs")
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
COMPILERS = {"gcc": ("-std=c99",), "g++": ("-std=c++17", "-x", "c++")}
REVERSED = "an image of reversed channels, each scaled for itself"
PLAIN = Preprocessing(resize=None, indices=False, reverse_channels=False, scale=(1.0,), offset=(0.0,))
FEATURES = "a vector of features, each scaled for itself"


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", COMPILERS)
def test_the_c_test_compiles_without_a_warning_and_passes(name, manifest, tmp_path, write):
    folder = write(tmp_path, c_files, manifest) / "c"
    prefix = c_prefix(manifest)

    run(name, *COMPILERS[name], *STRICT, f"{prefix}_test.c", "-lm", "-o", "proof", cwd=folder)
    said = run(folder / "proof")

    assert said.endswith("passed\n")
    assert said.count("ok     preprocess") >= len(manifest.inputs)
    assert "FAILED" not in said


# The prototypes of the runtime's C API that the test calls; the runtime is not a package of Debian.
C_API = """
#include <stddef.h>
#include <stdint.h>
typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
typedef enum { kTfLiteOk = 0 } TfLiteStatus;
TfLiteModel *TfLiteModelCreateFromFile(const char *model_path);
void TfLiteModelDelete(TfLiteModel *model);
TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *model, const TfLiteInterpreterOptions *options);
void TfLiteInterpreterDelete(TfLiteInterpreter *interpreter);
TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *interpreter);
TfLiteTensor *TfLiteInterpreterGetInputTensor(const TfLiteInterpreter *interpreter, int32_t input_index);
const TfLiteTensor *TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter *interpreter, int32_t index);
TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *interpreter);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor *tensor, const void *data, size_t size);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor *tensor, void *data, size_t size);
"""


@pytest.mark.parametrize("name", COMPILERS)
def test_what_runs_the_model_compiles_without_a_warning(name, manifest, tmp_path, write):
    folder = write(tmp_path, c_files, manifest) / "c"
    (folder / "tensorflow/lite/c").mkdir(parents=True)
    (folder / "tensorflow/lite/c/c_api.h").write_text(C_API)
    prefix = c_prefix(manifest)

    options = (*COMPILERS[name], *STRICT, "-fsyntax-only", "-I.", f"-D{prefix.upper()}_WITH_TFLITE")
    run(name, *options, f"{prefix}_test.c", cwd=folder)


@pytest.mark.parametrize("options", [("-O3", "-march=native", "-ffp-contract=fast"), ("-Os",)], ids=" ".join)
def test_no_optimisation_changes_a_bit(options, tmp_path, write, releases):
    manifest = releases[REVERSED]
    folder = write(tmp_path, c_files, manifest) / "c"

    run("gcc", *options, f"{c_prefix(manifest)}_test.c", "-lm", "-o", "proof", cwd=folder)

    assert run(folder / "proof").endswith("passed\n")


def test_the_cpp_header_compiles_without_a_warning(manifest, tmp_path, write):
    folder = write(tmp_path, c_files, manifest) / "c"
    prefix = c_prefix(manifest)
    (folder / "use.cpp").write_text(f'#include "{prefix}.hpp"\n#include "{prefix}.hpp"\nint main() {{}}\n')

    run("g++", "-std=c++17", *STRICT[:2], *STRICT[3:], "use.cpp", "-o", "use", cwd=folder)

    run(folder / "use")


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("real * ", "real * 1.0001f * "),
        ("stored - ", "stored - 1.0f - "),
        (" + (2u - channel)", " + channel"),
    ],
)
def test_a_changed_header_is_found_out(line, changed, tmp_path, write, releases):
    manifest = releases[REVERSED]
    folder = write(tmp_path, c_files, manifest) / "c"
    header = folder / f"{c_prefix(manifest)}.h"
    assert line in header.read_text()
    header.write_text(header.read_text().replace(line, changed))

    run("gcc", f"{c_prefix(manifest)}_test.c", "-lm", "-o", "proof", cwd=folder)
    done = subprocess.run(folder / "proof", capture_output=True, text=True)

    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert done.stdout.endswith("failed\n")


def test_cmake_builds_the_test(tmp_path, write, releases):
    manifest = releases["an image of one channel"]
    folder = write(tmp_path, c_files, manifest) / "c"
    run("cmake", "-S", folder, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")

    assert "100% tests passed" in run("ctest", "--test-dir", tmp_path / "build")


@pytest.fixture(scope="module")
def library(tmp_path_factory, write, releases, proofs):
    """Every function of two headers, callable from here."""
    folder = tmp_path_factory.mktemp("c")
    wrappers = ""
    for title in (REVERSED, FEATURES):
        manifest = releases[title]
        write(folder, c_files, manifest)
        prefix = c_prefix(manifest)
        source, target = manifest.inputs[0], manifest.outputs[0]
        kind = "uint8_t" if source.dtype == "uint8" else "int8_t"
        wrappers += (
            f'#include "c/{prefix}.h"\n'
            f"void in_{prefix}(const float *raw, {kind} *tensor) "
            f"{{ {prefix}_preprocess_{source.name}(raw, tensor); }}\n"
            f"void out_{prefix}(const int8_t *tensor, float *real) "
            f"{{ {prefix}_dequantize_{target.name}(tensor, real); }}\n"
        )
    (folder / "all.c").write_text(wrappers)
    run("gcc", "-O2", "-shared", "-fPIC", "all.c", "-lm", "-o", "all.so", cwd=folder)
    return ctypes.CDLL(str(folder / "all.so"))


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("title", [REVERSED, FEATURES])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_raw_values_become_the_bits_that_predict_makes(title, data, library, releases):
    manifest = releases[title]
    source = manifest.inputs[0]
    value = st.floats(width=32, allow_nan=False) | st.floats(-300, 300, width=32) | st.integers(0, 255)
    few = data.draw(st.lists(value, min_size=1, max_size=40))
    raw = np.resize(np.array(few, np.float32), source.shape[1:])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = to_input(raw, source.model_dump(mode="json"))
    tensor = np.empty_like(expected)

    library[f"in_{c_prefix(manifest)}"](pointer(raw), pointer(tensor))

    assert tensor.tobytes() == expected.tobytes()


def test_no_number_becomes_the_same_bits_too(library, releases):
    source = releases[FEATURES].inputs[0]
    raw = np.array([np.nan, np.inf, -np.inf, *range(10)], np.float32)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        expected = to_input(raw, source.model_dump(mode="json"))
    tensor = np.empty_like(expected)

    library["in_class"](pointer(raw), pointer(tensor))

    assert tensor.tobytes() == expected.tobytes()


def test_every_stored_value_becomes_the_bits_that_predict_makes(library, releases):
    target = releases[REVERSED].outputs[0]
    stored = np.resize(np.arange(-128, 128).astype(np.int8), target.shape[1:])
    real = np.empty(target.shape[1:], np.float32)

    library["out_model_0_day"](pointer(stored), pointer(real))

    assert real.tobytes() == to_real(stored, target.model_dump(mode="json")).tobytes()


def test_labels_are_spelt_as_the_user_has_them(tmp_path, write, releases):
    manifest = releases["hostile names and labels"]
    folder = write(tmp_path, c_files, manifest) / "c"
    (folder / "say.c").write_text(
        '#include <stdio.h>\n#include "linux.h"\n'
        'int main(void) { for (size_t i = 0; i < 13; ++i) printf("%s|", linux_label(i)); return 0; }\n'
    )

    run("gcc", "-std=c99", *STRICT, "say.c", "-lm", "-o", "say", cwd=folder)
    said = subprocess.run(folder / "say", capture_output=True).stdout.decode()

    expected = [*manifest.labels[:9], "\N{REPLACEMENT CHARACTER}\x07", "%s%n", "L" * 997 + "...", ""]
    assert said == "".join(f"{label}|" for label in expected)


def test_generated_code_is_plain_ascii_of_short_identifiers(manifest, files_of):
    for path, text in (files_of(c_files, manifest) | files_of(kotlin_files, manifest)).items():
        assert re.fullmatch(r"[A-Za-z0-9_/.]+", path)
        assert text.isascii()
        assert text.replace("\n", "").isprintable()
        assert "??" not in text or path.endswith(".kt")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"dtype": "complex64"}, "'features' holds complex64"),
        ({"shape": (1, 0)}, r"'features' has the shape \(1, 0\)"),
        ({"scale": 1e-45}, "1 / scale of input 'features' is inf"),
        ({"scale": 1e300}, "of 'features' is 1e\\+300"),
        ({"shape": (1, 3)}, "13 values .* for 3 channels"),
    ],
)
def test_what_no_code_can_be_written_for_is_named(change, what, releases, files_of):
    manifest = releases[FEATURES]
    changed = manifest.model_copy(update={"inputs": (manifest.inputs[0].model_copy(update=change),)})
    with pytest.raises(DeployError, match=what):
        files_of(c_files, changed)


def test_the_same_release_gives_the_same_code(files_of, releases):
    manifest = releases["hostile names and labels"]
    assert files_of(c_files, manifest) == files_of(c_files, manifest)


def test_columns_and_labels_are_constants_with_the_names_of_the_data(tmp_path, write, releases):
    manifest = releases[FEATURES]
    folder = write(tmp_path, c_files, manifest) / "c"
    (folder / "say.c").write_text(
        '#include <stdio.h>\n#include "class.h"\n'
        "int main(void) {\n"
        "    float raw[CLASS_INPUT_FEATURES_SIZE] = {0};\n"
        "    raw[CLASS_COLUMN_SEPAL_LENGTH_CM] = 1; raw[CLASS_COLUMN_RMS] = 2; raw[CLASS_COLUMN_F8] = 3;\n"
        "    for (size_t i = 0; i < CLASS_INPUT_FEATURES_SIZE; ++i)\n"
        '        printf("%s=%g|", class_column_features(i), raw[i]);\n'
        '    printf("%s%s", class_column_features(13), class_label(CLASS_LABEL_YES));\n'
        "    return 0;\n}\n"
    )
    (folder / "say.cpp").write_text(
        '#include <iostream>\n#include "class.hpp"\nusing namespace class_model;\n'
        "int main() {\n"
        "    std::cout << name(column_features::SepalLengthCm) << static_cast<int>(column_features::Class);\n"
        "    std::cout << label(static_cast<std::size_t>(label_of::No));\n}\n"
    )

    run("gcc", "-std=c99", *STRICT, "say.c", "-lm", "-o", "say", cwd=folder)
    run("g++", "-std=c++17", "say.cpp", "-o", "say_cpp", cwd=folder)

    columns = [*manifest.inputs[0].columns]
    assert columns[:4] == ["sepal length (cm)", "rms", "class", "0"]
    values = {"sepal length (cm)": 1, "rms": 2, "f8": 3}
    assert run(folder / "say") == "".join(f"{name}={values.get(name, 0)}|" for name in columns) + "yes"
    assert run(folder / "say_cpp") == "sepal length (cm)2no"


def test_more_names_than_an_enum_takes_are_left_to_the_manifest(releases, files_of):
    manifest = releases[FEATURES]
    wide = manifest.inputs[0].model_copy(
        update={"shape": (1, 1001), "columns": tuple(f"c{i}" for i in range(1001)), "preprocessing": PLAIN}
    )
    files = files_of(c_files, manifest.model_copy(update={"inputs": (wide,)}))

    assert "COLUMN" not in files["c/class.h"]
    assert "column" not in files["c/class.hpp"]
