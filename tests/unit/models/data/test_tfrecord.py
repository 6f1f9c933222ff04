"""TFRecord files: the features, told or inferred."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from models.data.options import Feature
from models.data.records import masked_crc
from models.ports import Port

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 6, 5, 3), np.uint8)
Y = np.arange(30) % 3
MODEL = {"inputs": [Port("in", (6, 5, 3))], "outputs": [Port("out", (3,), activation="softmax")]}


def field(number, content):
    length, head = len(content), [number << 3 | 2]
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length]) + content


def record(features):
    """Encode one example: bytes, floats, or integers from 0 to 127."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif np.asarray(value).dtype.kind == "f":
            feature = field(2, field(1, np.asarray(value, "<f4").tobytes()))
        else:
            feature = field(3, field(1, bytes(np.ravel(value).tolist())))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    content = field(1, entries)
    length = struct.pack("<Q", len(content))
    crcs = [struct.pack("<I", masked_crc(part)) for part in (length, content)]
    return length + crcs[0] + content + crcs[1]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, *columns, names):
    rows = zip(*columns, strict=True)
    path.write_bytes(b"".join(record(dict(zip(names, row, strict=True))) for row in rows))
    return path


IMAGES = [png(pixels) for pixels in PIXELS]


def test_an_image_and_a_number_are_input_and_label(tmp_path, load):
    extra = [b"a.png"] * 30, [6] * 30, Y
    path = write(tmp_path / "a.tfrecord", IMAGES, *extra, names=("image", "filename", "height", "label"))

    loaded = load(path, MODEL)

    np.testing.assert_array_equal(loaded.x, PIXELS)
    np.testing.assert_array_equal(loaded.y, Y)
    note = "inferred from the first record: 'image' is the input (image), 'label' is the target (int64)"
    assert loaded.data.notes == (note,)


def test_images_are_scaled_and_raw_floats_are_not(tmp_path, load):
    small = {"inputs": [Port("in", (3, 2, 3))], "outputs": MODEL["outputs"]}
    path = write(tmp_path / "a.tfrecord", IMAGES, Y, names=("image", "label"))
    assert any("scaled to 3x2" in note for note in load(path, small).data.notes)

    floats = RNG.random((30, 4)).astype(np.float32)
    vector = {"inputs": [Port("in", (4,))], "outputs": MODEL["outputs"]}
    path = write(tmp_path / "b.tfrecord", floats, Y, names=("signal", "class"))
    np.testing.assert_array_equal(load(path, vector).x, floats)


def test_raw_bytes_are_what_the_spec_says(tmp_path, load):
    values = RNG.integers(-99, 99, (30, 4, 2)).astype(np.int16)
    features = {
        "raw": Feature("bytes", (4, 2), "int16", role="in"),
        "kind": Feature("int64", role="target"),
        "weight": Feature("float32"),
    }
    path = write(tmp_path / "a.tfrec", [v.tobytes() for v in values], Y, names=("raw", "kind"))

    loaded = load(path, {"inputs": [Port("in", (4, 2))], "outputs": MODEL["outputs"]}, features=features)

    np.testing.assert_array_equal(loaded.x, values)
    assert loaded.data.notes == ()


def test_several_inputs_outputs_words_and_masks(tmp_path, load):
    ports = {
        "inputs": [Port("image", (6, 5, 3)), Port("meta", (2,))],
        "outputs": [Port("mask", (6, 5, 3), activation="softmax"), Port("kind", (3,), activation="softmax")],
    }
    masks, meta = PIXELS[..., 0] % 3, RNG.random((30, 2)).astype(np.float32)
    words = np.array([b"ant", b"bee", b"cat"])[Y]
    columns = IMAGES, meta, [png(mask) for mask in masks], map(bytes, words)
    path = write(tmp_path / "a.tfrecords", *columns, names=("i", "m", "s", "k"))
    features = {
        "k": Feature("bytes", role="kind"),
        "s": Feature("image", role="mask"),
        "i": Feature("image", role="image"),
        "m": Feature("float32", (2,), role="meta"),
    }

    loaded = load(path, ports, features=features)

    assert loaded.data.tasks == ("segmentation", "classification")
    assert loaded.data.class_names == ("ant", "bee", "cat")
    np.testing.assert_array_equal(loaded.inputs[0], PIXELS)
    np.testing.assert_array_equal(loaded.inputs[1], meta)
    np.testing.assert_array_equal(loaded.targets[0], masks)
    np.testing.assert_array_equal(loaded.targets[1], Y)


def test_an_autoencoder_needs_no_label(tmp_path, load):
    ports = {"inputs": MODEL["inputs"], "outputs": [Port("out", (6, 5, 3), activation="sigmoid")]}
    path = write(tmp_path / "a.tfrecord", IMAGES, names=("image",))

    assert load(path, ports).data.tasks == ("reconstruction",)


def test_shards_are_read_in_order_and_must_be_complete(tmp_path, load, refusal):
    for shard in range(3):
        part = slice(shard * 10, shard * 10 + 10)
        name = f"birds.tfrecord-{shard:05d}-of-00003"
        write(tmp_path / name, IMAGES[part], Y[part], names=("image", "label"))

    loaded = load(tmp_path / "birds.tfrecord-00001-of-00003", MODEL)
    np.testing.assert_array_equal(loaded.x, PIXELS)

    (tmp_path / "birds.tfrecord-00002-of-00003").unlink()
    reason = refusal(tmp_path / "birds.tfrecord-00001-of-00003", MODEL)
    assert "2 of 3 shards are there" in reason


def test_a_folder_has_files_to_train_and_to_test_on(tmp_path, load):
    for name, part in (("train-0.tfrecord", slice(0, 10)), ("train-1.tfrecord", slice(10, 20))):
        write(tmp_path / name, IMAGES[part], Y[part], names=("image", "label"))
    write(tmp_path / "validation.tfrecord", IMAGES[20:], Y[20:], names=("image", "label"))

    loaded = load(tmp_path, MODEL)

    np.testing.assert_array_equal(loaded.x, PIXELS)
    np.testing.assert_array_equal(loaded.test, np.arange(20, 30))


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"image": Feature("image", role="in")}, "no labels for the output 'out'"),
        ({"label": Feature("int64", role="target")}, "no feature has the role 'input'"),
        ({"image": Feature("image", role="pixels")}, "no feature has the role 'input'"),
        (
            {"image": Feature("image", role="in"), "label": Feature("int64", role="wrong")},
            "feature 'label' has the role 'wrong', already taken or none of",
        ),
        (
            {"image": Feature("image", role="in"), "id": Feature("int64", role="target")},
            "record 0: no feature 'id'; there are image, label",
        ),
        (
            {"image": Feature("bytes", (6, 5, 3), role="in"), "label": Feature("int64", role="target")},
            "not (6, 5, 3) of uint8",
        ),
        (
            {"image": Feature("bytes", (6,), "object", role="in"), "label": Feature("int64", role="target")},
            "dtype 'object' is not numeric",
        ),
        (
            {"image": Feature("image", role="in"), "label": Feature("int64", (2,), role="target")},
            "feature 'label' has 1 int64, not (2,) of int64",
        ),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(features, reason, tmp_path, refusal):
    path = write(tmp_path / "a.tfrecord", IMAGES, Y, names=("image", "label"))

    assert reason in refusal(path, MODEL, features=features)


def test_features_that_tell_nothing_are_listed(tmp_path, refusal):
    path = write(tmp_path / "a.tfrecord", IMAGES, IMAGES, Y, names=("left", "right", "label"))

    reason = refusal(path, MODEL)

    assert "'label' (1 int64), 'left'" in reason
    assert "say in features which are the input and the target" in reason


def test_a_damaged_image_is_placed(tmp_path, refusal):
    images = [*IMAGES[:20], IMAGES[20][:60], *IMAGES[21:]]
    path = write(tmp_path / "a.tfrecord", images, Y, names=("image", "label"))

    assert "record 20, 'image': cannot be decoded" in refusal(path, MODEL)


@pytest.mark.parametrize(("content", "reason"), [(b"", "no records"), (b"text", "damaged, or no TFRecord")])
def test_a_file_that_is_none_is_refused(content, reason, tmp_path, refusal):
    (tmp_path / "a.tfrecord").write_bytes(content)

    assert reason in refusal(tmp_path / "a.tfrecord", MODEL)
