"""Cases of every layer that is read, each an input shape and the arguments, and layers made of them."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from models.allowlist import ACTIVATIONS
from models.layer_rules import LAYERS
from models.layers import own_layers

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
        called = layer(*inputs) if LAYERS[type(layer).__name__].arguments else layer(inputs)
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
