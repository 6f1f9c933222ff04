"""Generated Kotlin and the example app are parsed; benchmarks/deploy/kotlin.py compiles and runs them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deploy.codegen.source import classifiers, kotlin_files, kotlin_package
from deploy.manifest import Resize

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def parse():
    """Parse Kotlin; fails where it is none."""
    import tree_sitter_kotlin
    from tree_sitter import Language, Parser

    parser = Parser(Language(tree_sitter_kotlin.language()))

    def parse_text(text, where):
        assert not parser.parse(text.encode()).root_node.has_error, where

    return parse_text


def test_the_kotlin_parses(manifest, files_of, parse):
    for path, text in files_of(kotlin_files, manifest).items():
        parse(text, path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "how", ["nearest", "bilinear", "bicubic", "lanczos", "area", "box", "bilinear-no-antialias"]
)
def test_a_bitmap_is_resized_by_every_interpolation(how, channels, releases, files_of, parse):
    source = releases["an image of one channel"].inputs[0]
    steps = source.preprocessing.model_copy(update={"resize": Resize(size=(28, 28), interpolation=how)})
    changed = source.model_copy(update={"preprocessing": steps, "shape": (1, 28, 28, channels)})
    manifest = releases["an image of one channel"].model_copy(update={"inputs": (changed,)})

    files = files_of(kotlin_files, manifest)

    for path, text in files.items():
        parse(text, path)
    main = "android/src/main/java/edge/models/fashion_mnist/FashionMnist"
    assert "fun pixelsImage(argb: IntArray, width: Int, height: Int): ByteArray" in files[f"{main}Model.kt"]
    for kind in ("Classifier", "CompiledClassifier"):
        assert "fun classify(bitmap: Bitmap): List<FashionMnistModel.Answer>" in files[f"{main}{kind}.kt"]


def test_what_classifies_is_written_for_one_input_and_labels_alone(releases):
    found = {title: classifiers(manifest) for title, manifest in releases.items()}

    assert {title: names for title, names in found.items() if names} == {
        "an image of one channel": ["FashionMnistClassifier", "FashionMnistCompiledClassifier"],
        "a vector of features, each scaled for itself": ["ClassClassifier", "ClassCompiledClassifier"],
        "a float model with logits": ["StdClassifier", "StdCompiledClassifier"],
    }


def test_the_example_app_is_kotlin_and_uses_what_the_default_release_has(releases, files_of, parse):
    app = ROOT / "examples" / "android"
    for path in [*app.rglob("*.kt"), *app.rglob("*.kts")]:
        parse(path.read_text(), path)
    ElementTree.parse(app / "app/src/main/AndroidManifest.xml")
    manifest = releases["an image of one channel"].model_copy(update={"name": "fashion-resnet8"})
    written = [Path(path).stem for path in files_of(kotlin_files, manifest)]
    activity = (app / "app/src/main/java/edge/example/MainActivity.kt").read_text()
    package, name = re.search(r"import (edge\.models\..*)\.(\w+) as Classifier", activity).groups()
    assert package == kotlin_package(manifest)
    assert name in written
    assert "FashionResnet8CompiledClassifier" in written
    assert "FashionResnet8CompiledClassifier" in activity


@pytest.mark.parametrize("name", ["class", "fun", "object"])
def test_a_package_is_never_a_keyword(name, releases):
    manifest = releases["indices"]
    assert kotlin_package(manifest.model_copy(update={"name": name})) == f"edge.models.{name}_model"
