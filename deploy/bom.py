"""``bom.cdx.json``: what a release consists of, as a bill of materials by CycloneDX 1.6.

The library knows no model card, so that part is written by hand; the whole is held to the schema before it is
handed out.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from deploy.errors import DeployError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

    from deploy.facts import MetricFacts, ReleaseFacts, TensorFacts

NAMESPACE = uuid.UUID("6f0ce5c1-5d5b-5f0c-9a39-2f8f3c1d7a64")
PROJECT = "edge-deploy-pipeline"
# As the packages' own descriptions have it.
LICENSES = {
    "ai-edge-litert": "Apache-2.0",
    "litert-quantizer": "Apache-2.0",
    "numpy": "BSD-3-Clause",
    "tensorflow": "Apache-2.0",
    "tensorflow-model-optimization": "Apache-2.0",
    "tf-keras": "Apache-2.0",
    "tflite-runtime": "Apache-2.0",
    PROJECT: "Apache-2.0",
}


def bom(facts: ReleaseFacts) -> str:
    """Return the bill of materials as JSON; equal facts give equal bytes.

    Raises:
        DeployError: it is not what the schema asks for.
    """
    document = _document(facts)
    document["serialNumber"] = uuid.uuid5(NAMESPACE, f"{facts.full_name} {facts.sha256}").urn
    document["metadata"].pop("timestamp")
    if facts.created is not None:
        document["metadata"]["timestamp"] = facts.created
    document["metadata"]["component"]["modelCard"] = _model_card(facts)
    for component in document["components"]:
        if component["type"] == "data":
            component["data"] = [{"type": "dataset", "name": component["name"]}]
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"
    _validate(text)
    return text


def _validate(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        where = str(problem).splitlines()[0][:300]
        msg = f"the bill of materials is not valid ({where}); build with other names or descriptions"
        raise DeployError(msg)


def _document(facts: ReleaseFacts) -> dict[str, Any]:
    """Return what the library supports: components, tools, licences and dependencies."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    model = _model(facts)
    needed = [_package(name, facts.tools.get(name, least), "needs", least) for name, least in _needs(facts)]
    data = [
        _data(source.location, source.digest, f"{source.role}:{source.digest}")
        for source in facts.sources
        if source.role == "data"
    ]
    calibration = _data("calibration.json", facts.calibration_sha256, "data:calibration")
    tools = [_package(name, version, "tool") for name, version in sorted(facts.tools.items())]
    tools.append(_package(PROJECT, facts.project, "tool", kind=ComponentType.APPLICATION))

    made = Bom(components=[*needed, *data, calibration])
    made.metadata.component = model
    made.metadata.tools = ToolRepository(components=tools)
    made.register_dependency(model, [*needed, *data, calibration])
    document: dict[str, Any] = json.loads(JsonV1Dot6(made).output_as_string())
    return document


def _needs(facts: ReleaseFacts) -> list[tuple[str, str]]:
    """Return the packages that run the model, and the oldest release of each; numpy carries its inputs."""
    return [*sorted(facts.runtimes.items()), ("numpy", facts.tools.get("numpy", ""))]


def _model(facts: ReleaseFacts) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalContact

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=facts.name,
        version=facts.version,
        description=facts.description or None,
        bom_ref=f"model:{facts.sha256}",
        authors=[OrganizationalContact(name=author) for author in facts.authors],
        licenses=[LicenseFactory().make_from_string(facts.license)] if facts.license else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=facts.sha256)],
        properties=[
            Property(name=f"{PROJECT}:{name}", value=value)
            for name, value in (
                ("file", facts.file),
                ("target", facts.target),
                ("format", facts.format),
                ("size-bytes", str(facts.size_bytes)),
                ("weights-that-are-zero", f"{facts.sparsity:.6f}"),
            )
        ],
    )


def _package(name: str, version: str, role: str, least: str = "", kind: Any = None) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from packageurl import PackageURL

    name = name.lower().replace("_", "-")
    needed = role == "needs"
    runtime = needed and name != "numpy"
    return Component(
        type=kind or ComponentType.LIBRARY,
        name=name,
        version=version or None,
        bom_ref=f"{role}:{name}@{version}",
        # One of the runtimes is enough.
        scope=(ComponentScope.OPTIONAL if runtime else ComponentScope.REQUIRED) if needed else None,
        purl=PackageURL("pypi", None, name, version or None),
        licenses=[LicenseFactory().make_from_string(LICENSES[name])] if name in LICENSES else [],
        properties=[Property(name=f"{PROJECT}:oldest-version", value=least)] if runtime and least else [],
    )


def _data(name: str, digest: str, reference: str) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.DATA,
        name=name,
        bom_ref=reference,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )


def _model_card(facts: ReleaseFacts) -> dict[str, Any]:
    datasets = [{"ref": f"data:{source.digest}"} for source in facts.sources if source.role == "data"]
    parameters: dict[str, Any] = {
        "task": ", ".join(dict.fromkeys(facts.tasks)),
        "architectureFamily": facts.family,
        "datasets": datasets,
        "inputs": [{"format": _tensor(tensor)} for tensor in facts.inputs],
        "outputs": [{"format": _tensor(tensor)} for tensor in facts.outputs],
    }
    if facts.supervised:
        parameters["approach"] = {"type": "supervised"}
    metrics = [found for metric in facts.metrics for found in _metrics(metric, facts.format)]
    metrics += [
        {
            "type": f"recall, {facts.format}",
            "value": f"{100 * found.quantized:.2f} points",
            "slice": f"{found.output + ': ' if found.output else ''}class {found.name}",
        }
        for found in facts.lowest_classes
    ]
    considerations: dict[str, Any] = {}
    if facts.description:
        considerations["useCases"] = [facts.description]
    limits = [*facts.warnings, *(f"shift {shift.name}: {shift.verdict}" for shift in facts.shifts)]
    if limits:
        considerations["technicalLimitations"] = limits
    considerations["performanceTradeoffs"] = [_trade(facts)]
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": considerations,
    }


def _tensor(tensor: TensorFacts) -> str:
    shape = "x".join(str(size) for size in tensor.shape)
    scale = "" if tensor.scale is None else f", scale {tensor.scale!r}, zero point {tensor.zero_point}"
    return f"{tensor.name}: {tensor.dtype} {shape}{scale}; {tensor.role}"


def _metrics(metric: MetricFacts, form: str) -> list[dict[str, Any]]:
    """Return the model's value, the float model's, and the difference, which has the interval."""
    unit = f" {metric.unit}" if metric.unit else ""
    of = f"{metric.output}: " if metric.output else ""
    where = f"{of}{metric.samples} test samples"
    difference: dict[str, Any] = {
        "type": f"{metric.name}, {form} minus float",
        "value": f"{metric.difference:+.4f}{unit}",
        "slice": where,
    }
    if metric.low is not None and metric.high is not None:
        difference["confidenceInterval"] = {
            "lowerBound": f"{metric.low:+.4f}{unit}",
            "upperBound": f"{metric.high:+.4f}{unit}",
        }
    return [
        {"type": f"{metric.name}, {form}", "value": f"{metric.quantized:.4f}{unit}", "slice": where},
        {"type": f"{metric.name}, float", "value": f"{metric.baseline:.4f}{unit}", "slice": where},
        difference,
    ]


def _trade(facts: ReleaseFacts) -> str:
    """Return the trade-off: bytes of both models, and the change of the metrics."""
    size = f"{facts.size_bytes:,} bytes"
    if facts.baseline_bytes is not None:
        size += f" where the float model has {facts.baseline_bytes:,}"
    drops = [
        f"{metric.name} {metric.difference:+.2f} {metric.unit}".rstrip()
        for metric in facts.metrics
        if metric.primary
    ]
    return f"{facts.format}: {size}" + (f"; {', '.join(drops)} against float" if drops else "")
