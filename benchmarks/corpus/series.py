"""Series: accelerometers, keywords, archives, forecasts and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from case import (
    Expected,
    accuracy,
    auc,
    fit,
    keras_of,
    network,
    parts,
    r2,
    save_arrays,
    waves,
)

Folder = Path
Random = np.random.Generator
CROSSENTROPY = "sparse_categorical_crossentropy"


def gestures(folder: Folder, rng: Random) -> Expected:
    """Windows of an accelerometer for a 1-D convolution, one-hot labels (Edge Impulse's export)."""
    keras = keras_of(2)
    layers = keras.layers
    train, test = parts(rng, waves, 400, 200, 4)
    net = network(
        keras,
        (48, 3),
        layers.Conv1D(16, 5, activation="relu"),
        layers.MaxPooling1D(2),
        layers.Dropout(0.2),
        layers.Conv1D(16, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(4, activation="softmax"),
    )
    fit(net, train[0], np.eye(4)[train[1]], "categorical_crossentropy", epochs=15)
    net.save(folder / "gestures.h5")
    for name, values in (
        ("X_train", train[0]),
        ("Y_train", np.eye(4, dtype=np.float32)[train[1]]),
        ("X_test", test[0]),
        ("Y_test", np.eye(4, dtype=np.float32)[test[1]]),
    ):
        (folder / "data").mkdir(exist_ok=True)
        np.save(folder / "data" / f"{name}.npy", values)
    return Expected(model="gestures.h5", data="data", metric=accuracy(net, *test))


def keyword_spotting(folder: Folder, rng: Random) -> Expected:
    """Spectrograms (49, 40, 1) for a small DS-CNN."""
    keras = keras_of(3)
    layers = keras.layers

    def spectrograms(rng: Random, count: int, classes: int) -> Any:
        y = np.arange(count) % classes
        x = rng.normal(-6, 2, (count, 49, 40, 1))
        for image, label in zip(x, y, strict=True):
            start = rng.integers(5, 25)
            image[start : start + 18, 4 + 8 * label : 10 + 8 * label] += 5
        return x.astype(np.float32), y

    train, test = parts(rng, spectrograms, 400, 200, 4)
    net = network(
        keras,
        (49, 40, 1),
        layers.Conv2D(16, (10, 4), strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(24, 1, activation="relu"),
        layers.AveragePooling2D((25, 2)),
        layers.Flatten(),
        layers.Dense(4, activation="softmax"),
    )
    fit(net, train[0], train[1], CROSSENTROPY, epochs=15)
    net.save(folder / "kws.keras")
    save_arrays(folder, "kws.npz", train, test)
    return Expected(model="kws.keras", data="kws.npz", metric=accuracy(net, *test))


def _archive(folder: Folder, rng: Random, names: tuple[int, ...], outputs: int) -> Expected:
    keras = keras_of(3)
    layers = keras.layers
    train, test = parts(rng, waves, 300, 200, len(names), channels=1)
    net = network(
        keras,
        (48, 1),
        layers.Conv1D(16, 5, activation="relu"),
        layers.Conv1D(16, 3, strides=2, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax"),
    )
    fit(net, train[0], train[1], "binary_crossentropy" if outputs == 1 else CROSSENTROPY, epochs=20)
    net.save(folder / "series.keras")
    (folder / "Waves").mkdir()
    for part, (x, y) in (("TRAIN", train), ("TEST", test)):
        lines = [
            "\t".join([str(names[label]), *(f"{v:.6g}" for v in row[:, 0])])
            for row, label in zip(x, y, strict=True)
        ]
        (folder / "Waves" / f"Waves_{part}.tsv").write_text("\n".join(lines) + "\n")
    metric = accuracy(net, *test, threshold=0.5 if outputs == 1 else None)
    return Expected(model="series.keras", data="Waves", metric=metric)


def archive_series(folder: Folder, rng: Random) -> Expected:
    """A .tsv of the UCR archive, classes counted from 1."""
    return _archive(folder, rng, (1, 2, 3), 3)


def archive_of_two(folder: Folder, rng: Random) -> Expected:
    """Classes -1 and 1 for one sigmoid, as FordA has them."""
    return _archive(folder, rng, (-1, 1), 1)


def recurrent(folder: Folder, rng: Random) -> Expected:
    """An LSTM over windows (human activity)."""
    keras = keras_of(2)
    layers = keras.layers
    train, test = parts(rng, waves, 400, 200, 3, steps=16)
    net = network(
        keras, (16, 3), layers.LSTM(16), layers.Dense(16, activation="relu"), layers.Dense(3, "softmax")
    )
    fit(net, train[0], train[1], CROSSENTROPY, epochs=30, rate=8e-3)
    net.save(folder / "har.h5")
    save_arrays(folder, "har.npz", train, test)
    return Expected(model="har.h5", data="har.npz", metric=accuracy(net, *test))


def forecast(folder: Folder, rng: Random) -> Expected:
    """The next values of a series from a window: several numbers of one scale."""
    keras = keras_of(3)
    t = np.arange(1200) / 12
    series = (np.sin(t) + 0.5 * np.sin(3.1 * t) + rng.normal(0, 0.05, 1200)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(series, 28)[:1100]
    x, y = windows[:, :24, None], windows[:, 24:]
    net = network(
        keras,
        (24, 1),
        keras.layers.Conv1D(16, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(4),
    )
    fit(net, x[:800], y[:800], "mse", epochs=20)
    net.save(folder / "forecast.keras")
    save_arrays(folder, "forecast.npz", (x[:800], y[:800]), (x[850:], y[850:]))
    return Expected(model="forecast.keras", data="forecast.npz", metric=r2(net, x[850:], y[850:]))


def anomalies(folder: Folder, rng: Random) -> Expected:
    """An autoencoder of vectors, trained on normal samples; test samples are labelled."""
    keras = keras_of(3)
    layers = keras.layers
    mix = np.random.default_rng(5).normal(0, 1, (4, 24)).astype(np.float32)
    normal = (rng.normal(0, 1, (700, 4)) @ mix * 0.3).astype(np.float32)
    odd = (normal[600:] + rng.normal(0, 0.5, (100, 24))).astype(np.float32)
    net = network(
        keras,
        (24,),
        layers.Dense(16, activation="relu"),
        layers.Dense(6, activation="relu"),
        layers.Dense(16, activation="relu"),
        layers.Dense(24),
    )
    fit(net, normal[:500], normal[:500], "mse", epochs=60)
    net.save(folder / "machine.keras")
    test = np.concatenate((normal[500:600], odd))
    np.savez(folder / "data.npz", x_train=normal[:500], x_test=test, y_test=np.repeat([0, 1], 100))
    errors = ((net.predict(test, verbose=0) - test) ** 2).mean(1)
    metric = auc(errors, np.arange(200) >= 100)
    config = 'data.task = ["anomaly"]'
    return Expected(model="machine.keras", data="data.npz", metric=metric, name="AUC", config=config)


def attention(folder: Folder, rng: Random) -> Expected:
    """A small transformer over a series (the Keras example)."""
    keras = keras_of(3)
    layers = keras.layers
    train, test = parts(rng, waves, 400, 200, 3, steps=16, channels=4)
    inputs = keras.Input((16, 4))
    z = layers.Dense(16)(inputs)
    z = layers.LayerNormalization()(z + layers.MultiHeadAttention(2, 8)(z, z))
    z = layers.LayerNormalization()(z + layers.Dense(16)(layers.Dense(32, activation="relu")(z)))
    z = layers.GlobalAveragePooling1D()(z)
    net = keras.Model(inputs, layers.Dense(3, activation="softmax")(z))
    fit(net, train[0], train[1], CROSSENTROPY, epochs=30)
    net.save(folder / "transformer.keras")
    save_arrays(folder, "data.npz", train, test)
    return Expected(model="transformer.keras", data="data.npz", metric=accuracy(net, *test), loss=6)


CASES = {
    case.__name__: case
    for case in (
        gestures,
        keyword_spotting,
        archive_series,
        archive_of_two,
        recurrent,
        forecast,
        anomalies,
        attention,
    )
}
