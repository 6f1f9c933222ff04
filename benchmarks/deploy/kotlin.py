"""Compile the Kotlin of releases and run its tests: python benchmarks/deploy/kotlin.py RELEASE [RELEASE ...]

Needs java, and kotlinc or the Kotlin compiler in the PyPI package kotlin-jupyter-kernel (--jars: its folder
run_kotlin_kernel/jars). The tests run on a stand-in for JUnit, and the classes for Android are compiled
against the declarations in android_api, since the real ones come with the app's own build. --app FOLDER also
compiles an app with the first release. Exit code 1: something does not compile, or a test fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

API = Path(__file__).with_name("android_api")
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


def compiler(jars: Path | None) -> list[str]:
    """Return the command that compiles Kotlin, with its libraries."""
    if jars is None:
        return ["kotlinc", "-include-runtime"]
    libraries = sorted(map(str, jars.glob("*.jar")))
    stdlib = [path for path in libraries if "kotlin-stdlib" in path]
    main = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    return ["java", "-cp", ":".join(libraries), main, "-no-stdlib", "-no-reflect", "-cp", ":".join(stdlib)]


def run(release: Path, folder: Path, jars: Path | None, apps: list[Path]) -> int:
    """Compile a release's Kotlin files in a folder, run its tests and return the exit code."""
    java = release / "android" / "src" / "test" / "java"
    tests = sorted(java.rglob("*Test.kt"))
    names = [".".join(path.relative_to(java).with_suffix("").parts) for path in tests]
    (folder / "JUnit.kt").write_text(JUNIT)
    jar = folder / "all.jar"
    folders = [API, release / "android" / "src", *apps]
    sources = [
        path for place in folders for path in sorted(place.rglob("*")) if path.suffix in (".kt", ".java")
    ]
    sources.append(folder / "JUnit.kt")
    compiled = subprocess.run([*compiler(jars), *sources, "-d", jar], check=False)
    if compiled.returncode or not names:
        print(f"{release}: {'does not compile' if names else 'has no Kotlin tests'}", file=sys.stderr)
        return 1
    stdlib = (
        sorted(map(str, jars.glob("kotlin-stdlib-*.jar")))
        if jars
        else ["/usr/share/kotlin/lib/kotlin-stdlib.jar"]
    )
    path = ":".join([str(jar), *stdlib])
    return subprocess.run(["java", "-cp", path, "org.junit.JUnitKt", *names], check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("releases", nargs="+", type=Path, metavar="RELEASE")
    parser.add_argument("--jars", type=Path, metavar="FOLDER")
    parser.add_argument("--app", type=Path, action="append", default=[], metavar="FOLDER")
    options = parser.parse_args()
    ended = []
    for number, release in enumerate(options.releases):
        with tempfile.TemporaryDirectory() as folder:
            apps = options.app if number == 0 else []
            ended.append(run(release, Path(folder), options.jars, apps))
    sys.exit(max(ended))


if __name__ == "__main__":
    main()
