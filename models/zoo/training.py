"""The training loop that the programs of the zoo share, and how a trained model is written."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import numpy as np
    from numpy.typing import NDArray

    # raw samples (n, ...) to the model's input
    Augment = Callable[[NDArray[Any], np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """How a model of the zoo is trained: AdamW, its learning rate decaying to zero along a cosine."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.03
    seed: int = 0


def fit(
    build: Callable[[], keras.Model],
    inputs: NDArray[Any],
    targets: NDArray[Any] | None,
    augment: Augment,
    recipe: Recipe,
) -> keras.Model:
    """Train what ``build`` returns, with fresh augmentation in every epoch and fixed seeds.

    Args:
        inputs: (n, ...) raw samples; ``augment`` makes the model's float32 input of them.
        targets: (n,) class ids; None if the model is to give its own input back.

    Returns:
        The trained model.
    """
    import keras
    import numpy as np

    keras.utils.set_random_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = build()
    steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay),
        loss="mean_squared_error" if targets is None else "sparse_categorical_crossentropy",
        metrics=[] if targets is None else ["accuracy"],
        jit_compile=False,
    )
    for epoch in range(recipe.epochs):
        print(f"epoch {epoch + 1}/{recipe.epochs}", flush=True)
        given = augment(inputs, rng)
        model.fit(given, given if targets is None else targets, batch_size=recipe.batch_size, verbose=2)
    return model


def accuracy(model: keras.Model, inputs: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Share (0..1) of the samples whose most probable class is their label."""
    found = model.predict(inputs, batch_size=500, verbose=0).argmax(axis=-1)
    return float((found == labels).mean())


def save(model: keras.Model, build: Callable[[], keras.Model], out: Path) -> None:
    """Write the model without the optimizer's state, which is two thirds of the file."""
    trained = build()
    trained.set_weights(model.get_weights())
    trained.save(out)


def run(name: str, train: Callable[[Path, Path, Recipe], str], recipe: Recipe, data: Path) -> None:
    """The command line of a zoo program; prints what ``train(data, out, recipe)`` says it reached."""
    parser = argparse.ArgumentParser(description=f"Train {name} of the zoo.")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--out", type=Path, default=Path(f"{name}.keras"))
    parser.add_argument("--epochs", type=int, default=recipe.epochs)
    options = parser.parse_args()
    print(train(options.data, options.out, replace(recipe, epochs=options.epochs)))
