"""What is scaled without antialias is what TensorFlow makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.resizing import resize_bilinear
from pipeline.training.tfmot import tensorflow


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 16), (16, 17), (31, 40), (224, 224)])
@pytest.mark.parametrize("source", [(16, 17, 3), (1, 9, 1), (480, 641, 3)])
def test_it_is_the_same_to_1e_4_of_a_level(source, size):
    tf = tensorflow()
    image = np.random.default_rng(0).integers(0, 256, source).astype(np.uint8)

    scaled = resize_bilinear(image, size)

    expected = tf.image.resize(image, size, method="bilinear", antialias=False).numpy()
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-4 * 255)
