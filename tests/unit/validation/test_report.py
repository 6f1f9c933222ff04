"""report.json: versioned, described by its JSON Schema, and readable in later versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from pipeline.config import GatesConfig
from pipeline.errors import InputError
from pipeline.flatbuffer import FloatOperator
from pipeline.validation.gates import with_verdicts
from pipeline.validation.report import read_report, report_schema, write_report
from pipeline.validation.report_versions import SCHEMA_VERSION, migrated

VERSION_0 = Path(__file__).with_name("report_version_0.json")


@pytest.fixture
def plain(report):
    return with_verdicts(report, GatesConfig()).to_dict()


def validate(values):
    jsonschema.Draft202012Validator(report_schema()).validate(values)


def test_a_report_names_its_version_and_validates_with_the_schema(plain):
    assert plain["schema_version"] == SCHEMA_VERSION
    validate(plain)


@pytest.mark.parametrize(
    "damage",
    [{"verdicts": [{"gate": "same bits"}]}, {"schema_version": 0}, {"passed": "yes"}, {"devices": None}],
)
def test_what_is_no_report_does_not_validate(plain, damage):
    with pytest.raises(jsonschema.ValidationError):
        validate(plain | damage)


def test_a_report_that_is_written_can_be_read(report, tmp_path):
    write_report(report, tmp_path / "report.json")

    assert read_report(tmp_path / "report.json") == report


def test_a_report_from_before_versions_still_opens():
    found = read_report(VERSION_0)

    assert [str(verdict) for verdict in found.verdicts][:4] == [
        "accuracy",
        "accuracy (rpi4)",
        "accuracy (rpi5)",
        "per-class recall",
    ]
    assert {"bit-exactness (rpi4)", "stability (1 thread)", "latency"} <= set(map(str, found.verdicts))
    assert found.unrolled == ("lstm",)
    first = found.baseline.float_operators[0]
    assert (first.index, first.name, first.dtype) == (0, "CONV_2D", "float32")
    assert {shift.verdict for shift in found.shift.shifts if shift.pooled is None} == {"skipped"}


def test_fields_that_had_other_names_in_version_1_are_read():
    values = json.loads(VERSION_0.read_text())
    fault = {"environment": "emulated board", "done": "memory.max 8 MiB", "outcome": "killed", "ok": False}
    search = {"of": "board", "least_mib": 80, "resolution_mib": 8, "steps": [fault]}
    change = {"ours": {"device": "rpi4"}, "other": {"device": "rpi4"}}
    values |= {
        "board": {"board_memory": search},
        "against": {"other_name": "v1.tflite", "other": {}, "ours": {}, "devices": [change]},
    }
    found = migrated(values)

    assert found["board"]["board_memory"]["min_mib"] == 80
    [step] = found["board"]["board_memory"]["steps"]
    assert (step["action"], step["passed"]) == ("memory.max 8 MiB", False)
    assert found["against"].keys() == {"reference_name", "reference", "candidate", "devices"}
    assert found["against"]["devices"][0].keys() == {"candidate", "reference"}
    [*_, severity] = found["shift"]["shifts"][0]["severities"]
    assert "informative" in severity


def test_a_report_from_before_versions_is_written_in_the_current_one(tmp_path):
    found = read_report(VERSION_0)
    write_report(found, tmp_path / "report.json")

    validate(json.loads((tmp_path / "report.json").read_text()))
    assert read_report(tmp_path / "report.json") == found


@pytest.mark.parametrize(
    ("title", "gate", "subject"),
    [
        ("same bits on the board", "board", "bit-exactness"),
        ("stable on the board", "board", "stability"),
        ("memory on the board", "board", "memory"),
        ("same bits on rpi5", "bit-exactness", "rpi5"),
        ("stable on 4 threads", "stability", "4 threads"),
        ("XNNPACK int8", "xnnpack", ""),
        ("class recall of kind", "per-class recall", "kind"),
        ("accuracy of kind on rpi4", "accuracy", "kind, rpi4"),
        ("accuracy by channel on rpi4", "accuracy", "by channel, rpi4"),
        ("AUC", "accuracy", "AUC"),
        ("regression of instructions on rpi5", "regression", "instructions, rpi5"),
        ("regression of host latency", "regression", "host latency"),
        ("tflite-runtime 2.14.0", "cross-runtime", "tflite-runtime 2.14.0"),
        ("finite outputs", "finite outputs", ""),
    ],
)
def test_titles_of_gates_from_before_versions_become_a_gate_and_its_subject(title, gate, subject):
    values = json.loads(VERSION_0.read_text())
    values["verdicts"] = [{"gate": title, "outcome": "not judged", "got": "", "allowed": ""}]
    [verdict] = migrated(values)["verdicts"]

    assert (verdict["gate"], verdict["subject"], verdict["outcome"]) == (gate, subject, "skipped")


def test_a_float_operator_of_another_subgraph_keeps_its_place():
    operator = FloatOperator(subgraph=1, index=3, name="ADD", dtype="float16", tensor="a (b)\nc")
    values = json.loads(VERSION_0.read_text())
    values["quantized"]["float_operators"] = [str(operator)]

    assert migrated(values)["quantized"]["float_operators"] == [vars(operator)]


def test_a_report_of_a_later_version_is_refused_with_what_to_do(plain, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(plain | {"schema_version": SCHEMA_VERSION + 1}))

    with pytest.raises(InputError, match="update the pipeline"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "not JSON: Expecting value: line 1"),
        ("[]", "a value has the wrong type"),
        ("{}", "the field 'shift' is missing"),
        ('{"schema_version": 2}', "name: it is missing"),
        ('{"schema_version": 2, "name": 7}', "name: text is expected, got 7"),
    ],
)
def test_a_file_that_is_not_a_report_is_refused_with_the_cause(text, cause, tmp_path):
    (tmp_path / "report.json").write_text(text)

    with pytest.raises(InputError, match=f"not a report that this version reads: {cause}$|{cause}"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize("version", ['"1"', "null", "1.0", "true", "-1"])
def test_a_schema_version_that_is_not_an_integer_is_refused(version, tmp_path):
    (tmp_path / "report.json").write_text(f'{{"schema_version": {version}}}')

    with pytest.raises(InputError, match=f"schema_version must be an integer from 0 to 2, got {version}$"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize("field", ["shift", "stability", "against"])
def test_a_report_of_version_1_without_a_field_names_it(field, tmp_path):
    values = json.loads(VERSION_0.read_text()) | {"schema_version": 1}
    del values[field]
    (tmp_path / "report.json").write_text(json.dumps(values))

    with pytest.raises(InputError, match=f"the field '{field}' is missing$"):
        read_report(tmp_path / "report.json")


def test_the_shift_table_and_the_shift_gate_have_one_margin(report):
    shift = replace(read_report(VERSION_0).shift, margin=None)
    found = with_verdicts(
        replace(report, shift=shift), GatesConfig(enabled=("shift",), shift_drop_points=0.001)
    )

    assert found.shift.margin == 0.001
    [verdict] = found.verdicts
    assert verdict.got.startswith(f"{len(found.shift.losing)} of ")
