"""Whatever a device answers: it is what the device has, or an error that says what was wrong."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.errors import DeployError, RefusedError, TransportError
from deploy.install.device import probe
from deploy.install.install import _why_unhealthy
from deploy.install.messages import BEGIN, END, fields, hashes, texts, unframed
from deploy.install.versions import list_versions, status
from deploy.manifest import digest_of
from deploy.transports.local import LocalTransport
from deploy.transports.transport import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = {"python": "/nowhere/python3", "without_health_check": True}
TRANSPORT = LocalTransport()
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "7" * 5_000
NONSENSE = [
    b"Welcome to the board\n",
    b"\x1b[2J\x1b]0;x\x07\n",
    b"\0",
    b"\xff\xfe\n",
    DEEP.encode() + b"\n",
    LONG.encode() + b"\n",
    b'{"healthy": true}\n',
    b"\n",
]


class Answering(LocalTransport):
    """This machine, which gives other answers to commands that have ``about`` in them."""

    def __init__(self, change: Callable[[bytes], bytes], about: str = "", status: int | None = None) -> None:
        self.change, self.about, self.status = change, about, status
        self.changed = 0

    def run(self, argv: Any, *, timeout_s: float = 120.0) -> CommandResult:
        result = super().run(argv, timeout_s=timeout_s)
        if not any(self.about in word for word in argv):
            return result
        self.changed += 1
        return CommandResult(
            result.status if self.status is None else self.status, self.change(result.out), result.err
        )


def require_plain(error: Exception) -> None:
    """Check that an error is one line that no terminal takes for a command."""
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def answer(text: str) -> CommandResult:
    return CommandResult(0, f"{BEGIN}\n{text}{END}\n".encode(), "")


@pytest.mark.parametrize("stray", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("at", ["before", "after", "amid"])
def test_a_corrupt_file_is_never_active_however_its_hash_is_answered(
    device: Any, old: Path, stray: bytes, at: str
) -> None:
    class Corrupting(Answering):
        def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
            super().push(local, remote, timeout_s=timeout_s)
            if remote.endswith(".tflite"):
                with open(remote, "ab") as file:  # noqa: PTH123
                    file.write(b"x")

    def change(out: bytes) -> bytes:
        lines = out.splitlines(keepends=True)
        place = {"before": 0, "after": len(lines), "amid": 3}[at]
        return b"".join([*lines[:place], stray, *lines[place:]])

    transport = Corrupting(change, "sha256sum ")
    with pytest.raises(TransportError) as caught:
        device.install(old, transport, **QUICK)
    assert transport.changed
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert device.active is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:2], b"motd\n", *lines[2:]], "'motd', expected was a hash and a file's name"),
        (lambda lines: [b"Welcome\n", *lines], "printed 'Welcome' outside of its answer; .*bashrc"),
        (lambda lines: [*lines, b"bye\n"], "printed 'bye' outside"),
        (lambda lines: lines[:-1], "answer was cut off"),
        (lambda lines: lines[:3], "answer was cut off"),
        (lambda lines: [lines[0], *lines[2:]], "did not arrive as it was sent"),
        (lambda lines: [*lines[:2], *lines[1:]], "twice"),
        (lambda lines: [*lines[:2], b"0" * 64 + b"  ./extra\n", *lines[2:]], "'extra' did not arrive"),
        (lambda lines: [*lines[:2], b"other  link\n", *lines[2:]], "'link' did not arrive"),
        (lambda _: [], "no shell that answers as one"),
        (lambda _: [b"\x1b[31m" * 50_000], "no shell that answers as one"),
    ],
    ids=range(11),
)
def test_hashes_count_only_where_every_file_has_one_and_nothing_else_is_said(
    device: Any, old: Path, change: Any, said: str
) -> None:
    transport = Answering(lambda out: b"".join(change(out.splitlines(keepends=True))), "sha256sum ")
    with pytest.raises(TransportError, match=said) as caught:
        device.install(old, transport, **QUICK)
    assert str(caught.value).isprintable()
    assert device.active is None


def test_a_banner_of_a_shell_is_named_before_anything_is_changed(device: Any, old: Path) -> None:
    transport = Answering(lambda out: b"Last login: today\n" + out)
    with pytest.raises(TransportError, match=r"printed 'Last login: today' outside of its answer; .*bashrc"):
        device.install(old, transport, **QUICK)
    assert not device.home.exists()


KEYS = ("machine", "bits", "writable", "free_kib", "release_kind", "hashes", "user", "unit", "packages")


@pytest.mark.parametrize(
    "value", [LONG, "²", "\x1b[2J", "-1", "nonsense " * 300, DEEP[:1000], '{"numpy": 1}'], ids=range(7)
)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_that_cannot_be_is_refused(device: Any, old: Path, key: str, value: str) -> None:
    if (key, value) == ("machine", "-1"):
        value = "a b"

    def change(out: bytes) -> bytes:
        lines = out.decode().split("\n")
        return "\n".join(f"{key}={value}" if line.startswith(f"{key}=") else line for line in lines).encode()

    with pytest.raises(DeployError) as caught:
        device.install(old, Answering(change, "release_kind="), **(QUICK | {"allow_downgrade": True}))
    assert str(caught.value).isprintable()
    assert device.active is None


@pytest.mark.parametrize("lost", range(16))
def test_a_field_that_is_missing_is_an_error(device: Any, old: Path, lost: int) -> None:
    def change(out: bytes) -> bytes:
        lines = out.splitlines(keepends=True)
        return b"".join(lines[: 1 + lost] + lines[2 + lost :])

    with pytest.raises(TransportError):
        device.install(old, Answering(change, "release_kind="), **QUICK)
    assert not device.home.exists()


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (b'{"healthy": true, "digest": "d"}', ""),
        (b'{"healthy": true, "digest": "d", "samples": 64, "seconds": 0.1, "why": null}\n', ""),
        (b'Welcome\n{"healthy": true, "digest": "d"}', "no health"),
        (b'{"healthy": true, "digest": "e"}', "another version"),
        (b'{"healthy": true}', "another version"),
        (b'{"healthy": "true", "digest": "d"}', "no health"),
        (b'{"healthy": 1, "digest": "d"}', "no health"),
        (b'{"healthy": true, "digest": ["d"]}', "no health"),
        (b'{"digest": "d"}', "no health"),
        (b"[]", "no health"),
        (b"", "no health"),
        (DEEP.encode(), "no health"),
        (f'{{"healthy": {LONG}}}'.encode(), "no health"),
        (b'{"healthy": false, "why": "\\u001b[2Jgone"}', r"^ \[2Jgone|^\[2Jgone"),
    ],
    ids=range(14),
)
def test_only_a_whole_answer_of_the_runner_is_healthy(out: bytes, why: str) -> None:
    import re

    said = _why_unhealthy(CommandResult(0, out, ""), "d")
    assert bool(said) == bool(why)
    assert re.search(why, said)
    assert said.isprintable()
    assert len(said) < 400


def test_nonsense_of_a_runner_is_no_health(device: Any, old: Path) -> None:
    for nonsense in NONSENSE:
        with pytest.raises(RefusedError, match="is not healthy there") as caught:
            device.install(old, Answering(lambda _, said=nonsense: said, "runner.py"))
        assert str(caught.value).isprintable()
        assert device.active is None


@pytest.fixture(scope="module")
def installed_device(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from deploy.install.install import install
    from deploy.install.options import Options
    from deploy.manifest import read_release

    root = tmp_path_factory.mktemp("answering")
    options = Options(root=str(root), **QUICK)
    install(read_release(released), TRANSPORT, options, lambda _: None)
    yield options
    shutil.rmtree(root)


BITS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [*NONSENSE, b"=", b"other  x\n", b"current=\n", b"9" * 5000, b"manifest={}\n", b"version"]
    ),
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_answer_is_what_the_device_has_or_an_error(
    installed_device: Any, released: Path, data: st.DataObject
) -> None:
    def mutate(out: bytes) -> bytes:
        begin = data.draw(st.integers(0, len(out)))
        end = data.draw(st.integers(begin, min(len(out), begin + 40)))
        return out[:begin] + data.draw(BITS) + out[end:]

    for ask in (list_versions, status):
        try:
            found = ask("tiny", Answering(mutate), installed_device)  # type: ignore[operator]
        except DeployError as error:
            require_plain(error)
            continue
        versions = found if isinstance(found, tuple) else [v for v in (found.active, found.previous) if v]
        for version in versions:
            assert version.digest == digest_of(released)
            assert version.version.isprintable()


@given(st.text(max_size=200))
def test_no_text_breaks_a_parser(text: str) -> None:
    for parse in (
        lambda: unframed(TRANSPORT, CommandResult(0, text.encode(errors="surrogatepass"), text)),
        lambda: unframed(TRANSPORT, answer(text)),
        lambda: fields(TRANSPORT, text, ("a", "b")),
        lambda: hashes(TRANSPORT, text),
        lambda: texts(TRANSPORT, text, "texts"),
    ):
        try:
            parse()
        except TransportError as error:
            require_plain(error)


@pytest.mark.parametrize(
    "text", [DEEP, LONG, json.dumps({"a": "\x1b[2J"}), json.dumps({"a": 1}), "[]", "x"], ids=range(6)
)
def test_what_a_python_has_is_short_texts(text: str) -> None:
    with pytest.raises(TransportError, match="expected was what its Python has"):
        texts(TRANSPORT, text, "what its Python has")


def test_a_device_is_looked_at_whatever_its_active_version_is(device: Any, old: Path) -> None:
    device.install(old, **QUICK)
    for nonsense in (DEEP, LONG, "\x1b[2J", "{", json.dumps({"name": "x"})):
        (device.home / "current" / "manifest.json").write_text(nonsense)
        assert probe(TRANSPORT, "tiny", device.options()).manifest is None
        assert status("tiny", TRANSPORT, device.options()).healthy is False
    device.install(old, **QUICK)
    device.require_whole(old)
