"""Data from npz files, folders of images and functions: the same form whatever the source."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from models.data.sources import fingerprint, load_data
from models.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 4, 5, 1)).astype(np.uint8)
Y = np.arange(30) % 3
SHAPE = (4, 5, 1)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        load_data(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
def test_the_usual_names_of_arrays_are_understood(names, npz):
    data = load_data(npz(**dict(zip(names, (X[:20], Y[:20], X[20:], Y[20:]), strict=True))))

    np.testing.assert_array_equal(data.train_inputs, X[:20])
    np.testing.assert_array_equal(data.test_labels, Y[20:])
    assert data.train_inputs.dtype == np.uint8


def test_one_set_is_split_by_class_and_seed(npz):
    path = npz(x=X, y=Y)

    data, same, other = (load_data(path, seed=seed, test_fraction=0.3) for seed in (1, 1, 2))

    np.testing.assert_array_equal(np.bincount(data.test_labels), [3, 3, 3])
    np.testing.assert_array_equal(np.bincount(data.train_labels), [7, 7, 7])
    np.testing.assert_array_equal(data.test_inputs, same.test_inputs)
    assert not np.array_equal(data.test_inputs, other.test_inputs)


@pytest.mark.parametrize(
    "labels",
    [Y, Y[:, None], np.eye(3)[Y], Y.astype(np.float32), Y.astype(np.uint8), np.eye(3, dtype=bool)[Y]],
)
def test_labels_of_any_form_become_class_ids(labels, npz):
    data = load_data(npz(x_train=X, y_train=labels, x_test=X, y_test=labels))

    np.testing.assert_array_equal(data.train_labels, Y)
    assert data.train_labels.dtype == np.int64
    assert data.class_names == ()


def test_text_labels_become_sorted_class_names(npz):
    words = np.array(["dog", "ant", "cat"])[Y]

    data = load_data(npz(x_train=X, y_train=words, x_test=X[:2], y_test=words[:2]))

    assert data.class_names == ("ant", "cat", "dog")
    np.testing.assert_array_equal(data.test_labels, [2, 0])


def test_class_names_in_the_file_are_taken(npz):
    assert load_data(npz(x=X, y=Y, class_names=["a", "b", "c"])).class_names == ("a", "b", "c")


@pytest.mark.parametrize(("stored", "wanted"), [((4, 5), (4, 5, 1)), ((4, 5, 1), (4, 5)), ((20,), (20,))])
def test_a_last_axis_of_one_is_mended(stored, wanted, npz):
    data = load_data(npz(x=X.reshape(30, *stored), y=Y), input_shape=wanted)

    assert data.train_inputs.shape[1:] == wanted


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": X, "b": Y}, "name them x_train"),
        ({"x": X, "y": Y[:-1]}, "differ in length"),
        ({"x": X, "y": Y + 0.5}, "not classes"),
        ({"x": X, "y": RNG.random((30, 3))}, "not classes"),
        ({"x": np.array([{}, []] * 15, dtype=object), "y": Y}, "never unpickled"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(arrays, reason, npz):
    assert reason in refusal(npz(**arrays))


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())

    assert "claims the shape" in refusal(path)


def test_a_decompression_bomb_is_refused(npz):
    assert "too large" in refusal(npz(x=np.zeros((64 << 20,), np.uint8), y=Y))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 50])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(content)

    assert "damaged" in refusal(path)


def test_no_truncation_of_an_npz_gets_past_the_errors(npz, tmp_path):
    whole = npz(x=X, y=Y).read_bytes()
    path = tmp_path / "cut.npz"
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        refusal(path)


def test_a_missing_source_is_refused():
    assert "no such file" in refusal("absent.npz")


@pytest.fixture
def folder(tmp_path):
    """Class folders of images; one brightness a class."""

    def write(*parts):
        for part in parts or ("",):
            for label, name in enumerate(("cat", "dog")):
                place = tmp_path / "images" / part / name
                place.mkdir(parents=True)
                for index in range(4):
                    Image.new("RGB", (9, 7), (label * 200, index, 0)).save(place / f"{index}.png")
                (place / "notes.txt").write_text("not an image")
        return tmp_path / "images"

    return write


def test_class_folders_become_images_of_the_model_size(folder):
    data = load_data(folder(), input_shape=(6, 8, 3), test_fraction=0.25)

    assert data.train_inputs.shape == (6, 6, 8, 3)
    assert data.train_inputs.dtype == np.uint8
    assert data.class_names == ("cat", "dog")
    np.testing.assert_array_equal(data.train_inputs[:, 0, 0, 0], data.train_labels * 200)


def test_train_and_test_folders_are_kept_apart(folder):
    data = load_data(folder("train", "val"), input_shape=(6, 8, 1))

    assert data.train_inputs.shape == data.test_inputs.shape == (8, 6, 8, 1)


def test_a_corrupt_image_is_named(folder):
    root = folder()
    (root / "cat" / "9.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")

    assert "9.jpg: cannot be decoded" in refusal(root, input_shape=(6, 8, 3))


def test_an_image_of_too_many_pixels_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)

    assert "more than 50 pixels" in refusal(folder(), input_shape=(6, 8, 3))


def test_an_image_of_sixteen_bits_is_refused(folder):
    root = folder()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(root / "cat" / "deep.png")

    assert "more than 8 bits" in refusal(root, input_shape=(6, 8, 1))


@pytest.mark.parametrize("shape", [None, (5,), (6, 8, 2), (None, 8, 3)])
def test_images_need_a_model_for_images(shape, folder):
    assert "input" in refusal(folder(), input_shape=shape)


def test_a_folder_without_classes_is_refused(tmp_path):
    assert "no class folders" in refusal(tmp_path, input_shape=(6, 8, 3))


FORMS = {
    "four": "return X, Y, X[:2], Y[:2]",
    "pairs": "return (X, Y), (X[:2], Y[:2])",
    "dict": "return {'x_train': X, 'y_train': Y, 'x_test': X[:2], 'y_test': Y[:2]}",
    "pair": "return X, Y",
}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A module beside the user, with one function."""

    def write(body, name="source_of_data"):
        path = tmp_path / f"{name}.py"
        lines = [
            "import numpy as np",
            "X = np.zeros((30, 4), np.float32) + np.arange(4)",
            "Y = np.arange(30) % 3",
        ]
        path.write_text("\n".join([*lines, "def load():", f"    {body}", ""]))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        return path

    return write


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", ["source_of_data", "source_of_data.py"])
def test_a_function_may_return_any_usual_form(form, prefix, program):
    program(FORMS[form])

    data = load_data(f"{prefix}:load", test_fraction=0.1)

    assert data.train_inputs.shape[1:] == (4,)
    assert len(data.test_labels) == (3 if form == "pair" else 2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [("return 3", "it returned int"), ("raise ValueError('no\\nsuch')", "it raised ValueError: no such")],
)
def test_a_function_that_fails_is_named(body, reason, program):
    program(body)

    assert reason in refusal("source_of_data.py:load")


@pytest.mark.parametrize("source", ["absent_module:load", "absent.py:load"])
def test_a_module_that_is_not_there_is_named(source, program):
    program("return X, Y")

    assert "no module" in refusal(source)
    assert "no function 'other'" in refusal("source_of_data.py:other")


def test_a_fingerprint_follows_the_content(npz, folder, program):
    path, root, code = npz(x=X, y=Y), folder(), program("return X, Y")
    sources = [path, root, "source_of_data:load"]
    before = [fingerprint(source) for source in sources]
    assert before == [fingerprint(source) for source in sources]

    npz(x=X, y=Y[::-1])
    (root / "cat" / "0.png").rename(root / "cat" / "00.png")
    code.write_text(code.read_text() + "# changed\n")

    assert all(old != fingerprint(source) for old, source in zip(before, sources, strict=True))
