"""Errors in flags and arguments, which click finds, in the words of the pipeline's own errors."""

from __future__ import annotations

import difflib
from typing import Any

import click

_PLAIN = {
    "not a valid integer range": "not a whole number",
    "not a valid integer": "not a whole number",
    "not a valid float range": "not a number",
    "not a valid float": "not a number",
    "does not match the format '%Y-%m-%d'": "is not a date; write it as 2027-06-30",
    "Got unexpected extra": "unexpected",
}


def usage_message(error: click.ClickException) -> str:
    """Return what is wrong with a flag or an argument, beginning with its name, and where the help is."""
    context = getattr(error, "ctx", None)
    hint = f"; see: {context.command_path} --help" if context else ""
    match error:
        case click.NoSuchOption(option_name=name):
            text = f"no option {name!r}{_nearest(name, context)}"
        case click.MissingParameter(param=click.Parameter() as parameter):
            text = f"{_name(parameter)} is missing{_purpose(parameter)}"
        case click.BadOptionUsage(option_name=name):
            text = f"{name}: it needs a value"
        case click.BadParameter(param=click.Parameter() as parameter):
            name, text = _name(parameter), error.message
            text = text if text.startswith(f"{name}:") else f"{name}: {_of_range(text, parameter.type)}"
        case _:
            text = error.format_message()
    for words, plain in _PLAIN.items():
        text = text.replace(words, plain)
    return f"{text.rstrip('.')}{hint}"


def _name(parameter: click.Parameter) -> str:
    """Return e.g. "--seed" of an option and "RELEASE" of an argument."""
    long = (name for name in parameter.opts if name.startswith("--"))
    return next(long, None) or parameter.metavar or str(parameter.name).upper()


def _nearest(name: str, context: click.Context | None) -> str:
    """Suggest the option that is nearest to a wrong one; click would list up to three, by the alphabet."""
    options = context.command.params if context else []
    known = [flag for option in options if not getattr(option, "hidden", False) for flag in option.opts]
    nearest = difflib.get_close_matches(name, [flag for flag in known if flag.startswith("--")], n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _purpose(parameter: click.Parameter) -> str:
    """Return what a missing option is for, from the first part of its help."""
    text = (getattr(parameter, "help", None) or "").partition(";")[0].rstrip(".")
    return f" ({text[:1].lower()}{text[1:]})" if text else ""


def _of_range(text: str, kind: click.ParamType[Any]) -> str:
    """Return the text, with the limits of a number in words: "at least 1", not "x>=1"."""
    if not isinstance(kind, click.IntRange) or "is not in the range" not in text:
        return text
    limits = f"at least {kind.min}" if kind.max is None else f"{kind.min} to {kind.max}"
    return f"{text.partition(' ')[0]} is out of range; allowed: {limits}"
