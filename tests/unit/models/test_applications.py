"""Well-known architectures of keras.applications come through the bridge as they were.

The short form of benchmarks/applications.py, which takes ten of them through all the steps.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.load import load_model

SHAPE = (32, 32, 3)


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ConvNeXtTiny"])
def test_an_architecture_computes_the_same_after_loading(name, save, outputs):
    import keras

    model = getattr(keras.applications, name)(
        weights=None, input_shape=SHAPE, classes=10, classifier_activation=None
    )

    loaded = load_model(save(model, ".keras"))

    x = np.random.default_rng(0).random((2, *SHAPE), np.float32) * 255
    expected, got = outputs(model, x)[0], outputs(loaded, x)[0]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    keras.backend.clear_session()
