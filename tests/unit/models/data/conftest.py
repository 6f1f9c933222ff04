"""Load a source for a model, and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

from models.data.options import DataOptions
from models.data.partition import Splits
from models.data.sources import load_data
from models.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


class Loaded(NamedTuple):
    """What load_data returned, and the arrays that it wrote."""

    data: object
    inputs: list
    targets: list
    train: np.ndarray
    test: np.ndarray
    fit: np.ndarray
    held_out: np.ndarray
    aside: np.ndarray
    rest: np.ndarray

    @property
    def x(self):
        return self.inputs[0]

    @property
    def y(self):
        return self.targets[0]


@pytest.fixture
def load(tmp_path_factory):
    """Load a source and read back every file."""

    def load_source(source, ports, *, seed=0, **options):
        folder = tmp_path_factory.mktemp("stored")
        data = load_data(source, folder, **ports, options=DataOptions(**options), seed=seed)
        known = {f"{kind}_{index}.npy" for kind in ("input", "target") for index in range(9)}
        splits = {f"{name}.npy": np.load(folder / f"{name}.npy") for name in Splits._fields}
        assert {file.name for file in folder.iterdir()} <= known | set(splits)
        inputs = [np.load(folder / f"input_{index}.npy") for index in range(len(ports["inputs"]))]
        targets = [np.load(file) for file in sorted(folder.glob("target_*.npy"))]
        train, test, fit, held_out, aside, rest = splits.values()
        assert (len(train), len(test)) == (data.train_samples, data.test_samples)
        assert not set(train) & set(test)
        assert not set(held_out) & {*test, *fit}
        assert set(fit) <= set(train)
        assert set(aside) | set(rest) <= set(test)
        assert not set(aside) & set(rest)
        return Loaded(data, inputs, targets, *splits.values())

    return load_source


@pytest.fixture
def refusal(load):
    """The one line with which a source is refused."""

    def refused(source, ports, **options):
        with pytest.raises(DataError) as caught:
            load(source, ports, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


@pytest.fixture
def npz(tmp_path):
    def write(**arrays) -> Path:
        path = tmp_path / "data.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Class folders of images; one brightness a class, each image another."""

    def write(*parts, names=("cat", "dog"), root="images") -> Path:
        for number, part in enumerate(parts or ("",)):
            for label, name in enumerate(names):
                place = tmp_path / root / part / name
                place.mkdir(parents=True)
                for index in range(4):
                    colour = (label * 200, index * 30, number * 50)
                    Image.new("RGB", (9, 7), colour).save(place / f"{index}.png")
                (place / "notes.txt").write_text("not an image")
        return tmp_path / root

    return write
