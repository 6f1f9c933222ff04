"""The layout of TFLite metadata: the tables of ``metadata_schema.fbs``, version 1.1.0.

It follows tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs, at commit
02e5df0f84949c0db713916d1147e4499f73c06a, and has the tokenizer that release 0.4.4 added. A field's slot is
its place in the declaration; a union takes two, of which the first holds its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.flatbuffer.layout import Field

if TYPE_CHECKING:
    from pipeline.flatbuffer.layout import Kind

IDENTIFIER = b"M001"
ROOT = "ModelMetadata"
# The oldest parser that knows all that is written here: fields of 1.0.0 alone.
MIN_PARSER_VERSION = "1.0.0"

# Kinds of associated files.
UNKNOWN, DESCRIPTIONS, TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = 0, 1, 2, 3
# Colour spaces of images.
RGB, GRAYSCALE = 1, 2

UNIONS: dict[str, dict[int, str]] = {
    "ContentProperties": dict(
        enumerate(("NONE", "FeatureProperties", "ImageProperties", "BoundingBoxProperties"))
    ),
    "ProcessUnitOptions": dict(
        enumerate(
            (
                "NONE", "NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions",
                "BertTokenizerOptions", "SentencePieceTokenizerOptions", "RegexTokenizerOptions",
            )
        )
    ),
}  # fmt: skip

# Table -> its fields in order, each with the kind of what it holds: "name:kind" or "name:kind:what it refers
# to"; a number's kind is ``struct``'s format character.
_DECLARED = {
    "ModelMetadata": "Name:string Description:string Version:string SubgraphMetadata:tables:SubGraphMetadata "
    "Author:string License:string AssociatedFiles:tables:AssociatedFile MinParserVersion:string",
    "SubGraphMetadata": "Name:string Description:string InputTensorMetadata:tables:TensorMetadata "
    "OutputTensorMetadata:tables:TensorMetadata AssociatedFiles:tables:AssociatedFile "
    "InputProcessUnits:tables:ProcessUnit OutputProcessUnits:tables:ProcessUnit",
    "TensorMetadata": "Name:string Description:string DimensionNames:strings Content:table:Content "
    "ProcessUnits:tables:ProcessUnit Stats:table:Stats AssociatedFiles:tables:AssociatedFile",
    "AssociatedFile": "Name:string Description:string Type:b Locale:string",
    "Content": "ContentProperties:union:ContentProperties Range:table:ValueRange",
    "ValueRange": "Min:i Max:i",
    "FeatureProperties": "",
    "ImageProperties": "ColorSpace:b DefaultSize:table:ImageSize",
    "ImageSize": "Width:I Height:I",
    "BoundingBoxProperties": "Index:uints Type:b CoordinateType:b",
    "ProcessUnit": "Options:union:ProcessUnitOptions",
    "NormalizationOptions": "Mean:floats Std:floats",
    "ScoreCalibrationOptions": "ScoreTransformation:b DefaultScore:f",
    "ScoreThresholdingOptions": "GlobalScoreThreshold:f",
    "BertTokenizerOptions": "VocabFile:tables:AssociatedFile",
    "SentencePieceTokenizerOptions": "SentencePieceModel:tables:AssociatedFile "
    "VocabFile:tables:AssociatedFile",
    "RegexTokenizerOptions": "DelimRegexPattern:string VocabFile:tables:AssociatedFile",
    "Stats": "Max:floats Min:floats",
}
_VECTORS = {"floats": "f", "uints": "I"}
_REFERENCES: dict[str, Kind] = {
    "string": "string",
    "strings": "strings",
    "table": "table",
    "tables": "tables",
    "union": "union",
}


def _fields(declared: str) -> tuple[Field, ...]:
    found: list[Field] = []
    slot = 0
    for entry in declared.split():
        name, kind, refers_to = (*entry.split(":"), "")[:3]
        if kind == "union":
            found.append(Field(f"{name}Type", slot, "number", "B", 0))
            slot += 1
        if kind in _VECTORS:
            found.append(Field(name, slot, "numbers", _VECTORS[kind], 0))
        elif kind in _REFERENCES:
            found.append(Field(name, slot, _REFERENCES[kind], "I", 0, refers_to))
        else:
            found.append(Field(name, slot, "number", kind, 0))
        slot += 1
    return tuple(found)


TABLES: dict[str, tuple[Field, ...]] = {table: _fields(text) for table, text in _DECLARED.items()}
