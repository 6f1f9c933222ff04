"""The ways in which raw samples usually become a model's input."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.config import InputPreprocessing, PreprocessingConfig
from pipeline.preparation.input_preprocessing import Probe, choose_preprocessing
from pipeline.preparation.input_styles import usual_styles


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_short_rows_of_integers_are_first_tried_as_they_are(dtype):
    columns = np.ones((9, 5), dtype)

    assert usual_styles(Port("x", (5,)), InputPreprocessing(), columns)[0].name == "as it is"


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint8", 1 / 255), ("int16", 1 / 32768), ("uint16", 1 / 65535)]
)
def test_flattened_images_and_recordings_are_first_tried_in_the_range_of_their_type(dtype, scale):
    rows = np.ones((9, 784), dtype)

    assert usual_styles(Port("x", (784,)), InputPreprocessing(), rows)[0].scale == scale


LABELS = np.arange(400) % 2


def right(share):
    """Outputs (400, 2) of which this share is right."""
    found = np.where(np.arange(400) < share * 400, LABELS, 1 - LABELS)
    return np.eye(2)[found]


@pytest.mark.parametrize(
    ("unit", "raw", "centred", "taken"),
    [
        (0.975, 0.985, 0.5, "scaled to 0..1"),
        (0.90, 0.985, 0.5, "as it is"),
        (0.975, 0.5, 0.985, "scaled to -1..1"),
    ],
    ids=["a little better", "clearly better", "another offset"],
)
def test_a_range_that_differs_by_a_factor_alone_has_to_be_clearly_better(unit, raw, centred, taken):
    images = np.random.default_rng(0).integers(0, 256, (400, 4, 4, 1)).astype(np.uint8)

    def predict(inputs):
        low, high = inputs[0].min(), inputs[0].max()
        return [right(raw if high > 2 else centred if low < 0 else unit)]

    probe = Probe(predict, [images], [LABELS], ("classification",))
    found = choose_preprocessing(probe, (Port("image", (4, 4, 1)),), PreprocessingConfig())

    assert found.transforms[0].reason.startswith(taken)


def test_images_of_wide_integers_are_tried_as_bytes_where_their_values_are():
    images = np.full((9, 4, 4, 1), 200, np.int64)

    def first(raw):
        return usual_styles(Port("x", (4, 4, 1)), InputPreprocessing(), raw)[0].name

    assert (first(images), first(images * 10), first(images // 200)) == (
        "scaled to 0..1",
        "as it is",
        "as it is",
    )
