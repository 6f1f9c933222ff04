"""Fashion-MNIST: reading it, and the compact form that ships with the project.

The compact form holds the whole test set and the first 1,100 training images of every class. It was made from
Debian's package ``dataset-fashion-mnist`` (Xiao et al., 2017, arXiv:1708.07747; MIT licence, in
``FASHION_MNIST_LICENSE``)::

    python -m models.zoo.fashion_mnist --data /usr/share/datasets/fashion-mnist --out fashion_mnist.npz
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.zoo import training
from models.zoo.compact import write_npz

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    from numpy.typing import NDArray

INPUT_SHAPE = (28, 28, 1)
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAIN_PER_CLASS = 1100
SHIFT_PIXELS = 2
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
COMPACT = Path(__file__).with_name("fashion_mnist.npz")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzipped IDX file of unsigned bytes (format: Y. LeCun, the MNIST database)."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(tuple(int(n) for n in shape))


def read_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read ``train`` or ``t10k``: uint8 (n, 28, 28, 1) images and uint8 (n,) labels."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    return images[..., np.newaxis], read_idx(folder / f"{split}-labels-idx1-ubyte.gz")


def whole() -> tuple[NDArray[np.uint8], ...]:
    """Return all 60,000 training samples and the test set, for ``data.source``; needs the Debian package.

    Returns:
        x_train uint8 (60000, 28, 28, 1), y_train uint8 (60000,), x_test, y_test.
    """
    return (*read_split(INSTALLED, "train"), *read_split(INSTALLED, "t10k"))


def scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the models' input: float32 in 0..1."""
    return images.astype(np.float32) / np.float32(255)


def augment(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift each image by up to two pixels and mirror half of them; scale to 0..1."""
    margin = ((0, 0), (SHIFT_PIXELS, SHIFT_PIXELS), (SHIFT_PIXELS, SHIFT_PIXELS), (0, 0))
    height, width = images.shape[1:3]
    windows = sliding_window_view(np.pad(images, margin), (height, width), (1, 2))  # type: ignore[call-overload]
    rows, columns = rng.integers(0, 2 * SHIFT_PIXELS + 1, (2, len(images)))
    return mirror(np.moveaxis(windows[np.arange(len(images)), rows, columns], 1, -1), rng)


def mirror(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Mirror half of the images; scale to 0..1."""
    mirrored = rng.random(len(images)) < 0.5
    return scale(np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], images[:, :, ::-1], images))


def train_classifier(
    name: str, build: Callable[[], keras.Model], recipe: training.Recipe, vary: training.Augment = augment
) -> None:
    """The program of a classifier: train it on the 60,000 images and print its test accuracy.

    Args:
        vary: ``augment`` for many epochs, ``mirror`` for few.
    """

    def train(data: Path, out: Path, recipe: training.Recipe) -> str:
        model = training.fit(build, *read_split(data, "train"), vary, recipe)
        training.save(model, build, out)
        images, labels = read_split(data, "t10k")
        return f"test accuracy {training.accuracy(model, scale(images), labels):.4f}"

    training.run(name, train, recipe, INSTALLED)


def first_of_each_class(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Indices of the first ``count`` samples of every class, in the order of the data set."""
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


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
    write_npz(members, out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the compact Fashion-MNIST.")
    parser.add_argument("--data", type=Path, default=INSTALLED)
    parser.add_argument("--out", type=Path, default=Path("fashion_mnist.npz"))
    options = parser.parse_args()
    write(options.data, options.out)


if __name__ == "__main__":
    main()
