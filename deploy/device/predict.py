"""Run a release on raw samples: what its ``model.json`` says, from raw values to labels.

Part of every release; needs numpy and ai-edge-litert (or tflite-runtime), and nothing of this project::

    python predict.py samples.npy          # (n, ...) raw samples; several files for several inputs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model:
    """A release, ready to answer.

    Args:
        folder: of the release.
        threads: that the runtime may use.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.contract = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.interpreter = _interpreter(str(next(folder.glob("*.tflite"))), threads)
        self.interpreter.allocate_tensors()
        self._inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self.interpreter.get_output_details()]

    def predict(self, *raw: NDArray[Any]) -> list[NDArray[Any]]:
        """Answer one raw sample.

        Args:
            raw: for each of the model's inputs one sample, without the batch, as the training data had it.

        Returns:
            For each output real numbers: probabilities, unless ``model.json`` says logits.
        """
        self.interpreter.reset_all_variables()  # what a recurrent layer remembers of the sample before
        for index, contract, values in zip(self._inputs, self.contract["inputs"], raw, strict=True):
            self.interpreter.set_tensor(index, to_input(values, contract)[np.newaxis])
        self.interpreter.invoke()
        return [
            to_real(self.interpreter.get_tensor(index)[0], contract)
            for index, contract in zip(self._outputs, self.contract["outputs"], strict=True)
        ]


def to_input(raw: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return a raw sample as the model's tensor: channels, scale, offset, then quantization.

    Raises:
        ValueError: it has another shape than the model's input.
    """
    if list(raw.shape) != contract["shape"][1:]:
        msg = f"{contract['name']}: a sample of shape {raw.shape}, the model takes {contract['shape'][1:]}"
        raise ValueError(msg)
    steps = contract["preprocessing"]
    if steps["indices"]:
        return raw.astype(contract["dtype"])
    values = raw[..., ::-1] if steps["reverse_channels"] else raw
    scale, offset = (np.asarray(steps[key], np.float32) for key in ("scale", "offset"))
    real: NDArray[Any] = values.astype(np.float32) * scale + offset
    if contract["scale"] is None:
        return real.astype(contract["dtype"])
    limits = np.iinfo(contract["dtype"])
    steps_of_scale = np.rint(real * (np.float32(1) / np.float32(contract["scale"])))
    integers: NDArray[Any] = np.clip(steps_of_scale + contract["zero_point"], limits.min, limits.max)
    return integers.astype(contract["dtype"])


def to_real(values: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return an output tensor as the numbers that it stands for."""
    if contract["scale"] is None:
        return values
    return np.asarray((values.astype(np.float32) - contract["zero_point"]) * np.float32(contract["scale"]))


def describe(values: NDArray[Any], contract: dict[str, Any], labels: list[str]) -> str:
    """Say an answer in a few words."""
    if contract["task"] == "classification" and len(labels) == values.size:
        best = int(values.argmax())
        return f"{labels[best]} ({values.flat[best]:.3g})"
    if contract["task"] == "binary" and len(labels) == 2:
        return f"{labels[int(values.flat[0] > (0 if contract['logits'] else 0.5))]} ({values.flat[0]:.3g})"
    shown = " ".join(f"{value:.3g}" for value in values.flat[:8])
    return shown + (f" ... {values.size} values" if values.size > 8 else "")


def _interpreter(path: str, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    return Interpreter(path, num_threads=threads)


def main() -> None:
    model = Model(Path(__file__).resolve().parent)
    files = [np.load(name, allow_pickle=False) for name in sys.argv[1:]]
    if len(files) != len(model.contract["inputs"]):
        names = " ".join(f"{contract['name']}.npy" for contract in model.contract["inputs"])
        sys.exit(f"usage: python predict.py {names}")
    for number, sample in enumerate(zip(*files, strict=True)):
        answers = zip(model.predict(*sample), model.contract["outputs"], strict=True)
        said = [f"{c['name']}: {describe(values, c, model.contract['labels'])}" for values, c in answers]
        print(f"{number}  {'; '.join(said)}")


if __name__ == "__main__":
    main()
