"""The report of a validation: report.json, the text and the gates are views of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.choices import Baselines, Candidate, Precision, Repair, StepGain
from pipeline.config import GateName
from pipeline.errors import InputError
from pipeline.layer_records import LayerTreatment
from pipeline.node_parity import Parity
from pipeline.runtimes.session import Tensor
from pipeline.sections import problem
from pipeline.tasks.comparison import Comparison
from pipeline.tasks.standing import Standard
from pipeline.training_history import TrainingHistory
from pipeline.validation.against import Against
from pipeline.validation.breakdown import Breakdown
from pipeline.validation.compatibility import Compatibility
from pipeline.validation.costs import DeviceLatency, EmulatedCost, HostLatency
from pipeline.validation.delegation import Delegation
from pipeline.validation.graph import GraphNode
from pipeline.validation.latency import LatencyComparison
from pipeline.validation.layer_profile import LayerProfiles
from pipeline.validation.model_under_test import ModelFile
from pipeline.validation.on_board import BoardResult
from pipeline.validation.provenance import Provenance
from pipeline.validation.report_versions import SCHEMA_VERSION, migrated
from pipeline.validation.shift_results import ShiftReport
from pipeline.validation.stability import StabilityReport

if TYPE_CHECKING:
    from pathlib import Path

Outcome = Literal["passed", "failed", "warning", "inconclusive", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A gate's answer.

    Attributes:
        gate: the name by which ``--gate`` and ``[gates] enabled`` know it.
        subject: what was judged where a gate judges several things, such as a device or an output; else "".
    """

    gate: GateName
    subject: str = ""
    outcome: Outcome
    got: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.gate} ({self.subject})" if self.subject else self.gate


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """One device: emulated, the host's own core, or real.

    Attributes:
        title: the runtime in words.
        kind: how the model ran: "emulated" (qemu-user), "native" or "device".
        differing_samples: golden samples whose output bits are not the host's.
        largest_difference: in steps of the output's scale.
        quantized: what one inference of the int8 model executes; emulated cores only.
        accuracy: of each output, on this device's own outputs; measured where they are not the host's.
        latency: real devices only.
    """

    device: str
    title: str
    kind: str
    golden_samples: int
    differing_samples: int
    largest_difference: float
    quantized: EmulatedCost | None
    baseline: EmulatedCost | None
    accuracy: tuple[Comparison, ...] = ()
    latency: DeviceLatency | None = None

    @property
    def instruction_ratio(self) -> float | None:
        """Float instructions per int8 instruction: above 1 int8 is cheaper."""
        if self.quantized is None or self.baseline is None:
            return None
        return self.baseline.instructions / self.quantized.instructions


@dataclass(frozen=True, kw_only=True)
class RuntimeAccuracy:
    """The int8 model on one of the host's runtimes; differences are to LiteRT on XNNPACK, in steps.

    Attributes:
        metric: name of the first output's primary metric; "" without labelled data.
        value: of that metric, in points.
        problem: why the runtime cannot run the model; "" if it can.
    """

    runtime: str
    metric: str = ""
    value: float | None = None
    samples: int = 0
    golden_samples: int = 0
    differing_samples: int = 0
    largest_difference: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All measurements of a validation; those that the enabled gates do not need are empty or None.

    Attributes:
        name: ``NAME-VERSION-TARGET``, or the file's own where it is not a build's.
        runtime: the package that the target's devices carry.
        preprocessing: how raw samples become the model's input, and who decided.
        delegation: on the host's LiteRT first, then on its tflite-runtime and on the devices.
        accuracy: of each output; none where there is no labelled data or no float model.
        stability: long runs and faults; None if neither was asked for.
        shift: None if there are no labelled data, no float model, or it was not asked for.
        compatibility: what the file's operators need of each runtime.
        parity: for each runtime that does not give the host's bits, the nodes where that begins.
        against: the model beside another one; None if none was given.
        operators: what each costs; None if it was not asked for.
        times: of the model on this host, for each count of threads.
        latency: on this host beside the float model; None if there is none.
        runtimes: the host's: LiteRT, on which the accuracy is compared, then tflite-runtime.
        board: what the emulated board did with the model; None if it was not asked for.
        not_finite: golden samples for which the host's LiteRT gave an output that is infinite or no number.
        format: what the model could become: "int8", "int8 with wider layers", "int8 with float operators",
            "float16" or "float32".
        recipe: compression steps with their amounts and the quantization, as ``--recipe`` takes them; "" of a
            file that no build made.
        unrolled: recurrent layers that were written out step by step, in a file that is larger for it.
        format_reason: why it is not "int8" throughout; "" if it is.
        baselines: scores of the float model as it was given and fine-tuned alike; None if it was not trained.
        candidates: quantized models that were compared on held-out samples, the released one among them.
        steps: what each compression step bought, before quantization.
        repairs: what was done without training so that int8 loses less, or why not.
        precision: which layers are in a wider format than int8, and why; null if that was not asked for.
        trainings: of the build, with the histograms before and after each.
        notes: what a user should know about model and data, one line each.
        chance: of a file that no build made, each output against the best constant answer.
        created: when the gates were judged, an ISO date in UTC; "" of a file that no build made.
        graph: the operators, what they read and store; empty of reports before there was this field.
        baseline_graph: the same of the float model; empty if there is none.
        profile: the error of each layer; None if it was not asked for, or without data.
        provenance: None of reports before there was this field.
    """

    name: str
    target: str
    runtime: str
    tools: dict[str, str]
    quantized: ModelFile
    baseline: ModelFile | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    delegation: tuple[Delegation, ...]
    accuracy: tuple[Comparison, ...]
    runtimes: tuple[RuntimeAccuracy, ...]
    devices: tuple[DeviceResult, ...]
    stability: StabilityReport | None
    shift: ShiftReport | None
    compatibility: Compatibility
    parity: tuple[Parity, ...]
    against: Against | None
    operators: Breakdown | None
    times: tuple[HostLatency, ...]
    latency: LatencyComparison | None
    not_finite: int = 0
    board: BoardResult | None = None
    classes: tuple[str, ...] = ()
    preprocessing: str = ""
    rewrites: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    layers: tuple[LayerTreatment, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    format: str = "int8"
    format_reason: str = ""
    recipe: str = ""
    baselines: Baselines | None = None
    candidates: tuple[Candidate, ...] = ()
    steps: tuple[StepGain, ...] = ()
    repairs: tuple[Repair, ...] = ()
    precision: Precision | None = None
    trainings: tuple[TrainingHistory, ...] = ()
    notes: tuple[str, ...] = ()
    chance: tuple[Standard, ...] = ()
    created: str = ""
    graph: tuple[GraphNode, ...] = ()
    baseline_graph: tuple[GraphNode, ...] = ()
    profile: LayerProfiles | None = None
    provenance: Provenance | None = None

    @property
    def degraded(self) -> bool:
        """Whether the model is not full-integer int8, with a reason."""
        return self.format != "int8" and bool(self.format_reason)

    @property
    def failed_gates(self) -> tuple[GateName, ...]:
        """The gates with a failed verdict, each once."""
        return tuple(dict.fromkeys(found.gate for found in self.verdicts if found.outcome == "failed"))

    @property
    def passed(self) -> bool:
        """Whether there are gates and none failed."""
        return bool(self.verdicts) and not self.failed_gates

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-like values, as docs/reference/report.schema.json describes them."""
        values: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed} | values


@cache
def _adapter() -> TypeAdapter[Report]:
    """Return what reads and writes reports; to make it takes ten times as long as to read one."""
    return TypeAdapter(Report)


def write_report(report: Report, path: Path) -> None:
    path.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """Read a ``report.json`` of this or an earlier schema version.

    Raises:
        InputError: it is not a report, or one of a later schema version.
    """
    return parse_report(path.read_bytes(), str(path))


def parse_report(raw: bytes, name: str) -> Report:
    """Return the report of the bytes of a ``report.json``; errors, naming ``name``, as ``read_report``."""
    try:
        return _adapter().validate_python(migrated(json.loads(raw)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        msg = f"{name}: not a report that this version reads: {_cause(error):.300}"
        raise InputError(msg) from error


def _cause(error: Exception) -> str:
    """Return in one line why a report cannot be read."""
    match error:
        case ValidationError():
            first = error.errors()[0]
            return f"{'.'.join(map(str, first['loc']))}: {problem(first)}"
        case KeyError():
            return f"the field {error} is missing"
        case json.JSONDecodeError() | UnicodeDecodeError():
            return f"not JSON: {error}"
        case TypeError() | AttributeError():
            return "a value has the wrong type"
    return str(error)


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``report.json``; published as docs/reference/report.schema.json."""
    schema = TypeAdapter(Report).json_schema(mode="serialization")
    schema["properties"] |= {
        "schema_version": {"const": SCHEMA_VERSION, "description": "Version of this schema."},
        "passed": {"type": "boolean", "description": "Whether there are verdicts and none failed."},
    }
    schema["required"] += ["schema_version", "passed"]
    for each in (schema, *schema["$defs"].values()):
        each.pop("description", None)  # a docstring, written for readers of the code
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


if __name__ == "__main__":
    print(json.dumps(report_schema(), indent=1))
