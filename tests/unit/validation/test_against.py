"""A model against another one: growth by device, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pipeline.config import GatesConfig
from pipeline.validation.against import Against, InstructionChange
from pipeline.validation.costs import EmulatedCost
from pipeline.validation.gates.cost import regression


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
    change = InstructionChange(candidate=cost(1_030_000), reference=cost(1_000_000))

    assert change.growth == pytest.approx(0.03)
    assert InstructionChange(candidate=cost(970), reference=cost(1000)).growth == pytest.approx(-0.03)


def test_a_comparison_is_read_back_as_it_was_written(report):
    changes = (
        InstructionChange(candidate=cost(1001), reference=cost(1000)),
        InstructionChange(candidate=cost(1050, "rpi4"), reference=cost(1000, "rpi4")),
    )
    found = Against(
        reference_name="v1.tflite", reference=report.baseline, candidate=report.quantized, devices=changes
    )

    kept = TypeAdapter(Against)
    assert kept.validate_json(kept.dump_json(found)) == found


@pytest.mark.parametrize(("inconclusive", "outcome"), [("warn", "inconclusive"), ("fail", "failed")])
def test_accuracy_that_could_not_be_compared_is_not_passed(inconclusive, outcome, report):
    note = "accuracy is not compared: the file does not state its preprocessing"
    found = Against(
        reference_name="v1.tflite",
        reference=report.baseline,
        candidate=report.quantized,
        devices=(),
        note=note,
    )
    config = GatesConfig(inconclusive=inconclusive)
    [verdict] = regression(replace(report, against=found), config)

    assert (verdict.subject, verdict.outcome, verdict.got) == ("accuracy", outcome, note)
