"""Structures that Keras nests and the bridge lays out flat."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model
from models.prepare import prepare

FILES = [(library, suffix) for library in ("keras", "tf_keras") for suffix in (".keras", ".h5")]
FILM = (5, 8, 6, 3)


def same(outputs, expected_model, model, x):
    for expected, got in zip(outputs(expected_model, x), outputs(model, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def per_frame(library, *, functional):
    """A small convolutional network with arrays of both kinds, trainable and not."""
    layers = library.layers
    parts = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        library.Sequential([library.Input((6, 4, 4)), layers.Conv2D(3, 3), layers.BatchNormalization()]),
        layers.GlobalAveragePooling2D(),
    ]
    if not functional:
        return library.Sequential([library.Input(FILM[1:]), *parts])
    inputs = x = library.Input(FILM[1:])
    for part in parts:
        x = part(x)
    return library.Model(inputs, x)


def film_model(library, randomised, *, functional):
    layers = library.layers
    inner = randomised(per_frame(library, functional=functional))
    inputs = library.Input(FILM)
    x = layers.LSTM(4)(layers.TimeDistributed(inner)(inputs))
    return library.Model(inputs, layers.Dense(2, activation="softmax")(x))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(("library_name", "suffix"), [*FILES, ("tf_keras", "")])
def test_a_model_for_each_step_is_laid_out_flat(
    library_name, suffix, functional, randomised, save, outputs, rng
):
    model = film_model(import_module(library_name), randomised, functional=functional)
    x = rng.normal(size=(3, *FILM)).astype(np.float32)

    loaded = load_model(save(model, suffix))
    prepared, *_ = prepare(loaded)

    same(outputs, model, loaded, x)
    same(outputs, model, prepared, x)
    assert not {type(layer).__name__ for layer in loaded.layers} & {"TimeDistributed", "Functional"}


def test_a_model_for_each_step_that_is_still_nested_can_be_prepared(randomised, outputs, rng, legacy_keras):
    import tf_keras

    model = film_model(tf_keras, randomised, functional=True)

    prepared, *_ = prepare(model)

    same(outputs, model, prepared, rng.normal(size=(3, *FILM)).astype(np.float32))


def test_a_model_for_each_of_an_open_number_of_steps_is_refused(save, legacy_keras):
    import tf_keras

    inner = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
    inputs = tf_keras.Input((None, 4))
    model = tf_keras.Model(inputs, tf_keras.layers.TimeDistributed(inner, name="each")(inputs))

    with pytest.raises(ModelError, match=r"'each' \(TimeDistributed\): give .* a fixed number of steps"):
        load_model(save(model, ".h5"))


def encoder_decoder(library, kind, units=4):
    """A decoder that starts from the encoder's last states; these are an output too."""
    layers = library.layers
    make = getattr(layers, kind)
    source, target = library.Input((3, 3), name="source"), library.Input((4, 2), name="target")
    _, *states = make(units, return_state=True)(layers.Rescaling(0.5)(source))
    decoded = make(units, return_sequences=True)(layers.Rescaling(2.0)(target), initial_state=states)
    return library.Model([source, target], [layers.Dense(2)(decoded), *states])


def streamed(library, kind):
    """One that takes the states as inputs and gives them as outputs; the results come in two layers."""
    layers = library.layers
    count = {"LSTM": 2}.get(kind, 1)
    steps = library.Input((3, 3))
    states = [library.Input((4,), name=f"state_{number}") for number in range(count)]
    result, *after = getattr(layers, kind)(4, return_state=True)(
        steps, initial_state=[layers.Rescaling(0.5)(state) for state in states]
    )
    return library.Model([steps, *states], [layers.Dense(2)(result), *after])


def both_ways(library, kind):
    layers = library.layers
    inputs = library.Input((3, 3))
    part = layers.Bidirectional(getattr(layers, kind)(4, return_sequences=True, return_state=True))
    result, *states = part(inputs)
    again = layers.Bidirectional(getattr(layers, kind)(4, return_sequences=True))
    return library.Model(inputs, [again(result, initial_state=states), layers.Add()(states)])


@pytest.mark.parametrize("build", [encoder_decoder, streamed, both_ways])
@pytest.mark.parametrize(
    ("library_name", "suffix", "kind"),
    [("keras", ".keras", "LSTM"), ("tf_keras", ".h5", "LSTM"), ("keras", ".h5", "GRU"),
     ("tf_keras", ".keras", "GRU"), ("keras", ".keras", "SimpleRNN")],
)  # fmt: skip
def test_states_go_from_one_recurrent_layer_to_another(
    library_name, suffix, kind, build, randomised, save, outputs, rng
):
    model = randomised(build(import_module(library_name), kind))
    x = [rng.normal(size=(3, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    x = x if len(x) > 1 else x[0]

    loaded = load_model(save(model, suffix))
    prepared, *_ = prepare(loaded)

    same(outputs, model, loaded, x)
    same(outputs, model, prepared, x)
    assert [tuple(tensor.shape) for tensor in loaded.outputs] == [
        tuple(tensor.shape) for tensor in model.outputs
    ]


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_states_of_which_the_sequence_is_not_used_are_enough(
    library_name, suffix, randomised, save, outputs, rng
):
    library = import_module(library_name)
    inputs = library.Input((3, 3))
    _, hidden, cell = library.layers.LSTM(4, return_state=True)(inputs)
    model = randomised(library.Model(inputs, library.layers.Concatenate()([cell, hidden])))
    x = rng.normal(size=(3, 3, 3)).astype(np.float32)

    prepared, *_ = prepare(load_model(save(model, suffix)))

    same(outputs, model, prepared, x)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D"])
@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_a_layer_that_keeps_its_state_starts_each_sample_as_after_a_reset(
    library_name, suffix, kind, randomised, save, rng
):
    layers = (library := import_module(library_name)).layers
    layer = {
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(4, stateful=True)),
        "ConvLSTM1D": lambda: layers.ConvLSTM1D(2, 2, stateful=True),
    }.get(kind, lambda: getattr(layers, kind)(4, stateful=True))()
    shape = (5, 4, 3) if kind == "ConvLSTM1D" else (5, 3)
    inputs = library.Input(batch_shape=(2, *shape))
    model = randomised(library.Model(inputs, layer(inputs)))
    x = rng.normal(size=(2, *shape)).astype(np.float32)

    prepared, *_ = prepare(load_model(save(model, suffix)))

    expected = np.asarray(model(x, training=False))
    for _ in range(2):
        np.testing.assert_allclose(np.asarray(prepared(x, training=False)), expected, atol=1e-5)


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_a_layer_that_keeps_its_state_over_single_steps_is_refused_with_what_to_do(
    library_name, suffix, save
):
    library = import_module(library_name)
    inputs = library.Input(batch_shape=(1, 1, 3))
    model = library.Model(inputs, library.layers.LSTM(4, stateful=True, name="memory")(inputs))

    with pytest.raises(ModelError, match=r"'memory' \(LSTM\): stateful=True over one step .*initial_state"):
        load_model(save(model, suffix))


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_states_of_a_convolutional_layer_are_refused(library_name, suffix, save):
    library = import_module(library_name)
    inputs = library.Input((3, 6, 5, 2))
    _, hidden, _ = library.layers.ConvLSTM2D(2, 3, return_state=True, name="film")(inputs)

    with pytest.raises(ModelError, match=r"'film' \(ConvLSTM2D\): return_state=True is not supported"):
        load_model(save(library.Model(inputs, hidden), suffix))


@pytest.mark.parametrize("steps", [None, 200])
def test_states_over_more_steps_than_are_unrolled_are_refused(steps, save, legacy_keras):
    import tf_keras

    inputs = tf_keras.Input((steps, 3))
    _, hidden, _ = tf_keras.layers.LSTM(4, return_state=True, name="memory")(inputs)

    with pytest.raises(ModelError, match=r"'memory' \(LSTM\): its states .* at most 128"):
        load_model(save(tf_keras.Model(inputs, hidden), ".h5"))
