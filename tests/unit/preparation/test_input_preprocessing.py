"""How raw samples become a model's inputs where nobody declares it, under what is declared, and by input."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.device.predict import to_input
from deploy.manifest import Input
from models.ports import Port
from pipeline.config import PreprocessingConfig
from pipeline.errors import ConfigError
from pipeline.preparation.input_preprocessing import Probe, choose_preprocessing
from pipeline.release.manifest import _steps
from pipeline.runtimes.messages import Tensor
from pipeline.runtimes.quantization import as_input

RAW = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1)
BRIGHT = ((RAW > 127) & (RAW < 250)).astype(np.int64).reshape(-1)
GREY, PHOTO = Port("image", (1, 1, 1)), Port("photo", (4, 4, 3))
RANGES = [
    ((127.5, 249.5), 1.0, 0.0, "as it is"),
    ((127.5 / 255, 249.5 / 255), 1 / 255, 0.0, "scaled to 0..1"),
    ((0.0, 249.5 / 127.5 - 1), 1 / 127.5, -1.0, "scaled to -1..1"),
]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE = (103.939, 116.779, 123.68)


def band(low, high):
    """A classifier of one value x: class 1 where ``low < x < high``, else class 0."""

    def predict(inputs):
        x = inputs[0].reshape(len(inputs[0]), -1)[:, :1]
        return [np.hstack([np.abs(x - (low + high) / 2), np.full_like(x, (high - low) / 2)])]

    return predict


def choose(predict, raw, target, task="classification", ports=(GREY,), **config):
    raws = raw if isinstance(raw, list) else [raw]
    probe = Probe(predict, raws, [target], (task,))
    return choose_preprocessing(probe, ports, PreprocessingConfig.model_validate(config))


def photos(count=300):
    """Noisy photos of which one channel is brighter: that is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.normal(110, 20, (count, 4, 4, 3))
    images[np.arange(count), :, :, labels] += 30
    return np.clip(images, 0, 255).astype(np.uint8), labels


def trained(prepare):
    """The nearest of the classes' mean inputs, as ``prepare`` makes them; far from all of them it is lost."""
    images, labels = photos()
    seen = prepare(images.astype(np.float64)).mean(axis=(1, 2))
    centres = np.stack([seen[labels == label].mean(axis=0) for label in range(3)])
    usual = np.square(seen - centres[labels]).sum(axis=1).max()

    def predict(inputs):
        means = inputs[0].mean(axis=(1, 2))
        distances = np.square(means[:, None] - centres).sum(axis=-1)
        lost = distances.min(axis=1, keepdims=True) > usual
        return [np.where(lost, [1.0, 0.0, 0.0], -distances)]

    return predict


@pytest.mark.parametrize(("limits", "scale", "offset", "said"), RANGES)
def test_the_range_under_which_the_model_is_best_is_taken(limits, scale, offset, said):
    found = choose(band(*limits), RAW, BRIGHT)

    [transform] = found.transforms
    assert (transform.scale, transform.offset) == (pytest.approx((scale,)), pytest.approx((offset,)))
    assert transform.reason.startswith(f"{said}: accuracy 100.0% on 256 samples, ")
    assert str(found.findings[0]).startswith(f"input 'image': {said} (accuracy 100.0% on 256 samples, ")
    assert found.warnings == ()


STYLES = [
    (lambda x: x / 255, "scaled to 0..1"),
    (lambda x: x, "as it is"),
    (lambda x: x / 127.5 - 1, "scaled to -1..1"),
    (lambda x: (x / 255 - MEAN) / STD, "torch style"),
    (lambda x: x[..., ::-1] - CAFFE, "caffe style"),
    (lambda x: x - CAFFE[::-1], "less ImageNet's mean"),
    (lambda x: x[..., ::-1] / 255, "scaled to 0..1, channels reversed"),
    (lambda x: x[..., ::-1] / 127.5 - 1, "scaled to -1..1, channels reversed"),
]


@pytest.mark.parametrize(("style", "name"), STYLES, ids=[name for _, name in STYLES])
def test_every_usual_style_of_photos_is_found(style, name):
    images, labels = photos()
    found = choose(trained(style), images, labels, ports=(PHOTO,))

    np.testing.assert_allclose(found.transforms[0].apply(images), style(images.astype(float)), atol=1e-4)
    assert found.transforms[0].reason.startswith(f"{name}: accuracy")


def test_the_range_is_tried_under_the_declared_mean_and_deviation():
    images, labels = photos()
    found = choose(trained(STYLES[3][0]), images, labels, ports=(PHOTO,), mean=MEAN, std=STD)

    np.testing.assert_allclose(found.transforms[0].apply(images), (images / 255 - MEAN) / STD, atol=1e-4)
    assert str(found.findings[0]).startswith(
        "input 'photo': scaled to 0..1, then the declared mean and std ("
    )
    assert found.warnings == ()


@pytest.mark.parametrize("style", [lambda x: x[..., ::-1] / 255, lambda x: x[..., ::-1] / 127.5 - 1])
def test_the_range_is_tried_under_the_declared_channel_order(style):
    images, labels = photos()
    found = choose(trained(style), images, labels, ports=(PHOTO,), channel_order="reversed")

    np.testing.assert_allclose(found.transforms[0].apply(images), style(images.astype(float)), atol=1e-4)


@pytest.mark.parametrize(("style", "name"), [STYLES[0], STYLES[2]])
def test_the_range_is_found_where_the_labels_are_in_another_order(style, name):
    images, labels = photos()
    found = choose(trained(style), images, (labels + 1) % 3, ports=(PHOTO,))

    np.testing.assert_allclose(found.transforms[0].apply(images), style(images.astype(float)), atol=1e-4)
    assert "100.0% with the labels in another order" in str(found.findings[0])


def test_positions_without_a_class_stay_so_where_masks_are_in_another_order():
    raw = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    masks = (raw[..., 0] < 128).astype(np.int64)
    masks[:, 0] = -1

    def bright(inputs):
        return [(inputs[0] >= 128 / 255).astype(np.float32)]

    found = choose(bright, raw, masks, "segmentation", (Port("image", (4, 4, 1)),))

    assert found.transforms[0].scale == pytest.approx((1 / 255,))
    assert "100.0% with the labels in another order" in str(found.findings[0])


def test_reversed_channels_are_not_taken_for_another_order_of_labels_that_are_colours():
    images, labels = photos()
    found = choose(trained(STYLES[6][0]), images, labels, ports=(PHOTO,))

    assert found.transforms[0].reverse_channels
    assert "another order" not in str(found.findings[0])


def test_declared_channels_are_not_reversed():
    images, labels = photos()
    found = choose(
        trained(lambda x: x[..., ::-1] / 255), images, labels, ports=(PHOTO,), channel_order="as stored"
    )

    assert not found.transforms[0].reverse_channels


def test_a_model_that_does_not_mind_the_channels_keeps_them():
    images, _ = photos()
    bright = (images.mean(axis=(1, 2, 3)) > 120).astype(int)

    def predict(inputs):
        mean = inputs[0].mean(axis=(1, 2, 3)) * 255 - 120
        return [np.stack([-mean, mean], axis=1)]

    assert not choose(predict, images, bright, ports=(PHOTO,)).transforms[0].reverse_channels


def test_each_input_is_probed_for_itself():
    images, labels = photos()
    of_photo = trained(lambda x: x / 255)
    numbers = np.random.default_rng(1).normal(50, 10, (len(images), 2)).astype(np.float32)
    shifted = (labels + (numbers[:, 0] > 50)) % 3

    def predict(inputs):
        scores = of_photo(inputs)[0]
        turned = (scores.argmax(axis=1) + (inputs[1][:, 0] > 50)) % 3
        return [np.eye(3)[turned]]

    ports = (PHOTO, Port("meta", (2,)))
    found = choose(predict, [images, numbers], shifted, ports=ports)

    assert found.transforms[0].scale == pytest.approx((1 / 255,))
    assert (found.transforms[1].scale, found.transforms[1].offset) == ((1.0,), (0.0,))
    assert "floats are not rescaled" in str(found.findings[1])
    assert "floats" not in str(found.findings[0])


def test_two_photos_of_one_style_are_both_found():
    images, labels = photos()
    one = trained(STYLES[4][0])

    def predict(inputs):
        return [np.minimum(one(inputs[:1])[0], one(inputs[1:])[0])]

    found = choose(predict, [images, images], labels, ports=(PHOTO, Port("other", (4, 4, 3))))

    assert all(transform.reason.startswith("caffe style") for transform in found.transforms)


def test_an_input_has_a_section_of_its_own():
    images, labels = photos()

    def predict(inputs):
        return trained(lambda x: x / 255)(inputs)

    ports = (PHOTO, Port("meta", (2,)))
    numbers = np.ones((len(images), 2), np.float32)
    found = choose(predict, [images, numbers], labels, ports=ports, scale=0.5, photo={"scale": 1 / 255})

    assert found.transforms[0].scale == pytest.approx((1 / 255,))
    assert found.transforms[1].scale == (0.5,)


def test_a_section_of_no_input_names_the_nearest():
    with pytest.raises(ConfigError, match=r"preprocessing\.phot: .* did you mean \[preprocessing\.photo\]"):
        choose(band(0, 1), RAW, BRIGHT, ports=(Port("photo", (1, 1, 1)),), phot={"scale": 2.0})


def test_a_mean_of_other_channels_than_the_input_has_is_refused():
    with pytest.raises(ConfigError, match=r"preprocessing\.mean: 3 values.*'meta' \(2,\) has 2"):
        choose(
            band(0, 1), [RAW, np.ones((256, 2))], BRIGHT,
            ports=(Port("x", (1, 1, 3)), Port("meta", (2,))), mean=MEAN,
        )  # fmt: skip


def test_reversed_channels_are_those_of_images():
    found = choose(
        band(0, 1), [RAW, np.ones((256, 2), np.float32)], BRIGHT,
        ports=(GREY, Port("meta", (2,))), channel_order="reversed",
    )  # fmt: skip

    assert [transform.reverse_channels for transform in found.transforms] == [True, False]


def test_an_autoencoder_is_matched_by_how_much_it_explains():
    raw = np.random.default_rng(0).integers(0, 256, (64, 6)).astype(np.uint8)

    found = choose(lambda x: [np.clip(x[0], 0, 1)], raw, None, "reconstruction", (Port("x", (6,)),))

    assert found.transforms[0].scale == pytest.approx((1 / 255,))
    assert "explained variance 100.0%" in found.transforms[0].reason


def test_a_regression_is_matched_by_how_much_it_explains():
    raw = np.random.default_rng(0).integers(0, 256, (64, 6)).astype(np.uint8)

    def model(x):
        return [np.tanh(x[0]).mean(axis=1, keepdims=True)]

    [target] = model([raw / 127.5 - 1])
    found = choose(model, raw, target, "regression", (Port("x", (6,)),))

    assert found.transforms[0].scale == pytest.approx((1 / 127.5,))


def test_a_number_that_is_no_picture_goes_in_as_it_is():
    ages = np.arange(20, 276).reshape(-1, 1)
    found = choose(band(127.5 / 255, 1), ages, (ages[:, 0] > 127).astype(int), ports=(Port("age", (1,)),))

    assert (found.transforms[0].scale, found.transforms[0].reason[:8]) == ((1.0,), "as it is")


def test_raw_floats_go_in_as_they_are():
    found = choose(band(127.5, 249.5), RAW[:, 0, 0].astype(np.float32), BRIGHT, ports=(Port("x", (1,)),))

    assert (found.transforms[0].scale, found.transforms[0].offset, found.warnings) == ((1.0,), (0.0,), ())
    assert str(found.findings[0]).startswith("input 'x': floats are not rescaled (")


def test_float_images_in_another_range_are_warned_about_with_the_line_to_write():
    found = choose(band(0.0, 249.5 / 127.5 - 1), RAW.astype(np.float32), BRIGHT)

    assert found.transforms[0].scale == (1.0,)
    [warning] = found.warnings
    assert warning.startswith("inputs run from 0 to 255, where the model has accuracy ")
    assert "with -1 to 1 (scaled to -1..1) it has 100.0%" in warning
    assert warning.endswith("set [preprocessing] scale = 0.00784313725, offset = -1")


def test_float_vectors_are_warned_about_where_the_model_is_no_better_than_chance():
    vectors = np.repeat(RAW[:, 0, 0], 64, axis=1).astype(np.float32)
    found = choose(band(127.5 / 255, 249.5 / 255), vectors, BRIGHT, ports=(Port("x", (64,)),))

    assert found.transforms[0].scale == (1.0,)
    assert found.warnings[0].endswith("set [preprocessing] scale = 0.00392156863")


def test_image_ranges_are_not_tried_on_columns_of_a_table():
    columns = np.random.default_rng(0).normal(50, 10, (200, 5)).astype(np.float32)
    guess = choose(
        lambda x: [np.eye(2)[np.zeros(len(x[0]), int)]], columns, np.arange(200) % 2, ports=(Port("x", (5,)),)
    )

    assert tuple(map(str, guess.findings)) == (
        "input 'x': floats are not rescaled (accuracy 50.0% on 200 samples)",
    )


def limited(table):
    """A model of a photo that is right in a share of the samples, by how its input was made."""
    _, labels = photos()

    def predict(inputs):
        mean = float(inputs[0][..., 0].mean())
        reverse = float(inputs[0][..., 0].mean()) - float(inputs[0][..., 2].mean())
        share = max(
            (right for seen, right in table if np.allclose(seen, (mean, reverse), atol=1e-3)), default=0.34
        )
        return [np.eye(3)[np.where(np.arange(len(labels)) % 100 < 100 * share, labels, 0)]]

    return predict


def seen_as(style):
    images, _ = photos()
    made = style(images.astype(np.float64))
    return float(made[..., 0].mean()), float(made[..., 0].mean() - made[..., 2].mean())


def caffe_style(x):
    return x[..., ::-1] - CAFFE


def reversed_to_one(x):
    return x[..., ::-1] / 127.5 - 1


def test_of_two_unusual_styles_the_better_one_is_taken_without_a_margin():
    images, labels = photos()
    table = [(seen_as(reversed_to_one), 0.95), (seen_as(caffe_style), 0.96)]
    found = choose(limited(table), images, labels, ports=(PHOTO,))

    assert found.transforms[0].reason.startswith("caffe style: ")


def test_an_unusual_style_that_is_a_little_better_is_named_with_its_settings():
    images, labels = photos()
    table = [(seen_as(lambda x: x / 255), 0.90), (seen_as(caffe_style), 0.92)]
    found = choose(limited(table), images, labels, ports=(PHOTO,))

    assert found.transforms[0].reason.startswith("scaled to 0..1: ")
    assert "caffe style is a little better" in found.warnings[0]
    assert found.warnings[0].endswith('mean = [103.939, 116.779, 123.68], channel_order = "reversed"')


def test_float_images_in_0_to_1_are_tried_as_bytes_would_be():
    images, labels = photos()
    found = choose(trained(STYLES[4][0]), (images / 255).astype(np.float32), labels, ports=(PHOTO,))

    assert found.warnings[0].endswith(
        'set [preprocessing] scale = 255, mean = [103.939, 116.779, 123.68], channel_order = "reversed"'
    )
    assert "no better than chance, and tried were: " in str(found.findings[0])


def test_a_declared_range_is_warned_about_only_where_it_does_not_suit_the_model():
    fits, does_not = band(127.5 / 255, 249.5 / 255), band(127.5, 249.5)

    assert choose(fits, RAW, BRIGHT, scale=1 / 255).warnings == ()
    assert "accuracy" in choose(does_not, RAW, BRIGHT, scale=1 / 255).warnings[0]


def test_without_targets_nothing_tells_and_that_is_said():
    found = choose(band(0, 1), RAW, None, "embedding")

    assert found.transforms[0].scale == pytest.approx((1 / 255,))
    assert "cannot detect the input range" in found.warnings[0]


def test_indices_go_in_as_they_are_whatever_is_declared():
    words = np.ones((256, 9), np.int32)
    found = choose(
        lambda _: [np.eye(2)[BRIGHT]], words, BRIGHT, ports=(Port("words", (9,), "int32"),), scale=2.0
    )

    assert found.transforms[0].indices


def test_a_release_does_to_raw_samples_what_was_chosen():
    images, labels = photos()
    numbers = np.random.default_rng(1).normal(50, 10, (len(images), 2)).astype(np.float32)
    ports = (PHOTO, Port("meta", (2,)))
    caffe = trained(lambda x: x[..., ::-1] - CAFFE)
    found = choose(caffe, [images, numbers], labels, ports=ports, meta={"mean": (50.0, 40.0), "std": (10.0,)})

    for transform, port, raw in zip(found.transforms, ports, (images, numbers), strict=True):
        tensor = Tensor(port.name, (1, *port.shape), "int8", 1.7, 3)
        steps = _steps(transform, tensor, "bilinear")
        contract = Input(
            name=port.name, shape=tensor.shape, dtype="int8", scale=1.7, zero_point=3, preprocessing=steps
        ).model_dump(mode="json")
        expected = as_input(transform.apply(raw), tensor)
        np.testing.assert_array_equal(np.stack([to_input(sample, contract) for sample in raw]), expected)
    assert found.transforms[0].reverse_channels
