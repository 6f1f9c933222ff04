"""Many samples over several workers and in batches: the bits and the order of one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.errors import InputError, StageError
from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import ModelDetails, Session
from pipeline.runtimes.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LITERT = host_runtime("litert")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (count, 4, 4, 1), np.int8)


@pytest.fixture
def tiny(tiny_tflite: bytes, tmp_path: Path) -> Path:
    """Has a RESHAPE to one row, so that it takes no batches."""
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


@pytest.fixture
def dense(tiny_tflite_with: Callable[[Any], bytes], tmp_path: Path) -> Path:
    """The same without the RESHAPE: the dense layer takes the flattened image, any number of them."""

    def feed_directly(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.operators = graph.operators[2:]
        graph.inputs = [5]

    path = tmp_path / "dense.tflite"
    path.write_bytes(tiny_tflite_with(feed_directly))
    return path


@pytest.mark.parametrize("package", ["litert", "tflite-runtime"])
def test_the_samples_come_back_in_order_with_the_bits_of_one_at_a_time(package: Any, tiny: Path) -> None:
    runtime, samples = host_runtime(package), images(700)
    with Session(runtime, tiny) as session:
        [alone] = session.run([samples])
    chunks = [[samples[:300]], [samples[300:301]], [samples[301:]]]
    [found] = infer_all(runtime, tiny, lambda _: chunks, workers=2)
    np.testing.assert_array_equal(found, alone)


def test_batches_give_the_bits_of_one_at_a_time(dense: Path) -> None:
    samples = np.random.default_rng(1).integers(-128, 128, (1001, 64), np.int8)
    with Session(LITERT, dense) as session:
        np.testing.assert_array_equal(session.run([samples], batches=True), session.run([samples]))


def written(folder: Path, samples: np.ndarray) -> list[str]:
    np.save(folder / "samples.npy", samples)
    return [str(folder / "samples.npy")]


def test_a_dense_model_is_inferred_in_batches(dense: Path, tmp_path: Path) -> None:
    worker = Worker("litert")
    worker.load(str(dense), 1)
    samples = np.zeros((1000, 64), np.int8)
    worker.run(written(tmp_path, samples), [str(tmp_path / "out.npy")], batches=True)
    assert worker.batched is not None


def test_a_model_that_is_written_for_one_sample_is_inferred_one_by_one(tiny: Path, tmp_path: Path) -> None:
    worker = Worker("litert")
    worker.load(str(tiny), 1)
    worker.run(written(tmp_path, images(1000)), [str(tmp_path / "out.npy")], batches=True)
    assert worker.batched is None
    assert not worker.may_batch
    assert np.load(tmp_path / "out.npy").shape == (1000, 3)


def test_the_inputs_are_made_for_what_the_model_takes(tiny: Path) -> None:
    def inputs(details: ModelDetails) -> Iterator[list[np.ndarray]]:
        yield [np.zeros((5, *details.inputs[0].shape[1:]), details.inputs[0].dtype)]

    assert infer_all(LITERT, tiny, inputs)[0].shape == (5, 3)


def test_samples_that_the_model_does_not_take_are_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"takes int8 \(n, 4, 4, 1\), not"):
        infer_all(LITERT, tiny, lambda _: [[np.zeros((5, 3), np.int8)]])


def test_no_samples_are_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        infer_all(LITERT, tiny, lambda _: [])


def test_an_error_in_the_inputs_ends_all_workers(tiny: Path) -> None:
    def inputs(_: ModelDetails) -> Iterator[list[np.ndarray]]:
        yield [images(5)]
        stage, cause, hint = "read", "the file ended", "give all of it"
        raise StageError(stage, cause, hint)

    with pytest.raises(StageError, match="the file ended"):
        infer_all(LITERT, tiny, inputs)
