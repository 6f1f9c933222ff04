"""Parse messages of devices strictly: one that does not parse completely is an error, never a default.

Every script is framed, so that nothing which a shell's start-up file prints is taken for an answer, and half
an answer is not taken for a whole one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from deploy.errors import RefusedError, TransportError
from deploy.manifest import Manifest
from deploy.transports.arguments import last_line, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.transports.transport import CommandResult, Transport

BUSY = 75
LOCK_MINUTES = 15
"""After which a lock is taken over: longer than any single step of an installation may take."""
BEGIN, END = "== answer", "== end"
FRAME = f"""
echo '{BEGIN}'
(
%s
)
status=$?
echo '{END}'
exit $status
"""
MAX_CHARS = 1024
"""Maximum length of a value, such as a path or a version; a manifest is longer."""
_HASH = re.compile(r"([0-9a-f]{64})  \./([^/]+)|other  ([^/]+)")
_TEXTS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def script(transport: Transport, text: str, *arguments: str, timeout_s: float = 120.0) -> str:
    """Run one of ``scripts`` and return what it printed, without the line break at its end.

    Raises:
        RefusedError: another installation holds the device.
        TransportError: the device was not reached, the script failed there, or its answer is not all or not
            only the script's.
    """
    return printed(transport, run_script(transport, text, *arguments, timeout_s=timeout_s))


def silent_script(transport: Transport, text: str, *arguments: str) -> None:
    """Run one of ``scripts`` that prints nothing; errors as ``script``, and where it prints something."""
    output = script(transport, text, *arguments)
    if output:
        raise unexpected(transport, output.split("\n")[0])


def run_script(transport: Transport, text: str, *arguments: str, timeout_s: float = 120.0) -> CommandResult:
    """Run one of ``scripts``; what it printed is in a frame. Errors as ``Transport.run``."""
    return transport.run(["sh", "-c", FRAME % text, "sh", *arguments], timeout_s=timeout_s)


def printed(transport: Transport, result: CommandResult) -> str:
    """Return what a script that ended printed; errors as ``script``."""
    if result.status == BUSY:
        msg = (
            f"{transport} is being installed to by somebody else; wait for that, or if it is dead, say "
            f"--break-lock (after {LOCK_MINUTES} minutes it is taken over)"
        )
        raise RefusedError(msg)
    if result.status != 0:
        msg = f"{transport}: {last_line(result.err) if result.err.strip() else f'status {result.status}'}"
        raise TransportError(msg)
    return unframed(transport, result)


def unframed(transport: Transport, result: CommandResult) -> str:
    """Return what is in a script's frame.

    Raises:
        TransportError: there is no frame, only half of one, or something outside of it.
    """
    lines = result.out.decode(errors="replace").replace("\r\n", "\n").split("\n")
    if BEGIN not in lines:
        msg = f"{transport} has no shell that answers as one: {last_line(result.err.strip() or lines[0])}"
        raise TransportError(msg)
    begin = lines.index(BEGIN)
    if END not in lines[begin:]:
        msg = f"{transport}: its answer was cut off; try again"
        raise TransportError(msg)
    end = len(lines) - 1 - lines[::-1].index(END)
    outside = [line for line in (*lines[:begin], *lines[end + 1 :]) if line]
    if outside or begin:
        msg = (
            f"{transport} printed {quoted(outside[0] if outside else '')} outside of its answer; let the "
            "start-up file of its shell, such as ~/.bashrc, print nothing where no terminal is"
        )
        raise TransportError(msg)
    return "\n".join(lines[begin + 1 : end])


def fields(transport: Transport, text: str, names: Sequence[str]) -> dict[str, str]:
    """Return the values of lines ``NAME=VALUE``, which are exactly those of ``names``, in that order.

    Raises:
        TransportError: a line is missing, too many, too long, another one, or cannot be printed.
    """
    lines = text.split("\n") if text else []
    found = {}
    for at, name in enumerate(names):
        line = lines[at] if at < len(lines) else ""
        if not line.startswith(f"{name}=") or (name != "manifest" and not _is_plain(line)):
            raise unexpected(transport, line, f"{name}=...")
        found[name] = line.removeprefix(f"{name}=")
    if len(lines) > len(names):
        raise unexpected(transport, lines[len(names)])
    return found


def matched(transport: Transport, pattern: str, text: str, what: str) -> str:
    """Return a value of the form ``pattern``.

    Raises:
        TransportError: it is another one; says of ``what``.
    """
    if not re.fullmatch(pattern, text, re.ASCII):
        raise unexpected(transport, text, what)
    return text


def texts(transport: Transport, text: str, what: str) -> dict[str, str]:
    """Return a JSON object of short texts; of "" an empty one.

    Raises:
        TransportError: it is another one, or a text cannot be printed.
    """
    if not text:
        return {}
    try:
        found = _TEXTS.validate_json(text, strict=True)
    except ValidationError as error:
        raise unexpected(transport, text, what) from error
    if not all(_is_plain(part) for pair in found.items() for part in pair):
        raise unexpected(transport, text, what)
    return found


def hashes(transport: Transport, text: str) -> dict[str, str]:
    """Return SHA-256 by name of a folder's files, and ``"other"`` of what is not a plain file.

    Raises:
        TransportError: a line is another one, or a name comes twice.
    """
    found: dict[str, str] = {}
    for line in text.split("\n") if text else []:
        read = _HASH.fullmatch(line)
        if read is None or not _is_plain(line):
            raise unexpected(transport, line, "a hash and a file's name")
        name = read[2] or read[3]
        if name in found:
            msg = f"{transport}: its answer has {quoted(name)} twice; try again"
            raise TransportError(msg)
        found[name] = read[1] or "other"
    return found


def read_manifest_text(text: str) -> Manifest | None:
    """Return the manifest that a device has; None if it is none."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        return None


def unexpected(transport: Transport, output: str, expected: str = "") -> TransportError:
    """Return the error for an invalid answer."""
    instead = f", expected was {expected}" if expected else ""
    return TransportError(
        f"{transport}: its answer has {quoted(output)}{instead}; is that device what it should be?"
    )


def _is_plain(text: str) -> bool:
    return text.isprintable() and len(text) <= MAX_CHARS
