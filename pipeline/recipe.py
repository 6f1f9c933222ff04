"""Recipes: the compression steps and the quantization of a build in one word.

``rank90-weights75-cluster16-qat8`` keeps 90 % of the energy of each kernel, zeroes 75 % of the weights, lets
them share 16 values, and ends with quantization-aware training to 8 bits. A recipe says the order and the
amounts; all other settings are those of the settings file, for a step those of its table there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.compress.steps import COMPRESS
from pipeline.errors import ConfigError
from pipeline.quantize.methods import QUANTIZE
from pipeline.sections import advice

if TYPE_CHECKING:
    from pipeline.build_config import BuildConfig
    from pipeline.sections import MethodSection

ENDINGS = {("float32" if name == "none" else f"{name}8"): name for name in QUANTIZE}
"""The last part of a recipe, and the quantization method that it means."""
_PART = re.compile(r"([a-z]+)(\d+(?:\.\d+)?)?")


def with_recipe(raw: dict[str, Any], recipe: str) -> dict[str, Any]:
    """Return plain settings with the steps of a recipe.

    Args:
        raw: settings as in ``pipeline.toml``; the keys of its steps, other than the amount, are kept.
        recipe: parts joined by hyphens, the quantization last; without one, the settings say how.

    Raises:
        ConfigError: a part is not known.
    """
    *steps, last = recipe.split("-")
    if last not in ENDINGS:
        steps.append(last)
    given = {table.get("method"): table for table in raw.get("compress", ()) if isinstance(table, dict)}
    tables = [_table(part, recipe) for part in steps]
    made = raw | {"compress": [given.get(table["method"], {}) | table for table in tables]}
    if last in ENDINGS:
        quantize = raw.get("quantize", {})
        kept = quantize if quantize.get("method") == ENDINGS[last] else {}
        made["quantize"] = kept | {"method": ENDINGS[last]}
    return made


def recipe_of(config: BuildConfig) -> str:
    """Return the recipe of a build, whose other settings it does not tell."""
    ending = next(word for word, method in ENDINGS.items() if method == config.quantize.method)
    return "-".join([*map(part_of, config.compress), ending])


def _table(part: str, recipe: str) -> dict[str, Any]:
    """Return the table in ``[[compress]]`` that a part of a recipe stands for."""
    found = _PART.fullmatch(part)
    for method, row in COMPRESS.items():
        notation = row.notation
        if part in notation.names:
            return {"method": method, notation.key: part}
        if found is None or found[1] != notation.word:
            continue
        if found[2] is None:
            return {"method": method}
        if notation.is_percent:
            return {"method": method, notation.key: float(found[2]) / 100}
        if found[2].isdigit():
            return {"method": method, notation.key: int(found[2])}
    words = [word for row in COMPRESS.values() for word in (row.notation.word, *row.notation.names)]
    msg = (
        f"--recipe {recipe}: {part!r} is no step with its amount; {advice(part, [*words, *ENDINGS], 'parts')}"
    )
    raise ConfigError(msg)


def part_of(step: MethodSection) -> str:
    """Return a compression step with its amount, as a recipe writes it."""
    notation = COMPRESS[step.method].notation
    amount = getattr(step, notation.key)
    if amount in notation.names:
        return str(amount)
    if isinstance(amount, str):  # found by itself
        return notation.word
    return f"{notation.word}{100 * amount if notation.is_percent else amount:.10g}"
