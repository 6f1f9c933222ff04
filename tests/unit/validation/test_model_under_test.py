"""What is measured: the file's own facts, and the samples it is fed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.errors import InputError
from pipeline.runtimes.session import ModelDetails, Tensor
from pipeline.samples import Samples
from pipeline.validation.model_under_test import Golden, ModelUnderTest

RAW = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)
INT8 = Tensor("image", (1, 4, 4, 1), "int8", 1 / 255, -128)


@pytest.fixture
def samples(tmp_path, store_dataset):
    data = store_dataset(tmp_path / "data", RAW, np.arange(100) % 3)
    return Samples.of(data, "train", (Transform(scale=(1 / 255,)),))


def details(*tensors):
    return ModelDetails(tensors, (), (), 0, 1.0)


def test_facts_are_the_files_own(tmp_path, tiny_tflite):
    (path := tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    facts = ModelUnderTest.open(path).facts

    assert facts.sha256 == hashlib.sha256(tiny_tflite).hexdigest()
    assert facts.size_bytes == len(tiny_tflite) > facts.compressed_bytes > 100
    assert facts.sparsity == pytest.approx(98 / 228)
    assert (facts.float_operators, facts.integer_io) == ((), True)


def test_a_damaged_file_is_refused_before_any_runtime_sees_it(tmp_path, tiny_tflite):
    (path := tmp_path / "tiny.tflite").write_bytes(tiny_tflite[:700])

    with pytest.raises(InputError, match=str(path)):
        ModelUnderTest.open(path)


def test_a_fixed_batch_is_refused_with_how_to_convert_the_model_again(tmp_path, tiny_tflite_with):
    def edit(model):
        tensors = model.subgraphs[0].tensors
        for index, size in ((0, 4), (3, 4), (5, 4), (8, 4), (9, 4)):
            tensors[index].shape = [size, *tensors[index].shape[1:]]
        tensors[0].shapeSignature = [4, 4, 4, 1]

    (path := tmp_path / "batch4.tflite").write_bytes(tiny_tflite_with(edit))

    with pytest.raises(InputError, match="is 4x4x4x1, a fixed batch of 4") as error:
        ModelUnderTest.open(path)
    assert "tf.TensorSpec((1, 4, 4, 1))" in str(error.value)


def test_golden_inputs_are_real_samples_in_the_models_own_steps(samples):
    [inputs] = Golden(samples, 64, seed=1).inputs(details(INT8))

    assert inputs.dtype == np.int8
    np.testing.assert_array_equal(inputs, samples.choose(64, 1).raw(0).astype(int) - 128)


@pytest.mark.parametrize(
    ("tensor", "low", "high"),
    [
        (INT8, -128, 127),
        (Tensor("x", (1, 9), "float32", None, None), -1, 1),
        (Tensor("word", (1, 9), "int32", None, None), 0, 1),
        (Tensor("image", (1, 9), "uint8", 1 / 255, 0), 0, 255),
    ],
)
def test_without_enough_samples_they_are_seeded_noise_of_the_inputs_kind(tensor, low, high, samples):
    few = samples.take(slice(0, 10))
    [inputs], [again] = (Golden(few, 64, seed=1).inputs(details(tensor)) for _ in range(2))

    assert inputs.shape == (64, *tensor.shape[1:])
    assert inputs.dtype == tensor.dtype
    assert low <= inputs.min() < inputs.max() <= high
    np.testing.assert_array_equal(inputs, again)


def test_every_input_of_a_model_gets_some():
    assert len(Golden(None, 64, seed=1).inputs(details(INT8, INT8))) == 2


def test_data_of_another_number_of_inputs_is_refused(samples):
    with pytest.raises(InputError, match="the data has 1 inputs and the model 2; give one array for each"):
        Golden(samples, 64, seed=1).inputs(details(INT8, INT8))


def test_ports_say_what_data_a_file_takes(tmp_path, tiny_tflite):
    (path := tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    [taken], [given] = ModelUnderTest.open(path).ports()

    assert (taken.name, taken.shape, taken.dtype) == ("image", (4, 4, 1), "float32")
    assert (given.shape, given.activation) == ((3,), "softmax")
