"""Draw pictures of circles, squares and triangles, and train a small Keras model on them.

Writes shapes/train/<class>/<number>.png, the same for test, model.keras, and photo.png, a picture that is in
neither, into the current folder::

    python examples/train_shapes.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CLASSES = ("circle", "square", "triangle")
PICTURES = {"train": 400, "test": 200}
"""Of each class."""
SIZE = 32


def draw(name: str, rng: np.random.Generator) -> Image.Image:
    """Return a grey picture of the shape, SIZE x SIZE, somewhere, turned and noisy."""
    radius, angle = rng.uniform(9, 14), rng.uniform(0, 2 * np.pi)
    x, y = rng.uniform(radius, SIZE - radius, 2)
    dark, light = rng.uniform(20, 80), rng.uniform(140, 230)
    canvas = Image.new("L", (SIZE, SIZE), int(dark))
    pen = ImageDraw.Draw(canvas)
    if name == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(light))
    else:
        corners = {"square": 4, "triangle": 3}[name]
        angles = angle + 2 * np.pi * np.arange(corners) / corners
        pen.polygon(
            [(x + radius * np.cos(each), y + radius * np.sin(each)) for each in angles], fill=int(light)
        )
    noisy = np.asarray(canvas) + rng.normal(0, 8, (SIZE, SIZE))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def main() -> None:
    """Write the pictures and the model."""
    import keras

    rng = np.random.default_rng(0)
    pictures, labels = [], []
    for split, count in PICTURES.items():
        for label, name in enumerate(CLASSES):
            folder = Path("shapes", split, name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = draw(name, rng)
                picture.save(folder / f"{number:03}.png")
                if split == "train":
                    pictures.append(np.asarray(picture)[..., np.newaxis])
                    labels.append(label)
    draw("triangle", rng).save("photo.png")

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.stack(pictures) / 255, np.array(labels), batch_size=32, epochs=12, verbose=2)
    model.save("model.keras")


if __name__ == "__main__":
    main()
