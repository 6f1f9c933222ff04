"""Generated Kotlin: parsed, and where there is a compiler also compiled and run."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deploy.codegen.source import kotlin_files, kotlin_object, kotlin_package


def test_the_kotlin_parses(manifest, files_of):
    import tree_sitter_kotlin
    from tree_sitter import Language, Parser

    parser = Parser(Language(tree_sitter_kotlin.language()))
    for path, text in files_of(kotlin_files, manifest).items():
        assert not parser.parse(text.encode()).root_node.has_error, path


JUNIT = """
package org.junit
annotation class Test
object Assert {
    @JvmStatic fun assertEquals(a: Any?, b: Any?) = check(a == b) { "$a is not $b" }
    @JvmStatic fun assertEquals(a: Float, b: Float, most: Float) = check(Math.abs(a - b) <= most)
    @JvmStatic fun assertArrayEquals(a: FloatArray, b: FloatArray, most: Float) = check(a.contentEquals(b))
    @JvmStatic fun assertArrayEquals(a: ByteArray, b: ByteArray) = check(a.contentEquals(b))
    @JvmStatic fun assertArrayEquals(a: IntArray, b: IntArray) = check(a.contentEquals(b))
    @JvmStatic fun assertArrayEquals(a: LongArray, b: LongArray) = check(a.contentEquals(b))
}
fun main(names: Array<String>) {
    for (name in names) {
        val type = Class.forName(name)
        val tests = type.declaredMethods.filter { it.isAnnotationPresent(Test::class.java) }
        for (test in tests) test.invoke(type.getDeclaredConstructor().newInstance())
        println("$name ${tests.size}")
    }
}
"""


def test_the_kotlin_tests_pass(tmp_path, write, releases):
    if not shutil.which("kotlinc") or not shutil.which("java"):
        pytest.skip("there is no kotlinc with a java; Debian has it in the package kotlin")
    names = []
    (tmp_path / "JUnit.kt").write_text(JUNIT)
    for number, manifest in enumerate(releases.values()):
        other = manifest.model_copy(update={"name": f"{manifest.name}-{number}"})
        write(tmp_path, kotlin_files, other)
        names.append(f"{kotlin_package(other)}.{kotlin_object(other)}Test")

    jar = tmp_path / "all.jar"
    compiled = subprocess.run(
        ["kotlinc", *tmp_path.rglob("*.kt"), "-include-runtime", "-d", jar], capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run(["java", "-cp", jar, "org.junit.JUnitKt", *names], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout

    assert [line.split()[0] for line in said.splitlines()] == names
    assert all(int(line.split()[1]) >= 2 for line in said.splitlines())


@pytest.mark.parametrize("name", ["class", "fun", "object"])
def test_a_package_is_never_a_keyword(name, releases):
    manifest = releases["indices"]
    assert kotlin_package(manifest.model_copy(update={"name": name})) == f"edge.models.{name}_model"
