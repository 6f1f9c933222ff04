"""What a runtime answers to the golden set: as much of it as the model's work allows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validate.on_runtime import LEAST_GOLDEN, _start
from pipeline.validate.subject import Golden, Subject


@pytest.mark.parametrize(
    ("inferences", "count"), [(None, 64), (1000, 64), (10, 10), (0, LEAST_GOLDEN), (10.9, 10)]
)
def test_the_golden_set_is_cut_by_the_models_work_and_not_by_time(tiny_tflite, tmp_path, inferences, count):
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    subject, golden = Subject.open(tmp_path / "tiny.tflite"), Golden(None, 64, 0)
    with Session(host_runtime("litert"), subject.path) as session:
        whole = _start(session, subject, golden)
        work = sum(whole.placed.multiply_accumulates.values())
        found = _start(session, subject, golden, None if inferences is None else int(inferences * work))

    assert work > 0
    assert [len(array) for array in (*found.golden.inputs, *found.golden.outputs)] == [count, count]
    np.testing.assert_array_equal(found.golden.outputs[0], whole.golden.outputs[0][:count])
