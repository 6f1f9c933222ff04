"""Compile and run the Kotlin tests of releases: python benchmarks/deploy/kotlin.py RELEASE [RELEASE ...]

Needs kotlinc and java (Debian package kotlin). The tests of each release run on a stand-in for JUnit, since
the real one comes with the Android app's own build. Exit code 1: a release does not compile, or a test fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

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
        check(tests.isNotEmpty()) { "$name has no tests" }
        for (test in tests) test.invoke(type.getDeclaredConstructor().newInstance())
        println("$name: ${tests.size} tests pass")
    }
}
"""


def run(release: Path, folder: Path) -> int:
    """Compile a release's Kotlin files in a folder, run its tests and return the exit code."""
    java = release / "android" / "src" / "test" / "java"
    tests = sorted(java.rglob("*Test.kt"))
    names = [".".join(path.relative_to(java).with_suffix("").parts) for path in tests]
    (folder / "JUnit.kt").write_text(JUNIT)
    jar = folder / "all.jar"
    sources = [folder / "JUnit.kt", *sorted((release / "android" / "src").rglob("*.kt"))]
    compiled = subprocess.run(["kotlinc", *sources, "-include-runtime", "-d", jar], check=False)
    if compiled.returncode or not names:
        print(f"{release}: {'does not compile' if names else 'has no Kotlin tests'}", file=sys.stderr)
        return 1
    return subprocess.run(["java", "-cp", jar, "org.junit.JUnitKt", *names], check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("releases", nargs="+", type=Path, metavar="RELEASE")
    ended = []
    for release in parser.parse_args().releases:
        with tempfile.TemporaryDirectory() as folder:
            ended.append(run(release, Path(folder)))
    sys.exit(max(ended))


if __name__ == "__main__":
    main()
