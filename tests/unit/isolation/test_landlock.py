"""Which files a process may still open, by Landlock alone; and what is said where a kernel lacks it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.keys import SIGNING_KEY
from pipeline.errors import StageError, ToolchainError
from pipeline.isolation import confinement, landlock, sandbox
from pipeline.isolation.sandbox import Confinement

DATA = Confinement("data.py:load", network=True)
TRUSTED = Confinement("m.keras", network=False, writable=(), readable=())


def run(function, *arguments, **options):
    return sandbox.run("convert", function, *arguments, timeout_s=60, **options)


@pytest.fixture
def no_namespaces(monkeypatch, tmp_path):
    """A kernel that lets an ordinary user make no namespaces."""
    entering = "def _enter(rules: dict[str, Any]) -> None:\n"
    text = Path(confinement.__file__).read_text()
    assert entering in text
    (refusing := tmp_path / "confinement.py").write_text(
        text.replace(entering, f"{entering}    raise OSError(1, '')\n", 1)
    )
    monkeypatch.setattr(confinement, "__file__", str(refusing))


@pytest.fixture
def no_landlock(monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)


def attempt(program, rules, allowed):
    """Run a program that opens a file; where this kernel cannot refuse it, what is said of that.

    Returns:
        Whether it was refused, said to be possible, or neither.
    """
    notes = []
    try:
        run(exec, program, rules=rules, notes=notes)
    except (StageError, ToolchainError) as error:
        return "refused" if any(text in str(error) for text in REFUSALS) else str(error)
    return "said" if any(allowed in note for note in notes) else "allowed"


REFUSALS = ("PermissionError", "Read-only file system", "Invalid cross-device link", "neither namespaces")


def home(tmp_path):
    """Files of a user, of which one is a signing key."""
    (folder := tmp_path / "home").mkdir()
    for name in ("release.key", "diary.txt", "model.keras"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("kernel", ["namespaces", "no namespaces"])
def test_a_trusted_model_reads_its_own_files_python_and_the_system_and_none_of_yours(
    kernel, request, tmp_path
):
    if kernel == "no namespaces":
        request.getfixturevalue("no_namespaces")
    folder = home(tmp_path)
    rules = replace(TRUSTED, readable=(folder / "model.keras",))

    program = (
        "import json, ssl, numpy, subprocess; open({path!r}).read(); subprocess.run(['true'], check=True)"
    )
    run(exec, program.format(path=str(folder / "model.keras")), rules=rules)
    for name in ("release.key", "diary.txt"):
        assert attempt(f"open({str(folder / name)!r})", rules, "it can read what you can") in {
            "refused",
            "said",
        }


def test_a_trusted_model_writes_to_its_own_folder_only_without_namespaces_too(no_namespaces, tmp_path):
    (own := tmp_path / "own").mkdir()
    rules = replace(TRUSTED, writable=(own,))
    program = """
import os, shutil, tempfile
os.makedirs({own!r} + "/a/b")
open({own!r} + "/a/b/file", "w").write("x")
os.replace({own!r} + "/a/b/file", {own!r} + "/file")
open({own!r} + "/file", "w").write("y")
shutil.rmtree({own!r} + "/a")
tempfile.NamedTemporaryFile("w").write("z")
open("/dev/null", "w").write("gone")
"""
    run(exec, program.format(own=str(own)), rules=rules)

    assert (own / "file").read_text() == "y"
    (other := tmp_path / "other").write_text("mine")
    for attack in ("open({0!r}, 'w')", "import os; os.remove({0!r})", "import os; os.truncate({0!r}, 0)"):
        if attempt(attack.format(str(other)), rules, "it can write wherever you can") == "refused":
            assert other.read_text() == "mine"
        else:
            other.write_text("mine")


ATTACKS = {
    "by its name": "open({key!r})",
    "by a link": "import os; os.symlink({key!r}, 'link'); open('link')",
    "by a second name": "import os; os.link({key!r}, {new!r}); open({new!r})",
    "moved away": "import os, shutil; os.rename({key!r}, {new!r}); open({new!r})",
    "through another process": "open(f'/proc/{{__import__(\"os\").getppid()}}/root{key}')",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_without_namespaces_the_key_is_out_of_the_reach_of_a_data_function(attack, no_namespaces, tmp_path):
    folder = home(tmp_path)
    (folder / "inner").mkdir()
    key = folder / "release.key"
    program = "import os, tempfile; os.chdir(tempfile.mkdtemp()); " + attack.format(
        key=str(key), new=str(folder / "inner" / "new")
    )
    with sandbox.hiding(key):
        assert attempt(program, DATA, "never") == "refused"
    assert key.read_text() == "release.key"


def test_without_namespaces_a_data_function_has_every_other_file(no_namespaces, tmp_path):
    folder = home(tmp_path)
    (folder / "inner").mkdir()
    (folder / "away").symlink_to(folder)
    program = f"""
import os
assert open({str(folder / "diary.txt")!r}).read() == "diary.txt"
open({str(folder / "inner" / "cache")!r}, "w").write("x")
os.replace({str(folder / "inner" / "cache")!r}, {str(folder / "inner" / "moved")!r})
assert open({str(folder / "inner" / "moved")!r}).read() == "x"
assert "release.key" in os.listdir({str(folder)!r})
"""
    if landlock.version():
        with sandbox.hiding(folder / "release.key"):
            run(exec, program, rules=DATA)
            with pytest.raises(StageError, match="PermissionError"):
                run(exec, f"open({str(folder / 'away' / 'release.key')!r})", rules=DATA)
    run(exec, f"open({str(folder / 'new')!r}, 'w').close(); open({str(folder / 'new')!r})", rules=DATA)


@pytest.mark.parametrize("rules", [DATA, TRUSTED], ids=["data", "trusted"])
def test_without_namespaces_no_environment_or_memory_of_another_process_is_read(rules, no_namespaces):
    if not landlock.version():
        return  # what is said then is below
    with subprocess.Popen(["sleep", "60"], env={"SECRET": "x"}) as other:
        try:
            for file in ("environ", "mem", "maps"):
                with pytest.raises(StageError, match="PermissionError"):
                    run(exec, f"open('/proc/{other.pid}/{file}', 'rb').read(1)", rules=rules)
        finally:
            other.kill()


@pytest.mark.parametrize("rules", [DATA, TRUSTED], ids=["data", "trusted"])
@pytest.mark.parametrize("secret", ["file", "variable"])
def test_with_neither_namespaces_nor_landlock_no_code_of_others_runs_beside_a_key(
    secret, rules, no_namespaces, no_landlock, tmp_path, monkeypatch
):
    key = home(tmp_path) / "release.key"
    if secret == "variable":
        monkeypatch.setenv(SIGNING_KEY, "the key's text")
    hidden = [key] if secret == "file" else []
    with sandbox.hiding(*hidden), pytest.raises(ToolchainError) as caught:
        run(os.getpid, rules=rules)
    assert str(caught.value) == (
        f"{key if hidden else SIGNING_KEY}: code in {rules.source} could read this key, because the kernel "
        "allows neither namespaces (Operation not permitted) nor Landlock here; build without a key, then "
        "sign with: pipeline release --key"
    )


def test_what_landlock_would_have_refused_is_said(no_landlock, no_namespaces):
    notes = []
    run(os.getpid, rules=TRUSTED, notes=notes)
    run(os.getpid, rules=DATA, notes=notes)
    without = "ran without namespaces (Operation not permitted) and Landlock"
    detached = "processes that it detaches may outlive the build"
    files = "it can write wherever you can; it can read what you can"
    assert notes == [f"m.keras {without}: {detached}; {files}", f"data.py:load {without}: {detached}"]


def test_a_kernel_without_landlock_has_version_0(monkeypatch):
    class Kernel:
        @staticmethod
        def syscall(*_):
            return -1

    monkeypatch.setattr(landlock, "_libc", Kernel)
    assert landlock.version() == 0


def test_what_python_needs_has_not_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    assert not {"", str(tmp_path), "/"} & set(landlock.python_files())
