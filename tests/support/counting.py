"""What a device or a build counts of a small classifier of images, for tests of monitoring."""

from __future__ import annotations

import numpy as np

from deploy.device.observe import Observer

INPUT = {
    "name": "image",
    "shape": [1, 4, 4, 1],
    "dtype": "int8",
    "scale": 1 / 255,
    "zero_point": -128,
    "preprocessing": {
        "resize": None,
        "indices": False,
        "reverse_channels": False,
        "scale": [1 / 255],
        "offset": [0.0],
    },
}
OUTPUT = {
    "name": "class",
    "shape": [1, 3],
    "dtype": "int8",
    "scale": 1 / 256,
    "zero_point": -128,
    "task": "classification",
    "logits": False,
}
ABOUT = {"name": "ripeness", "version": "1.0.0", "target": "arm64"}


def draw(count, seed, brightness=0.0):
    """Samples and answers, int8 (n, 4, 4, 1) and (n, 3)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(brightness, 30, (count, 1, 1, 1)) + rng.normal(0, 20, (count, 4, 4, 1))
    answers = np.full((count, 3), -118)
    answers[np.arange(count), rng.integers(0, 3, count)] = rng.integers(40, 110, count)
    return np.clip(images, -128, 127).astype(np.int8), answers.astype(np.int8)


def counted(images, answers, digest=None, latency_us=None, contract=None):
    observer = Observer(contract or {**ABOUT, "inputs": [INPUT], "outputs": [OUTPUT]}, digest=digest)
    for image, answer in zip(images, answers, strict=True):
        observer.see([image[None]], [answer[None]], latency_us)
    return observer.statistics()
