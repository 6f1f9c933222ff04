"""The reference page of the Python API, made from its signatures and docstrings.

After a change of them: ``python -m pipeline.api_reference > docs/reference/python-api.md``.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from pipeline import api, results
from pipeline.cli.reference import cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = """# Python API

This page is made from the docstrings of `pipeline`, which `help(pipeline.build)` prints. [Use it from
Python](../how-to/use-from-python.md) has examples. A `File` is a path as text or `os.PathLike`; `Model` is a
`File` or a model of Keras; `Data` is a `File`, a dict of arrays by name, or tuples of arrays.

```python
from pipeline import build, plan, search, validate
```
"""
FUNCTIONS = (api.build, api.validate, api.plan, api.search)
RESULTS = (results.BuildResult, results.ValidationResult, results.PlanResult, results.SearchResult)
_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):$", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def page() -> str:
    """Return the page as Markdown."""
    return HEAD + "".join(map(function_section, FUNCTIONS)) + "".join(map(result_section, RESULTS))


def function_section(function: Any) -> str:
    """Return the section of a function: what it does, its arguments, its result and its errors."""
    text, parts = sections(function)
    signature = inspect.signature(function)
    meanings = dict(_ENTRY.findall(parts["Args"]))
    rows = [
        (f"`{name}`", f"`{each.annotation}`", _default(each), meanings[name])
        for name, each in signature.parameters.items()
    ]
    errors = ". ".join(f"`{name}`: {_line(meaning)}" for name, meaning in _ENTRY.findall(parts["Raises"]))
    given = _line(parts["Returns"])
    returns = f"Returns a [`{signature.return_annotation}`](#{signature.return_annotation.lower()}): {given}"
    table = _table(("argument", "type", "default", "meaning"), rows)
    return "\n".join(
        ("", f"## {function.__name__}", "", text, "", *table, "", returns, "", f"Raises {errors}", "")
    )


def result_section(kind: type) -> str:
    """Return the section of a result: what it is, its attributes and its properties."""
    text, parts = sections(kind)
    types = {name: str(annotation) for name, annotation in kind.__annotations__.items()}
    rows = [
        (f"`{name}`", f"`{types[name]}`", meaning) for name, meaning in _ENTRY.findall(parts["Attributes"])
    ]
    for name, found in vars(kind).items():
        if isinstance(found, property) and found.fget is not None:
            returned = inspect.signature(found.fget).return_annotation
            rows.append((f"`{name}`", f"`{returned}`", inspect.getdoc(found) or ""))
    return "\n".join(
        ("", f"## {kind.__name__}", "", text, "", *_table(("attribute", "type", "meaning"), rows), "")
    )


def sections(documented: Any) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring, and its sections by name."""
    first, *others = _SECTION.split(inspect.getdoc(documented) or "")
    return _code(first.strip()), dict(zip(others[::2], others[1::2], strict=True))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(cell(_line(text)) for text in row)} |"


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is parameter.empty else f"`{parameter.default!r}`"


def _line(text: str) -> str:
    return _code(" ".join(text.split()))


def _code(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    print(page(), end="")
