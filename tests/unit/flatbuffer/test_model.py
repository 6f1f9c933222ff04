"""What ``read_tflite`` returns for good files, and which bad ones it refuses in which words."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite


def test_it_reads_tensors_operators_and_the_files_identity(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)

    model = read_tflite(path)

    assert [operator.name for operator in model.operators] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert model.operators[0].version == 3
    assert (model.operators[0].inputs, model.operators[0].outputs) == ((0, 1, 2), (3,))
    assert model.operators[0].options["StrideW"] == 1
    (image,) = model.inputs
    assert (image.name, image.shape, image.shape_signature) == ("image", (1, 4, 4, 1), (-1, 4, 4, 1))
    assert (image.dtype, image.zero_points) == ("int8", (-128,))
    assert image.scales == pytest.approx((1 / 255,))
    assert [tensor.name for tensor in model.outputs] == ["probabilities"]
    assert (model.metadata, model.description) == ({"min_runtime_version": 16}, "tiny")
    assert (model.size_bytes, model.sha256) == (len(tiny_tflite), hashlib.sha256(tiny_tflite).hexdigest())


def test_it_tells_constants_from_what_is_computed(tiny_tflite):
    tensors = read_tflite(tiny_tflite).tensors

    assert [tensor.name for tensor in tensors if tensor.is_constant] == [
        "conv/kernel", "conv/bias", "shape", "dense/kernel", "dense/bias",
    ]  # fmt: skip
    assert (tensors[1].size_bytes, tensors[1].quantization, tensors[1].axis) == (36, "per-channel", 0)
    assert (tensors[3].size_bytes, tensors[3].quantization) == (0, "per-tensor")
    assert tensors[4].quantization == ""


def test_a_constant_comes_out_in_its_own_dtype_and_shape(tiny_tflite):
    model = read_tflite(tiny_tflite)

    np.testing.assert_array_equal(model.constant(model.tensors[4]), np.array([1, 64], np.int32))
    with pytest.raises(ValueError, match=r"tensor 0 .image. has no constant to read"):
        model.constant(model.tensors[0])


def test_packed_int4_constants_are_unpacked_with_their_sign(tiny_tflite_with):
    def pack_kernel(model):
        model.subgraphs[0].tensors[6].type = 17  # INT4
        model.buffers[4].data = np.tile(np.array([0x7F, 0x80], np.uint8), 48)

    model = read_tflite(tiny_tflite_with(pack_kernel))

    np.testing.assert_array_equal(model.constant(model.tensors[6])[0, :4], [-1, 7, 0, -8])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the file is empty"),
        (b"# a model card\n" * 100, "not a TFLite model: it is text"),
        (bytes(4096), "not a TFLite model: it begins with zeros only"),
        (b"PK\x03\x04" + bytes(range(256)), "perhaps a .keras file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(range(256)), "perhaps a Keras .h5"),
        (b"\x18\x00\x00\x00TFL2" + bytes(range(256)), "bytes 4 to 7 are b'TFL2'"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "reaches past byte"),
        (b"\x08\x00\x00\x00TFL3", "reaches past byte"),
    ],
    ids=["empty", "text", "zeros", "zip", "hdf5", "other magic", "huge root offset", "magic alone"],
)
def test_files_that_are_no_tflite_are_refused_by_what_they_are(content, complaint):
    with pytest.raises(InputError, match=complaint):
        read_tflite(content)


def test_every_truncation_is_refused(tiny_tflite):
    for length in range(0, len(tiny_tflite), 37):
        with pytest.raises(InputError):
            read_tflite(tiny_tflite[:length])


def test_bytes_behind_the_model_are_refused_other_than_padding(tiny_tflite):
    with pytest.raises(InputError, match="1048576 bytes follow the end of the model"):
        read_tflite(tiny_tflite + b"\xaa" * 2**20)
    with pytest.raises(InputError, match="does not end where the file ends"):
        read_tflite(tiny_tflite + b"PK\x03\x04" + bytes(200))
    read_tflite(tiny_tflite + bytes(16))


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"gone.tflite: no such file or directory; pass the path"):
        read_tflite(tmp_path / "gone.tflite")
    with pytest.raises(InputError, match="not a file"):
        read_tflite(tmp_path)


def _set(path, value):
    """Return an edit of the one attribute that ``path`` names, e.g. ``"metadata.0.buffer"``."""

    def edit(model):
        *parents, name = path.split(".")
        for parent in parents:
            model = model[int(parent)] if parent.isdigit() else getattr(model, parent)
        setattr(model, name, value)

    return edit


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (
            "subgraphs.0.operators.2.inputs",
            [5, 99, 7],
            r"\(FULLY_CONNECTED\) of subgraph 0 names tensor 99 of 10",
        ),
        ("subgraphs.0.operators.2.inputs", [5, -2, 7], "names tensor -2 of 10"),
        ("subgraphs.0.outputs", [-1], "an output of subgraph 0 names tensor -1"),
        ("subgraphs.0.tensors.1.buffer", 70, "tensor 1 of subgraph 0 names buffer 70 of 7"),
        ("metadata.0.buffer", 70, "metadata 'min_runtime_version' names buffer 70 of 7"),
        ("subgraphs.0.operators.0.opcodeIndex", 9, "names operator code 9 of 4"),
        ("operatorCodes.0.builtinCode", 9999, "is builtin 9999, which this LiteRT does not know"),
        ("subgraphs.0.tensors.0.type", 99, "has element type 99, which this LiteRT does not know"),
        ("version", 4, "schema version 4 where 3 is known"),
        ("subgraphs", [], "it holds no subgraph"),
    ],
)
def test_an_index_that_points_nowhere_is_refused(path, value, complaint, tiny_tflite_with):
    with pytest.raises(InputError, match=complaint):
        read_tflite(tiny_tflite_with(_set(path, value)))


def test_a_buffer_whose_offset_and_size_wrap_around_is_refused(tiny_tflite_with):
    def wrap(model):
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 2**64 - 16, 52

    with pytest.raises(InputError, match="buffer 1, 52 bytes at byte 18446744073709551600, reaches past"):
        read_tflite(tiny_tflite_with(wrap))


def test_weights_in_another_file_are_refused(tiny_tflite_with):
    from ai_edge_litert import schema_py_generated as schema

    with pytest.raises(InputError, match="weights are in another file"):
        read_tflite(tiny_tflite_with(lambda m: setattr(m, "externalBuffers", [schema.ExternalBufferT()])))


def test_names_out_of_the_file_cannot_drive_the_terminal(tiny_tflite_with):
    def edit(model):
        model.subgraphs[0].tensors[0].name = "\x1b[2J\nall good" + "x" * 5000
        model.subgraphs[0].tensors[0].quantization.scale = [float("nan")]

    with pytest.raises(InputError) as refusal:
        read_tflite(tiny_tflite_with(edit), name="m.tflite")

    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_thousands_of_flips_end_in_a_model_or_an_input_error_in_bounded_time(tiny_tflite):
    rng = np.random.default_rng(0)
    refusals, passed, slowest_s = set(), 0, 0.0
    for _ in range(1500):
        damaged = bytearray(tiny_tflite)
        for at in rng.integers(len(damaged), size=rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        started = time.perf_counter()
        try:
            read_tflite(bytes(damaged))
            passed += 1
        except InputError as refusal:
            refusals.add(str(refusal))
        slowest_s = max(slowest_s, time.perf_counter() - started)
    assert 0 < passed < 1000
    assert len(refusals) > 100
    assert all(refusal.isprintable() for refusal in refusals)
    assert slowest_s < 60
