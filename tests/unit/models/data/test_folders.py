"""Folders of images: classes, masks, and images alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.ports import Port
from pipeline.training.tfmot import tensorflow

RNG = np.random.default_rng(0)
TWO = [Port("y", (2,), activation="softmax")]


def model(*shape, outputs=TWO):
    return {"inputs": [Port("x", shape)], "outputs": outputs}


def test_class_folders_become_images_of_the_model_size(folder, load):
    loaded = load(folder(), model(6, 8, 3), test_fraction=0.25)

    assert loaded.x.shape == (8, 6, 8, 3)
    assert loaded.x.dtype == np.uint8
    assert loaded.data.class_names == ("cat", "dog")
    assert len(loaded.test) == 2
    assert loaded.data.notes == ("images of 7x9 scaled to 6x8 (bilinear; height x width)",)
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 200)


def test_a_table_beside_class_folders_is_not_the_data(folder, load):
    root = folder()
    (root / "about.csv").write_text("a,b\n1,2\n")

    assert len(load(root, model(7, 9, 3)).x) == 8


def test_train_and_test_folders_are_kept_apart(folder, load):
    loaded = load(folder("train", "val"), model(7, 9, 3))

    assert (len(loaded.train), len(loaded.test)) == (8, 8)
    assert loaded.data.notes == ()
    assert set(loaded.x[loaded.test][..., 2].ravel()) == {50}


def test_a_validation_folder_of_a_few_images_beside_a_test_is_not_used(folder, load):
    loaded = load(folder("train", "test", "val"), model(7, 9, 3))

    assert (len(loaded.train), len(loaded.test), len(loaded.held_out)) == (8, 8, 0)
    assert any("8 validation samples are not used" in note for note in loaded.data.notes)


def test_the_order_of_classes_is_that_of_keras(folder, load):
    names = tuple(map(str, range(12)))
    ports = model(7, 9, 3, outputs=[Port("y", (12,), activation="softmax")])

    loaded = load(folder(names=names), ports)

    assert loaded.data.class_names == tuple(sorted(names))
    assert any("the alphabet's: 0, 1, 10, 11" in note for note in loaded.data.notes)


def test_a_class_of_the_test_alone_is_an_anomaly_of_an_autoencoder(folder, load, refusal):
    ports = model(7, 9, 3, outputs=[Port("y", (7, 9, 3), activation="sigmoid")])
    root = folder("train", names=("bottle",))
    folder("test", names=("bottle", "crack", "hole"), root="more")
    for name in ("bottle", "crack", "hole"):
        for file in (root.parent / "more" / "test" / name).glob("*.png"):
            place = root / "test" / name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(Image.open(file)) + np.uint8(7)
            Image.fromarray(pixels).save(place)

    loaded = load(root, ports)

    assert loaded.data.tasks == ("anomaly",)
    assert loaded.data.class_names == ("bottle", "anomaly")
    np.testing.assert_array_equal(loaded.y[loaded.test], [0] * 4 + [1] * 8)
    assert "are not among those to train on" in refusal(root, model(7, 9, 3))


def test_images_alone_are_for_a_model_that_rebuilds_them(folder, load):
    root = folder() / "cat"

    loaded = load(root, model(7, 9, 1, outputs=[Port("y", (7, 9, 1), activation="sigmoid")]))

    assert loaded.data.tasks == ("reconstruction",)
    assert loaded.x.shape == (4, 7, 9, 1)


def test_an_open_size_is_that_of_the_first_image(folder, load):
    assert load(folder(), model(None, None, 3)).x.shape == (8, 7, 9, 3)


@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic", "lanczos", "area", "box"])
def test_images_are_scaled_as_was_said(how, folder, load):
    noise = Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8))
    root = folder()
    noise.save(root / "cat" / "0.png")

    loaded = load(root, model(4, 4, 1), interpolation=how)

    wanted = noise.resize((4, 4), Image.Resampling["BOX" if how == "area" else how.upper()])
    np.testing.assert_array_equal(loaded.x[0, ..., 0], np.asarray(wanted))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 5), (24, 40)])
def test_images_are_scaled_without_antialias_as_tensorflow_does(size, channels, folder, load):
    tf = tensorflow()
    pixels = RNG.integers(0, 256, (16, 17, channels), np.uint8)
    root = folder()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(root / "cat" / "0.png")

    loaded = load(root, model(*size, channels), interpolation="bilinear-no-antialias")

    expected = tf.image.resize(pixels, size, method="bilinear", antialias=False).numpy()
    assert loaded.x.dtype == np.uint8
    assert np.abs(loaded.x[0] - expected).max() <= 0.5 + 1e-4


@pytest.fixture
def masks(tmp_path):
    """Images with masks of the same name; a mask is 255 where the image is bright."""

    def write(*parts, classes=2):
        rng = np.random.default_rng(1)
        for part in parts or ("",):
            for name in ("images", "masks"):
                (tmp_path / "set" / part / name).mkdir(parents=True)
            for index in range(6):
                values = rng.integers(0, 256, (8, 8), np.uint8)
                ids = values // 128 * 255 if classes == 2 else values % classes
                Image.fromarray(values).save(tmp_path / "set" / part / "images" / f"{index}.jpg")
                Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "set" / part / "masks" / f"{index}.png")
        return tmp_path / "set"

    return write


@pytest.mark.parametrize("parts", [(), ("train", "test")])
@pytest.mark.parametrize("classes", [2, 5])
def test_images_and_masks_are_paired_by_name(parts, classes, masks, load):
    output = Port("y", (8, 8, 1 if classes == 2 else classes), activation="sigmoid")

    loaded = load(masks(*parts, classes=classes), model(8, 8, 3, outputs=[output]))

    assert loaded.data.tasks == ("segmentation",)
    assert loaded.y.shape == (12 if parts else 6, 8, 8)
    assert set(loaded.y.ravel()) == set(range(classes))
    assert len(loaded.test) == (6 if parts else 1)


def test_masks_are_scaled_without_mixing_classes(masks, load):
    output = Port("y", (4, 4, 5), activation="softmax")

    loaded = load(masks(classes=5), model(8, 8, 3, outputs=[output]))

    assert loaded.y.shape == (6, 4, 4)
    assert "masks of 8x8 scaled to 4x4 (nearest; height x width)" in loaded.data.notes


def test_an_image_without_a_mask_is_named(masks, refusal):
    root = masks()
    (root / "masks" / "3.png").unlink()

    reason = refusal(root, model(8, 8, 3, outputs=[Port("y", (8, 8, 1), activation="sigmoid")]))

    assert "3.jpg: no mask of that name" in reason


def test_a_mask_in_colour_is_refused(masks, refusal):
    root = masks()
    Image.new("RGB", (8, 8)).save(root / "masks" / "0.png")

    reason = refusal(root, model(8, 8, 3, outputs=[Port("y", (8, 8, 1), activation="sigmoid")]))

    assert "a mask in RGB" in reason


def test_a_corrupt_image_is_named(folder, refusal):
    root = folder()
    (root / "cat" / "9.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")

    assert "9.jpg: cannot be decoded" in refusal(root, model(6, 8, 3))


def test_no_truncation_of_an_image_gets_past_the_errors(folder, refusal):
    root = folder()
    path = root / "cat" / "0.png"
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 20, 97):  # the last bytes only mark the end
        path.write_bytes(whole[:end])
        assert "0.png: cannot be decoded" in refusal(root, model(6, 8, 3))


@pytest.mark.parametrize("limit", [50, 20])
def test_an_image_of_too_many_pixels_is_refused(limit, folder, refusal, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns beyond it, and fails beyond twice it

    assert f"more than {limit} pixels" in refusal(folder(), model(6, 8, 3))


def test_an_image_of_sixteen_bits_is_refused(folder, refusal):
    root = folder()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(root / "cat" / "deep.png")

    assert "more than 8 bits" in refusal(root, model(6, 8, 1))


@pytest.mark.parametrize("shape", [(5,), (6, 8, 2), (6, 8)])
def test_images_need_a_model_for_images(shape, folder, refusal):
    assert "images need a model whose input is" in refusal(folder(), model(*shape))


def test_an_unknown_interpolation_is_refused(folder, refusal):
    assert "'cubic' is not known; give one of nearest" in refusal(
        folder(), model(6, 8, 3), interpolation="cubic"
    )


def test_folders_without_images_are_refused(tmp_path, refusal):
    assert "no images" in refusal(tmp_path, model(6, 8, 3))
    (tmp_path / "cat").mkdir()
    assert "no images; supported are .bmp" in refusal(tmp_path, model(6, 8, 3))


@pytest.mark.parametrize(
    ("suffix", "advice"),
    [
        (".wav", "folders of .wav recordings, which are not read; make the features"),
        (".mp4", "folders of .mp4 videos, which are not read; save their frames"),
        (".txt", "folders of .txt files, which are not read; make what the model takes"),
        (".csv", "folders of .csv files, one for each sample, which are not read; stack them"),
    ],
)
def test_class_folders_of_something_else_say_what_to_do(suffix, advice, tmp_path, refusal):
    for name in ("yes", "no"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"0{suffix}").write_bytes(b"RIFF")

    assert advice in refusal(tmp_path, {"inputs": [Port("x", (49, 40, 1))], "outputs": TWO})


def test_a_regular_expression_groups_images(tmp_path, load, refusal):
    for label, name in enumerate(("cat", "dog")):
        for subject in range(5):
            for shot in range(4):
                place = tmp_path / "set" / name
                place.mkdir(parents=True, exist_ok=True)
                colour = (label * 200, subject, shot)
                Image.new("RGB", (9, 7), colour).save(place / f"subject{subject}_{shot}.png")

    loaded = load(tmp_path / "set", model(7, 9, 3), group=r"(subject\d+)_")

    subjects = loaded.x[:, 0, 0, 1]
    assert not set(subjects[loaded.train]) & set(subjects[loaded.test])
    assert len(loaded.test) == 8
    assert "matches nothing in its path" in refusal(tmp_path / "set", model(7, 9, 3), group="person")
    assert "is not a regular expression" in refusal(tmp_path / "set", model(7, 9, 3), group="(")


@pytest.mark.parametrize(
    ("images", "masks"),
    [("{}/images", "{}/masks"), ("images/{}", "masks/{}"), ("{}_images", "{}_masks"), ("{}", "{}_masks")],
)
def test_usual_places_of_masks_are_known(images, masks, tmp_path, load):
    for number, part in enumerate(("train", "test")):
        for place, value, end in ((images, number * 50, "jpg"), (masks, number, "png")):
            folder = tmp_path / "set" / place.format(part)
            folder.mkdir(parents=True)
            for index in range(4):
                name = f"{index}_mask.png" if end == "png" else f"{index}.jpg"
                pixels = np.full((8, 8), value, np.uint8)
                pixels[0, 0] = index if end == "jpg" else 1
                Image.fromarray(pixels).save(folder / name, quality=100)

    loaded = load(tmp_path / "set", model(8, 8, 1, outputs=[Port("y", (8, 8, 1), activation="sigmoid")]))

    assert (len(loaded.train), len(loaded.test)) == (4, 4)
    assert set(loaded.y[loaded.test].ravel()) == {1}
