"""The compact Fashion-MNIST that ships with the project: the whole test set and part of the training set.

Made from Debian's package ``dataset-fashion-mnist`` (Xiao et al., 2017, arXiv:1708.07747; MIT licence, in
``FASHION_MNIST_LICENSE``)::

    python -m models.zoo.fashion_mnist --data /usr/share/datasets/fashion-mnist --out fashion_mnist.npz
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.zoo.resnet8 import read_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN_PER_CLASS = 1100
INSTALLED = Path("/usr/share/datasets/fashion-mnist")


def first_of_each_class(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Indices of the first ``count`` samples of every class, in the order of the data set."""
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def whole() -> tuple[NDArray[np.uint8], ...]:
    """All 60,000 training samples and the test set, for ``data.source``; needs the Debian package.

    Returns:
        x_train uint8 (60000, 28, 28, 1), y_train uint8 (60000,), x_test, y_test.
    """
    return (*read_split(INSTALLED, "train"), *read_split(INSTALLED, "t10k"))


def write(data: Path, out: Path) -> None:
    """Write ``x_train``, ``y_train``, ``x_test`` and ``y_test`` as an LZMA-compressed .npz."""
    images, labels = read_split(data, "train")
    test_images, test_labels = read_split(data, "t10k")
    chosen = first_of_each_class(labels, TRAIN_PER_CLASS)
    members = {
        "x_train": images[chosen],
        "y_train": labels[chosen],
        "x_test": test_images,
        "y_test": test_labels,
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in members.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getvalue(), zipfile.ZIP_LZMA)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the compact Fashion-MNIST.")
    parser.add_argument("--data", type=Path, default=INSTALLED)
    parser.add_argument("--out", type=Path, default=Path("fashion_mnist.npz"))
    options = parser.parse_args()
    write(options.data, options.out)


if __name__ == "__main__":
    main()
