"""How zeros are shared out between kernels."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compress.amounts import MAX_SPARSITY, by_magnitude, by_sensitivity, uniform, without_smallest
from pipeline.training.keras_io import start_tensorflow

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def total(kernels, found):
    sizes = {name: kernel.size for name, kernel in kernels.items()}
    return sum(found[name] * size for name, size in sizes.items()) / sum(sizes.values())


def test_uniform_amounts_are_the_same_for_every_kernel():
    assert uniform({"a": normal(3, 4), "b": normal(5)}, 0.6) == {"a": 0.6, "b": 0.6}


def test_kernels_of_the_same_distribution_get_the_same_amount_whatever_their_scale():
    kernel = normal(40, 50)
    found = by_magnitude({"small": kernel / 1000, "large": kernel}, 0.7)

    assert found["small"] == pytest.approx(found["large"], abs=0.002)
    assert found["large"] == pytest.approx(0.7, abs=0.002)


def test_the_kernel_with_a_few_large_weights_gets_more_zeros_by_magnitude():
    kernels = {"few": normal(1000) ** 5, "many": np.sign(normal(1000)) + normal(1000) / 10}

    found = by_magnitude(kernels, 0.5)

    assert found["few"] > 0.6 > 0.4 > found["many"]
    assert total(kernels, found) == pytest.approx(0.5, abs=0.002)


def test_scores_by_magnitude_are_those_of_the_paper():
    kernels = {"a": np.array([1.0, -2.0, 3.0], np.float32), "b": np.array([1.0, 1.0], np.float32)}
    # a: 1/14, 4/13, 1; b: 1/2, 1: the two smallest of the five scores are both in a.

    assert by_magnitude(kernels, 0.4) == {"a": pytest.approx(2 / 3), "b": 0.0}


def test_the_smallest_weights_go_first():
    kernel = np.array([[3.0, -1.0], [0.5, -2.0]], np.float32)

    np.testing.assert_array_equal(without_smallest(kernel, 0.5), [[3, 0], [0, -2]])
    np.testing.assert_array_equal(without_smallest(kernel, 0.0), kernel)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_kernel_that_hardly_matters_gets_more_zeros_by_sensitivity(share):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((16,))
    idle = layers.Dense(16, name="idle")(inputs)
    used = layers.Dense(16, name="used")(inputs)
    model = tf_keras.Model(inputs, layers.Add()([used, layers.Rescaling(0.1)(idle)]))
    kernels = {name: model.get_layer(name).kernel.numpy() for name in ("idle", "used")}

    found = by_sensitivity(model, kernels, share, [normal(64, 16)])

    assert found["idle"] > found["used"]
    assert max(found.values()) <= MAX_SPARSITY
    assert total(kernels, found) == pytest.approx(share, abs=0.01)
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(model.get_layer(name).kernel.numpy(), kernel)
