"""Generated Kotlin is parsed; benchmarks/deploy/kotlin.py compiles and runs it."""

from __future__ import annotations

import pytest

from deploy.codegen.source import kotlin_files, kotlin_package


def test_the_kotlin_parses(manifest, files_of):
    import tree_sitter_kotlin
    from tree_sitter import Language, Parser

    parser = Parser(Language(tree_sitter_kotlin.language()))
    for path, text in files_of(kotlin_files, manifest).items():
        assert not parser.parse(text.encode()).root_node.has_error, path


@pytest.mark.parametrize("name", ["class", "fun", "object"])
def test_a_package_is_never_a_keyword(name, releases):
    manifest = releases["indices"]
    assert kotlin_package(manifest.model_copy(update={"name": name})) == f"edge.models.{name}_model"
