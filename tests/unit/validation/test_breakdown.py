"""The parts of a model and the whole that they are of: what a call costs, and parts that cannot run alone."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from pydantic import TypeAdapter

from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.breakdown import (
    Breakdown,
    EmulatedWhole,
    assemble,
    call_cost,
    measure_parts,
    write_parts,
)
from pipeline.validation.model_under_test import ModelUnderTest


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return ModelUnderTest.open(path)


def test_what_two_operators_save_in_one_file_is_the_call():
    call, delegate = np.array([100.0, 7.0, 3.0]), np.array([20.0, 1.0, 1.0])
    own = [np.array([n, n / 2, n / 4]) for n in (1000.0, 600.0, 80.0)]
    alone = [own[0] + call + delegate, own[1] + call + delegate, own[2] + call]
    together = {(0, 1): own[0] + own[1] + call + delegate, (1, 2): own[1] + own[2] + call + delegate}

    found = call_cost(together, alone, ["xnnpack-int8", "xnnpack-int8", "builtin"])

    np.testing.assert_allclose(found[0], call)
    np.testing.assert_allclose(found[1], delegate)


def test_a_call_costs_nothing_that_is_known_where_no_pair_tells():
    assert call_cost({}, [np.array([5.0])], ["builtin"]) == (0.0, 0.0)
    assert call_cost({(0, 1): None}, [np.array([5.0])] * 2, ["builtin"] * 2) == (0.0, 0.0)


def test_every_operator_is_timed_on_the_host(tiny, tmp_path):
    found = assemble(tiny, [measure_parts(host_runtime("litert"), write_parts(tiny, tmp_path))])

    assert [row.op for row in found.operators] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert all(row.host_us is not None and row.host_us >= 0 for row in found.operators)
    assert found.operators[0].macs == 4 * 4 * 4 * 3 * 3
    assert found.host.total_us > 0
    assert found.devices == ()
    kept = TypeAdapter(Breakdown)
    assert kept.validate_json(kept.dump_json(found)) == found


def test_an_operator_that_the_runtime_refuses_alone_has_no_cost_and_the_others_have(tmp_path, tiny):
    parts = write_parts(tiny, tmp_path)
    parts.singles[1].write_bytes(b"no model")

    found = measure_parts(host_runtime("litert"), parts)

    assert [cost is None for cost in found.operators] == [False, True, False, False]


def test_a_custom_operator_has_no_file_of_its_own(tiny_tflite_with, tmp_path):
    def edit(model):
        code = model.operatorCodes[3]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"Mine"

    from pipeline.flatbuffer import read_tflite

    flat = read_tflite(tiny_tflite_with(edit), allow_custom=None)
    parts = write_parts(ModelUnderTest(tmp_path / "model.tflite", flat), tmp_path)

    assert [path is None for path in parts.singles] == [False, False, False, True]
    assert (2, 3) not in parts.pairs


def test_parts_that_add_up_account_for_all():
    whole = EmulatedWhole(
        device="rpi5", core="cortex-a76", instructions=1000, invoke=100, operators=880, partitions=1
    )

    assert whole.share == pytest.approx(0.98)
