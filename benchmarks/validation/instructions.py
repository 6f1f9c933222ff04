"""How far apart are the emulated instructions of the same model in runs of their own?

Usage: python benchmarks/validation/instructions.py FILE.tflite ... [--runs 5] [--devices rpi4,rpi5]

Every run is a fresh worker. The bar is 0.01 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device
from pipeline.validation.costs import count_emulated
from pipeline.validation.model_under_test import Golden, ModelUnderTest

BAR = 0.0001


def main() -> None:
    """Count every model on every device in fresh workers."""
    parser = argparse.ArgumentParser(description="How well instruction counts repeat.")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--devices", default="rpi4,rpi5")
    options = parser.parse_args()
    worst = 0.0
    for file in options.files:
        under_test = ModelUnderTest.open(file)
        for name in options.devices.split(","):
            counts = []
            for _ in range(options.runs):
                with Session(emulated_runtime(get_device(name)), file) as session:
                    counts.append(count_emulated(session, under_test, Golden(None, 4, 0)).instructions)
            apart = max(counts) / min(counts) - 1
            worst = max(worst, apart)
            print(f"{file.name} on {name}: {min(counts):,} to {max(counts):,}, {apart:.5%} apart", flush=True)
    print(f"at most {worst:.5%} apart; {BAR:.2%} is allowed")
    sys.exit(worst > BAR)


if __name__ == "__main__":
    main()
