"""Model files that are damaged, hostile or beyond what is supported: one line, and nothing of them is run."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model


@pytest.fixture
def members(save):
    """The members of a small, valid .keras archive."""
    import keras

    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3, name="conv")])
    with zipfile.ZipFile(save(model, ".keras")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def written(tmp_path):
    """Write an archive of members, then of more members that have their own ZipInfo."""

    def write(members, more=(), compression=zipfile.ZIP_DEFLATED):
        path = tmp_path / "hostile.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            for info, content in more:
                archive.writestr(info, content)
        return path

    return write


def with_layer(members, **layer):
    """Put one more layer at the end of the Sequential."""
    config = json.loads(members["config.json"])
    config["config"]["layers"].append({"registered_name": None, **layer})
    return members | {"config.json": json.dumps(config)}


def with_weights(members, change):
    """Change the HDF5 file of the weights."""
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return members | {"model.weights.h5": buffer.getvalue()}


def refusal(path):
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
def test_a_lambda_never_runs(library_name, suffix, save, tmp_path):
    from importlib import import_module

    library = import_module(library_name)
    marker = tmp_path / "marker"
    code = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).write_text('run'), x)[1]"
    layer = library.layers.Lambda(eval(code), output_shape=(3,), name="sneaky")
    path = save(library.Sequential([library.Input((3,)), layer, library.layers.Dense(2)]), suffix)
    marker.unlink(missing_ok=True)

    message = refusal(path)

    assert "'sneaky' (Lambda)" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"module": "os", "class_name": "getcwd"}, "never imported"),
        ({"module": "subprocess", "class_name": "Popen"}, "never imported"),
        ({"module": "os", "class_name": "Dense"}, "'os', which is never imported"),
        ({"module": "keras.layers", "class_name": "TFSMLayer"}, "SavedModel from outside"),
        ({"module": "keras.layers", "class_name": "StringLookup"}, "vocabulary"),
        ({"module": "keras.layers", "class_name": "FlaxLayer"}, "not among the supported layers"),
        ({"module": "keras.layers", "class_name": "__import__"}, "not among the supported layers"),
        ({"module": "keras.src.ops.numpy", "class_name": "Einsum"}, "is not supported"),
        ({"module": None, "class_name": ["Dense"]}, "damaged configuration"),
    ],
)
def test_a_layer_outside_the_allowlist_is_refused_by_name(layer, reason, members, written):
    message = refusal(written(with_layer(members, name="odd", config={"name": "odd"}, **layer)))

    assert "'odd'" in message
    assert reason in message


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"name": ".."}, "name is not usable"),
        ({"name": "a/../b"}, "name is not usable"),
        ({"name": "x\ny"}, "name is not usable"),
        ({"activation": {"module": "os", "class_name": "function", "config": "system"}}, "'system'"),
        ({"activation": "os.system"}, "activation 'os.system'"),
        ({"units": 10**12}, "do not fit its configuration"),
        ({"units": {"class_name": "Popen"}}, "units is not a plain value"),
        ({"units": "many"}, "makes (None, 4, 4, 'many')"),
    ],
)
def test_a_hostile_setting_is_refused(config, reason, members, written):
    fields = {"name": "dense", "units": 2, **config}
    layer = {"module": "keras.layers", "class_name": "Dense", "name": fields["name"], "config": fields}

    def change(file):
        variables = file.create_group("layers/dense/vars")
        variables["0"], variables["1"] = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)

    assert reason in refusal(written(with_layer(with_weights(members, change), **layer)))


def test_several_refused_layers_are_named_in_one_line(members, written):
    for number in range(7):
        config = {"name": f"odd{number}"}
        layer = {"module": "shop.layers", "class_name": "Odd", "name": config["name"], "config": config}
        members = with_layer(members, **layer)

    message = refusal(written(members))

    assert "layer 'odd0' (Odd): it is not of Keras but of 'shop.layers'" in message
    assert "--set model.custom_objects" in message
    others = ", ".join(f"layer 'odd{number}' (Odd)" for number in range(1, 5))
    assert message.endswith(f"refused as well: {others} and 2 more")


@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_a_model_that_is_quantized_already_is_refused(save):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    model.quantize("int8")

    assert "'head' (Dense): its weights are quantized already" in refusal(save(model, ".keras"))


def test_lora_weights_are_merged(save, outputs):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones((2, 3), np.float32))

    x = np.ones((1, 4), np.float32)
    loaded = load_model(save(model, ".keras"))
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=1e-5)


def test_the_layer_of_our_own_is_known_by_its_place_only(members, written):
    config = {"name": "odd", "function": "exec"}
    odd = {"class_name": "Operation", "name": "odd", "config": config}

    assert "no operation 'exec'" in refusal(written(with_layer(members, module="models.layers", **odd)))
    assert "not among" in refusal(written(with_layer(members, module="keras.layers", **odd)))


def test_initialisers_and_regularisers_are_not_deserialised(members, written):
    config = json.loads(members["config.json"])
    evil = {"module": "os", "class_name": "system", "config": {"command": "false"}}
    config["config"]["layers"][-1]["config"] |= {"kernel_initializer": evil, "kernel_regularizer": evil}

    assert load_model(written(members | {"config.json": json.dumps(config)})).count_params() == 20


def test_a_subclassed_model_is_told_what_to_do(members, written):
    config = {"module": "__main__", "class_name": "MyNet", "config": {}, "registered_name": "MyNet"}

    message = refusal(written(members | {"config.json": json.dumps(config)}))

    assert "subclassed" in message
    assert "keras.Model(inputs, outputs)" in message


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..\\x", "C:x"])
def test_a_member_that_leads_out_is_refused(name, members, written, tmp_path):
    assert "leads out" in refusal(written(members | {name: b"x"}))
    assert not (tmp_path.parent / "x").exists()


def test_a_symbolic_link_is_refused(members, written):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16

    assert "symbolic link" in refusal(written(members, [(link, "/etc/passwd")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["config.json", "CONFIG.json"])
def test_colliding_members_are_refused(name, members, written):
    assert "twice" in refusal(written(members, [(zipfile.ZipInfo(name), "{}")]))


def test_a_decompression_bomb_is_refused(members, written):
    assert "bomb" in refusal(written(members | {"model.weights.h5": b"\0" * (64 << 20)}))


def test_a_deeply_nested_configuration_is_refused(members, written):
    refusal(written(members | {"config.json": "[" * 100_000}))


def test_models_that_multiply_when_laid_out_are_refused(members, written):
    def entry(kind, name, nodes, **config):
        config = {"name": name, **config}
        return {"module": "keras", "class_name": kind, "name": name, "config": config, "inbound_nodes": nodes}

    def node(layer, index):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [layer, index, 0]}}
        return {"args": [tensor], "kwargs": {}}

    nodes = [node("in", 0), *(node("inner", index) for index in range(9))]
    inner = entry("ReLU", "inner", nodes)
    for _ in range(8):
        layers = [entry("InputLayer", "in", [], batch_shape=[None, 4]), inner]
        ends = {"input_layers": [["in", 0, 0]], "output_layers": [["inner", 9, 0]]}
        inner = entry("Functional", "inner", nodes, layers=layers, **ends)

    assert "more than" in refusal(written(members | {"config.json": json.dumps(inner)}))


def test_a_shape_that_the_file_cannot_hold_is_refused(members, written):
    def change(file):
        file.create_dataset("layers/conv2d/vars/9", (1 << 20, 1 << 20, 1 << 10), "f4", chunks=(1, 1024, 1024))

    assert "claims the shape" in refusal(written(with_weights(members, change)))


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/layers"), h5py.ExternalLink("/etc/passwd", "/x"), "hard", "external", "virtual"]
)
def test_links_and_outside_storage_are_refused(link, members, written):
    def change(file):
        group = file["layers/conv2d/vars"]
        if link == "hard":
            group["2"] = file["layers"]
        elif link == "external":
            group.create_dataset("2", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        elif link == "virtual":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
            group.create_virtual_dataset("2", layout)
        else:
            group["2"] = link

    message = refusal(written(with_weights(members, change)))

    assert any(word in message for word in ("is a link", "is there twice", "stored outside"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((3, 3, 1, 2), np.nan, np.float32), "NaN"),
        (np.zeros((3, 3, 1, 2), complex), "not numbers"),
        (np.zeros((3, 3, 2, 2), np.float32), "do not fit"),
        (None, "1 arrays in the file, 2 expected"),
    ],
)
def test_unusable_weights_name_the_layer(values, reason, members, written):
    def change(file):
        group = file["layers/conv2d/vars"]
        del group["0"]
        if values is not None:
            group["0"] = values

    message = refusal(written(with_weights(members, change)))

    assert "'conv' (Conv2D)" in message
    assert reason in message


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0" * 100, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + b"\0" * 40]
)
def test_a_file_of_another_format_is_refused(content, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(content)

    refusal(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_truncation_or_flip_gets_past_the_errors(suffix, save, tmp_path):
    import keras

    whole = save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), suffix).read_bytes()
    path = tmp_path / f"cut{suffix}"
    rng = np.random.default_rng(0)
    for index in range(60):
        damaged = bytearray(whole)
        if index % 2:
            damaged = damaged[: index * len(whole) // 60]
        else:
            for place in rng.integers(0, len(whole), 20):
                damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with suppress(ModelError):
            load_model(path)


def test_folders_and_missing_files_are_refused(tmp_path):
    saved_model = tmp_path / "saved"
    saved_model.mkdir()
    (saved_model / "saved_model.pb").write_bytes(b"\x08\x01")

    assert "SavedModel" in refusal(saved_model)
    assert "a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "absent.keras")


def test_weights_alone_are_refused(save, tmp_path):
    import keras

    path = tmp_path / "model.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)

    assert "weights only" in refusal(path)


def test_a_model_that_was_never_built_is_refused(save):
    import keras

    assert "never built" in refusal(save(keras.Sequential([keras.layers.Dense(2)]), ".keras"))


def test_the_file_of_a_model_is_closed_after_reading(save):
    import keras

    path = save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), ".h5")
    load_model(path)

    with h5py.File(path, "r+"):
        assert Path(path).exists()


@pytest.mark.parametrize("kind", ["STFTSpectrogram", "MelSpectrogram"])
def test_a_spectrogram_layer_is_refused_with_how_to_build_the_model_without(kind, save):
    import keras

    layer = {
        "STFTSpectrogram": lambda: keras.layers.STFTSpectrogram(
            frame_length=64, frame_step=32, fft_length=64
        ),
        "MelSpectrogram": lambda: keras.layers.MelSpectrogram(
            fft_length=64, sequence_stride=32, sequence_length=64, num_mel_bins=8, sampling_rate=1000
        ),
    }[kind]()
    shape = (512, 1) if kind == "STFTSpectrogram" else (512,)
    model = keras.Sequential([keras.Input(shape), layer, keras.layers.Flatten(), keras.layers.Dense(2)])

    with pytest.raises(
        ModelError,
        match=rf"layer '\w+' \({kind}\): .* compute the spectrograms .* before the model, .* keras\.Model\(",
    ):
        load_model(save(model, ".keras"))
