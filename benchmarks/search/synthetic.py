"""Run a search whose trials are those of ``surrogate.py`` and sleep, as a process that others measure.

Usage: python benchmarks/search/synthetic.py FOLDER '{"trials": 20, "workers": 2}'

The options are those of ``SearchConfig``. A trial takes TRIAL_SECONDS, and with TRIAL_CORES it computes
all the time. It writes the process and the time to ``runs`` in its folder when it begins. Prints the
result as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from surrogate import params_of, surrogate_trial

from pipeline.console.reporter import ConsoleReporter
from pipeline.events import listening
from pipeline.recipe import recipe_of
from pipeline.searching.objectives import Outcome
from pipeline.searching.search import SearchConfig, search
from pipeline.settings import make_config
from pipeline.targets import get_target

if TYPE_CHECKING:
    from pipeline.searching.trial import Spec

STAGES = 14
"""Of a real trial."""


def trial(spec: Spec) -> Outcome:
    """Say that it runs, take its time, and end as the surrogate says."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    with (spec.folder / "runs").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {time.time():.3f}\n")
    end = time.monotonic() + float(os.environ.get("TRIAL_SECONDS", "0"))
    while (left := end - time.monotonic()) > 0:
        if not os.environ.get("TRIAL_CORES"):
            time.sleep(left)
    return outcome_of(spec)


def outcome_of(spec: Spec) -> Outcome:
    """Return a complete outcome as large as that of a build."""
    config = make_config(spec.settings, "trial")
    found = surrogate_trial(spec.number, params_of(spec.settings), {}, spec.limits, is_known=True)
    step = {"stage": "judge_on_held_out", "key": "da3bd64458ae7197cf0e1ce4", "digest": "", "cached": False}
    return Outcome(
        **{
            **found.__dict__,
            "recipe": recipe_of(config),
            "steps": tuple(step | {"seconds": 31.612} for _ in range(STAGES)),
            "worker": os.uname().nodename,
            "compressed": (-90.0, 5e4, 3e6, 1e6),
        }
    )


def inputs(folder: Path) -> dict[str, dict[str, str]]:
    """Write a model and data that no synthetic trial opens; return them as settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.keras").write_bytes(b"model")
    np.savez(folder / "data.npz", x_train=np.zeros(1))
    return {"model": {"path": str(folder / "model.keras")}, "data": {"source": str(folder / "data.npz")}}


def main() -> None:
    folder, chosen = Path(sys.argv[1]).absolute(), SearchConfig(validated=0, **json.loads(sys.argv[2]))
    config = make_config(inputs(folder), "synthetic")
    with ConsoleReporter() as reporter, listening(reporter):
        found = search(get_target("arm64"), config, chosen, folder, folder / "store", trial)
    print(json.dumps({"front": found.front, "trials": len(found.outcomes) - 1}))


if __name__ == "__main__":
    main()
