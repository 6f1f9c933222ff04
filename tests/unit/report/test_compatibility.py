"""What a model needs of the runtimes, in words and as tables."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.flatbuffer import read_tflite
from pipeline.node_parity import NodeDifference, Parity
from pipeline.report.compatibility import compatibility_tables, since_words
from pipeline.report.parity import parity_tables
from pipeline.validation.compatibility import check_compatibility


def rendered(parts):
    console = Console(file=io.StringIO(), width=110, color_system=None, highlight=False, markup=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()


def test_a_release_is_told_in_words():
    assert since_words("1.0.0", ("1.0.0", "2.3.0")) == "1.0.0 or older"
    assert since_words("2.1.6", ("1.0.0", "2.3.0")) == "2.1.6"
    assert since_words("", ("1.0.0", "2.3.0")) == "none up to 2.3.0"


def test_the_table_has_every_operator_and_the_whole(tiny_tflite_with):
    content = tiny_tflite_with(lambda model: setattr(model.operatorCodes[2], "version", 14))

    text = rendered(compatibility_tables(check_compatibility(read_tflite(content))))

    lines = [line.split() for line in text.splitlines()]
    assert ["CONV_2D,", "int8", "3", "1", "2.14.0", "or", "older", "1.0.0", "or", "older"] in lines
    assert any(
        line[:3] == ["the", "whole", "model"] and "none up to 2.14.0" in " ".join(line) for line in lines
    )
    assert "note: FULLY_CONNECTED version 14: no release of tflite-runtime up to 2.14.0 has it" in text


def test_the_nodes_that_differ_are_listed_and_the_rest_counted():
    origins = tuple(
        NodeDifference(
            node=index,
            operator="ADD",
            layer=f"add_{index}",
            tensor="t",
            differing_samples=2,
            largest_difference=1.0 + index,
            in_steps=True,
        )
        for index in range(12)
    )
    found = Parity(reference="one", other="two", samples=4, nodes=20, origins=origins)

    text = rendered(parity_tables([found]))

    assert "two against one: the first node that differs is 0 ADD of layer add_0" in text
    assert "The first 10 of 12 nodes" in text
    assert "add_9" in text
    assert "add_10" not in text
    assert "the most 11 ADD of layer add_11" in " ".join(text.split())
