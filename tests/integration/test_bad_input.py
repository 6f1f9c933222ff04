"""Bad input through the real command: its exit code, one line that helps, and nothing left behind."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite

pytestmark = pytest.mark.xdist_group("tiny build")


def listing(folder):
    """Every file and folder that a user sees, and every hidden one."""
    return sorted(str(path) for path in Path(folder).rglob("*"))


@pytest.fixture
def refused(pipeline, tmp_path, monkeypatch):
    """Run a command in an empty folder; return its one line after looking at what it left."""
    (folder := tmp_path / "cwd").mkdir()
    monkeypatch.chdir(folder)

    def run(code, *arguments):
        ended = pipeline(*arguments)
        assert ended.code == code, ended.err
        assert ended.out == ""
        assert ended.message.startswith("pipeline: ")
        assert "Traceback" not in ended.err
        left = [path for path in folder.rglob("*") if path.is_file() or path.name.startswith(".")]
        assert [path.name for path in left if path.name != "run.json"] == []
        assert list(folder.glob("**/.*")) == []
        return ended.message

    return run


@pytest.fixture
def build_of(refused, tiny, built):
    """Build on top of what the tiny build stored, so that only what is new is made."""

    def run(code, model=tiny / "model.keras", data=tiny / "data.npz"):
        before = {name: listing(built.out / name) for name in ("release", "report")}
        message = refused(
            code,
            "build",
            "--target",
            "arm64",
            "--model",
            model,
            "--data",
            data,
            "--out",
            built.out,
            "--store",
            built.out / "store",
        )
        assert {name: listing(built.out / name) for name in ("release", "report")} == before
        assert list(built.out.glob("store/.*")) == []
        return message

    return run


# Rows 1 to 6 and 17 to 19: .tflite files


@pytest.fixture(scope="session")
def whole(built):
    """The int8 model of the tiny build."""
    return next(built.release.glob("*.tflite")).read_bytes()


def changed(content, edit):
    """The model after ``edit`` changed the schema's ``ModelT``."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    edit(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


DAMAGED = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"a model card\n" * 40,
    "wrong magic": lambda whole: whole[:4] + b"TFL9" + whole[8:],
    "zeros": lambda whole: bytes(len(whole)),
    "huge root offset": lambda whole: struct.pack("<I", 0xFFFFFFF0) + whole[4:],
    "a folder": None,
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_tflite_file_is_bad_input(damage, refused, whole, tmp_path):
    path = tmp_path / "model.tflite"
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(DAMAGED[damage](whole))

    assert str(path) in refused(3, "validate", path)


@pytest.mark.parametrize("kept", [lambda size: size // 10, lambda size: size // 2, lambda size: size - 1])
def test_a_tflite_file_cut_short_is_bad_input(kept, refused, whole, tmp_path):
    (path := tmp_path / "cut.tflite").write_bytes(whole[: kept(len(whole))])

    assert str(path) in refused(3, "validate", path)


def test_no_cut_at_any_37th_byte_gets_as_far_as_a_runtime(whole):
    for length in range(37, len(whole), 37):
        with pytest.raises(InputError):
            read_tflite(whole[:length])


def scale_of_input(value):
    def edit(model):
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].quantization.scale = np.array([value], np.float32)

    return edit


@pytest.mark.parametrize("scale", [np.nan, 0.0, -0.5])
def test_a_scale_that_is_no_width_is_bad_input(scale, refused, whole, tmp_path):
    (path := tmp_path / "model.tflite").write_bytes(changed(whole, scale_of_input(scale)))

    assert "scale" in refused(3, "validate", path)


@pytest.mark.parametrize("name", ["FlexErf", "MyOperator"])
def test_an_operator_that_no_runtime_has_is_named(name, refused, whole, tmp_path):
    def edit(model):
        softmax = next(
            i
            for i, code in enumerate(model.operatorCodes)
            if code.builtinCode == schema.BuiltinOperator.SOFTMAX
        )
        code = model.operatorCodes[softmax]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name
        operator = next(op for op in model.subgraphs[0].operators if op.opcodeIndex == softmax)
        operator.builtinOptionsType = 0

    (path := tmp_path / "model.tflite").write_bytes(changed(whole, edit))

    assert name in refused(3, "validate", path)


def test_a_float_model_that_is_called_int8_fails_its_gate_with_the_whole_report(pipeline, built, tmp_path):
    path = tmp_path / "model_int8.tflite"
    path.write_bytes(next(built.out.glob("store/convert_float-*/float.tflite")).read_bytes())
    (tmp_path / "pipeline.toml").write_text("[validate]\noperators = false\nstability.faults = false\n")

    ended = pipeline("validate", path, "--config", tmp_path / "pipeline.toml", "--device", "rpi5", "--json")
    verdicts = {verdict["gate"]: verdict for verdict in json.loads(ended.out)["verdicts"]}

    assert ended.code == 1
    assert "full integer" in ended.message
    assert verdicts["full integer"]["outcome"] == "failed"
    assert verdicts["accuracy"]["outcome"] == "skipped"


# Rows 20 to 23: Keras files


def archive(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_is_refused_and_never_run(suffix, build_of, tmp_path, recwarn):
    import keras

    marker, path = tmp_path / "marker", tmp_path / f"model{suffix}"
    code = f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"
    layer = keras.layers.Lambda(eval(code), output_shape=(8, 8, 1), name="sneaky")
    keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Flatten()]).save(path)
    recwarn.clear()
    marker.unlink(missing_ok=True)

    message = build_of(3, model=path)

    assert "'sneaky' (Lambda)" in message
    assert not marker.exists()


def test_a_saved_model_is_refused_unopened(build_of, tmp_path):
    (folder := tmp_path / "saved").mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")

    assert "SavedModel" in build_of(3, model=folder)


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("subprocess", "Popen")])
def test_a_config_that_names_a_module_of_python_is_refused(module, name, build_of, tiny, tmp_path):
    with zipfile.ZipFile(tiny / "model.keras") as file:
        members = {member: file.read(member) for member in file.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"].append(
        {
            "module": module,
            "class_name": name,
            "name": "odd",
            "config": {"name": "odd"},
            "registered_name": None,
        }
    )
    (path := tmp_path / "model.keras").write_bytes(archive(members | {"config.json": json.dumps(config)}))

    assert "never imported" in build_of(3, model=path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_file_that_is_no_model_is_refused(content, build_of, tmp_path):
    (path := tmp_path / "model.keras").write_bytes(content)

    assert str(path) in build_of(3, model=path)


def test_a_missing_model_is_refused(build_of, tmp_path):
    assert "no such file" in build_of(3, model=tmp_path / "absent.keras")


# Rows 33, 35 and 36, and test samples among the calibration's: data


class Pickled:
    """Writes a marker where somebody unpickles it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_an_array_of_python_objects_is_never_unpickled(build_of, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "data.npz"
    np.savez(path, x=np.array([Pickled(marker)] * 40, object), y=np.arange(40) % 4)

    assert "never unpickled" in build_of(3, data=path)
    assert not marker.exists()


def spoil(**changes):
    """Change the tiny data; a value is an array or a function of the array that is there."""

    def arrays(good):
        return good | {
            name: change(good[name]) if callable(change) else change for name, change in changes.items()
        }

    return arrays


def with_value(value):
    def change(inputs):
        inputs = inputs.astype(np.float32)
        inputs[7, 1, 2] = value
        return inputs

    return change


BAD_DATA = {
    "empty": (spoil(x_train=lambda x: x[:0], y_train=lambda y: y[:0]), "no samples"),
    "NaN": (spoil(x_train=with_value(np.nan)), "nan at index (7, 1, 2"),
    "Inf in the test set": (spoil(x_test=with_value(np.inf)), "test inputs of 'input_layer': inf"),
    "constant": (spoil(x_train=lambda x: x * 0), "every value is 0"),
    "another shape": (
        spoil(x_train=lambda x: x[:, :6], x_test=lambda x: x[:, :6]),
        "the model takes (8, 8, 1)",
    ),
    "text": (spoil(x_train=lambda x: x.astype(str), x_test=lambda x: x.astype(str)), "not numeric"),
    "labels beyond the classes": (spoil(y_train=lambda y: y + 1), "the model has 4 (0..3): "),
    "negative labels": (spoil(y_test=lambda y: y - 1), "the model has 4 (0..3): "),
    "fewer labels": (spoil(y_train=lambda y: y[:-1]), "differ in length"),
    "a test set that is the training set": (
        lambda good: good | {"x_train": good["x_test"], "y_train": good["y_test"]},
        "training samples are also test samples",
    ),
}


@pytest.mark.parametrize("what", BAD_DATA)
def test_data_that_the_model_cannot_learn_from_or_be_judged_by_are_refused(what, build_of, tiny, tmp_path):
    change, said = BAD_DATA[what]
    with np.load(tiny / "data.npz") as data:
        arrays = change(dict(data))
    np.savez(tmp_path / "data.npz", **arrays)

    assert said in build_of(3, data=tmp_path / "data.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_is_refused(content, build_of, tmp_path):
    (path := tmp_path / "data.npz").write_bytes(content)

    assert str(path) in build_of(3, data=path)


def test_missing_data_are_refused(build_of, tmp_path):
    assert "no such file or folder" in build_of(3, data=tmp_path / "absent.npz")


# Rows 38 and 40, and flags: configuration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[prune]\nsparcity = 0.5\n", "unknown key 'prune.sparcity'; did you mean 'sparsity'?"),
        ("[[compress]]\nmethod = 'weights'\nsparsity = 2\n", "compress.0.sparsity: "),
        ("[prune\n", "invalid TOML file"),
    ],
)
def test_a_settings_file_with_a_mistake_is_refused_by_name(text, said, refused, tmp_path):
    (path := tmp_path / "my.toml").write_text('[model]\npath = "m"\n' + text + '[data]\nsource = "d"\n')
    message = refused(2, "build", "--target", "arm64", "--config", path)

    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("name", ["a;reboot", "$(reboot)", "-rf", "a\nb", "../up", ""])
def test_a_name_that_a_shell_could_misread_is_refused(name, refused):
    assert "--name: " in refused(2, "build", "--target", "arm64", "--name", name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "amr64"], "did you mean 'arm64'?"),
        (["--target", "arm64", "--model", "m.keras"], "--model and --data go together"),
        (["--target", "arm64", "--config", "absent.toml"], "absent.toml: no such file"),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(arguments, said, refused):
    assert said in refused(2, "build", *arguments)
