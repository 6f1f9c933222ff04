"""Arrays by their names, from .npz and .npy files."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from models.ports import Port

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 4, 5, 1)).astype(np.uint8)
Y = np.arange(30) % 3
MODEL = {"inputs": [Port("x", (4, 5, 1))], "outputs": [Port("y", (3,), activation="softmax")]}


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_data", "train_targets", "x_val", "y_val"),
        ("features_train", "labels_train", "features_valid", "labels_valid"),
        ("trainX", "trainY", "testX", "testY"),
    ],
)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_the_usual_names_of_arrays_are_understood(names, form, npz, load, tmp_path):
    arrays = dict(zip(names, (X[:20], Y[:20], X[20:], Y[20:]), strict=True))
    path = npz(**arrays)
    if form == "npy":
        path.unlink()
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        path = tmp_path

    loaded = load(path, MODEL)

    np.testing.assert_array_equal(loaded.x, X)
    np.testing.assert_array_equal(loaded.y, Y)
    np.testing.assert_array_equal(loaded.train, np.arange(20))
    np.testing.assert_array_equal(loaded.test, np.arange(20, 30))
    assert loaded.x.dtype == np.uint8


def test_arrays_of_several_inputs_and_outputs_have_their_names(npz, load):
    ports = {
        "inputs": [Port("image", (4, 5, 1)), Port("meta", (2,))],
        "outputs": [Port("kind", (3,), activation="softmax"), Port("price", (1,), activation="linear")],
    }
    meta, price = RNG.random((30, 2)), RNG.random(30)
    arrays = {"image_train": X[:20], "meta_train": meta[:20], "kind_train": Y[:20], "price_train": price[:20]}
    held = {"test_image": X[20:], "test_meta": meta[20:], "test_kind": Y[20:], "test_price": price[20:]}

    loaded = load(npz(**arrays, **held), ports)

    assert loaded.data.tasks == ("classification", "regression")
    np.testing.assert_array_equal(loaded.inputs[1], meta)
    np.testing.assert_array_equal(loaded.targets[1], price.astype(np.float32)[:, None])


def test_an_output_without_its_array_is_named(npz, refusal):
    ports = {
        "inputs": [Port("image", (4, 5, 1))],
        "outputs": [Port("kind", (3,), activation="softmax"), Port("price", (1,), activation="linear")],
    }

    reason = refusal(npz(image_train=X, kind_train=Y), ports)

    assert "no array 'price_train' for that output" in reason


def test_one_npy_holds_inputs_alone(load, tmp_path):
    np.save(tmp_path / "signals.npy", RNG.random((20, 8)))

    loaded = load(tmp_path / "signals.npy", {"inputs": [Port("x", (8,))], "outputs": [Port("y", (8,))]})

    assert loaded.data.tasks == ("reconstruction",)
    assert loaded.targets == []


def test_labels_of_the_test_alone_make_the_training_samples_normal(npz, load):
    ports = {"inputs": [Port("a", (4, 5, 1))], "outputs": [Port("b", (4, 5, 1), activation="sigmoid")]}

    loaded = load(npz(x_train=X[:20], x_test=X[20:], y_test=np.arange(10) % 2), ports)

    assert loaded.data.tasks == ("anomaly",)
    np.testing.assert_array_equal(loaded.y, [0] * 20 + [0, 1] * 5)


def test_class_names_in_the_file_are_taken(npz, load):
    assert load(npz(x=X, y=Y, class_names=["a", "b", "c"]), MODEL).data.class_names == ("a", "b", "c")


def test_an_array_in_fortrans_order_and_of_another_byte_order_is_the_same(npz, load):
    array = np.asfortranarray(X.astype(">i4"))

    loaded = load(npz(x=array, y=Y), MODEL)

    np.testing.assert_array_equal(loaded.x, X)
    assert loaded.x.dtype == np.int32


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": X, "b": Y}, "name them x_train"),
        ({"x": X, "y": Y[:-1]}, "differ in length"),
        ({"x": X, "y": Y + 0.5}, "give class ids"),
        ({"x": X, "y": RNG.random((30, 3)) + 1}, "for the softmax output"),
        ({"x": np.array([{}, []] * 15, dtype=object), "y": Y}, "never unpickled"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "none to test on"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(arrays, reason, npz, refusal):
    assert reason in refusal(npz(**arrays), MODEL)


def test_python_objects_in_an_npy_are_never_unpickled(tmp_path, refusal):
    np.save(tmp_path / "x.npy", np.array([{}, []], dtype=object), allow_pickle=True)

    assert "never unpickled" in refusal(tmp_path / "x.npy", MODEL)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path, refusal):
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
    (tmp_path / "bomb.npy").write_bytes(buffer.getvalue())

    assert "claims the shape" in refusal(path, MODEL)
    assert "claims the shape" in refusal(tmp_path / "bomb.npy", MODEL)


def test_a_decompression_bomb_is_refused(npz, refusal):
    assert "too large" in refusal(npz(x=np.zeros((64 << 20,), np.uint8), y=Y), MODEL)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 50])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_damaged_file_is_refused(content, suffix, tmp_path, refusal):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(content)

    assert "damaged" in refusal(path, MODEL)


@pytest.mark.parametrize("old", [b"}", b"(", b"'descr'", b"|u1", b"30"])
@pytest.mark.parametrize("new", [b"]", b"\0", b"\n ", b"\xff", b"((", b"-9"])
def test_a_damaged_header_is_refused(old, new, tmp_path, refusal):
    np.save(tmp_path / "x.npy", X)
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(old, new, 1))

    refusal(tmp_path / "x.npy", MODEL)


def test_no_truncation_of_an_npz_gets_past_the_errors(npz, tmp_path, refusal):
    whole = npz(x=X, y=Y).read_bytes()
    path = tmp_path / "cut.npz"
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        refusal(path, MODEL)


def test_a_changed_byte_is_found_by_the_checksum(npz, refusal):
    path = npz(x=RNG.integers(0, 256, (30, 4, 5, 1)).astype(np.uint8), y=Y)
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)

    assert "damaged" in refusal(path, MODEL)


ROWS = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (3,), activation="softmax")]}
NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("key", ["feature_names", "column_names"])
def test_an_array_may_name_the_columns(key, npz, load):
    path = npz(x=RNG.random((30, 4)), y=Y, **{key: np.array(NAMES)})

    assert load(path, ROWS).data.columns == (NAMES,)


def test_settings_name_the_columns_of_arrays_without_names(npz, load):
    path = npz(x=RNG.random((30, 4)), y=Y)

    assert load(path, ROWS).data.columns == ()
    assert load(path, ROWS, columns=NAMES).data.columns == (NAMES,)
    assert load(path, ROWS, columns=NAMES[:3]).data.columns == ()


def test_inputs_of_one_number_each_are_named_by_the_model(npz, load):
    ports = {"inputs": [Port("hz", (1,)), Port("rms", ())], "outputs": ROWS["outputs"]}
    path = npz(hz=RNG.random((30, 1)), rms=RNG.random(30), y=Y)

    assert load(path, ports).data.columns == (("hz",), ("rms",))


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "b", "c", "c")])
def test_names_that_do_not_fit_the_columns_are_refused(names, npz, refusal):
    path = npz(x=RNG.random((30, 4)), y=Y, feature_names=np.array(names))

    assert "feature_names has 3 different names for 4 values a sample; give one for each" in refusal(
        path, ROWS
    )
