"""Which columns of a table are the model's inputs, and which its targets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.data.dialect import MISSING, TARGET_NAMES
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.data.dialect import Dialect
    from models.data.options import DataOptions
    from models.ports import Port

_ROW_NUMBERS = ("", "Unnamed: 0")  # the header of a column that pandas writes beside the data
_IDENTIFIERS = frozenset(
    {
        "id",
        "index",
        "row",
        "rownames",
        "rowname",
        "no",
        "nr",
        "record",
        "sample_id",
        "time",
        "timestamp",
        "date",
    }
)
_NUMBERED = re.compile(r"[\s_.\-\[(]*(\d+)[\])]?")
_GROUPED = re.compile(r"[+-]?\d{1,3}([,.'\u2019 ]\d{3})+([.,]\d+)?")  # digits in groups of three
_VALUE_WORDS = frozenset({"true", "false", "inf", "infinity"})
_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """Which cells of a row are what.

    Attributes:
        names: of all columns.
        inputs: indices, one tuple for each input.
        targets: indices, one tuple for each output; () if there are no targets.
        finding: the choice in one line, for the user.
    """

    names: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]
    finding: str

    @property
    def input_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of the columns of each input."""
        return tuple(tuple(self.names[index].strip() for index in group) for group in self.inputs)


@dataclass(frozen=True)
class _Table:
    """A table and the model it is read for."""

    path: Path
    dialect: Dialect
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    group: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.dialect.names

    @property
    def columns(self) -> list[int]:
        """All but that of the groups and those that number the rows."""
        return [index for index, name in enumerate(self.names) if name not in (*_ROW_NUMBERS, self.group)]

    @property
    def values(self) -> int | None:
        """How many numbers all inputs take; None if a length is open."""
        lengths = [length for port in self.inputs for length in port.shape]
        if None in lengths:
            return None
        return sum(math.prod(port.fixed_shape) for port in self.inputs)

    def shown(self, columns: Sequence[int]) -> str:
        names = [self.names[index] for index in columns[:_SHOWN]]
        return ", ".join(names) + (f", ... ({len(columns)})" if len(columns) > _SHOWN else "")

    def fail(self, problem: str) -> DataError:
        return DataError(f"{self.path}: {problem}")


def choose_columns(
    path: Path, dialect: Dialect, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions
) -> Columns:
    """Choose the columns of inputs and targets: by name where names match, else by position.

    Args:
        path: for messages.
        dialect: with names and first rows.
        inputs: of the model.
        outputs: of the model.
        options: columns that the user named.

    Raises:
        DataError: the columns do not fit the model, or may be chosen in two ways; says what to give.
    """
    table = _Table(path, dialect, tuple(inputs), tuple(outputs), options.group or _ROW_NUMBERS[0])
    _find(table, (options.group,) if options.group else ())
    target = _find(table, options.target)
    given = _find(table, options.columns)
    both = [table.names[index] for index in given if index in target]
    if both:
        msg = f"{both[0]!r} is an input and the target; name the columns of each"
        raise table.fail(msg)
    free = given or [index for index in table.columns if index not in target]
    groups = _match_inputs(table, free, ordered=bool(given)) if dialect.header else None
    left: list[int] = []
    how = "inputs by name" if groups is not None else "inputs"
    if groups is not None:
        used = {index for group in groups for index in group}
        rest = [index for index in table.columns if index not in used]
        target = target or _beside(table, rest)
    else:
        if not target:
            rest = [index for index in table.columns if index not in given]
            target = _beside(table, rest, last=True) if given else _infer_target(table)
        chosen = given or [index for index in table.columns if index not in target]
        chosen, left = _fit_count(table, chosen, target, named=bool(given))
        groups = _split(chosen, table.inputs)
        how = "inputs by position" if len(inputs) > 1 else how
    finding = _describe(table, how, groups, target, left)
    return Columns(table.names, groups, _by_output(table, target), finding)


def _find(table: _Table, required: tuple[str, ...]) -> list[int]:
    missing = [name for name in required if name not in table.names]
    if missing:
        msg = f"no column {missing[0]!r}; there are {', '.join(table.names[:20])}"
        raise table.fail(msg)
    return [table.names.index(name) for name in required]


def _match_inputs(table: _Table, free: list[int], *, ordered: bool) -> tuple[tuple[int, ...], ...] | None:
    """Find the columns with the names of the inputs; None if no name matches."""
    keys = {_key(table.names[index]): index for index in free}
    exact = len(keys) < len(free) or len({_key(port.name) for port in table.inputs}) < len(table.inputs)
    if exact:
        keys = {table.names[index]: index for index in free}
    found: list[tuple[int, ...]] = []
    for port in table.inputs:
        size = math.prod(length or 0 for length in port.shape)
        one = keys.get(port.name if exact else _key(port.name))
        if size == 1 and one is not None:
            found.append((one,))
        elif size > 1 and len(table.inputs) > 1:
            found.append(_numbered(table, free, port.name, size))
        else:
            found.append(())
    if all(found):
        return tuple(found)
    if not any(found) or ordered:
        return None
    names = ", ".join(port.name for port in table.inputs)
    lacking = next(port.name for port, group in zip(table.inputs, found, strict=True) if not group)
    msg = (
        f"the model's inputs ({names}) and the columns ({table.shown(free)}) have only some names in common: "
        f"no column for {lacking!r}; rename the columns, or give columns in the order of the model's inputs"
    )
    raise table.fail(msg)


def _key(name: str) -> str:
    """Return a name without case and punctuation, which layer names cannot all have."""
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _numbered(table: _Table, free: list[int], name: str, size: int) -> tuple[int, ...]:
    """Return the columns ``name_0``, ``name_1``, ... by number, where there are ``size`` of them."""
    found = []
    for index in free:
        column = table.names[index]
        if column.lower().startswith(name.lower()):
            number = _NUMBERED.fullmatch(column[len(name) :])
            if number:
                found.append((int(number.group(1)), index))
    return tuple(index for _, index in sorted(found)) if len(found) == size else ()


def _named_targets(table: _Table, columns: list[int]) -> list[int]:
    """Return the columns with the names of the outputs, else that with a usual name of a target.

    ``y`` between an ``x`` and a ``z`` is a coordinate.
    """
    lower = {table.names[index].lower(): index for index in columns}
    if "x" in lower and "z" in lower:
        lower.pop("y", None)
    by_output = [lower.get(port.name.lower()) for port in table.outputs]
    matched = [index for index in by_output if index is not None]
    if matched and len(matched) == len(table.outputs):
        return matched
    if len(table.outputs) > 1:
        return []
    usual = [lower[name] for name in TARGET_NAMES[:3] if name in lower]
    if len(usual) > 1:
        msg = f"{_two(table, usual)} may both be the target; {_say(table, usual[0])}"
        raise table.fail(msg)
    return usual or [lower[name] for name in TARGET_NAMES[3:] if name in lower]


def _beside(table: _Table, rest: list[int], *, last: bool = False) -> list[int]:
    """Choose the target among the columns that are no inputs."""
    named = _named_targets(table, rest)
    if named or len(rest) in (0, len(table.outputs), _width(table)):
        return named or rest
    others = [index for index in rest if table.names[index].lower() not in _IDENTIFIERS]
    if len(others) == len(table.outputs):
        return others
    if last and rest[-1] == table.columns[-1]:
        return rest[-len(table.outputs) :]
    msg = f"the target may be any of {table.shown(rest)}; {_say(table, rest[-1])}"
    raise table.fail(msg)


def _infer_target(table: _Table) -> list[int]:
    """Choose the target where inputs are chosen by position: by a usual name, else the last columns."""
    columns, values, width = table.columns, table.values, _width(table)
    count = len(table.outputs)
    if values == len(columns) and _may_lack_targets(table):
        return []
    named = _named_targets(table, columns)
    if count > 1:
        return named or columns[-count:]
    if values is not None and width > 1 and len(columns) - values == width:
        return columns[-width:]
    texts = [index for index in columns if table.dialect.is_text(index)]
    others = len([index for index in columns if table.names[index].lower() not in _IDENTIFIERS])
    if not named and len(texts) == 1 and values in (len(columns) - 1, others - 1) and _fits(table, texts[0]):
        return texts
    last = columns[-1]
    if not named or named[0] == last:
        return [_checked_last(table, last)]
    weak = table.names[named[0]].lower() == TARGET_NAMES[3] and named[0] != columns[0]
    if _fits(table, last) and (weak or not _fits(table, named[0])):
        msg = f"{_two(table, [named[0], last])} may both be the target; {_say(table, last)}"
        raise table.fail(msg)
    return named


def _checked_last(table: _Table, last: int) -> int:
    """Return the last column, unless only others can be the target."""
    others = [index for index in table.columns[:-1] if _fits(table, index)]
    if _fits(table, last) or not others:
        return last
    problem = f"the last column, {table.names[last]!r}, cannot be the target of {table.outputs[0].name!r}"
    texts = (cell for cell in table.dialect.cells(last) if table.dialect.number(cell) is None)
    grouped = next(filter(_GROUPED.fullmatch, texts), "")
    if grouped:
        msg = f"{problem}: {grouped!r} is not a number; write numbers without marks between thousands"
        raise table.fail(msg)
    msg = f"{problem}, but {table.shown(others)} can; {_say(table, others[0])}"
    raise table.fail(msg)


def _fits(table: _Table, column: int) -> bool:
    """Return whether the first rows of a column can be the targets of the only output."""
    output, dialect = table.outputs[0], table.dialect
    if len(output.shape) > 1:
        return True
    classes = math.prod(length or 2 for length in output.shape)
    cells = {cell for cell in dialect.cells(column) if cell}
    if dialect.is_text(column):
        return len(cells) <= max(classes, 2)
    values = {dialect.number(cell) for cell in cells if cell.lower() not in MISSING}
    numbers = {value for value in values if value is not None}
    if classes > 1:
        return all(value.is_integer() for value in numbers) and len(numbers) <= classes
    if output.activation == "sigmoid":
        return all(0 <= value <= 1 for value in numbers) or numbers in ({-1.0, 1.0}, {1.0, 2.0})
    return True


def _holds_words(table: _Table, column: int) -> bool:
    """Return whether the first rows of a column hold words only, and no numbers in whatever notation."""
    cells = {cell for cell in table.dialect.cells(column) if cell.lower() not in MISSING}
    return bool(cells) and not any(
        any(map(str.isdigit, cell)) or cell.lower().lstrip("+-") in _VALUE_WORDS for cell in cells
    )


def _may_lack_targets(table: _Table) -> bool:
    """Return whether a model may be judged without targets: it rebuilds its input, or gives an embedding."""
    if not table.outputs:
        return True
    output = table.outputs[0]
    if len(table.inputs) == 1 and output.shape == table.inputs[0].shape and output.activation != "softmax":
        return output.shape not in ((), (1,))
    return output.activation not in ("softmax", "sigmoid") and output.shape not in ((), (1,))


def _width(table: _Table) -> int:
    """Return how many columns the targets of the only output may take."""
    if len(table.outputs) != 1:
        return len(table.outputs)
    return math.prod(length or 1 for length in table.outputs[0].shape)


def _fit_count(
    table: _Table, chosen: list[int], target: list[int], *, named: bool
) -> tuple[list[int], list[int]]:
    """Leave out text and identifiers where exactly the model's number of inputs then remains."""
    values = table.values
    if values is None and len(table.inputs) == 1:
        return chosen, []
    numbers = [index for index in chosen if not table.dialect.is_text(index)]
    words = [index for index in chosen if _holds_words(table, index)] if numbers and not named else []
    if len(chosen) == values and chosen and not words:
        return chosen, []
    without = [index for index in chosen if table.names[index].lower() not in _IDENTIFIERS]
    for kept in (numbers, without, [index for index in numbers if index in without]):
        if len(kept) == values and not named and kept and not {*words} & {*kept}:
            return kept, [index for index in chosen if index not in kept]
    plural = "column" if len(numbers) == 1 else "columns"
    counted = f"{len(numbers)} numeric {plural} ({table.shown(numbers)})" if numbers else "no numeric column"
    texts = [repr(table.names[index]) for index in chosen if index not in numbers]
    also = f" and {', '.join(texts[:_SHOWN])}" if texts else ""
    beside = f" besides the target {table.shown(target)!r}" if target else ""
    takes = "values of open lengths" if values is None else f"{values} inputs"
    fix = ("encode text as numbers, or " if texts else "") + "name the inputs in [data] columns"
    fix += " and the target in [data] target"
    msg = f"the table has {counted}{also}{beside}; the model takes {takes}; {fix}"
    raise table.fail(msg)


def _split(chosen: list[int], inputs: Sequence[Port]) -> tuple[tuple[int, ...], ...]:
    if len(inputs) == 1:
        return (tuple(chosen),)
    groups, at = [], 0
    for port in inputs:
        size = math.prod(port.fixed_shape)
        groups.append(tuple(chosen[at : at + size]))
        at += size
    return tuple(groups)


def _by_output(table: _Table, target: list[int]) -> tuple[tuple[int, ...], ...]:
    if not target or len(table.outputs) == 1:
        return (tuple(target),) if target else ()
    if len(target) != len(table.outputs):
        counts = f"{len(target)} target columns for {len(table.outputs)} outputs"
        msg = f"{counts}; name one for each with target"
        raise table.fail(msg)
    return tuple((index,) for index in target)


def _describe(
    table: _Table, how: str, groups: tuple[tuple[int, ...], ...], target: list[int], left: list[int]
) -> str:
    names = ", ".join(repr(table.names[index]) for index in target[:_SHOWN])
    first = f"target: {names}" if target else "no target"
    if len(groups) > 1 and how == "inputs by position":
        pairs = zip(table.inputs, groups, strict=True)
        inputs = ", ".join(f"{port.name} = {table.shown(group)}" for port, group in pairs)
    else:
        inputs = table.shown([index for group in groups for index in group])
    used = {*target, *left, *(index for group in groups for index in group)}
    unused = left + [index for index in range(len(table.names)) if index not in used]
    out = f"; not used: {table.shown(unused)}" if unused else ""
    columns = "" if table.dialect.header else " (columns counted from 0)"
    return f"{first}; {how}: {inputs}{out}{columns}"


def _two(table: _Table, columns: list[int]) -> str:
    return " and ".join(repr(table.names[index]) for index in columns)


def _say(table: _Table, column: int) -> str:
    return f'name it, such as target = "{table.names[column]}"'
