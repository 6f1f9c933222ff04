"""What a runtime answers to the golden set: as much of it as the model's work allows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.inference import MIN_GOLDEN, record_golden
from pipeline.validation.model_under_test import Golden, ModelUnderTest


@pytest.mark.parametrize(
    ("inferences", "count"), [(None, 64), (1000, 64), (10, 10), (0, MIN_GOLDEN), (10.9, 10)]
)
def test_the_golden_set_is_cut_by_the_models_work_and_not_by_time(tiny_tflite, tmp_path, inferences, count):
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    under_test, golden = ModelUnderTest.open(tmp_path / "tiny.tflite"), Golden(None, 64, 0)
    for folder in ("whole", "found"):
        (tmp_path / folder).mkdir()
    with Session(host_runtime("litert"), under_test.path) as session:
        whole = record_golden(session, under_test, golden, tmp_path / "whole")
        work = sum(whole.placed.multiply_accumulates.values())
        most = None if inferences is None else int(inferences * work)
        found = record_golden(session, under_test, golden, tmp_path / "found", most)

    assert work > 0
    assert [len(array) for array in (*found.golden_inputs(), *found.golden_outputs())] == [count, count]
    np.testing.assert_array_equal(found.golden_outputs()[0], whole.golden_outputs()[0][:count])
