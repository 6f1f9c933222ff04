"""The contenders: one row each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from environments import LITERT, MCT, Environment

HERE = Path(__file__).parent
OURS_FIXED = (
    'gates.enabled=["accuracy"]',
    "validate.threads=[1]",
    "validate.operators=false",
    "validate.shift.samples=0",
)
"""Settings of a build that validates the accuracy alone."""


@dataclass(frozen=True)
class Row:
    """A contender.

    Attributes:
        title: in tables.
        recipe: how it makes its file.
        script: the program of others' tools; "" for a build of this project.
        environment: of the script, if it needs one of its own.
        changes: settings of the build.
        prunes: whether it makes zeros, which it does only where the default build does.
    """

    title: str
    recipe: str
    script: str = ""
    environment: Environment | None = None
    changes: tuple[str, ...] = ()
    prunes: bool = False

    @property
    def is_ours(self) -> bool:
        return not self.script

    def program(self) -> Path:
        return HERE / self.script

    def python(self) -> Path:
        """Return the interpreter of the script; errors as ``Environment.python``."""
        return self.environment.python() if self.environment else Path(sys.executable)


KERAS = "keras_scripts.py"
ROWS = {
    "float": Row("float as given", "TFLiteConverter without optimizations", KERAS),
    "float-tuned": Row(
        "float fine-tuned", "Adam on the labels with the settings of our QAT, then as above", KERAS
    ),
    "tflite-ptq": Row("TFLiteConverter PTQ", "full-integer int8, int8 inputs and outputs", KERAS),
    "litert-ptq": Row(
        "litert-quantizer 0.11", "`static_wi8_ai8` of the float .tflite", "litert_script.py", LITERT
    ),
    "mct-ptq": Row(
        "MCT 2.6.1 PTQ",
        "`keras_post_training_quantization` for the platform `tflite`, exported as INT8",
        "mct_script.py",
        MCT,
    ),
    "mct-gptq": Row(
        "MCT 2.6.1 GPTQ", "the same with `keras_gradient_post_training_quantization`", "mct_script.py", MCT
    ),
    "tfmot-qat": Row("TF-MOT QAT", "`quantize_model`, Adam on the labels, TFLiteConverter", KERAS),
    "tfmot-prune-ptq": Row(
        "TF-MOT prune + PTQ", "`prune_low_magnitude` with PolynomialDecay, PTQ as above", KERAS, prunes=True
    ),
    "tfmot-prune-qat": Row(
        "TF-MOT prune + PQAT",
        "`prune_low_magnitude`, then sparsity-preserving QAT, each on the labels",
        KERAS,
        prunes=True,
    ),
    "ours-none": Row("ours, float", "no steps", changes=("compress=[]", "quantize.method=none")),
    "ours-ptq": Row("ours, ptq", "no pruning", changes=("compress=[]", "quantize.method=ptq")),
    "ours-qat": Row("ours, qat", "no pruning", changes=("compress=[]", "quantize.method=qat")),
    "ours-prune-ptq": Row(
        "ours, prune + ptq", "pruning to the same sparsity", changes=("quantize.method=ptq",), prunes=True
    ),
    "ours-prune-qat": Row(
        "ours, prune + qat", "pruning to the same sparsity", changes=("quantize.method=qat",), prunes=True
    ),
    "ours-auto": Row("ours, auto", "the default build", changes=("quantize.method=auto",)),
}

FLOAT, TUNED = "float", "float-tuned"
BASELINES = (FLOAT, TUNED)
DUELS = (
    ("ours-ptq", "tflite-ptq"),
    ("ours-ptq", "litert-ptq"),
    ("ours-ptq", "mct-ptq"),
    ("ours-ptq", "mct-gptq"),
    ("ours-qat", "tfmot-qat"),
    ("ours-prune-ptq", "tfmot-prune-ptq"),
    ("ours-prune-qat", "tfmot-prune-qat"),
    ("ours-prune-qat", "ours-prune-ptq"),
    ("ours-auto", "tflite-ptq"),
    ("ours-auto", "tfmot-qat"),
    ("ours-auto", "tfmot-prune-qat"),
)
"""Pairs of rows that are compared with each other, besides each with both float models."""


def available() -> list[str]:
    """Return the rows that this version of the project can run."""
    from pipeline.quantize.methods import QUANTIZE

    return [name for name in ROWS if name != "ours-auto" or "auto" in QUANTIZE]
