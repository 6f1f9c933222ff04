"""The trainings of a build as TensorBoard event files."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from pipeline.content import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tensorboardX import SummaryWriter

    from pipeline.training_history import Histogram, TrainingHistory


def write_event_files(trainings: Sequence[TrainingHistory], folder: Path) -> None:
    """Write one run for each training, in place of what the folder held: ``tensorboard --logdir FOLDER``.

    Scalars are the figures and the trained ranges after each epoch. Histograms are those before the training,
    at step 0, and those after it. Files of the same trainings are left as they are.
    """
    marker, digest = folder / "trainings.sha256", sha256_of([asdict(each) for each in trainings])
    if marker.exists() and marker.read_text(encoding="utf-8") == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    if not trainings:
        return
    from tensorboardX import SummaryWriter

    for place, training in enumerate(trainings):
        name = f"{place + 1}-{training.name.replace(' ', '-')}"
        with SummaryWriter(str(folder / name), write_to_disk=True) as writer:
            epochs = 0
            for curve in training.curves:
                epochs = max(epochs, len(curve.values))
                for epoch, value in enumerate(curve.values):
                    writer.add_scalar(curve.name, value, epoch + 1)
            for found in training.ranges:
                for end, values in (("low", found.lows), ("high", found.highs)):
                    for epoch, value in enumerate(values):
                        writer.add_scalar(f"range/{found.layer}/{end}", value, epoch + 1)
            for step, histograms in ((0, training.before), (epochs, training.after)):
                for histogram in histograms:
                    _add(writer, histogram, step)
    marker.write_text(digest, encoding="utf-8")


def _add(writer: SummaryWriter, histogram: Histogram, step: int) -> None:
    counts = np.array(histogram.counts)
    edges = np.linspace(histogram.low, histogram.high, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    writer.add_histogram_raw(
        f"{histogram.of}/{histogram.layer}",
        min=histogram.low,
        max=histogram.high,
        num=int(counts.sum()),
        sum=float(centres @ counts),
        sum_squares=float(centres**2 @ counts),
        bucket_limits=edges[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
    )
