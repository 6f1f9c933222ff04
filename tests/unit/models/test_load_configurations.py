"""Model files whose configuration has another form than Keras gives it."""

from __future__ import annotations

import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.load import read_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("changed")


JUNK = st.sampled_from([None, True, -1, 10**30, 1.5, "", "x", [], [[]], {}, {"class_name": 3}, [None]])


def places(value, path=()):
    """The path of every value in a configuration."""
    yield path
    items = value if isinstance(value, list) else ()
    for key, deeper in value.items() if isinstance(value, dict) else enumerate(items):
        yield from places(deeper, (*path, key))


@pytest.fixture(scope="module")
def branched(tmp_path_factory):
    """The members of two archives: of a functional model with several inputs, and of a sequential one."""
    import keras

    first, second = keras.Input((6, 4), name="a"), keras.Input((4,), name="b")
    recurrent = keras.layers.LSTM(4, name="lstm")(first)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="relu")], name="inner")
    joined = keras.layers.Concatenate()([inner(recurrent), second]) * 2.0
    functional = keras.Model([first, second], keras.layers.Dense(3, activation="softmax")(joined))
    sequential = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    found = []
    for model in (functional, sequential):
        path = tmp_path_factory.mktemp("models") / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            found.append({name: archive.read(name) for name in archive.namelist()})
    return found


@settings(max_examples=200)
@given(data=st.data())
def test_a_configuration_of_any_other_form_is_read_or_refused_in_one_line(data, branched, folder):
    members = data.draw(st.sampled_from(branched))
    config = json.loads(members["config.json"])
    *path, last = data.draw(st.sampled_from([place for place in places(config) if place]))
    holder = config
    for key in path:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(JUNK)
    else:
        del holder[last]

    try:
        with zipfile.ZipFile(folder / "changed.keras", "w") as archive:
            for name, content in (members | {"config.json": json.dumps(config)}).items():
                archive.writestr(name, content)
        read_file(folder / "changed.keras")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may be read as well
