"""TensorFlow Lite's schema, as the code that ``flatc`` generated and LiteRT ships."""

from __future__ import annotations

from typing import Any


def schema() -> Any:
    """Return the module; importing its 19,000 lines takes 0.2 s, so it is done on first use."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated
