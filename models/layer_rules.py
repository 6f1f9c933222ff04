"""All that is known of each class of layer, one row a class.

A layer outside ``LAYERS`` is refused by name. Of a layer's configuration only the keys of its row survive:
initialisers, regularisers and constraints matter to nothing after training and are dropped unread, so
that no object of the file is ever deserialised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models import shapes
from models.operation_shapes import operation_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.shapes import Config, Inner, Shape

MAX_STEPS = 128  # maximum steps to unroll; each has about twenty operators
Mask = Literal["drops", "passes", "uses"]


class Weight(NamedTuple):
    """One array that a layer keeps in the file."""

    name: str
    given_if: str | None = None  # the boolean configuration key that switches it on
    trainable: bool = True


NO_SCHEME = "TF-MOT has no quantization scheme for it"
_SCALING = "TF-MOT covers a scaling only after a convolution"
ELU_IN_FLOAT = "TFLite computes ELU in float only"


@dataclass(frozen=True)
class LayerRule:
    """Properties of one class of layer. The defaults are for a layer that is known only by name.

    Attributes:
        config: the configuration keys that survive.
        weights: its arrays, in the order in which both kinds of Keras write them.
        output: returns the shape of its output from configuration, input shapes and, of a wrapper, a function
            that does so of the layer inside.
        kernels: returns the shapes of those first arrays whose sizes the configuration decides.
        merges: whether it is called on a list of tensors.
        tensors: how many it may be called on, where the class limits them further.
        arguments: the names of the arguments that it takes its tensors by instead, if any.
        wraps: whether it holds another layer, in ``config["layer"]``.
        takes_states: whether it may be called on initial states after its input, and return its last ones.
        states: how many states it has, if it is one of Keras's three recurrent layers.
        recurrent: whether it goes through a sequence step by step, so that a state may pass between samples.
        mask: whether it drops the mask of its input, passes it on, or skips the masked steps.
        is_activation: the activation that it is by itself.
        keeps_range: whether its output has the range of its input.
        elementwise: whether it looks at each element alone, so that the number of dimensions does not matter.
        scales: whether it multiplies and shifts each channel at inference.
        differs_in_training: whether it computes something else in training, for any configuration.
        training_only: whether it does nothing at inference.
        not_in_qat: why TF-MOT 0.8's default 8-bit scheme skips it; empty if it quantizes it.
        learns_range: whether it has no weights and an output range that differs from its inputs', which
            quantization-aware training then learns if TF-MOT skips the layer. TF-MOT fails if one of these
            is the only input of a layer that it quantizes.
        not_in_int8: why TFLite does not compute it in int8; empty if it does. Measured with
            TensorFlow 2.21, LiteRT 2.3 and tflite-runtime 2.14: docs/explanation/graph-preparation.md.
    """

    config: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    output: Callable[[Config, Sequence[Shape], Inner | None], Shape] = shapes.same
    kernels: Callable[[Config, Shape], list[Shape]] = shapes.by_axis
    merges: bool = False
    tensors: range | None = None
    arguments: tuple[str, ...] = ()
    wraps: bool = False
    takes_states: bool = False
    states: int = 0
    recurrent: bool = False
    mask: Mask = "drops"
    is_activation: str = ""
    keeps_range: bool = False
    elementwise: bool = False
    scales: bool = False
    differs_in_training: bool = False
    training_only: bool = False
    not_in_qat: str = NO_SCHEME
    learns_range: bool = False
    not_in_int8: str = ""


_BIAS = Weight("bias", "use_bias")
_KERNEL = (Weight("kernel"), _BIAS)
_SEPARABLE_KERNELS = (Weight("depthwise_kernel"), Weight("pointwise_kernel"), _BIAS)
_GAMMA_BETA = (Weight("gamma", "scale"), Weight("beta", "center"))
_RECURRENT_KERNELS = (Weight("kernel"), Weight("recurrent_kernel"), _BIAS)
_SCALE = (Weight("scale", "use_scale"),)

_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
_DEPTHWISE_WINDOW = ("depth_multiplier", *_WINDOW)
_FILTERS = ("filters", "groups", *_WINDOW)
_SEQUENCE = ("return_sequences", "return_state", "go_backwards", "stateful")
_UNITS = ("units", "activation", "use_bias", "dropout", "recurrent_dropout", *_SEQUENCE, "unroll")
_GATES = (*_UNITS, "recurrent_activation", "implementation")
OPERATION_SETTINGS = (
    *("function", "axis", "keepdims", "begin", "end", "strides", "low", "high", "exponent"),
    *("paddings", "value", "multiples", "transpose_a", "transpose_b", "epsilon", "steps", "indices"),
)
"""Settings of the project's own layer ``Operation`` (models/layers.py)."""

_IN_QAT: dict[str, Any] = {"not_in_qat": ""}
_VOLUME: dict[str, Any] = {
    "not_in_qat": "TF-MOT knows no three-dimensional convolution",
    "not_in_int8": "TFLite computes three-dimensional convolutions in float only",
}
_CONVOLUTION = LayerRule(_FILTERS, _KERNEL, shapes.convolved, shapes.convolution_kernel)
_TRANSPOSED = LayerRule(
    ("filters", "output_padding", *_WINDOW), _KERNEL, shapes.transposed, shapes.transposed_kernel
)
_LOCAL = LayerRule(
    ("filters", *_WINDOW[:4], "activation", "use_bias", "implementation"),
    _KERNEL,
    shapes.convolved,
    shapes.no_kernel,
)
_DEPTHWISE = LayerRule(
    _DEPTHWISE_WINDOW, (Weight("depthwise_kernel"), _BIAS), shapes.depthwise, shapes.depthwise_kernel
)
_SEPARABLE = LayerRule(
    ("filters", *_DEPTHWISE_WINDOW), _SEPARABLE_KERNELS, shapes.convolved, shapes.separable_kernels
)
_RECURRENT = partial(
    LayerRule,
    weights=_RECURRENT_KERNELS,
    output=shapes.recurrent,
    takes_states=True,
    recurrent=True,
    mask="uses",
    not_in_qat="recurrent layers are converted by post-training quantization",
)
_CONV_LSTM = LayerRule(
    (*_FILTERS, *_UNITS[3:-1], "recurrent_activation"),
    _RECURRENT_KERNELS,
    shapes.recurrent_convolved,
    shapes.recurrent_convolution_kernel,
    recurrent=True,
    mask="uses",
)
_ATTENTION = partial(
    LayerRule, merges=True, tensors=range(2, 4), mask="uses", not_in_qat="TF-MOT knows no attention"
)
_POOLING = LayerRule(("pool_size", "strides", "padding", "data_format"), output=shapes.pooled)
_GLOBAL_3D = LayerRule(("data_format", "keepdims"), output=shapes.pooled_globally)
_GLOBAL = replace(_GLOBAL_3D, keeps_range=True, **_IN_QAT)
_ZERO_PADDING = LayerRule(("padding", "data_format"), output=shapes.padded)
_CROPPING_3D = LayerRule(("cropping", "data_format"), output=shapes.cropped)
_CROPPING = replace(_CROPPING_3D, keeps_range=True, **_IN_QAT)
_MERGE = LayerRule(output=shapes.merged, merges=True, mask="passes", elementwise=True)
_PASSES = partial(LayerRule, mask="passes")
_ACTIVATION = partial(_PASSES, elementwise=True)
_DROPS_OUT = partial(_PASSES, training_only=True)

LAYERS: dict[str, LayerRule] = {
    "InputLayer": LayerRule(
        ("batch_shape", "batch_input_shape", "dtype", "sparse", "ragged"), output=shapes.given, **_IN_QAT
    ),
    # with weights
    "Dense": _PASSES(
        ("units", "activation", "use_bias"), _KERNEL, shapes.units, shapes.dense_kernel, **_IN_QAT
    ),
    "EinsumDense": LayerRule(  # read as Dense with what moves axes around it
        ("equation", "output_shape", "activation", "bias_axes"),
        (Weight("kernel"), Weight("bias", "bias_axes")),
    ),
    "Conv1D": _CONVOLUTION,
    "Conv2D": replace(_CONVOLUTION, **_IN_QAT),
    "Conv3D": replace(_CONVOLUTION, **_VOLUME),
    "Conv1DTranspose": _TRANSPOSED,
    "Conv2DTranspose": replace(_TRANSPOSED, **_IN_QAT),
    "Conv3DTranspose": replace(_TRANSPOSED, **_VOLUME),
    "LocallyConnected1D": _LOCAL,
    "LocallyConnected2D": _LOCAL,
    "DepthwiseConv1D": _DEPTHWISE,
    "DepthwiseConv2D": replace(_DEPTHWISE, **_IN_QAT),
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "BatchNormalization": _PASSES(
        ("axis", "momentum", "epsilon", "center", "scale", "renorm", "trainable"),  # frozen: as at inference
        (*_GAMMA_BETA, Weight("moving_mean", trainable=False), Weight("moving_variance", trainable=False)),
        scales=True,
        differs_in_training=True,
        **_IN_QAT,
    ),
    "LayerNormalization": _PASSES(("axis", "epsilon", "center", "scale", "rms_scaling"), _GAMMA_BETA),
    "GroupNormalization": _PASSES(
        ("groups", "axis", "epsilon", "center", "scale"),
        _GAMMA_BETA,
        not_in_int8="TFLite computes a SQUARE of it in float only",
    ),
    "RMSNormalization": _PASSES(("axis", "epsilon"), (Weight("scale"),)),  # read as what computes it
    "LayerScale": LayerRule((), (Weight("gamma"),)),  # of keras.applications.ConvNeXt
    "Normalization": _PASSES(
        ("axis", "invert", "mean", "variance"),
        tuple(Weight(name, "adapted", trainable=False) for name in ("mean", "variance", "count")),
        scales=True,
        not_in_qat=_SCALING,
    ),
    "PReLU": _PASSES(
        ("shared_axes",), (Weight("alpha"),), kernels=shapes.by_position, is_activation="leaky_relu"
    ),
    "Embedding": LayerRule(
        ("input_dim", "output_dim", "mask_zero"),
        (Weight("embeddings"),),
        shapes.embedded,
        shapes.table,
        not_in_qat="a table is looked up, not multiplied",
    ),
    "SimpleRNN": _RECURRENT(_UNITS, kernels=shapes.dense_kernel, states=1),
    "LSTM": _RECURRENT(_GATES, kernels=shapes.lstm_kernel, states=2),
    "GRU": _RECURRENT((*_GATES, "reset_after"), kernels=shapes.gru_kernel, states=1),
    "CuDNNLSTM": _RECURRENT(("units", *_SEQUENCE)),  # read as LSTM
    "CuDNNGRU": _RECURRENT(("units", *_SEQUENCE)),  # read as GRU
    "ConvLSTM1D": _CONV_LSTM,
    "ConvLSTM2D": _CONV_LSTM,
    "ConvLSTM3D": _CONV_LSTM,
    "MultiHeadAttention": _ATTENTION(
        (
            *("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "output_shape", "attention_axes"),
            *("use_gate", "sliding_window"),
        ),
        _KERNEL * 4,  # of query, key, value and output
        shapes.multi_head,
        shapes.heads,
        arguments=("query", "value", "key"),
    ),
    "Attention": _ATTENTION(
        ("use_scale", "score_mode", "dropout"), _SCALE, shapes.attended, shapes.no_kernel
    ),
    "AdditiveAttention": _ATTENTION(("use_scale", "dropout"), _SCALE, shapes.attended, shapes.no_kernel),
    # around another layer
    "Bidirectional": _RECURRENT(("merge_mode",), weights=(), output=shapes.both_directions, wraps=True),
    "TimeDistributed": _PASSES(
        output=shapes.each_step, wraps=True, not_in_qat="TF-MOT does not look inside a wrapper"
    ),
    "SpectralNormalization": LayerRule(wraps=True),  # read as the layer inside, whose kernel it keeps
    "RNN": _RECURRENT((*_SEQUENCE, "unroll"), weights=()),  # of one cell: read as the layer of that cell
    # pooling
    "MaxPooling1D": _POOLING,
    "MaxPooling2D": replace(_POOLING, **_IN_QAT),
    "MaxPooling3D": _POOLING,
    "AveragePooling1D": replace(_POOLING, **_IN_QAT),
    "AveragePooling2D": replace(_POOLING, **_IN_QAT),
    "AveragePooling3D": _POOLING,
    "GlobalMaxPooling1D": _GLOBAL,
    "GlobalMaxPooling2D": _GLOBAL,
    "GlobalMaxPooling3D": _GLOBAL_3D,
    "GlobalAveragePooling1D": replace(_GLOBAL, mask="uses"),
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalAveragePooling3D": _GLOBAL_3D,
    # shape
    "Flatten": LayerRule(("data_format",), output=shapes.flattened, keeps_range=True, **_IN_QAT),
    "Reshape": LayerRule(("target_shape",), output=shapes.reshaped, keeps_range=True, **_IN_QAT),
    "Permute": LayerRule(("dims",), output=shapes.permuted, keeps_range=True, **_IN_QAT),
    "RepeatVector": LayerRule(("n",), output=shapes.repeated, keeps_range=True),
    "ZeroPadding1D": replace(_ZERO_PADDING, **_IN_QAT),
    "ZeroPadding2D": replace(_ZERO_PADDING, **_IN_QAT),
    "ZeroPadding3D": _ZERO_PADDING,
    "Cropping1D": _CROPPING,
    "Cropping2D": _CROPPING,
    "Cropping3D": _CROPPING_3D,
    "UpSampling1D": LayerRule(("size",), output=shapes.upsampled, keeps_range=True),
    "UpSampling2D": LayerRule(
        ("size", "data_format", "interpolation"), output=shapes.upsampled, keeps_range=True, **_IN_QAT
    ),
    "UpSampling3D": LayerRule(("size", "data_format"), output=shapes.upsampled),
    # merging
    "Add": replace(_MERGE, **_IN_QAT),
    "Subtract": replace(_MERGE, learns_range=True),
    "Multiply": replace(_MERGE, learns_range=True),
    "Average": replace(_MERGE, learns_range=True),
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Concatenate": _PASSES(("axis",), output=shapes.concatenated, merges=True, **_IN_QAT),
    "Dot": LayerRule(("axes", "normalize"), output=shapes.dotted, merges=True),
    # without weights
    "UnitNormalization": _PASSES(("axis",), is_activation="l2"),
    "Operation": LayerRule(OPERATION_SETTINGS, output=operation_shape, merges=True, learns_range=True),
    # activation
    "Activation": _ACTIVATION(("activation",), learns_range=True, **_IN_QAT),
    "ReLU": _ACTIVATION(("max_value", "negative_slope", "threshold"), is_activation="relu", **_IN_QAT),
    "LeakyReLU": _ACTIVATION(("negative_slope", "alpha"), is_activation="leaky_relu", **_IN_QAT),
    "ThresholdedReLU": _PASSES(("theta",)),
    "ELU": _ACTIVATION(("alpha",), is_activation="elu", not_in_int8=ELU_IN_FLOAT),
    "Softmax": LayerRule(("axis",), mask="uses", is_activation="softmax", **_IN_QAT),
    # preprocessing
    "Masking": _PASSES(("mask_value",)),
    "Rescaling": _PASSES(("scale", "offset"), elementwise=True, scales=True, not_in_qat=_SCALING),
    "Resizing": LayerRule(
        ("height", "width", "interpolation", "crop_to_aspect_ratio", "data_format"),
        output=shapes.resized,
        keeps_range=True,
    ),
    "CenterCrop": LayerRule(("height", "width", "data_format"), output=shapes.resized, keeps_range=True),
    # training only
    "Dropout": _DROPS_OUT(("rate", "noise_shape"), keeps_range=True),
    "SpatialDropout1D": _DROPS_OUT(("rate",), keeps_range=True),
    "SpatialDropout2D": _DROPS_OUT(("rate", "data_format"), keeps_range=True),
    "SpatialDropout3D": _DROPS_OUT(("rate", "data_format")),
    "GaussianDropout": _DROPS_OUT(("rate",)),
    "GaussianNoise": _DROPS_OUT(("stddev",)),
    "AlphaDropout": _DROPS_OUT(("rate",)),
}


def rule_of(kind: str) -> LayerRule:
    """Return the row of a class; of one that has none, the defaults."""
    return LAYERS.get(kind, LayerRule())
