"""What every transport does: a test class with the fixtures ``transport`` and ``there`` inherits it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from deploy.errors import TransportError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.transports.transport import Transport

WORDS = [
    "a b",
    "it's",
    '"',
    ";",
    "$(reboot)",
    "`reboot`",
    "${HOME}",
    "&& false",
    "*",
    "two\nlines",
    "\\",
    "\t",
    "-rf",
    "--",
    "",
    "~",
    "!",
    "#",
    "é, 模型",
    "\x01",
]
NAMES = [
    "plain",
    "two words",
    "it's [1]*?.bin",
    "semi;colon $(x)",
    "-rf",
    "é模型",
    "co:lon",
    "#",
    "back\\slash",
]


class Conformance:
    """``transport``: a transport; ``there``: an empty folder on its device."""

    def test_words_arrive_as_they_are(self, transport: Transport):
        result = transport.run(["printf", "%s\\0", *WORDS])
        assert (result.status, result.out.decode().split("\0")[:-1]) == (0, WORDS)

    @pytest.mark.parametrize("status", [0, 1, 7, 126, 255])
    def test_a_status_is_the_commands_own(self, transport: Transport, status: int):
        assert transport.run(["sh", "-c", f"exit {status}"]).status == status

    def test_a_shell_that_is_told_to_end_gives_its_status(self, transport: Transport):
        assert transport.run(["exit", "7"]).status == 7

    def test_a_command_that_is_not_there_is_127(self, transport: Transport):
        assert transport.run(["no-such-command"]).status == 127

    def test_what_is_printed_comes_apart_and_unchanged(self, transport: Transport):
        result = transport.run(["sh", "-c", "printf 'a\\r\\n\\377\\000'; printf complaint >&2"])
        assert (result.out, result.err) == (b"a\r\n\xff\0", "complaint")

    def test_a_long_output_is_whole(self, transport: Transport):
        result = transport.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])
        assert result.out == b"x" * 3_000_000

    def test_a_command_reads_nothing(self, transport: Transport):
        assert transport.run(["cat"], timeout_s=30).out == b""

    @pytest.mark.parametrize("argv", [[], ["a\0b"]])
    def test_what_is_no_command_is_refused(self, transport: Transport, argv: list[str]):
        with pytest.raises(TransportError, match="is not a command"):
            transport.run(argv)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_file_of_any_name_comes_and_goes(
        self, transport: Transport, there: str, name: str, tmp_path: Path
    ):
        local, back = tmp_path / name, tmp_path / "back"
        local.write_bytes(random.Random(0).randbytes(20_000))
        transport.push(local, f"{there}/{name}")
        transport.pull(f"{there}/{name}", back)
        assert back.read_bytes() == local.read_bytes()

    def test_a_file_takes_the_place_of_another_and_may_be_empty(
        self, transport: Transport, there: str, tmp_path: Path
    ):
        local = tmp_path / "file"
        for content in (b"a long content", b"short", b""):
            local.write_bytes(content)
            transport.push(local, f"{there}/file")
            assert transport.run(["cat", f"{there}/file"]).out == content

    def test_a_file_that_is_not_there_is_an_error_and_leaves_the_local_one(
        self, transport: Transport, there: str, tmp_path: Path
    ):
        (tmp_path / "file").write_text("kept")
        with pytest.raises(TransportError, match=r"(?i)no such file|not found"):
            transport.pull(f"{there}/absent", tmp_path / "file")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_text() == "kept"

    def test_a_file_that_is_not_here_is_an_error(self, transport: Transport, there: str, tmp_path: Path):
        with pytest.raises(TransportError):
            transport.push(tmp_path / "absent", f"{there}/absent")
        assert transport.run(["test", "-e", f"{there}/absent"]).status == 1

    def test_a_place_that_takes_no_file_is_an_error(self, transport: Transport, tmp_path: Path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(TransportError, match="did not take part in a copy"):
            transport.push(tmp_path / "file", "/proc/no-such-file")

    @pytest.mark.parametrize("path", ["/data/local/tmp/../../x", "relative", "", "/two\nlines", "/n\0ul"])
    def test_a_path_that_leads_elsewhere_is_refused(self, transport: Transport, path: str, tmp_path: Path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(TransportError, match="the path"):
            transport.push(tmp_path / "file", path)
        with pytest.raises(TransportError, match="the path"):
            transport.pull(path, tmp_path / "file")

    def test_a_command_that_takes_too_long_is_an_error_and_the_way_stays_open(self, transport: Transport):
        began = time.monotonic()
        with pytest.raises(TransportError, match="gave no answer in 1 s"):
            transport.run(["sleep", "600"], timeout_s=1)
        assert time.monotonic() - began < 300
        assert transport.run(["echo", "on"]).out == b"on\n"
