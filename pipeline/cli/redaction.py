"""Keep keys and passwords out of what the command prints, tracebacks included."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from deploy.keys import SIGNING_KEY, SIGNING_PASSWORD, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "[secret]"
# Shorter words of a key, such as "BEGIN", tell nothing.
MIN_CHARACTERS = 16
_PEM = re.compile(r"-----BEGIN.*?(?:-----END[^-]*-----|\Z)", re.DOTALL)


def redacted(text: str) -> str:
    """Return ``text`` without any key or password that this process got by argument or environment."""
    for word in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return text


def _secrets() -> Iterator[str]:
    if password := secret(SIGNING_PASSWORD):
        yield password
    # A shell splits a key that is not quoted into several arguments.
    texts = [secret(SIGNING_KEY) or "", *_PEM.findall(" ".join(sys.argv[1:]))]
    texts += [value for flag, value in _flags() if flag in {"--key", "--public-key"}]
    for text in texts:
        if not os.path.exists(text):  # noqa: PTH110 - False for a text too long for a path, too
            yield from (word for word in text.split() if len(word) >= MIN_CHARACTERS)


def _flags() -> Iterator[tuple[str, str]]:
    for argument, following in zip(sys.argv[1:], [*sys.argv[2:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        yield flag, value if equals else following
