"""Release documents say what a build found, the same in every build of the same, and harm no reader."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from markdown_it import MarkdownIt

from deploy.facts import Builder, Commit
from models.ports import Port
from pipeline.artifacts import CalibrationSet, Dataset, QuantizedModel, Source, Transform
from pipeline.build_config import BuildConfig
from pipeline.config import GateName
from pipeline.layer_records import LayerRecord, LayerTreatment
from pipeline.release.documents import MEASURED, Origin, plain_config, release_documents, release_facts
from pipeline.targets import get_target
from pipeline.validation.excess import Excess
from pipeline.validation.shift_results import ShiftReport, ShiftResult

HOSTILE = (
    "a | b\n\n# <script>alert('{{ 7*7 }}')</script> `x` [y](javascript:z) *b* $m$ \x1b[31m \u202e \U0001f600"
)
SOURCES = (
    Source(location="in/model.keras", digest="2b" * 32),
    Source(location="in/data.npz", digest="3c" * 32),
)
SETTINGS = {"model": {"path": "in/model.keras"}, "data": {"source": "in/data.npz"}}


@pytest.fixture
def write(report, prepared_model, tmp_path, monkeypatch):
    """The release documents of a build; keywords change the report, the settings or the arguments."""
    monkeypatch.chdir(tmp_path)

    def write(
        root=None,
        classes=("left", "right"),
        settings=None,
        changes=None,
        sources=SOURCES,
        created=None,
        commit=None,
        layers=(),
        **arguments,
    ):
        folder = root or tmp_path
        samples = CalibrationSet(folder=folder, samples=64)
        samples.manifest.write_text("{}\n")
        quantized = QuantizedModel(
            folder=folder,
            size_bytes=95_712,
            sha256="1a" * 32,
            sparsity=0.8,
            format="int8",
            reason="",
            layers=layers,
        )
        data = Dataset(
            tasks=("classification",), classes=classes, shapes=((8, 8, 1),), train_samples=10, test_samples=5
        )
        prepared = prepared_model(
            folder,
            inputs=(Port("image", (8, 8, 1)),),
            outputs=(Port("classes", (2,)),),
            preprocessing=(Transform(scale=(1 / 255,), reason="declared"),),
        )
        given = {
            "config": BuildConfig.model_validate({"project": {"name": "tiny"}} | SETTINGS | (settings or {})),
            "target": get_target("arm64"),
            "origin": Origin(root=str(folder), created=created, builder=Builder(), commit=commit),
            **arguments,
        }
        measured = replace(report, **(changes or {}))
        facts = release_facts(measured, quantized, prepared, data, samples, *sources, **given)
        return release_documents(facts)

    return write


@pytest.fixture
def shifted():
    found = Excess(
        baseline=80.0,
        quantized=77.0,
        difference=-3.0,
        low=-4.0,
        high=-2.0,
        excess=-2.9,
        excess_low=-3.5,
        excess_high=-2.3,
        standard_error=0.3,
    )
    shift = ShiftResult(
        name="gaussian noise",
        source="corruption",
        output="",
        metric="top-1",
        samples=500,
        pooled=found,
        verdict="int8 loses more",
    )
    unclear = [replace(shift, name=name, verdict="inconclusive") for name in ("blur_a", "fog")]
    return ShiftReport(samples=500, margin=2.0, tests=1, shifts=(shift, *unclear))


def rendered(card):
    return MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(card.split("---\n", 2)[2])


def front_matter(card):
    lines = card.split("---\n", 2)[1].splitlines()
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in lines)}


def test_the_card_says_what_was_measured(write, shifted):
    card = write(download_bytes=12_345, changes={"shift": shifted})["MODEL_CARD.md"]

    assert "| classification | top-1, points | 2,000 | 92.15 | 92.05 | -0.10 [-0.45, +0.25] |" in card
    assert "| right | 990 | 91.2 % | 91.4 % |" in card
    assert "- gaussian noise, -2.90 points beyond its clean loss" in card
    assert "The samples do not tell under blur\\_a, fog." in card
    assert "95,712 bytes, 12,345 to download" in card
    assert "python3 predict.py samples.npy" in card
    assert "| pruned, quantization-aware | 1 |" in card
    assert "(stored + 128) x 0.00392156863" in card


def test_the_front_matter_is_that_of_a_model_hub(write):
    settings = {"release": {"license": "Apache-2.0"}}
    said = front_matter(write(settings=settings)["MODEL_CARD.md"])

    assert said["license"] == "apache-2.0"
    assert said["library_name"] == "tflite"
    assert said["pipeline_tag"] == "image-classification"
    assert {"int8", "pruned", "arm64"} <= set(said["tags"])
    (result,) = said["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "accuracy", "name": "top-1, int8, points", "value": 92.05}
    other = front_matter(write(settings={"release": {"license": "Our: own"}})["MODEL_CARD.md"])
    assert (other["license"], other["license_name"]) == ("other", "Our: own")


def test_the_card_names_layers_that_stay_float_whatever_else_was_done_to_them(write):
    record = LayerRecord(name="elu_1", kind="ELU", operations=("pruned", "float"), reason="no int8 kernel")

    card = write(layers=(record, LayerRecord(name="conv", kind="Conv2D", operations=("pruned",))))
    [line] = [line for line in card["MODEL_CARD.md"].splitlines() if "elu" in line]
    assert "no int8 kernel" in line


def test_what_a_user_wrote_is_text_in_the_card_and_nothing_else(write):
    release = {"description": HOSTILE, "license": HOSTILE, "authors": [HOSTILE]}
    card = write(
        classes=(HOSTILE, "1. x", "- y", "# z", "> q", "www.x.org and a@b.c"),
        settings={"release": release},
        changes={
            "notes": (HOSTILE,),
            "layers": (LayerTreatment(name=HOSTILE, kind="Conv2D", treatment="float", reason=HOSTILE),),
        },
        layers=(LayerRecord(name=HOSTILE, kind="Conv2D", operations=("float",), reason=HOSTILE),),
    )["MODEL_CARD.md"]
    page = rendered(card)

    assert "<script" not in page
    assert "49" not in page.split("labels, in the order")[0].split("Inputs and outputs")[1]
    assert "javascript:z" in page
    assert "<a " not in page
    assert "<em>" not in page
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert page.count("<h1>") == 1
    assert "<blockquote>" not in page
    for label in ("1. x", "- y", "# z", "&gt; q"):
        assert f"<li>{label}</li>" in page or f"<p>{label}</p>" in page
    assert all(line.count("|") - line.count("\\|") == 3 for line in card.splitlines() if "| license" in line)
    assert front_matter(card)["license_name"] == HOSTILE


def test_the_bill_is_valid_and_has_the_model_its_data_and_its_runtimes(write):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    settings = {"release": {"license": "MIT", "description": "left or right", "authors": ["A"]}}
    text = write(settings=settings)["bom.cdx.json"]
    bill = json.loads(text)
    model = bill["metadata"]["component"]

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": "1a" * 32}]
    assert model["licenses"] == [{"license": {"id": "MIT"}}]
    parts = {component["name"]: component for component in bill["components"]}
    assert parts["in/data.npz"]["hashes"][0]["content"] == "3c" * 32
    assert parts["tflite-runtime"]["purl"] == "pkg:pypi/tflite-runtime@2.14.0"
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert set(depends[model["bom-ref"]]) == {component["bom-ref"] for component in bill["components"]}
    tools = {tool["name"] for tool in bill["metadata"]["tools"]["components"]}
    assert {"edge-deploy-pipeline", "tensorflow", "tf-keras", "numpy"} <= tools
    assert "timestamp" not in bill["metadata"]


def test_the_bills_model_card_has_the_metrics_with_their_intervals(write):
    bill = json.loads(write()["bom.cdx.json"])
    card = bill["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]

    assert card["modelParameters"]["task"] == "classification"
    assert card["modelParameters"]["architectureFamily"] == "convolutional neural network"
    assert metrics[0] == {"type": "top-1, int8", "value": "92.0500 points", "slice": "2000 test samples"}
    assert metrics[2]["confidenceInterval"] == {
        "lowerBound": "-0.4500 points",
        "upperBound": "+0.2500 points",
    }


@pytest.mark.parametrize(
    "license_", ["", HOSTILE, "MIT OR Apache-2.0", "x" * 5000], ids=["none", "hostile", "expression", "long"]
)
def test_the_bill_stays_valid_whatever_a_user_wrote(license_, write):
    release = {"description": HOSTILE, "license": license_, "authors": [HOSTILE, HOSTILE]}
    sources = (Source(location=HOSTILE, digest="2b" * 32), Source(location=HOSTILE, digest="3c" * 32))

    assert write(classes=(HOSTILE, ""), settings={"release": release}, sources=sources)["bom.cdx.json"]


def test_the_date_of_a_build_is_what_it_is_told(write):
    bill = json.loads(write(created="2026-01-02T03:04:05Z")["bom.cdx.json"])

    assert bill["metadata"]["timestamp"] == "2026-01-02T03:04:05Z"


def test_the_provenance_is_an_in_toto_statement_of_slsa(write):
    from google.protobuf.json_format import Parse
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.statement_pb2 import Statement

    text = write(commit=Commit(sha="4d" * 20, dirty=True))["provenance.json"]
    statement = json.loads(text)
    assert Parse(text, Statement()).type == "https://in-toto.io/Statement/v1"
    predicate = Parse(json.dumps(statement["predicate"]), Provenance())

    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "tiny-0.1.0-arm64.tflite", "digest": {"sha256": "1a" * 32}}]
    assert predicate.run_details.builder.id == "local"
    found = {entry.name: entry for entry in predicate.build_definition.resolved_dependencies}
    assert found["model"].digest == {"contentSha256": "2b" * 32}
    assert found["project"].digest == {"gitCommit": "4d" * 20}
    assert found["project"].annotations["dirty"] is True
    assert found["numpy"].uri.startswith("pkg:pypi/numpy@")
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["config"]["seed"] == 0


def test_another_folder_and_another_time_give_the_same_bytes(write, tmp_path, monkeypatch):
    made = []
    for name in ("one", "two"):
        (root := tmp_path / name).mkdir()
        settings = {
            "model": {"path": str(root / "in" / "model.keras")},
            "data": {"source": str(root / "in" / "data.npz")},
        }
        sources = (
            Source(location=str(root / "in" / "model.keras"), digest="2b" * 32),
            Source(location=str(root / "in" / "data.npz"), digest="3c" * 32),
        )
        made.append(write(root=root, settings=settings, sources=sources))
        monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert made[0] == made[1]
    assert made[0] == write()


@pytest.mark.parametrize("in_git", [False, True])
def test_the_working_directory_changes_no_byte(write, tmp_path, monkeypatch, in_git):
    (project := tmp_path / "project" / "trained").mkdir(parents=True)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    if in_git:
        subprocess.run(["git", "init", "-q", project.parent], check=True)
    made = []
    for here, way in ((project.parent, "trained"), (project, "."), (elsewhere, "../project/trained")):
        monkeypatch.chdir(here)
        origin = Origin.of(Path(way, "model.keras"))
        settings = {
            "model": {"path": f"{way}/model.keras"},
            "data": {"source": f"{way}/data.npz"},
        }
        sources = (
            Source(location=f"{way}/model.keras", digest="2b" * 32),
            Source(location=f"{way}/data.npz", digest="3c" * 32),
        )
        made.append((origin, write(settings=settings, sources=sources, origin=origin)))
    assert made[0] == made[1] == made[2]
    assert ("trained/data.npz" in made[0][1]["provenance.json"]) == in_git


def test_measured_figures_are_in_no_paper(write, report):
    slower = replace(report.latency, speedup=0.5, verdict="slower")
    devices = tuple(
        replace(device, quantized=replace(device.quantized, instructions=99_999_999))
        for device in report.devices
    )

    assert write(changes={"latency": slower, "devices": devices}) == write()
    assert set(get_args(GateName)) >= MEASURED


def test_warnings_of_the_gates_are_in_the_papers(write, report):
    inconclusive = write(settings={"gates": {"accuracy_drop_points": 0.3}}, changes={"verdicts": ()})

    assert "accuracy: inconclusive; got top-1 -0.10 points" in inconclusive["MODEL_CARD.md"]
    assert "accuracy: inconclusive" in inconclusive["bom.cdx.json"]


def test_no_paper_names_a_place_outside_of_the_project(write, tmp_path):
    settings = {
        "model": {"path": "/home/someone/secret/model.keras", "weights": "../up/w.h5"},
        "data": {"source": "/srv/private/data.npz"},
        "validate": {
            "against": "/old/last.tflite",
            "shift": {"sources": {"night": "/srv/private/night.npz", "own": "own.module:load"}},
        },
        "calibration": {"field_statistics": "/srv/field.json"},
        "release": {"public_key": "/home/someone/key.pub"},
    }
    sources = (
        Source(location="/home/someone/secret/model.keras", digest="2b" * 32),
        Source(location="/srv/private/data.npz", digest="3c" * 32),
    )
    made = write(
        settings=settings, sources=sources, changes={"notes": ("/srv/private/data.npz: 3 rows left out",)}
    )
    config = plain_config(BuildConfig.model_validate(settings), tmp_path)

    for text in made.values():
        assert not any(
            word in text for word in ("someone", "/srv", "private", "/old", "../up", str(tmp_path))
        )
    assert "data.npz: 3 rows left out" in rendered(made["MODEL_CARD.md"])
    assert config["model"] == {
        "path": "model.keras",
        "weights": "w.h5",
        "trust": False,
        "custom_objects": None,
    }
    assert config["validate"]["shift"]["sources"] == {"night": "night.npz", "own": "own.module:load"}
    assert (config["calibration"]["field_statistics"], config["release"]["public_key"]) == (
        "field.json",
        "key.pub",
    )
