"""Every layer of the allowlist, saved by the real Keras 3 and the real tf_keras, comes back as it was."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.allowlist import ACTIVATIONS, DO_NOTHING, LAYERS
from models.errors import ModelError
from models.layers import own_layers
from models.load import load_model, read_file
from models.settings import USUAL, is_harmless, refuse_unread, takes_any
from models.shapes import infer_shapes

IMAGE, SERIES, VECTOR, VOLUME, FILM = (8, 6, 4), (10, 4), (5,), (6, 7, 5, 2), (3, 6, 5, 2)
LEGACY = "tf_keras"
SCALINGS = ("nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5")  # that both Keras have

# Layer: the input it is tried on, and its arguments; one or more of these.
CASES = {
    "Dense": [(VECTOR, {"units": 3, "activation": "relu"}), (SERIES, {"units": 3, "use_bias": False})],
    "Conv1D": [
        (SERIES, {"filters": 3, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}),
        (SERIES, {"filters": 6, "kernel_size": 3, "strides": 2, "groups": 2, "activation": "tanh"}),
    ],
    "Conv2D": [
        (
            IMAGE,
            {"filters": 3, "kernel_size": (3, 2), "strides": 2, "padding": "same", "activation": "relu6"},
        ),
        (IMAGE, {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "use_bias": False, "groups": 2}),
    ],
    "Conv3D": [(VOLUME, {"filters": 3, "kernel_size": 2, "strides": 2, "padding": "same"})],
    "Conv3DTranspose": [(VOLUME, {"filters": 3, "kernel_size": 2, "strides": 2})],
    "LocallyConnected1D": [(SERIES, {"filters": 3, "kernel_size": 3, "activation": "relu"})],
    "LocallyConnected2D": [(IMAGE, {"filters": 3, "kernel_size": 3, "strides": 2})],
    "Conv1DTranspose": [
        (SERIES, {"filters": 3, "kernel_size": 3, "strides": 2}),
        (SERIES, {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}),
    ],
    "Conv2DTranspose": [
        (IMAGE, {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1}),
        (IMAGE, {"filters": 3, "kernel_size": 3, "strides": 2}),
    ],
    "DepthwiseConv1D": [(SERIES, {"kernel_size": 3, "depth_multiplier": 2})],
    "DepthwiseConv2D": [
        (IMAGE, {"kernel_size": 3, "strides": 2, "depth_multiplier": 2, "activation": "relu"})
    ],
    "SeparableConv1D": [(SERIES, {"filters": 3, "kernel_size": 3, "padding": "same", "activation": "relu"})],
    "SeparableConv2D": [(IMAGE, {"filters": 3, "kernel_size": 3, "depth_multiplier": 2})],
    "BatchNormalization": [(IMAGE, {}), (SERIES, {"center": False, "scale": False, "epsilon": 0.1})],
    "LayerNormalization": [(SERIES, {}), (IMAGE, {"axis": [2, 3], "epsilon": 0.1})],
    "GroupNormalization": [(IMAGE, {"groups": 2}), (SERIES, {"groups": -1, "scale": False})],
    "EinsumDense": [
        (SERIES, {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}),
        (SERIES, {"equation": "...x,xy->...y", "output_shape": 3, "activation": "relu"}),
        (SERIES, {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"}),
        (SERIES, {"equation": "abc,cde->abed", "output_shape": (10, 3, 2), "bias_axes": "d"}),
        (IMAGE, {"equation": "abde,dec->abc", "output_shape": (None, 5), "bias_axes": "c"}),
        (IMAGE, {"equation": "abcd,be->acde", "output_shape": (6, 4, 3), "activation": "softmax"}),
        (IMAGE, {"equation": "abcd,cdef->afbe", "output_shape": (2, 8, 3), "activation": "softmax"}),
        (SERIES, {"equation": "ab...,bc->ac...", "output_shape": 3}),
        (VECTOR, {"equation": "ab,b->a", "output_shape": (), "activation": "hard_sigmoid"}),
    ],
    "RMSNormalization": [(SERIES, {}), (IMAGE, {"axis": [2, 3], "epsilon": 0.1}), (VECTOR, {"axis": 1})],
    "LayerScale": [(IMAGE, {"init_values": 0.5, "projection_dim": 4})],
    "Normalization": [(IMAGE, {}), (VECTOR, {"mean": 2.0, "variance": 3.0, "axis": None})],
    "PReLU": [(IMAGE, {"shared_axes": [1, 2]}), (SERIES, {})],
    "Embedding": [((7,), {"input_dim": 11, "output_dim": 3})],
    "SimpleRNN": [(SERIES, {"units": 3})],
    "LSTM": [(SERIES, {"units": 3, "return_sequences": True, "dropout": 0.2}), (SERIES, {"units": 3})],
    "GRU": [(SERIES, {"units": 3}), (SERIES, {"units": 3, "reset_after": False, "go_backwards": True})],
    "RNN": [
        (SERIES, {"cell": ("LSTMCell", {"units": 3}), "return_sequences": True}),
        (SERIES, {"cell": ("GRUCell", {"units": 3})}),
        (SERIES, {"cell": ("SimpleRNNCell", {"units": 3})}),
    ],
    "ConvLSTM1D": [(FILM[1:], {"filters": 2, "kernel_size": 3, "padding": "same"})],
    "ConvLSTM2D": [
        (FILM, {"filters": 2, "kernel_size": 3, "return_sequences": True, "recurrent_activation": "sigmoid"})
    ],
    "ConvLSTM3D": [((2, 4, 4, 4, 1), {"filters": 2, "kernel_size": 2, "recurrent_activation": "sigmoid"})],
    "MultiHeadAttention": [
        ([SERIES, SERIES], {"num_heads": 2, "key_dim": 3}),
        ([SERIES, (7, 4), (7, 5)], {"num_heads": 2, "key_dim": 3, "value_dim": 2, "output_shape": 6}),
    ],
    "Attention": [([SERIES, (7, 4)], {"use_scale": True}), ([SERIES, (7, 4), (7, 4)], {})],
    "AdditiveAttention": [([SERIES, (7, 4)], {}), ([SERIES, (7, 4)], {"use_scale": False})],
    "Bidirectional": [
        (SERIES, {"layer": ("LSTM", {"units": 3, "return_sequences": True})}),
        (SERIES, {"layer": ("GRU", {"units": 3}), "merge_mode": "sum"}),
    ],
    "TimeDistributed": [(SERIES, {"layer": ("Dense", {"units": 3})})],
    "SpectralNormalization": [
        (IMAGE, {"layer": ("Conv2D", {"filters": 3, "kernel_size": 3, "activation": "relu"})}),
        (VECTOR, {"layer": ("Dense", {"units": 3, "use_bias": False})}),
    ],
    "MaxPooling1D": [(SERIES, {"pool_size": 3, "strides": 2, "padding": "same"})],
    "MaxPooling2D": [(IMAGE, {}), (IMAGE, {"pool_size": (2, 3), "strides": 1})],
    "AveragePooling1D": [(SERIES, {"pool_size": 2})],
    "AveragePooling2D": [(IMAGE, {"pool_size": 2, "padding": "same"})],
    **{f"Global{kind}Pooling1D": [(SERIES, {}), (SERIES, {"keepdims": True})] for kind in ("Max", "Average")},
    **{f"Global{kind}Pooling2D": [(IMAGE, {}), (IMAGE, {"keepdims": True})] for kind in ("Max", "Average")},
    "MaxPooling3D": [(VOLUME, {})],
    "AveragePooling3D": [(VOLUME, {"pool_size": 2, "strides": 1})],
    "GlobalMaxPooling3D": [(VOLUME, {})],
    "GlobalAveragePooling3D": [(VOLUME, {"keepdims": True})],
    "ZeroPadding3D": [(VOLUME, {"padding": (1, 0, 2)})],
    "Cropping3D": [(VOLUME, {"cropping": 1})],
    "UpSampling3D": [(VOLUME, {"size": 2})],
    "Dot": [([SERIES, SERIES], {"axes": (2, 2)}), ([VECTOR, VECTOR], {"axes": 1, "normalize": True})],
    "UnitNormalization": [(SERIES, {"axis": -1})],
    "Operation": [(IMAGE, {"function": "mean", "axis": [1]})],
    "Masking": [(SERIES, {})],
    "ThresholdedReLU": [(IMAGE, {"theta": 0.5})],
    "SpatialDropout3D": [(VOLUME, {"rate": 0.5})],
    "Flatten": [(IMAGE, {})],
    "Reshape": [(IMAGE, {"target_shape": (-1, 2)})],
    "Permute": [(IMAGE, {"dims": (2, 1, 3)})],
    "RepeatVector": [(VECTOR, {"n": 3})],
    "ZeroPadding1D": [(SERIES, {"padding": (1, 2)}), (SERIES, {"padding": 2})],
    "ZeroPadding2D": [(IMAGE, {"padding": ((1, 0), (2, 1))}), (IMAGE, {"padding": (1, 2)})],
    "Cropping1D": [(SERIES, {"cropping": 2})],
    "Cropping2D": [(IMAGE, {"cropping": ((1, 0), (2, 1))})],
    "UpSampling1D": [(SERIES, {"size": 3})],
    "UpSampling2D": [(IMAGE, {"size": (2, 3)}), *((IMAGE, {"interpolation": how}) for how in SCALINGS)],
    **{
        kind: [([IMAGE, IMAGE], {}), ([IMAGE, IMAGE[2:]], {}), ([SERIES[1:], SERIES], {})]
        for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    },
    "Concatenate": [([IMAGE, IMAGE], {"axis": 1}), ([SERIES, SERIES], {})],
    "Activation": [(IMAGE, {"activation": name}) for name in sorted(ACTIVATIONS)],
    "ReLU": [(IMAGE, {}), (IMAGE, {"max_value": 6.0}), (IMAGE, {"negative_slope": 0.1, "threshold": 0.2})],
    "LeakyReLU": [(IMAGE, {"slope": 0.1})],
    "ELU": [(IMAGE, {"alpha": 0.5})],
    "Softmax": [(IMAGE, {})],
    "Rescaling": [(IMAGE, {"scale": 1 / 127.5, "offset": -1.0}), (SERIES, {"scale": [0.5, 1.0, 2.0, 3.0]})],
    "Resizing": [
        (IMAGE, {"height": height, "width": width, "interpolation": how, "crop_to_aspect_ratio": crops})
        for height, width in ((5, 7), (13, 4))
        for how in SCALINGS
        for crops in (False, True)
    ],
    "CenterCrop": [(IMAGE, {"height": 4, "width": 4})],
    "Dropout": [(IMAGE, {"rate": 0.5})],
    "SpatialDropout1D": [(SERIES, {"rate": 0.5})],
    "SpatialDropout2D": [(IMAGE, {"rate": 0.5})],
    "GaussianDropout": [(IMAGE, {"rate": 0.5})],
    "GaussianNoise": [(IMAGE, {"stddev": 0.5})],
    "AlphaDropout": [(IMAGE, {"rate": 0.5})],
}
NOTHING = {
    "Identity": {},
    "ActivityRegularization": {"l2": 0.1},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomContrast": {"factor": 0.1},
    "RandomBrightness": {"factor": 0.1},
    "RandomHeight": {"factor": 0.1},
    "RandomWidth": {"factor": 0.1},
    "RandomShear": {"x_factor": 0.1},
    "RandomGaussianBlur": {},
    "RandomColorJitter": {"brightness_factor": 0.1},
    "RandomColorDegeneration": {"factor": 0.1},
    "RandomErasing": {},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.1},
    "RandomSaturation": {"factor": 0.1},
    "RandomSharpness": {"factor": 0.1},
    "RandomPosterization": {"factor": 4},
    "RandomInvert": {},
    "RandomElasticTransform": {},
    "RandomPerspective": {},
    "Solarization": {},
    "RandAugment": {},
    "AugMix": {},
    "CutMix": {},
    "MixUp": {},
    "MaxNumBoundingBoxes": {"max_number": 3},
}
ONLY_LEGACY = {"LocallyConnected1D", "LocallyConnected2D", "ThresholdedReLU", "Operation"}
IN_BOTH = {
    *("Identity", "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom"),
    *("RandomTranslation", "RandomContrast", "RandomBrightness"),
}
IN_LEGACY_ONLY = {"RandomHeight", "RandomWidth"}
# Keras 3 itself fails to write these as HDF5.
NEVER_HDF5 = {
    *("RandomBrightness", "RandomColorDegeneration", "RandomSaturation", "RandomSharpness"),
    *("RandomPosterization", "Solarization"),
}
ON_GPU_ONLY = ("CuDNNLSTM", "CuDNNGRU")
ONLY_KERAS3 = {"LayerScale", "RMSNormalization"}
ALL = [(kind, index) for kind, cases in CASES.items() for index in range(len(cases))]
IDS = [f"{kind}-{index}" for kind, index in ALL]
NOTHING_FILES = [
    (kind, library, suffix)
    for kind in NOTHING
    for library in ("keras", LEGACY)
    for suffix in (".keras", ".h5")
    if kind in IN_BOTH or (kind in IN_LEGACY_ONLY) == (library == LEGACY)
    if not (library == "keras" and suffix == ".h5" and kind in NEVER_HDF5)
]
FILES = [("keras", ".keras"), ("keras", ".h5"), (LEGACY, ".keras"), (LEGACY, ".h5")]


def make_layer(library, kind, arguments):
    """Build a layer of either Keras, with the few arguments that the two name differently."""
    arguments = dict(arguments)
    for key in {"layer", "cell"} & arguments.keys():
        arguments[key] = make_layer(library, *arguments[key])
    if kind == "Operation":
        return own_layers()[kind](**arguments)
    if kind == "LayerScale":
        return import_module("keras.src.applications.convnext").LayerScale(**arguments)
    if "slope" in arguments:
        arguments["alpha" if library.__name__ == LEGACY else "negative_slope"] = arguments.pop("slope")
    return getattr(library.layers, kind)(**arguments)


def make_model(library, shape, layer):
    if isinstance(shape, list):
        inputs = [library.Input(part) for part in shape]
        called = layer(*inputs) if LAYERS[type(layer).__name__].spreads else layer(inputs)
        return library.Model(inputs, called)
    dtype = "int32" if type(layer).__name__ == "Embedding" else "float32"
    inputs = library.Input(shape, dtype=dtype)
    return library.Model(inputs, layer(inputs))


def samples(shape, *, integers=False):
    rng = np.random.default_rng(1)
    if isinstance(shape, list):
        return [samples(part) for part in shape]
    if integers:
        return rng.integers(0, 11, (3, *shape)).astype(np.int32)
    return rng.normal(size=(3, *shape)).astype(np.float32) * 3


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
@pytest.mark.parametrize(("kind", "index"), ALL, ids=IDS)
def test_an_allowed_layer_computes_the_same_after_loading(
    kind, index, library_name, suffix, randomised, save, outputs
):
    if kind in (ONLY_KERAS3 if library_name == LEGACY else ONLY_LEGACY):
        pytest.skip("the other Keras has no such layer")
    library = import_module(library_name)
    shape, arguments = CASES[kind][index]
    model = randomised(make_model(library, shape, make_layer(library, kind, arguments)))
    path = save(model, suffix)
    x = samples(shape, integers=kind == "Embedding")
    if kind == "Normalization" and not arguments:
        model = library.models.load_model(path)  # Keras takes the mean that was set only after a reload

    loaded = load_model(path)

    for expected, got in zip(outputs(model, x), outputs(loaded, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    graph, _ = read_file(path)
    inferred = [infer_shapes(graph)[tensor] for tensor in graph.outputs]
    assert inferred == [tuple(tensor.shape) for tensor in loaded.outputs]


@pytest.mark.parametrize(("kind", "library_name", "suffix"), NOTHING_FILES)
def test_a_layer_that_does_nothing_at_inference_is_left_out(kind, library_name, suffix, save, outputs):
    library = import_module(library_name)
    layer = make_layer(library, kind, NOTHING[kind])
    inputs = library.Input((8, 8, 3))
    model = library.Model(inputs, library.layers.Flatten()(layer(inputs)))
    path = save(model, suffix)

    loaded = load_model(path)

    assert [type(layer).__name__ for layer in loaded.layers] == ["InputLayer", "Flatten"]
    x = samples((8, 8, 3))
    np.testing.assert_array_equal(outputs(loaded, x)[0], outputs(model, x)[0])


EXISTING = [
    (library, kind)
    for library in ("keras", LEGACY)
    for kind in CASES
    if kind not in (ONLY_KERAS3 if library == LEGACY else ONLY_LEGACY)
]


@pytest.mark.parametrize(("library_name", "kind"), EXISTING)
def test_every_setting_of_a_layer_is_read_harmless_or_refused_where_it_is_not_as_usual(
    library_name, kind, legacy_keras
):
    fields = make_layer(import_module(library_name), kind, CASES[kind][0][1]).get_config()
    read = LAYERS[kind].config

    for key in fields:
        if key not in USUAL or takes_any(kind, key, read):
            assert key in read or is_harmless(key), key
            continue
        refuse_unread("layer", kind, {key: USUAL[key][-1]}, read)
        with pytest.raises(ModelError, match=rf"'layer' \({kind}\): {key}='odd' is not supported; "):
            refuse_unread("layer", kind, {key: "odd"}, read)


def test_every_layer_of_the_allowlist_is_tried():
    assert set(CASES) | {"InputLayer", *ON_GPU_ONLY} == set(LAYERS)
    assert set(NOTHING) == DO_NOTHING - {"StochasticDepth"}  # of keras.applications


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ON_GPU_ONLY)
def test_a_layer_for_gpus_is_read_as_the_one_that_computes_the_same(kind, wrapped, randomised, save, outputs):
    import tensorflow as tf
    import tf_keras

    def build(layer):
        layer = tf_keras.layers.Bidirectional(layer, name="both") if wrapped else layer
        return tf_keras.Sequential([tf_keras.Input(SERIES), layer])

    path = save(randomised(build(getattr(tf.compat.v1.keras.layers, kind)(3, name="r"))), ".h5")
    twin = build(getattr(tf_keras.layers, kind.removeprefix("CuDNN"))(3, name="r"))
    twin.load_weights(path)  # Keras converts the arrays

    x = samples(SERIES)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(twin, x)[0], rtol=0, atol=1e-5)


def test_settings_that_old_versions_wrote_otherwise_are_read(save, outputs):
    import json

    import h5py
    import tf_keras

    layers = [tf_keras.layers.LeakyReLU(alpha=0.1), tf_keras.layers.GRU(3, reset_after=False)]
    model = tf_keras.Sequential([tf_keras.Input(SERIES), *layers])
    path = save(model, ".h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        leaky, gru = config["config"]["layers"][1:]
        leaky["config"]["alpha"] = {"type": "ndarray", "value": leaky["config"]["alpha"]}
        del gru["config"]["reset_after"]
        file.attrs["model_config"] = json.dumps(config)

    x = samples(SERIES)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("activation", ["hard_sigmoid", "hard_silu", "hard_swish", "silu"])
def test_an_activation_that_tf_keras_means_otherwise_is_spelled_out(activation, suffix, save, outputs):
    import keras

    inputs = keras.Input(IMAGE)
    x = keras.layers.Conv2D(3, 3, activation=activation)(inputs)
    model = keras.Model(inputs, keras.layers.Activation(activation)(x))

    loaded = load_model(save(model, suffix))

    x = samples(IMAGE)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_synchronized_normalization_is_read_as_the_usual_one(suffix, randomised, save, outputs):
    import tf_keras

    normalization = tf_keras.layers.experimental.SyncBatchNormalization()
    model = randomised(tf_keras.Sequential([tf_keras.Input(IMAGE), normalization]))

    loaded = load_model(save(model, suffix))

    x = samples(IMAGE)
    assert type(loaded.layers[-1]).__name__ == "BatchNormalization"
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["BatchNormalizationV1", "BatchNormalizationV2"])
def test_a_normalization_under_the_name_of_an_old_version_is_read(kind, randomised, save, outputs):
    import h5py
    import tf_keras

    model = randomised(tf_keras.Sequential([tf_keras.Input(IMAGE), tf_keras.layers.BatchNormalization()]))
    path = save(model, ".h5")
    with h5py.File(path, "r+") as file:
        named = file.attrs["model_config"].replace('"BatchNormalization"', f'"{kind}"')
        file.attrs["model_config"] = named

    x = samples(IMAGE)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)
