"""What it costs to observe a release: python benchmarks/deploy/observing.py RELEASE [--observe all].

Runs the golden inputs of a release folder in this process, in pairs of blocks with and without the observer,
in random order, and prints the processor time that the observer adds: the median over the pairs and its
bootstrap 95 % interval, beside pairs that are both without. It is given as a share of two times. An inference
is what ``latency_us`` of ``statistics.json`` is: from setting the input tensors to having the output tensors;
the bar of 3 % is on this one. An answer is what ``runner.py`` does for each sample, from raw values to a label.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.device.observe import SHARE, Observer
from deploy.device.predict import Model, label_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAR = 0.03
BLOCK_S = 0.05
PAIRS = 100
WARM_S = 2.0


def block(
    model: Model, samples: list[list[NDArray[Any]]], count: int, observer: Observer | None
) -> tuple[float, float]:
    """Return the processor time in seconds of ``count`` rounds, and the part of it that is inferences."""
    inside = 0.0
    begin, wall = time.thread_time(), time.perf_counter()
    for number in range(count):
        tensors = samples[number % len(samples)]
        start = time.perf_counter()
        outputs = model.run(tensors)
        latency_us = (time.perf_counter() - start) * 1e6
        inside += latency_us
        if observer is not None:
            observer.see(tensors, outputs, latency_us)
    used = time.thread_time() - begin
    return used, used * inside * 1e-6 / (time.perf_counter() - wall)


def shares(
    model: Model,
    samples: list[list[NDArray[Any]]],
    count: int,
    observer: Observer | None,
    chance: random.Random,
) -> NDArray[np.float64]:
    """Return for each pair of blocks what the second kind adds, as a share of the first's inference time."""
    found = []
    for _ in range(PAIRS):
        pair: dict[bool, tuple[float, float]] = {}
        for observed in chance.sample([False, True], 2):
            pair[observed] = block(model, samples, count, observer if observed else None)
        found.append((pair[True][0] - pair[False][0]) / pair[False][1])
    return np.array(found)


def answer_time(model: Model, count: int) -> float:
    """Return the processor time in seconds of an answer, from a raw sample to a label."""
    contract = model.contract
    raw = [np.zeros(port["shape"][1:], np.float32) for port in contract["inputs"]]
    begin = time.thread_time()
    for _ in range(count):
        for values, port in zip(model.predict(*raw), contract["outputs"], strict=True):
            label_of(values, port, contract["labels"])
    return (time.thread_time() - begin) / count


def interval(values: NDArray[np.float64]) -> str:
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(values, (2000, values.size)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{np.median(values):7.2%}  [{low:.2%}, {high:.2%}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--observe", choices=["budget", "all"], default="budget")
    options = parser.parse_args()
    model = Model(options.release)
    ports = range(len(model.contract["inputs"]))
    golden = [np.load(options.release / f"golden_input_{index}.npy") for index in ports]
    samples = [[array[number : number + 1] for array in golden] for number in range(len(golden[0]))]
    manifest = json.loads((options.release / "manifest.json").read_text(encoding="utf-8"))
    observer = Observer(manifest, share=SHARE if options.observe == "budget" else None, dated=True)
    usual = min(block(model, samples, 200, None)[1] / 200 for _ in range(9))
    answer = min(answer_time(model, 200) for _ in range(9))
    count = max(10, int(BLOCK_S / usual))
    begin = time.monotonic()
    while time.monotonic() - begin < WARM_S:
        block(model, samples, count, observer)
    chance = random.Random(0)
    control = shares(model, samples, count, None, chance)
    found = shares(model, samples, count, observer, chance)
    seen = observer.statistics()
    observed = seen["observed"] / seen["inferences"]
    print(f"{model.contract['model']}, {model.runtime}, {platform.machine()}, {options.observe}")
    print(f"inference {usual * 1e6:.1f} us, answer {answer * 1e6:.1f} us, {PAIRS} pairs of {count}")
    print(f"observing {interval(found)} of the inference time, bar {BAR:.0%}; observed {observed:.2%}")
    print(f"control   {interval(control)}")
    print(f"observing {interval(found * usual / answer)} of the time of an answer")
    return 0 if np.median(found) <= BAR or options.observe == "all" else 1


if __name__ == "__main__":
    sys.exit(main())
