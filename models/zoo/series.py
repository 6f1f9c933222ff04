"""The time series of the zoo: reading the archives' files, and the compact form that ships with the project.

Two data sets of the UCR and UEA archives (Dau et al., 2019, arXiv:1810.07758; Bagnall et al., 2018,
arXiv:1811.00075), taken from the package ``aeon`` 1.6; whose they are is in ``SERIES_LICENSE``. Their files
become .npz files of float32 (n, steps, channels). The utterances of JapaneseVowels have 7 to 29 steps; aeon
also has them stretched to 25 each, and those are taken::

    pip download --no-deps aeon==1.6.0
    python -m models.zoo.series --wheel aeon-1.6.0-py3-none-any.whl --out .
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.zoo import training
from models.zoo.compact import write_npz

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    from numpy.typing import NDArray

ITALY_POWER_DEMAND = Path(__file__).with_name("italy_power_demand.npz")
JAPANESE_VOWELS = Path(__file__).with_name("japanese_vowels.npz")
STRETCH = 0.1  # standard deviation of the factor on a series
NOISE = 0.2  # standard deviation of what is added to each value
FILES = {ITALY_POWER_DEMAND.name: "ItalyPowerDemand", JAPANESE_VOWELS.name: "JapaneseVowels_eq"}


def read_ts(text: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read the text of a ``.ts`` file of equally long series: channels apart by colons, the label last.

    Returns:
        float32 (n, steps, channels), and the labels int64 (n,).
    """
    rows = [line.split(":") for line in text.splitlines() if line and line[0] not in "#@"]
    series = [[channel.split(",") for channel in row[:-1]] for row in rows]
    inputs = np.moveaxis(np.array(series).astype(np.float32), 1, 2)
    return np.ascontiguousarray(inputs), np.array([int(row[-1]) for row in rows])


def write(wheel: Path, out: Path) -> None:
    """Write each data set's ``x_train``, ``y_train``, ``x_test`` and ``y_test`` into the folder ``out``."""
    with zipfile.ZipFile(wheel) as archive:
        for name, title in FILES.items():
            members: dict[str, NDArray[Any]] = {}
            for split in ("train", "test"):
                member = f"aeon/datasets/data/{title.split('_')[0]}/{title}_{split.upper()}.ts"
                members[f"x_{split}"], labels = read_ts(archive.read(member).decode())
                members[f"y_{split}"] = labels - 1  # 1, 2, ... in the files
            write_npz(members, out / name)


def train_classifier(
    name: str, build: Callable[[], keras.Model], recipe: training.Recipe, data: Path
) -> None:
    """The program of a classifier: train it on what ships and print its test accuracy."""

    def train(data: Path, out: Path, recipe: training.Recipe) -> str:
        with np.load(data) as arrays:
            model = training.fit(build, arrays["x_train"], arrays["y_train"], augment, recipe)
            training.save(model, build, out)
            return f"test accuracy {training.accuracy(model, arrays['x_test'], arrays['y_test']):.4f}"

    training.run(name, train, recipe, data)


def augment(series: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stretch each series' values by a few per cent and add noise to them."""
    stretch = rng.normal(1.0, STRETCH, (len(series), 1, 1))
    noise = rng.normal(0.0, NOISE, series.shape)
    return np.asarray(series * stretch + noise, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the series of the zoo from the wheel of aeon.")
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    write(options.wheel, options.out)


if __name__ == "__main__":
    main()
