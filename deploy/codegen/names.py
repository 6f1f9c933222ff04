"""A user's names and texts, as they may stand in generated source: identifiers, comments and literals.

Whatever a model's author wrote (quotes, line breaks, ``*/``, trigraphs, keywords) ends as letters, digits and
escapes of the language it is written into.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NAME = 48
LONGEST_TEXT = 1000  # C99 lets a compiler refuse a literal of more than 4095 bytes


def identifier(text: str, otherwise: str) -> str:
    """Return ``text`` as lower-case words with single underscores, a letter first.

    Args:
        text: anything.
        otherwise: what it is called where no letter or digit is left, and before a digit.
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    joined = "_".join(words)[:LONGEST_NAME].rstrip("_") or otherwise
    return joined if joined[0].isalpha() else f"{otherwise}_{joined}"


def unique_identifiers(texts: Iterable[str], otherwise: str) -> list[str]:
    """Return an identifier for each text, different from each other also without their underscores."""
    taken: set[str] = set()
    found = []
    for text in texts:
        first = name = identifier(text, otherwise)
        number = 1
        while name.replace("_", "") in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name.replace("_", ""))
        found.append(name)
    return found


def camel_case(name: str) -> str:
    """Return an identifier such as ``last_day`` as ``LastDay``."""
    return "".join(word.capitalize() for word in name.split("_"))


def comment(text: str) -> str:
    """Return ``text`` as one line that ends no comment of C, Kotlin or CMake, and begins none."""
    return re.sub(r"[^A-Za-z0-9 _.,:()+-]", "_", text)[:80].strip()


def c_string(text: str) -> str:
    """Return ``text`` as a C literal of its UTF-8 bytes: octal escapes, so that nothing runs on into them."""
    plain = bytes(range(0x20, 0x7F)).translate(None, b'"\\?')
    escaped = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in _shortened(text).encode())
    return f'"{"".join(escaped)}"'


def kotlin_string(text: str) -> str:
    """Return ``text`` as a Kotlin literal: UTF-16 escapes of all but plain characters."""
    units = _shortened(text).encode("utf-16-be")
    pairs = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    escaped = (
        chr(unit) if 0x20 <= unit < 0x7F and chr(unit) not in '"\\$' else f"\\u{unit:04x}" for unit in pairs
    )
    return f'"{"".join(escaped)}"'


def _shortened(text: str) -> str:
    """Return ``text`` without what ends it in C (NUL) or is not a character, and no longer than allowed."""
    whole = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return whole if len(whole) <= LONGEST_TEXT else whole[: LONGEST_TEXT - 3] + "..."
