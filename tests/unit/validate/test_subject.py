"""What is measured: the file's own facts, and the samples it is fed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.artifacts import Preprocessing
from pipeline.errors import InputError
from pipeline.runtimes.session import ModelDetails, Tensor
from pipeline.validate.subject import CHUNK_SAMPLES, Golden, Samples, Subject

SCALED = Preprocessing(scale=1 / 255, offset=0.0, reason="declared")
RAW = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)
SAMPLES = Samples(RAW, np.arange(100) % 3, SCALED)
INT8 = Tensor("image", (1, 4, 4, 1), "int8", 1 / 255, -128)


def details(*tensors):
    return ModelDetails(tensors, (), (), 0, 1.0)


def test_facts_are_the_files_own(tmp_path, tiny_tflite):
    (path := tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    facts = Subject.open(path).facts

    assert facts.sha256 == hashlib.sha256(tiny_tflite).hexdigest()
    assert facts.size_bytes == len(tiny_tflite) > facts.compressed_bytes > 100
    assert facts.sparsity == pytest.approx(98 / 228)
    assert (facts.float_operators, facts.integer_io) == ((), True)


def test_a_damaged_file_is_refused_before_any_runtime_sees_it(tmp_path, tiny_tflite):
    (path := tmp_path / "tiny.tflite").write_bytes(tiny_tflite[:700])

    with pytest.raises(InputError, match=str(path)):
        Subject.open(path)


def test_samples_are_preprocessed_and_keep_their_order():
    chosen = SAMPLES.choose(64, seed=1)
    rows = [int(np.abs(RAW / 255 - row).sum(axis=(1, 2, 3)).argmin()) for row in chosen]

    assert chosen.dtype == np.float32
    assert len(set(rows)) == 64
    assert rows == sorted(rows)
    np.testing.assert_array_equal(chosen, SAMPLES.choose(64, seed=1))
    assert not np.array_equal(chosen, SAMPLES.choose(64, seed=2))


def test_chunks_are_bounded_and_hold_every_sample():
    raw = np.zeros((CHUNK_SAMPLES + 3, 1), np.uint8)
    chunks = list(Samples(raw, np.zeros(len(raw), np.int64), SCALED).chunks())

    assert [len(chunk) for chunk in chunks] == [CHUNK_SAMPLES, 3]
    assert len(SAMPLES.first(7)) == 7


def test_golden_inputs_are_real_samples_in_the_models_own_steps():
    [inputs] = Golden(SAMPLES, 64, seed=1).inputs(details(INT8))

    assert inputs.dtype == np.int8
    np.testing.assert_array_equal(inputs, np.rint(SAMPLES.choose(64, 1) * 255).astype(int) - 128)


@pytest.mark.parametrize(
    ("tensor", "low", "high"),
    [
        (INT8, -128, 127),
        (Tensor("x", (1, 9), "float32", None, None), -1, 1),
        (Tensor("word", (1, 9), "int32", None, None), 0, 1),
        (Tensor("image", (1, 9), "uint8", 1 / 255, 0), 0, 255),
    ],
)
def test_without_enough_samples_they_are_seeded_noise_of_the_inputs_kind(tensor, low, high):
    few = SAMPLES.first(10)
    [inputs], [again] = (Golden(few, 64, seed=1).inputs(details(tensor)) for _ in range(2))

    assert inputs.shape == (64, *tensor.shape[1:])
    assert inputs.dtype == tensor.dtype
    assert low <= inputs.min() < inputs.max() <= high
    np.testing.assert_array_equal(inputs, again)


def test_every_input_of_a_model_gets_some():
    assert len(Golden(None, 64, seed=1).inputs(details(INT8, INT8))) == 2
