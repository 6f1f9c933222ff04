"""The layers that a model file may name, and all that is read of each: one dict.

A layer outside ``LAYERS`` is refused by name. Of a layer's configuration only the keys listed here survive:
initialisers, regularisers and constraints matter to nothing after training and are dropped unread, so that
no object of the file is ever deserialised.
"""

from __future__ import annotations

from typing import NamedTuple


class Weight(NamedTuple):
    """One array that a layer keeps in the file."""

    name: str
    given_if: str | None = None  # the boolean configuration key that switches it on
    trainable: bool = True


class LayerRule(NamedTuple):
    """What is read of one class of layer.

    Attributes:
        config: the configuration keys that survive.
        weights: its arrays, in the order in which both kinds of Keras write them.
        merges: whether it is called on a list of tensors.
        spreads: whether these are arguments of their own instead, some perhaps by the names in ``spreads``.
        wraps: whether it holds another layer, in ``config["layer"]``.
        recalls: whether it may be called on initial states after its input, and return its last ones.
    """

    config: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    merges: bool = False
    spreads: tuple[str, ...] = ()
    wraps: bool = False
    recalls: bool = False


_BIAS = Weight("bias", "use_bias")
_KERNEL = (Weight("kernel"), _BIAS)
_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
_CONVOLUTION = ("filters", "groups", *_WINDOW)
_DEPTHWISE = ("depth_multiplier", *_WINDOW)
_SEPARABLE = ("filters", *_DEPTHWISE)
_TRANSPOSED = ("filters", "output_padding", *_WINDOW)
_POOLING = ("pool_size", "strides", "padding", "data_format")
_GLOBAL = ("data_format", "keepdims")
_RECURRENT = (
    *("units", "activation", "use_bias", "dropout", "recurrent_dropout"),
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
)
_RECURRENT_WEIGHTS = (Weight("kernel"), Weight("recurrent_kernel"), _BIAS)
_SEPARABLE_WEIGHTS = (Weight("depthwise_kernel"), Weight("pointwise_kernel"), _BIAS)
_CONVOLUTIONAL_RECURRENT = (*_CONVOLUTION, *_RECURRENT[3:-1], "recurrent_activation")
_LOCAL = ("filters", *_WINDOW[:4], "activation", "use_bias", "implementation")
_ATTENTION_WEIGHTS = tuple(
    weight for _ in ("query", "key", "value", "output") for weight in (Weight("kernel"), _BIAS)
)
_MERGE = LayerRule(merges=True)

OPERATION_SETTINGS = (
    *("function", "axis", "keepdims", "begin", "end", "strides", "low", "high", "exponent"),
    *("paddings", "value", "multiples", "transpose_a", "transpose_b", "epsilon", "steps", "indices"),
)
"""What the project's own layer ``Operation`` (models/layers.py) is told."""

LAYERS: dict[str, LayerRule] = {
    "InputLayer": LayerRule(("batch_shape", "batch_input_shape", "dtype", "sparse", "ragged")),
    # with weights
    "Dense": LayerRule(("units", "activation", "use_bias"), _KERNEL),
    "EinsumDense": LayerRule(  # read as Dense with what moves axes around it
        ("equation", "output_shape", "activation", "bias_axes"),
        (Weight("kernel"), Weight("bias", "bias_axes")),
    ),
    "Conv1D": LayerRule(_CONVOLUTION, _KERNEL),
    "Conv2D": LayerRule(_CONVOLUTION, _KERNEL),
    "Conv3D": LayerRule(_CONVOLUTION, _KERNEL),
    "Conv1DTranspose": LayerRule(_TRANSPOSED, _KERNEL),
    "Conv2DTranspose": LayerRule(_TRANSPOSED, _KERNEL),
    "Conv3DTranspose": LayerRule(_TRANSPOSED, _KERNEL),
    "LocallyConnected1D": LayerRule(_LOCAL, _KERNEL),
    "LocallyConnected2D": LayerRule(_LOCAL, _KERNEL),
    "DepthwiseConv1D": LayerRule(_DEPTHWISE, (Weight("depthwise_kernel"), _BIAS)),
    "DepthwiseConv2D": LayerRule(_DEPTHWISE, (Weight("depthwise_kernel"), _BIAS)),
    "SeparableConv1D": LayerRule(_SEPARABLE, _SEPARABLE_WEIGHTS),
    "SeparableConv2D": LayerRule(_SEPARABLE, _SEPARABLE_WEIGHTS),
    "BatchNormalization": LayerRule(
        ("axis", "momentum", "epsilon", "center", "scale", "renorm", "trainable"),  # frozen: as at inference
        (
            Weight("gamma", "scale"),
            Weight("beta", "center"),
            Weight("moving_mean", trainable=False),
            Weight("moving_variance", trainable=False),
        ),
    ),
    "LayerNormalization": LayerRule(
        ("axis", "epsilon", "center", "scale", "rms_scaling"),
        (Weight("gamma", "scale"), Weight("beta", "center")),
    ),
    "GroupNormalization": LayerRule(
        ("groups", "axis", "epsilon", "center", "scale"), (Weight("gamma", "scale"), Weight("beta", "center"))
    ),
    "RMSNormalization": LayerRule(
        ("axis", "epsilon"), (Weight("scale"),)
    ),  # read as the layers that compute it
    "LayerScale": LayerRule((), (Weight("gamma"),)),  # of keras.applications.ConvNeXt
    "Normalization": LayerRule(
        ("axis", "invert", "mean", "variance"),
        tuple(Weight(name, "adapted", trainable=False) for name in ("mean", "variance", "count")),
    ),
    "PReLU": LayerRule(("shared_axes",), (Weight("alpha"),)),
    "Embedding": LayerRule(("input_dim", "output_dim", "mask_zero"), (Weight("embeddings"),)),
    "SimpleRNN": LayerRule(_RECURRENT, _RECURRENT_WEIGHTS, recalls=True),
    "LSTM": LayerRule(
        (*_RECURRENT, "recurrent_activation", "implementation"), _RECURRENT_WEIGHTS, recalls=True
    ),
    "GRU": LayerRule(
        (*_RECURRENT, "recurrent_activation", "implementation", "reset_after"),
        _RECURRENT_WEIGHTS,
        recalls=True,
    ),
    "CuDNNLSTM": LayerRule(("units", *_RECURRENT[5:-1]), _RECURRENT_WEIGHTS, recalls=True),  # read as LSTM
    "CuDNNGRU": LayerRule(("units", *_RECURRENT[5:-1]), _RECURRENT_WEIGHTS, recalls=True),  # read as GRU
    "ConvLSTM1D": LayerRule(_CONVOLUTIONAL_RECURRENT, _RECURRENT_WEIGHTS),
    "ConvLSTM2D": LayerRule(_CONVOLUTIONAL_RECURRENT, _RECURRENT_WEIGHTS),
    "ConvLSTM3D": LayerRule(_CONVOLUTIONAL_RECURRENT, _RECURRENT_WEIGHTS),
    "MultiHeadAttention": LayerRule(
        (
            *("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "output_shape", "attention_axes"),
            *("use_gate", "sliding_window"),
        ),
        _ATTENTION_WEIGHTS,
        merges=True,
        spreads=("query", "value", "key"),
    ),
    "Attention": LayerRule(
        ("use_scale", "score_mode", "dropout"), (Weight("scale", "use_scale"),), merges=True
    ),
    "AdditiveAttention": LayerRule(("use_scale", "dropout"), (Weight("scale", "use_scale"),), merges=True),
    # around another layer
    "Bidirectional": LayerRule(("merge_mode",), wraps=True, recalls=True),
    "TimeDistributed": LayerRule(wraps=True),
    "SpectralNormalization": LayerRule(wraps=True),  # read as the layer inside, whose kernel it keeps
    "RNN": LayerRule(_RECURRENT[5:], recalls=True),  # of one cell: read as the layer of that cell
    # pooling
    "MaxPooling1D": LayerRule(_POOLING),
    "MaxPooling2D": LayerRule(_POOLING),
    "MaxPooling3D": LayerRule(_POOLING),
    "AveragePooling1D": LayerRule(_POOLING),
    "AveragePooling2D": LayerRule(_POOLING),
    "AveragePooling3D": LayerRule(_POOLING),
    "GlobalMaxPooling1D": LayerRule(_GLOBAL),
    "GlobalMaxPooling2D": LayerRule(_GLOBAL),
    "GlobalMaxPooling3D": LayerRule(_GLOBAL),
    "GlobalAveragePooling1D": LayerRule(_GLOBAL),
    "GlobalAveragePooling2D": LayerRule(_GLOBAL),
    "GlobalAveragePooling3D": LayerRule(_GLOBAL),
    # shape
    "Flatten": LayerRule(("data_format",)),
    "Reshape": LayerRule(("target_shape",)),
    "Permute": LayerRule(("dims",)),
    "RepeatVector": LayerRule(("n",)),
    "ZeroPadding1D": LayerRule(("padding", "data_format")),
    "ZeroPadding2D": LayerRule(("padding", "data_format")),
    "ZeroPadding3D": LayerRule(("padding", "data_format")),
    "Cropping1D": LayerRule(("cropping", "data_format")),
    "Cropping2D": LayerRule(("cropping", "data_format")),
    "Cropping3D": LayerRule(("cropping", "data_format")),
    "UpSampling1D": LayerRule(("size",)),
    "UpSampling2D": LayerRule(("size", "data_format", "interpolation")),
    "UpSampling3D": LayerRule(("size", "data_format")),
    # merging
    "Add": _MERGE,
    "Subtract": _MERGE,
    "Multiply": _MERGE,
    "Average": _MERGE,
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Concatenate": LayerRule(("axis",), merges=True),
    "Dot": LayerRule(("axes", "normalize"), merges=True),
    # without weights
    "UnitNormalization": LayerRule(("axis",)),
    "Operation": LayerRule(OPERATION_SETTINGS, merges=True),
    # activation
    "Activation": LayerRule(("activation",)),
    "ReLU": LayerRule(("max_value", "negative_slope", "threshold")),
    "LeakyReLU": LayerRule(("negative_slope", "alpha")),
    "ThresholdedReLU": LayerRule(("theta",)),
    "ELU": LayerRule(("alpha",)),
    "Softmax": LayerRule(("axis",)),
    # preprocessing
    "Masking": LayerRule(("mask_value",)),
    "Rescaling": LayerRule(("scale", "offset")),
    "Resizing": LayerRule(("height", "width", "interpolation", "crop_to_aspect_ratio", "data_format")),
    "CenterCrop": LayerRule(("height", "width", "data_format")),
    # training only
    "Dropout": LayerRule(("rate", "noise_shape")),
    "SpatialDropout1D": LayerRule(("rate",)),
    "SpatialDropout2D": LayerRule(("rate", "data_format")),
    "SpatialDropout3D": LayerRule(("rate", "data_format")),
    "GaussianDropout": LayerRule(("rate",)),
    "GaussianNoise": LayerRule(("stddev",)),
    "AlphaDropout": LayerRule(("rate",)),
}

DO_NOTHING = frozenset(
    {
        *("Identity", "ActivityRegularization", "StochasticDepth", "MaxNumBoundingBoxes"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomHeight", "RandomWidth"),
        *("RandomRotation", "RandomTranslation", "RandomZoom", "RandomShear", "RandomGaussianBlur"),
        *("RandomColorJitter", "RandomErasing", "RandomGrayscale", "RandomHue", "RandomSaturation"),
        *("RandomSharpness", "RandomPosterization", "RandomInvert", "RandomColorDegeneration"),
        *("RandomElasticTransform", "RandomPerspective", "Solarization"),
        *("RandAugment", "AugMix", "CutMix", "MixUp"),
    }
)
"""Layers that pass their input on at inference: augmentation and the like. The bridge leaves them out."""

STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
"""How many states each recurrent layer has."""

MAX_STEPS = 128  # that a recurrent layer is unrolled over: each is some twenty operators

CLASS_SYNONYMS = dict.fromkeys(
    ("BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization"), "BatchNormalization"
)
"""Names under which versions of Keras and ``keras.layers.experimental`` save a layer of the allowlist."""

MODELS = frozenset({"Functional", "Sequential", "Model"})
"""Classes whose configuration is a graph of layers."""

ACTIVATIONS = frozenset(
    {
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "sigmoid", "hard_sigmoid", "tanh"),
        *("softmax", "softplus", "softsign", "swish", "exponential", "mish"),
    }
)
"""Activations that tf_keras knows by name."""

ACTIVATION_SYNONYMS = {"silu": "swish", "hard_swish": "hard_silu"}

REASONS: dict[str, str] = {
    "Lambda": (
        "it carries Python code, which is never run; replace it with built-in layers, or build with "
        "--trust-model, which runs it in a confined process and quantizes after training only"
    ),
    "TFSMLayer": "it runs a SavedModel from outside the file; rebuild that part from built-in layers",
    "StringLookup": "it reads a vocabulary and gives no int8 op; look strings up before the model",
    "IntegerLookup": "it reads a vocabulary and gives no int8 op; look values up before the model",
    "TextVectorization": "it reads a vocabulary and gives no int8 op; tokenise before the model",
    "Hashing": "it gives no int8 op; hash before the model",
    "ClusterWeights": (
        "it still carries TF-MOT's clustering; "
        "save what tfmot.clustering.keras.strip_clustering(model) returns"
    ),
    "RandomCrop": "it changes the image at inference too; replace it with CenterCrop",
    **dict.fromkeys(
        ("AutoContrast", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization"),
        "it changes the image at inference too and gives no int8 op; apply it to the images before the model",
    ),
    **dict.fromkeys(
        ("STFTSpectrogram", "MelSpectrogram"),
        "it computes Fourier transforms, which have no int8 op; compute the spectrograms with this layer "
        "before the model, and build the layers after it as keras.Model(spectrogram, outputs)",
    ),
    **dict.fromkeys(
        ("CategoryEncoding", "Discretization", "HashedCrossing"),
        "it gives no int8 op; encode the column before the model",
    ),
}
"""Why well-known layers are refused and what to do; any other gets a general answer."""
