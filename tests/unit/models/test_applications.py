"""Well-known architectures of keras.applications come through the bridge as they were."""

from __future__ import annotations

import numpy as np
import pytest

from models.load import load_model

# The smallest input that each takes, or one at which no feature map is empty.
SIZES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "EfficientNetB0": 32,
    "ResNet50V2": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "Xception": 71,
    "ConvNeXtTiny": 32,
    "VGG16": 32,
}


@pytest.mark.parametrize("name", SIZES)
def test_an_architecture_computes_the_same_after_loading(name, save, outputs):
    import keras

    shape = (SIZES[name], SIZES[name], 3)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=shape, classes=10, classifier_activation=None
    )

    loaded = load_model(save(model, ".keras"))

    x = np.random.default_rng(0).random((2, *shape), np.float32) * 255
    expected, got = outputs(model, x)[0], outputs(loaded, x)[0]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    keras.backend.clear_session()
