"""Answer compatibility.py's questions on the runtime that this process imports, without the project."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
TIMEOUT_S = 20


def main() -> None:
    package, questions = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module = importlib.import_module(MODULES[package])
    yes = []
    with zipfile.ZipFile(questions) as asked:
        for question in asked.namelist():
            content = asked.read(question)
            answer = knows if question.startswith("operator/") else runs_alone
            if answer(module, content):
                yes.append(question)
    print(json.dumps({"module": module.__file__, "yes": yes}))


def knows(module: Any, content: bytes) -> bool:
    """Whether the operator that the file names is known: no node uses it, so that nothing else is asked."""
    try:
        module.Interpreter(model_content=content)
    except ValueError as error:
        if "Didn't find op" not in str(error) and "builtin_code out of range" not in str(error):
            raise
        return False
    return True


def runs_alone(module: Any, content: bytes) -> bool:
    """Whether the model is planned and runs, in a child."""
    return in_child(lambda: run(module, content))


def run(module: Any, content: bytes) -> None:
    without = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    # No number of threads is asked for: LiteRT 1.1.0 fails on any.
    interpreter = module.Interpreter(model_content=content, experimental_op_resolver_type=without)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():  # positive: kernels of roots and logarithms demand it
        value = detail["quantization"][1] + 2
        interpreter.set_tensor(detail["index"], np.full(detail["shape"], value, detail["dtype"]))
    interpreter.invoke()


def in_child(job: Callable[[], None]) -> bool:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_S, TIMEOUT_S))
            job()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main()
