"""A model against another one: growth by device, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pipeline.validate.against import Against, InstructionChange, describe_growth
from pipeline.validate.costs import EmulatedCost


def cost(instructions, device="rpi5"):
    return EmulatedCost(
        device=device,
        core="cortex-a76",
        runtime="litert 2.3.0, emulated cortex-a76",
        xnnpack_share=1.0,
        instructions=instructions,
        load_bytes=2 * instructions,
        store_bytes=instructions // 10,
        inferences=5,
    )


def test_growth_is_a_share_of_the_other_model():
    change = InstructionChange(ours=cost(1_030_000), other=cost(1_000_000))

    assert change.growth == pytest.approx(0.03)
    assert change.load_growth == pytest.approx(0.03)
    assert change.store_growth == pytest.approx(0.03)
    assert InstructionChange(ours=cost(970), other=cost(1000)).growth == pytest.approx(-0.03)


def test_growth_is_told_with_its_kind_its_device_and_both_counts():
    change = InstructionChange(ours=cost(1_030_000), other=cost(1_000_000))

    assert describe_growth(change) == "+3.00 % emulated instructions on rpi5 (1,030,000 against 1,000,000)"


def test_the_worst_device_is_the_one_that_grew_most(report):
    changes = (
        InstructionChange(ours=cost(1001), other=cost(1000)),
        InstructionChange(ours=cost(1050, "rpi4"), other=cost(1000, "rpi4")),
    )
    found = Against(other_name="v1.tflite", other=report.baseline, ours=report.quantized, devices=changes)

    assert found.worst.ours.device == "rpi4"
    assert replace(found, devices=()).worst is None
    kept = TypeAdapter(Against)
    assert kept.validate_json(kept.dump_json(found)) == found
