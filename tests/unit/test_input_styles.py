"""The ways in which raw samples usually become a model's input."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.config import InputPreprocessing
from pipeline.input_styles import usual_styles


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
