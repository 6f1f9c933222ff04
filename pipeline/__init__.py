"""Turn Keras models into validated int8 TFLite releases for edge devices.

The functions have the names of the commands::

    from pipeline import build

    result = build("model.keras", "data.npz", target="arm64")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import build, plan, search, validate

__all__ = ("build", "plan", "search", "validate")


def __getattr__(name: str) -> Any:
    """Import the API at its first use: every command imports this package, and few need it.

    The name of the module is put together, because every module depends on this file, and stages in the store
    depend on whatever their modules name.
    """
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'api'}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
