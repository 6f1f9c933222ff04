"""The layout agrees with the schema that LiteRT ships, so that an update cannot leave a field unverified."""

from __future__ import annotations

import inspect
import re

import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.flatbuffer import layout

ACCESSOR = re.compile(r"    def (\w+)\(self.*?\):\n(.*?)(?=\n    #|\Z)", re.DOTALL)


def test_it_knows_slots_widths_and_defaults():
    by_name = {field.name: field for field in layout.fields("Conv2DOptions")}

    assert (by_name["StrideW"].slot, by_name["StrideW"].code, by_name["StrideW"].default) == (1, "i", 0)
    assert (by_name["DilationWFactor"].slot, by_name["DilationWFactor"].default) == (4, 1)


def test_every_reference_between_tables_is_known():
    tables = 0
    for source in re.split(r"(?m)^class ", inspect.getsource(schema)):
        table = source[: source.index("(")]
        if f"{table}Start" not in vars(schema):
            continue
        accessors = ACCESSOR.findall(source[: source.index(f"def {table}Start")])
        referring = {name for name, body in accessors if "obj.Init(" in body or "import Table" in body}
        kinds = {field.name: field.kind for field in layout.fields(table)}
        assert referring == {name for name, kind in kinds.items() if kind in ("table", "tables", "union")}, (
            table
        )
        tables += 1
    assert tables > 150


def test_scales_are_read_as_floating_point():
    codes = {field.name: field.code for field in layout.fields("QuantizationParameters")}

    assert codes["Scale"] == codes["Min"] == codes["Max"] == "f"
    assert codes["ZeroPoint"] == "q"


@pytest.mark.parametrize(
    ("operator", "table"),
    [
        ("CONV_2D", "Conv2DOptions"),
        ("AVERAGE_POOL_2D", "Pool2DOptions"),
        ("BATCH_MATMUL", "BatchMatMulOptions"),
        ("STABLEHLO_SCATTER", "StablehloScatterOptions"),
        ("MEAN", ""),
    ],
)
def test_options_are_found_by_the_operators_name(operator, table):
    assert layout.options_table(operator) == table
