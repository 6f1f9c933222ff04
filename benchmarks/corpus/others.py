"""Models of several inputs or outputs, tags, tokens and boxes, and data of other forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from case import (
    Expected,
    accuracy,
    dense_net,
    fit,
    image_net,
    keras_of,
    network,
    parts,
    pictures,
    points,
    r2,
    save_arrays,
)

Folder = Path
Random = np.random.Generator
CROSSENTROPY = "sparse_categorical_crossentropy"


def several_labels(folder: Folder, rng: Random) -> Expected:
    """Tags: five sigmoids, any of them on."""
    keras = keras_of(3)
    x = rng.normal(0, 1, (700, 12)).astype(np.float32)
    y = (x @ np.random.default_rng(3).normal(0, 1, (12, 5)) > 0.8).astype(np.float32)
    net = dense_net(keras, 12, 5, "sigmoid")
    fit(net, x[:500], y[:500], "binary_crossentropy", epochs=30)
    net.save(folder / "tags.keras")
    save_arrays(folder, "tags.npz", (x[:500], y[:500]), (x[500:], y[500:]))
    metric = 100 * float(((net.predict(x[500:], verbose=0) > 0.5) == y[500:]).all(1).mean())
    return Expected(model="tags.keras", data="tags.npz", metric=metric, name="subset accuracy")


def boxes(folder: Folder, rng: Random) -> Expected:
    """Bounding boxes in pixels."""
    keras = keras_of(3)
    x = rng.integers(0, 60, (600, 32, 32, 1)).astype(np.uint8)
    y = np.zeros((600, 4), np.float32)
    for image, box in zip(x, y, strict=True):
        left, top, width, height = *rng.integers(0, 16, 2), *rng.integers(6, 15, 2)
        image[top : top + height, left : left + width] += 150
        box[:] = left, top, left + width, top + height
    net = image_net(keras, (32, 32, 1), 4, None)
    fit(net, x[:450] / 255.0, y[:450], "mse", epochs=40)
    net.save(folder / "boxes.keras")
    save_arrays(folder, "boxes.npz", (x[:450], y[:450]), (x[450:], y[450:]))
    return Expected(model="boxes.keras", data="boxes.npz", metric=r2(net, x[450:] / 255.0, y[450:]), loss=8)


def class_and_box(folder: Folder, rng: Random) -> Expected:
    """Two outputs: a class and a position."""
    keras = keras_of(3)
    layers = keras.layers
    x, y = pictures(rng, 500, 4)
    centre = np.stack((y // 2, y % 2), 1).astype(np.float32) * 0.5 + rng.normal(0.25, 0.02, (500, 2))
    inputs = keras.Input((24, 24, 3))
    z = layers.Conv2D(16, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    z = layers.Flatten()(layers.Conv2D(16, 3, strides=2, activation="relu")(z))
    kind = layers.Dense(4, activation="softmax", name="kind")(z)
    net = keras.Model(inputs, [kind, layers.Dense(2, name="centre")(z)])
    net.compile(keras.optimizers.Adam(3e-3), {"kind": CROSSENTROPY, "centre": "mse"})
    net.fit(x[:350], {"kind": y[:350], "centre": centre[:350]}, epochs=20, verbose=0)
    net.save(folder / "detector.keras")
    np.savez(
        folder / "data.npz",
        x_train=x[:350],
        kind_train=y[:350],
        centre_train=centre[:350].astype(np.float32),
        x_test=x[350:],
        kind_test=y[350:],
        centre_test=centre[350:].astype(np.float32),
    )
    found = net.predict(x[350:], verbose=0)[0].argmax(-1)
    return Expected(
        model="detector.keras", data="data.npz", metric=100 * float((found == y[350:]).mean()), loss=6
    )


def photo_and_numbers(folder: Folder, rng: Random) -> Expected:
    """A photo of uint8 scaled by hand, and measurements as they are."""
    keras = keras_of(3)
    layers = keras.layers
    x, y = pictures(rng, 500, 2)
    meta = (y[:, None] * 1.0 + rng.normal(0, 0.8, (500, 3))).astype(np.float32)
    photo, numbers = keras.Input((24, 24, 3), name="photo"), keras.Input((3,), name="meta")
    z = layers.Flatten()(layers.Conv2D(8, 3, strides=3, activation="relu")(photo))
    z = layers.Concatenate()([layers.Dense(16, activation="relu")(z), numbers])
    net = keras.Model([photo, numbers], layers.Dense(1, activation="sigmoid")(z))
    both = lambda at: {"photo": x[at] / 255.0, "meta": meta[at]}  # noqa: E731
    fit(net, both(slice(0, 350)), y[:350], "binary_crossentropy", epochs=20)
    net.save(folder / "both.keras")
    np.savez(
        folder / "data.npz",
        photo_train=x[:350],
        meta_train=meta[:350],
        y_train=y[:350],
        photo_test=x[350:],
        meta_test=meta[350:],
        y_test=y[350:],
    )
    metric = accuracy(net, both(slice(350, 500)), y[350:], threshold=0.5)
    return Expected(model="both.keras", data="data.npz", metric=metric)


def reviews(folder: Folder, rng: Random) -> Expected:
    """Tokens for an embedding (the text classification tutorial after its TextVectorization)."""
    keras = keras_of(3)
    layers = keras.layers
    y = np.arange(700) % 2
    x = rng.integers(1, 200, (700, 20))
    x[np.arange(700)[:, None], rng.integers(0, 20, (700, 5))] = (
        20 + 20 * y[:, None] + rng.integers(0, 15, (700, 5))
    )
    net = network(
        keras,
        (20,),
        layers.Embedding(200, 12),
        layers.GlobalAveragePooling1D(),
        layers.Dense(12, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    )
    fit(net, x[:500], y[:500], "binary_crossentropy", epochs=25, rate=1e-2)
    net.save(folder / "reviews.keras")
    save_arrays(folder, "reviews.npz", (x[:500], y[:500]), (x[500:], y[500:]))
    metric = accuracy(net, x[500:], y[500:], threshold=0.5)
    return Expected(model="reviews.keras", data="reviews.npz", metric=metric)


def denoiser(folder: Folder, rng: Random) -> Expected:
    """An autoencoder of pictures without any labels."""
    keras = keras_of(3)
    layers = keras.layers
    x = pictures(rng, 500, 4)[0].astype(np.float32) / 255
    net = network(
        keras,
        (24, 24, 3),
        layers.Conv2D(12, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(12, 3, padding="same", activation="relu"),
        layers.UpSampling2D(),
        layers.Conv2D(3, 3, padding="same", activation="sigmoid"),
    )
    fit(net, x[:350], x[:350], "mse", epochs=15)
    net.save(folder / "auto.keras")
    np.savez(folder / "data.npz", x_train=x[:350], x_test=x[350:])
    errors = (net.predict(x[350:], verbose=0) - x[350:]) ** 2
    metric = 100 * float(1 - errors.mean() / x[350:].var())
    return Expected(model="auto.keras", data="data.npz", metric=metric, name="explained variance")


def own_function(folder: Folder, rng: Random) -> Expected:
    """Data from a function in the user's file."""
    keras = keras_of(3)
    (x, y), (x_test, y_test) = parts(rng, points, 400, 200, 3, 6)
    x, x_test = ((v - x.mean(0)) / x.std(0) for v in (x, x_test))
    net = dense_net(keras, 6, 3, "softmax")
    fit(net, x, y, CROSSENTROPY, epochs=20)
    net.save(folder / "model.keras")
    save_arrays(folder, "arrays.npz", (x, y), (x_test, y_test))
    (folder / "mydata.py").write_text(
        "from pathlib import Path\n\nimport numpy as np\nimport tensorflow as tf\n\n"
        "HERE = Path(__file__).parent\n\n\n"
        "def load(split):\n"
        '    print("loading", split)\n'
        '    found = np.load(HERE / "arrays.npz")\n'
        '    data = tf.data.Dataset.from_tensor_slices((found[f"x_{split}"], found[f"y_{split}"]))\n'
        "    return data.batch(32)\n"
    )
    return Expected(model="model.keras", data="mydata.py:load", metric=accuracy(net, x_test, y_test))


def records(folder: Folder, rng: Random) -> Expected:
    """TFRecords of encoded pictures."""
    import tensorflow as tf

    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 3)
    net = image_net(keras_of(2), x.shape[1:], 3, "softmax")
    fit(net, x / 255.0, y, CROSSENTROPY)
    net.save(folder / "model.h5")
    (folder / "data").mkdir()
    feature, kinds = tf.train.Feature, tf.train
    for name, images, labels in (("train", x, y), ("test", x_test, y_test)):
        with tf.io.TFRecordWriter(str(folder / "data" / f"{name}.tfrecord")) as writer:
            for image, label in zip(images, labels, strict=True):
                encoded = tf.io.encode_png(image).numpy()
                features = {
                    "image/encoded": feature(bytes_list=kinds.BytesList(value=[encoded])),
                    "image/class/label": feature(int64_list=kinds.Int64List(value=[label])),
                }
                example = kinds.Example(features=kinds.Features(feature=features))
                writer.write(example.SerializeToString())
    return Expected(model="model.h5", data="data", metric=accuracy(net, x_test / 255.0, y_test))


def sounds(folder: Folder, rng: Random) -> Expected:
    """Folders of WAV files for a model of spectrograms: what they become is not known."""
    import wave

    image_net(keras_of(3), (49, 40, 1), 3, "softmax").save(folder / "kws.keras")
    for name in ("go", "stop", "yes"):
        (folder / "mini_speech_commands" / name).mkdir(parents=True)
        for index in range(5):
            with wave.open(str(folder / "mini_speech_commands" / name / f"{index}.wav"), "wb") as stream:
                stream.setnchannels(1)
                stream.setsampwidth(2)
                stream.setframerate(16_000)
                stream.writeframes(rng.integers(-9000, 9000, 16_000).astype("<i2").tobytes())
    return Expected(model="kws.keras", data="mini_speech_commands", advice="wav.*(spectrogram|features)")


CASES = {
    case.__name__: case
    for case in (
        several_labels,
        boxes,
        class_and_box,
        photo_and_numbers,
        reviews,
        denoiser,
        own_function,
        records,
        sounds,
    )
}
