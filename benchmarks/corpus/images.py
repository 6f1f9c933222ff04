"""Pictures: class folders as competitions and tutorials lay them out, and the usual ways to scale pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from case import Expected, accuracy, fit, image_net, keras_of, parts, pictures, save_pictures

Folder = Path
Random = np.random.Generator
CROSSENTROPY = "sparse_categorical_crossentropy"
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _scaled(
    folder: Folder,
    rng: Random,
    scale: Any,
    *,
    by: str = "colour",
    names: tuple[str, ...] = ("apple", "kiwi", "plum"),
    splits: tuple[str, str] = ("train", "test"),
    generation: int = 2,
    model: str = "model.h5",
    activation: str | None = "softmax",
    suffix: str = ".png",
    config: str = "",
    **options: Any,
) -> Expected:
    """A model trained on pixels that went through ``scale``, the pictures in class folders."""
    keras = keras_of(generation)
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 210, len(names), by=by)
    net = image_net(keras, x.shape[1:], len(names), activation)
    fit(net, scale(x.astype(np.float32)), y, CROSSENTROPY)
    net.save(folder / model)
    for split, images, labels in ((splits[0], x, y), (splits[1], x_test, y_test)):
        save_pictures(folder / "data" / split, images, labels, names, suffix)
    metric = accuracy(net, scale(x_test.astype(np.float32)), y_test)
    return Expected(model=model, data="data", metric=metric, config=config, **options)


def unit_range(folder: Folder, rng: Random) -> Expected:
    """ImageDataGenerator(rescale=1/255), train and validation folders (the Keras 2 tutorials)."""
    return _scaled(folder, rng, lambda x: x / 255, splits=("train", "validation"))


def mobilenet_range(folder: Folder, rng: Random) -> Expected:
    """mobilenet_v2.preprocess_input: -1 to 1."""
    return _scaled(folder, rng, lambda x: x / 127.5 - 1, generation=3, model="model.keras")


def raw_pixels(folder: Folder, rng: Random) -> Expected:
    """Pixels as they are, as efficientnet.preprocess_input leaves them."""
    return _scaled(folder, rng, lambda x: x, generation=3, model="model.keras")


def torch_style(folder: Folder, rng: Random) -> Expected:
    """ToTensor and Normalize of torchvision, ImageFolder with train and val."""
    scale = lambda x: (x / 255 - np.float32(TORCH_MEAN)) / np.float32(TORCH_STD)  # noqa: E731
    return _scaled(folder, rng, scale, splits=("train", "val"))


def torch_style_declared(folder: Folder, rng: Random) -> Expected:
    """The same with mean and std in pipeline.toml, and nothing about 1/255."""
    scale = lambda x: (x / 255 - np.float32(TORCH_MEAN)) / np.float32(TORCH_STD)  # noqa: E731
    line = f"preprocessing = {{ mean = {list(TORCH_MEAN)}, std = {list(TORCH_STD)} }}"
    return _scaled(folder, rng, scale, splits=("train", "val"), config=line)


def caffe_style(folder: Folder, rng: Random) -> Expected:
    """vgg16.preprocess_input: BGR minus the means of ImageNet."""
    return _scaled(folder, rng, lambda x: x[..., ::-1] - np.float32((103.939, 116.779, 123.68)))


def cv2_style(folder: Folder, rng: Random) -> Expected:
    """Pictures of cv2.imread, BGR, divided by 255; said in one line."""
    line = 'preprocessing = { channel_order = "reversed" }'
    return _scaled(folder, rng, lambda x: x[..., ::-1] / 255, config=line)


def cv2_style_wide(folder: Folder, rng: Random) -> Expected:
    """BGR scaled to -1 to 1; only the order is said."""
    line = 'preprocessing = { channel_order = "reversed" }'
    return _scaled(folder, rng, lambda x: x[..., ::-1] / 127.5 - 1, config=line)


def cv2_style_unsaid(folder: Folder, rng: Random) -> Expected:
    """BGR and nothing said about it."""
    return _scaled(folder, rng, lambda x: x[..., ::-1] / 255)


def logits(folder: Folder, rng: Random) -> Expected:
    """Dense without activation and from_logits=True, as TensorFlow's image tutorial trains."""
    keras = keras_of(3)
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 4)
    net = image_net(keras, x.shape[1:], 4, None, keras.layers.Rescaling(1 / 255))
    net.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x, y, epochs=12, verbose=0)
    net.save(folder / "flowers.keras")
    names = ("daisy", "rose", "sunflower", "tulip")
    save_pictures(folder / "flower_photos", np.concatenate((x, x_test)), np.concatenate((y, y_test)), names)
    return Expected(
        model="flowers.keras", data="flower_photos", metric=accuracy(net, x_test, y_test), tolerance=4
    )


def cats_and_dogs(folder: Folder, rng: Random) -> Expected:
    """One sigmoid, training_set and test_set."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 300, 200, 2)
    net = image_net(keras_of(2), x.shape[1:], 1, "sigmoid")
    fit(net, x / 255.0, y, "binary_crossentropy")
    net.save(folder / "model.h5")
    for split, images, labels in (("training_set", x, y), ("test_set", x_test, y_test)):
        save_pictures(folder / "dataset" / split, images, labels, ("cats", "dogs"))
    return Expected(
        model="model.h5", data="dataset", metric=accuracy(net, x_test / 255.0, y_test, threshold=0.5)
    )


def _in_folders(folder: Folder, rng: Random, train: str, test: str, **options: Any) -> Expected:
    return _scaled(folder, rng, lambda x: x / 255, by="place", splits=(train, test), **options)


def nested_splits(folder: Folder, rng: Random) -> Expected:
    """seg_train/seg_train and seg_test/seg_test, with a folder of pictures to predict."""
    found = _in_folders(folder, rng, "seg_train/seg_train", "seg_test/seg_test")
    save_pictures(folder / "data", pictures(rng, 9)[0], np.zeros(9, int), ("seg_pred",))
    return found


def capital_splits(folder: Folder, rng: Random) -> Expected:
    """Train_data, Test_data and Valid_data."""
    found = _in_folders(folder, rng, "Train_data", "Test_data")
    images, labels = pictures(rng, 60)
    save_pictures(folder / "data" / "Valid_data", images, labels, ("apple", "kiwi", "plum"))
    return found


def training_and_testing(folder: Folder, rng: Random) -> Expected:
    """Training and Testing, JPEG."""
    return _in_folders(folder, rng, "Training", "Testing", suffix=".jpg", loss=6)


def unlabelled_test(folder: Folder, rng: Random) -> Expected:
    """train and validation with classes, test without."""
    found = _in_folders(folder, rng, "train", "validation")
    save_pictures(folder / "data", pictures(rng, 30)[0], np.zeros(30, int), ("test",))
    return found


def zipped_on_a_mac(folder: Folder, rng: Random) -> Expected:
    """__MACOSX, .DS_Store, ._ files and notebook checkpoints among the pictures."""
    found = _in_folders(folder, rng, "train", "test")
    for place in ("data/__MACOSX/train/apple", "data/train/.ipynb_checkpoints", "data/train/empty"):
        (folder / place).mkdir(parents=True)
    (folder / "data/__MACOSX/train/apple/._img_0000.png").write_bytes(b"\0\5\x16\7")
    (folder / "data/train/.ipynb_checkpoints/img_0000-checkpoint.png").write_bytes(b"")
    for place in ("data", "data/train", "data/train/kiwi"):
        (folder / place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "data/train/kiwi/._img_0001.png").write_bytes(b"\0\5\x16\7")
    return found


def pictures_and_a_list(folder: Folder, rng: Random) -> Expected:
    """images/ and labels.csv of file and label."""
    from case import save_table
    from PIL import Image

    names = ("bolt", "nut", "screw")
    images, labels = pictures(rng, 480)
    net = image_net(keras_of(2), images.shape[1:], 3, "softmax")
    fit(net, images[:360] / 255.0, labels[:360], CROSSENTROPY)
    net.save(folder / "model.h5")
    (folder / "data" / "images").mkdir(parents=True)
    rows = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / "data" / "images" / f"{index:04d}.png")
        rows.append((f"{index:04d}.png", names[label]))
    save_table(folder / "data" / "labels.csv", rows, ("file", "label"))
    metric = accuracy(net, images[360:] / 255.0, labels[360:])
    return Expected(model="model.h5", data="data", metric=metric, tolerance=3)


def grey_scans(folder: Folder, rng: Random) -> Expected:
    """Pictures of three equal channels for a model of one."""
    names = ("glioma", "meningioma", "none", "pituitary")
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 4)
    x, x_test = x[..., :1], x_test[..., :1]
    net = image_net(keras_of(2), x.shape[1:], 4, "softmax")
    fit(net, x / 255.0, y, CROSSENTROPY)
    net.save(folder / "scans.h5")
    for split, images, labels in (("Training", x, y), ("Testing", x_test, y_test)):
        save_pictures(folder / "data" / split, images.repeat(3, -1), labels, names)
    return Expected(model="scans.h5", data="data", metric=accuracy(net, x_test / 255.0, y_test), tolerance=2)


def labels_in_another_order(folder: Folder, rng: Random) -> Expected:
    """Trained with rock, paper, scissors; the folders are read as paper, rock, scissors."""
    found = _in_folders(folder, rng, "train", "test", names=("rock", "paper", "scissors"))
    return Expected(model=found.model, data=found.data, advice=r'labels.*"rock", "paper", "scissors"')


def labels_in_a_declared_order(folder: Folder, rng: Random) -> Expected:
    """The same, with the order said in one line."""
    line = 'data.labels = ["rock", "paper", "scissors"]'
    return _in_folders(folder, rng, "train", "test", names=("rock", "paper", "scissors"), config=line)


def untrained(folder: Folder, rng: Random) -> Expected:
    """A model that nobody trained."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 300, 200, 4)
    image_net(keras_of(3), x.shape[1:], 4, "softmax").save(folder / "model.keras")
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return Expected(model="model.keras", data="data.npz", advice="chance")


def masks(folder: Folder, rng: Random) -> Expected:
    """A U-Net's sigmoid mask, images/ and masks/ of 0 and 255 (the carvana kind)."""
    return _masks(folder, rng, {0: 0, 1: 255}, ".png")


def jpeg_masks(folder: Folder, rng: Random) -> Expected:
    """Masks that were saved as JPEG, so that some pixels are near 0 or 255."""
    return _masks(folder, rng, {0: 0, 1: 255}, ".jpg")


def masks_with_ignored_pixels(folder: Folder, rng: Random) -> Expected:
    """Three classes, and a border of 255 that is not judged (Pascal VOC)."""
    return _masks(folder, rng, {0: 0, 1: 1, 2: 2}, ".png", border=True)


def _masks(
    folder: Folder, rng: Random, values: dict[int, int], suffix: str, border: bool = False
) -> Expected:
    from PIL import Image

    classes, size, count = len(values), 32, 240
    images = rng.normal(80, 20, (count, size, size, 3))
    truth = np.zeros((count, size, size), np.int64)
    ignored = np.zeros((count, size, size), bool)
    for index in range(count):
        for label in range(1, classes):
            top, left = rng.integers(2, size - 14, 2)
            truth[index, top : top + 12, left : left + 12] = label
            ignored[index, top, left : left + 12] = border
    for label in range(1, classes):
        images[truth == label, label] += 90
    images = np.clip(images, 0, 255).astype(np.uint8)
    keras, layers = (module := keras_of(2)), module.layers
    inputs = layers.Input((size, size, 3))
    low = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    deep = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(low)
    joined = layers.Concatenate()([layers.UpSampling2D()(deep), low])
    outputs = 1 if classes == 2 else classes
    mask = layers.Conv2D(outputs, 1, activation="sigmoid" if outputs == 1 else "softmax")(joined)
    net = keras.Model(inputs, mask)
    target = truth[..., None] if outputs == 1 else truth
    fit(net, images[:180] / 255.0, target[:180], "binary_crossentropy" if outputs == 1 else CROSSENTROPY)
    net.save(folder / "unet.h5")
    colours = np.array([values[label] for label in range(classes)], np.uint8)
    for index in range(count):
        part = folder / "data" / ("train" if index < 180 else "test")
        for name, pixels in (("images", images[index]), ("masks", colours[truth[index]])):
            (part / name).mkdir(parents=True, exist_ok=True)
            if name == "masks":
                pixels = np.where(ignored[index], np.uint8(255), pixels)
            file = part / name / f"{index:03d}{suffix if name == 'masks' else '.png'}"
            Image.fromarray(pixels).save(file, quality=95)
    found = net.predict(images[180:] / 255.0, verbose=0)
    found = (found[..., 0] > 0.5).astype(int) if outputs == 1 else found.argmax(-1)
    seen = ~ignored[180:]
    scores = [
        ((found == label) & (truth[180:] == label) & seen).sum()
        / (((found == label) | (truth[180:] == label)) & seen).sum()
        for label in range(classes)
    ]
    metric = 100 * float(np.mean(scores))
    return Expected(model="unet.h5", data="data", metric=metric, name="mean IoU", tolerance=3)


def digits(folder: Folder, rng: Random) -> Expected:
    """MNIST's shapes: (28, 28) uint8 for a model of (28, 28, 1), scaled to 0..1 by hand."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 400, 200, 4, size=28)
    x, x_test = x[..., 0], x_test[..., 0]
    net = image_net(keras_of(3), (28, 28, 1), 4, "softmax")
    fit(net, x[..., None] / 255.0, y, CROSSENTROPY)
    net.save(folder / "mnist.keras")
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return Expected(
        model="mnist.keras", data="mnist.npz", metric=accuracy(net, x_test[..., None] / 255.0, y_test)
    )


def flat_digits(folder: Folder, rng: Random) -> Expected:
    """The first TensorFlow tutorial: Flatten and Dense, IDX files."""
    from case import dense_net

    (x, y), (x_test, y_test) = parts(rng, pictures, 400, 200, 4, size=28)
    x, x_test = x[..., 0], x_test[..., 0]
    keras = keras_of(2)
    net = dense_net(keras, 784, 4, "softmax")
    fit(net, x.reshape(-1, 784) / 255.0, y, CROSSENTROPY)
    net.save(folder / "model.h5")
    (folder / "data").mkdir()
    for name, images, labels in (("train", x, y), ("t10k", x_test, y_test)):
        head = np.array([0x803, *images.shape], ">i4").tobytes()
        (folder / f"data/{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = np.array([0x801, len(labels)], ">i4").tobytes()
        (folder / f"data/{name}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())
    return Expected(
        model="model.h5", data="data", metric=accuracy(net, x_test.reshape(-1, 784) / 255.0, y_test)
    )


def cifar(folder: Folder, rng: Random) -> Expected:
    """CIFAR's labels (n, 1), one-hot training, floats of 0..1 in the file."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 400, 200, 4, size=32)
    net = image_net(keras_of(2), x.shape[1:], 4, "softmax")
    fit(net, x / 255.0, np.eye(4)[y], "categorical_crossentropy")
    net.save(folder / "cifar.h5")
    scaled, scaled_test = (v.astype(np.float32) / 255 for v in (x, x_test))
    np.savez(
        folder / "cifar.npz", x_train=scaled, y_train=y[:, None], x_test=scaled_test, y_test=y_test[:, None]
    )
    return Expected(model="cifar.h5", data="cifar.npz", metric=accuracy(net, scaled_test, y_test))


def floats_of_another_range(folder: Folder, rng: Random) -> Expected:
    """A model trained on 0..1 that saturates early; the file has the same pixels as floats of 0..255."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 3, by="colour")
    keras = keras_of(2)
    saturating = (keras.layers.Rescaling(6.0, offset=-2.5), keras.layers.Activation("tanh"))
    net = image_net(keras, x.shape[1:], 3, "softmax", *saturating)
    fit(net, x / 255.0, y, CROSSENTROPY)
    net.save(folder / "model.h5")
    floats, floats_test = x.astype(np.float32), x_test.astype(np.float32)
    np.savez(folder / "data.npz", x_train=floats, y_train=y, x_test=floats_test, y_test=y_test)
    return Expected(model="model.h5", data="data.npz", advice="chance|preprocessing")


def with_duplicates(folder: Folder, rng: Random) -> Expected:
    """A tenth of the training samples are test samples."""
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 3)
    net = image_net(keras_of(2), x.shape[1:], 3, "softmax")
    fit(net, x / 255.0, y, CROSSENTROPY)
    net.save(folder / "model.h5")
    x, y = np.concatenate((x, x_test[:40])), np.concatenate((y, y_test[:40]))
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return Expected(model="model.h5", data="data.npz", metric=accuracy(net, x_test / 255.0, y_test))


def transfer_learning(folder: Folder, rng: Random) -> Expected:
    """base(x, training=False) on a frozen base with batch normalization (the Keras 3 guide)."""
    keras = keras_of(3)
    layers = keras.layers
    (x, y), (x_test, y_test) = parts(rng, pictures, 360, 200, 4)
    source = keras.Input(x.shape[1:])
    z = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(source)
    z = layers.ReLU()(layers.BatchNormalization()(z))
    z = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(z)
    base = keras.Model(source, z)
    whole = keras.Sequential([base, layers.Flatten(), layers.Dense(4, activation="softmax")])
    fit(whole, x / 127.5 - 1, y, CROSSENTROPY, epochs=8)
    base.trainable = False
    inputs = keras.Input(x.shape[1:])
    z = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(inputs))
    z = layers.Dropout(0.2)(layers.Flatten()(base(z, training=False)))
    net = keras.Model(inputs, layers.Dense(4)(z))
    net.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.layers[-1].set_weights(whole.layers[-1].get_weights())
    net.save(folder / "transfer.keras")
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return Expected(model="transfer.keras", data="data.npz", metric=accuracy(net, x_test, y_test))


CASES = {
    case.__name__: case
    for case in (
        *(unit_range, mobilenet_range, raw_pixels, torch_style, torch_style_declared, caffe_style, cv2_style),
        *(cv2_style_wide, cv2_style_unsaid, logits, cats_and_dogs, nested_splits, capital_splits),
        *(training_and_testing, unlabelled_test, zipped_on_a_mac, pictures_and_a_list, grey_scans),
        *(labels_in_another_order, labels_in_a_declared_order, untrained, masks, jpeg_masks),
        *(masks_with_ignored_pixels, digits, flat_digits, cifar, floats_of_another_range, with_duplicates),
        transfer_learning,
    )
}
