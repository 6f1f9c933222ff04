"""ResNet-8 on Fashion-MNIST: the embedded default model and the program that trained it.

The topology is the image-classification network of MLPerf Tiny (Banbury et al., 2021,
arXiv:2106.07597): three residual stacks of 16, 32 and 64 channels, here on 28x28x1 input.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.resnet8 --data /usr/share/datasets/fashion-mnist --out resnet8.keras
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
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
EPOCHS = 24
BATCH_SIZE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.03
SEED = 0
SHIFT_PIXELS = 2


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to float32 (n, 10) softmax."""
    import keras
    from keras import layers

    def convolution(x: keras.KerasTensor, filters: int, size: int, strides: int) -> keras.KerasTensor:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = layers.ReLU()(convolution(inputs, 16, 3, 1))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        shortcut = x if strides == 1 else convolution(x, filters, 1, strides)
        x = layers.ReLU()(convolution(x, filters, 3, strides))
        x = layers.ReLU()(layers.Add()([convolution(x, filters, 3, 1), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(len(LABELS), activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="resnet8")


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


def augment(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift each image by up to two pixels and mirror half of them; scale to 0..1."""
    margin = ((0, 0), (SHIFT_PIXELS, SHIFT_PIXELS), (SHIFT_PIXELS, SHIFT_PIXELS), (0, 0))
    height, width = images.shape[1:3]
    windows = sliding_window_view(np.pad(images, margin), (height, width), (1, 2))  # type: ignore[call-overload]
    rows, columns = rng.integers(0, 2 * SHIFT_PIXELS + 1, (2, len(images)))
    shifted = np.moveaxis(windows[np.arange(len(images)), rows, columns], 1, -1)
    mirrored = rng.random(len(images)) < 0.5
    shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted.astype(np.float32) / np.float32(255)


def train(data: Path, out: Path, epochs: int = EPOCHS) -> float:
    """Train on the 60,000 training images, write ``out`` and return the test accuracy (0..1)."""
    import keras

    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    images, labels = read_split(data, "train")
    test_images, test_labels = read_split(data, "t10k")
    model = build()
    steps = epochs * -(-len(images) // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    for epoch in range(epochs):
        print(f"epoch {epoch + 1}/{epochs}")
        model.fit(augment(images, rng), labels, batch_size=BATCH_SIZE, verbose=2)
    _, accuracy = model.evaluate(test_images.astype(np.float32) / np.float32(255), test_labels, verbose=0)
    trained = build()
    trained.set_weights(model.get_weights())
    trained.save(out)  # without the optimizer's state, which is two thirds of the file
    return float(accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ResNet-8 on Fashion-MNIST.")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("resnet8.keras"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    print(f"test accuracy {train(options.data, options.out, options.epochs):.4f}")


if __name__ == "__main__":
    main()
