"""Raw samples out of a user's files: arrays, photos, and what is neither."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from deploy.device import samples
from models.data.images import Decoder


def contract(shape=(1, 4, 6, 3), resize=(4, 6), inputs=1):
    steps = {"resize": resize and {"size": list(resize), "interpolation": "bilinear"}}
    port = {"shape": list(shape), "preprocessing": steps}
    return {"inputs": [port | {"name": f"input{i or ''}"} for i in range(inputs)]}


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "photo.JPG", quality=90)
    return tmp_path


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG"])
def test_a_photo_is_read_as_the_training_data_were(photo, name):
    (found,) = samples.read([str(photo / name)] * 2, contract())

    assert (found.shape, found.dtype) == ((2, 4, 6, 3), np.uint8)
    assert np.array_equal(found[0], Decoder((4, 6, 3))((name, photo / name)))


def test_a_photo_for_a_gray_model_becomes_gray(photo):
    (found,) = samples.read([str(photo / "photo.png")], contract((1, 4, 6, 1)))

    assert found.shape == (1, 4, 6, 1)


def test_a_photo_for_a_model_of_no_images_says_what_it_takes(photo):
    with pytest.raises(
        ValueError, match=r"photo.png: the model's input 'input' is not an image; give a .npy"
    ):
        samples.read([str(photo / "photo.png")], contract((1, 8), resize=None))


def test_a_photo_beside_another_input_says_what_the_model_takes(photo):
    with pytest.raises(ValueError, match=r"photo.png: not a .npy file; give input.npy input1.npy, with raw"):
        samples.read([str(photo / "photo.png")], contract(inputs=2))


def test_a_damaged_photo_is_named(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")

    with pytest.raises(ValueError, match=r"cut\.jpg: cannot be decoded: "):
        samples.read([str(tmp_path / "cut.jpg")], contract())


@pytest.mark.parametrize("content", [b"", b"hello", b"x,y\n1,2\n", b"PK\x03\x04rest"])
def test_what_is_no_array_says_what_the_model_takes(tmp_path, content):
    (path := tmp_path / "samples.csv").write_bytes(content)

    with pytest.raises(
        ValueError, match=r"not a .npy file; give input.npy, with raw samples of shape \(n, 4, 6, 3\)"
    ):
        samples.read([str(path)], contract())


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)

    with pytest.raises(ValueError, match=r"objects\.npy: not an array of numbers") as error:
        samples.read([str(tmp_path / "objects.npy")], contract())
    assert "pickle" not in str(error.value)


def test_text_in_an_array_is_refused(tmp_path):
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))

    with pytest.raises(ValueError, match="the model takes numbers"):
        samples.read([str(tmp_path / "text.npy")], contract())


def test_without_pillow_a_photo_is_refused_with_what_helps(photo):
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from deploy.device import samples\n"
        f"samples.read([{str(photo / 'photo.png')!r}], {contract()!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        f"ValueError: {photo / 'photo.png'}: Pillow is needed for photos: pip install pillow; "
        "or give a .npy of shape (n, *[4, 6, 3])"
    )


def test_arrays_of_unequal_length_are_refused(tmp_path):
    for name, count in (("a", 2), ("b", 3)):
        np.save(tmp_path / f"{name}.npy", np.zeros((count, 4, 6, 3)))

    with pytest.raises(ValueError, match=r"give input.npy input1.npy, of equally many samples"):
        samples.read([str(tmp_path / f"{name}.npy") for name in "ab"], contract(inputs=2))


def test_a_folder_stands_for_its_photos_in_order(photo, tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")

    names = samples.expanded([str(tmp_path), "rows.csv"])

    assert names == [str(photo / "photo.JPG"), str(photo / "photo.png"), "rows.csv"]
    assert samples.titles(names[:2], 2) == ["photo.JPG", "photo.png"]
    assert samples.titles(names, 2) == ["0", "1"]


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no photos in this folder \(\.jpg "):
        samples.expanded([str(tmp_path)])
