"""Names that model files may hold beside the layers of ``models.layer_rules``, and why others are refused."""

from __future__ import annotations

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
