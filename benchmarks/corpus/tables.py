"""Tables: CSV files as UCI, Kaggle and loggers have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from case import Expected, accuracy, dense_net, fit, keras_of, parts, points, r2, save_table, waves

Folder = Path
Random = np.random.Generator
CROSSENTROPY = "sparse_categorical_crossentropy"


def _normalized(keras: Any, x: Any) -> Any:
    layer = keras.layers.Normalization()
    layer.adapt(x)
    return layer


def _classifier(rng: Random, generation: int, classes: int, features: int) -> Any:
    """A trained model with a normalization, and its data."""
    keras = keras_of(generation)
    (x, y), test = parts(rng, points, 400, 200, classes, features)
    net = dense_net(keras, features, classes, "softmax", _normalized(keras, x))
    fit(net, x, y, CROSSENTROPY, epochs=20)
    return net, (x, y), test


def iris(folder: Folder, rng: Random) -> Expected:
    """UCI iris.data: no header, the class as text in the last column."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 3, 3, 4)
    net.save(folder / "iris.keras")
    names = ("Iris-setosa", "Iris-versicolor", "Iris-virginica")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        rows = [(*row, names[label]) for row, label in zip(values, labels, strict=True)]
        save_table(folder / "data" / f"{name}.csv", rows)
    return Expected(model="iris.keras", data="data", metric=accuracy(net, x_test, y_test))


def wine(folder: Folder, rng: Random) -> Expected:
    """UCI wine.data: no header, the class 1 to 3 in the first column."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 2, 3, 13)
    net.save(folder / "wine.h5")
    values, labels = np.concatenate((x, x_test)), np.concatenate((y, y_test))
    rows = [(label + 1, *row) for row, label in zip(values, labels, strict=True)]
    save_table(folder / "wine.csv", rows)
    return Expected(
        model="wine.h5",
        data="wine.csv",
        metric=accuracy(net, x_test, y_test),
        config='data.target = "0"',
        tolerance=4,
    )


def wine_quality(folder: Folder, rng: Random) -> Expected:
    """UCI winequality-red.csv: semicolons, quoted names, a score to predict."""
    keras = keras_of(3)
    (x, _), (x_test, _) = parts(rng, points, 500, 250, 5, 11)
    weights = np.linspace(-1, 1, 11) / np.geomspace(0.1, 50, 11)
    score = lambda v: np.clip(5.6 + 0.5 * (v - x.mean(0)) @ weights, 3, 8).round().astype(int)  # noqa: E731
    net = dense_net(keras, 11, 1, None, _normalized(keras, x))
    fit(net, x, score(x).astype(np.float32), "mse", epochs=40)
    net.save(folder / "quality.keras")
    header = (*(f"property {index}" for index in range(11)), "quality")
    for name, values in (("train", x), ("test", x_test)):
        save_table(folder / "data" / f"{name}.csv", np.column_stack((values, score(values))), header, ";")
    return Expected(model="quality.keras", data="data", metric=r2(net, x_test, score(x_test)))


def seeds(folder: Folder, rng: Random) -> Expected:
    """UCI seeds_dataset.txt: white space between columns, no header, the class 1 to 3 last."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 3, 3, 7)
    net.save(folder / "seeds.keras")
    values, labels = np.concatenate((x, x_test)), np.concatenate((y, y_test)) + 1
    lines = ["\t".join(f"{v:g}" for v in (*row, label)) for row, label in zip(values, labels, strict=True)]
    (folder / "seeds_dataset.csv").write_text("\n".join(lines).replace("\t", "  ") + "\n")
    return Expected(
        model="seeds.keras", data="seeds_dataset.csv", metric=accuracy(net, x_test, y_test), tolerance=4
    )


def pipes(folder: Folder, rng: Random) -> Expected:
    """Columns separated by | (database exports)."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 3, 4, 6)
    net.save(folder / "model.keras")
    header = (*"abcdef", "label")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        rows = [(*row, label) for row, label in zip(values, labels, strict=True)]
        save_table(folder / "data" / f"{name}.csv", rows, header, "|")
    return Expected(model="model.keras", data="data", metric=accuracy(net, x_test, y_test))


def german_logger(folder: Folder, rng: Random) -> Expected:
    """Semicolons, decimal commas, Latin-1 and a byte order mark."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 3, 3, 3)
    net.save(folder / "logger.keras")
    (folder / "data").mkdir()
    for name, values, labels, encoding in (("train", x, y, "latin-1"), ("test", x_test, y_test, "utf-8-sig")):
        lines = ["Temperatur °C;Drehzahl;Öldruck;Zustand"]
        lines += [
            ";".join([*(f"{v:.3f}".replace(".", ",") for v in row), str(label)])
            for row, label in zip(values, labels, strict=True)
        ]
        (folder / "data" / f"{name}.csv").write_text("\r\n".join(lines) + "\r\n", encoding=encoding)
    return Expected(model="logger.keras", data="data", metric=accuracy(net, x_test, y_test))


def _columns(folder: Folder, rng: Random, order: list[int], extension: str = "keras") -> Expected:
    """One input for each column, as the guide to structured data has it; the table in another order."""
    keras = keras_of(3)
    names = ("age", "pressure", "cholesterol", "heart_rate", "oldpeak")
    (x, y), (x_test, y_test) = parts(rng, points, 500, 250, 2, 5)
    inputs = [keras.Input((1,), name=name) for name in names]
    scaled = [_normalized(keras, x[:, [i]])(tensor) for i, tensor in enumerate(inputs)]
    z = keras.layers.Dense(24, activation="relu")(keras.layers.Concatenate()(scaled))
    net = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dropout(0.2)(z)))
    columns = lambda v: {name: v[:, [i]] for i, name in enumerate(names)}  # noqa: E731
    fit(net, columns(x), y, "binary_crossentropy", epochs=20)
    net.save(folder / f"heart.{extension}")
    header = (*(names[i] for i in order), "target")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        save_table(folder / "data" / f"{name}.csv", np.column_stack((values[:, order], labels)), header)
    metric = accuracy(net, columns(x_test), y_test, threshold=0.5)
    return Expected(model=f"heart.{extension}", data="data", metric=metric)


def heart(folder: Folder, rng: Random) -> Expected:
    """An input for each column."""
    return _columns(folder, rng, [0, 1, 2, 3, 4])


def heart_in_another_order(folder: Folder, rng: Random) -> Expected:
    """The table's columns in another order than the model's inputs."""
    return _columns(folder, rng, [3, 0, 4, 2, 1])


def accelerometer_rows(folder: Folder, rng: Random) -> Expected:
    """x, y, z and fall: y is no target."""
    keras = keras_of(2)
    (x, y), (x_test, y_test) = parts(rng, points, 400, 200, 2, 3)
    x, x_test = ((v - x.mean(0)) / x.std(0) for v in (x, x_test))
    net = dense_net(keras, 3, 1, "sigmoid")
    fit(net, x, y, "binary_crossentropy", epochs=20)
    net.save(folder / "falls.h5")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        save_table(
            folder / "data" / f"{name}.csv", np.column_stack((values, labels)), ("x", "y", "z", "fall")
        )
    return Expected(model="falls.h5", data="data", metric=accuracy(net, x_test, y_test, threshold=0.5))


def one_feature(folder: Folder, rng: Random) -> Expected:
    """The first regression tutorial: one number to one number."""
    keras = keras_of(3)
    x = rng.uniform(40, 230, (600, 1)).astype(np.float32)
    y = (45 - 0.15 * x[:, 0] + rng.normal(0, 2, 600)).astype(np.float32)
    net = dense_net(keras, 1, 1, None, _normalized(keras, x))
    fit(net, x[:400], y[:400], "mse", epochs=60, rate=1e-2)
    net.save(folder / "mpg.keras")
    for name, at in (("train", slice(0, 400)), ("test", slice(400, 600))):
        save_table(folder / "data" / f"{name}.csv", np.column_stack((x[at], y[at])), ("Horsepower", "MPG"))
    return Expected(model="mpg.keras", data="data", metric=r2(net, x[400:], y[400:]))


def two_features_two_classes(folder: Folder, rng: Random) -> Expected:
    """Two features, two logits: no autoencoder."""
    keras = keras_of(3)
    (x, y), (x_test, y_test) = parts(rng, points, 400, 200, 2, 2)
    net = dense_net(keras, 2, 2, None, _normalized(keras, x))
    net.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x, y, epochs=20, verbose=0)
    net.save(folder / "moons.keras")
    np.savez(folder / "moons.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return Expected(model="moons.keras", data="moons.npz", metric=accuracy(net, x_test, y_test))


def rare_class(folder: Folder, rng: Random) -> Expected:
    """Fraud: 6 % of the samples are positive, and the model is worth more than its accuracy says."""
    keras = keras_of(3)
    x = rng.normal(0, 1, (1500, 8)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] + rng.normal(0, 0.7, 1500) > 2.6).astype(int)
    net = dense_net(keras, 8, 1, "sigmoid")
    net.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    net.fit(x[:1000], y[:1000], epochs=15, verbose=0, class_weight={0: 1, 1: 8})
    net.save(folder / "fraud.keras")
    header = (*(f"V{i}" for i in range(1, 9)), "Class")
    for name, at in (("train", slice(0, 1000)), ("test", slice(1000, 1500))):
        save_table(folder / "data" / f"{name}.csv", np.column_stack((x[at], y[at])), header)
    metric = accuracy(net, x[1000:], y[1000:], threshold=0.5)
    return Expected(model="fraud.keras", data="data", metric=metric)


def class_called_none(folder: Folder, rng: Random) -> Expected:
    """A class has the name None."""
    net, (x, y), (x_test, y_test) = _classifier(rng, 3, 3, 5)
    net.save(folder / "defects.keras")
    names = ("Crack", "None", "Scratch")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        rows = [(*row, names[label]) for row, label in zip(values, labels, strict=True)]
        save_table(folder / "data" / f"{name}.csv", rows, (*"abcde", "defect"))
    return Expected(model="defects.keras", data="data", metric=accuracy(net, x_test, y_test))


def missing_cells(folder: Folder, rng: Random) -> Expected:
    """auto-mpg.data: a ? where a number is missing."""
    net, (x, y), _ = _classifier(rng, 3, 3, 5)
    net.save(folder / "model.keras")
    rows = [[*row, label] for row, label in zip(x.tolist(), y, strict=True)]
    rows[17][2] = "?"
    save_table(folder / "data.csv", rows, (*"abcde", "label"))
    return Expected(model="model.keras", data="data.csv", advice="row 19.*c.*missing|missing.*(row|column)")


def too_many_classes(folder: Folder, rng: Random) -> Expected:
    """The data have more classes than the model."""
    net, (x, _), _ = _classifier(rng, 3, 3, 5)
    net.save(folder / "model.keras")
    save_table(folder / "data.csv", np.column_stack((x, np.arange(len(x)) % 5)), (*"abcde", "label"))
    return Expected(model="model.keras", data="data.csv", advice="5 classes.*3")


def windows_in_rows(folder: Folder, rng: Random) -> Expected:
    """A row is a window of 48 x 3 numbers and its gesture, as a logger's features are exported."""
    keras = keras_of(2)
    layers = keras.layers
    (x, y), (x_test, y_test) = parts(rng, waves, 400, 200, 3)
    net = keras.Sequential(
        [
            layers.InputLayer((144,)),
            layers.Reshape((48, 3)),
            layers.Conv1D(16, 5, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(16, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    fit(net, x.reshape(-1, 144), y, CROSSENTROPY, epochs=20)
    net.save(folder / "gesture.h5")
    header = (*(f"f{i}" for i in range(144)), "gesture")
    names = ("circle", "idle", "wave")
    for name, values, labels in (("train", x, y), ("test", x_test, y_test)):
        rows = [
            (*row, names[label]) for row, label in zip(values.reshape(-1, 144).tolist(), labels, strict=True)
        ]
        save_table(folder / "data" / f"{name}.csv", rows, header)
    return Expected(model="gesture.h5", data="data", metric=accuracy(net, x_test.reshape(-1, 144), y_test))


CASES = {
    case.__name__: case
    for case in (
        *(iris, wine, wine_quality, seeds, pipes, german_logger, heart, heart_in_another_order),
        *(accelerometer_rows, one_feature, two_features_two_classes, rare_class, class_called_none),
        *(missing_cells, too_many_classes, windows_in_rows),
    )
}
