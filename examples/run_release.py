"""Run a release on this machine and compare its answers with the golden ones.

Usage: python examples/run_release.py build/release/fashion-resnet8-1.0.0-arm64

Needs numpy and ai-edge-litert only, as a board would. For raw samples of your own, run the release's
predict.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def golden(folder: Path, kind: str, count: int) -> list[np.ndarray]:
    return [np.load(folder / f"golden_{kind}_{index}.npy") for index in range(count)]


def main(folder: Path) -> int:
    interpreter = Interpreter(str(next(folder.glob("*.tflite"))), num_threads=1)
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, expected = golden(folder, "input", len(takes)), golden(folder, "output", len(gives))

    same = 0
    for sample in range(len(inputs[0])):
        interpreter.reset_all_variables()
        for detail, values in zip(takes, inputs, strict=True):
            interpreter.set_tensor(detail["index"], values[sample : sample + 1])
        interpreter.invoke()
        answers = [interpreter.get_tensor(detail["index"])[0] for detail in gives]
        same += all(
            np.array_equal(got, wanted[sample]) for got, wanted in zip(answers, expected, strict=True)
        )
    print(f"{same} of {len(inputs[0])} golden outputs are equal to the bit")
    return 0 if same == len(inputs[0]) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
