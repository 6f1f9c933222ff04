"""A search as runs of MLflow: one of the search, and below it one of each trial."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.searching.front import BASELINE
from pipeline.searching.page import PAGE, VALUES
from pipeline.searching.trial import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.searching.objectives import Outcome
    from pipeline.searching.space import Params

EXPERIMENT = "pipeline search"
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a retried request may make a second run
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Unless the user has set these: MLflow's defaults wait for minutes, print, and report to its makers."""
SEARCH, TRIAL, PARENT = "search.id", "search.trial", "mlflow.parentRunId"
STATES = {"complete": "FINISHED", "stopped": "KILLED", "refused": "FAILED"}
ENDS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
MAX_TAG = 5000
"""Characters that every server takes."""
PAGE_SIZE = 1000


class MlflowRuns:
    """The runs of one search on a tracking server, or in a database.

    They are found by their tags: whatever died while a run was logged, there is one of each trial. One that
    is RUNNING is not complete.

    Args:
        uri: as MLflow takes it; credentials are better in ``MLFLOW_TRACKING_USERNAME`` and
            ``MLFLOW_TRACKING_PASSWORD``, or in ``MLFLOW_TRACKING_TOKEN``.
        search: an ID that stays when the search is continued.
        asked: what the search depends on.
        settings: the user's own, as TOML.
    """

    def __init__(self, uri: str, search: str, asked: dict[str, str], settings: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._search = search
        self._client = MlflowClient(uri)
        self._experiment = self._experiment_id()
        self._parent = self._find("") or self._create("", f"search for {asked['target']}", {})
        self._client.update_run(self._parent.info.run_id, status="RUNNING")
        params = [Param(name, value) for name, value in asked.items() if value]
        self._client.log_batch(self._parent.info.run_id, params=params)
        self._client.log_text(self._parent.info.run_id, settings, "settings.toml")

    def logged(self) -> set[int]:
        """Return the numbers of the trials whose runs have ended."""
        runs, token = [], None
        while token != "":
            page = self._client.search_runs(
                [self._experiment], f"tags.`{SEARCH}` = '{self._search}'",
                max_results=PAGE_SIZE, page_token=token,
            )  # fmt: skip
            runs += page
            token = page.token or ""
        return {
            int(run.data.tags[TRIAL]) for run in runs if run.data.tags[TRIAL] and run.info.status != "RUNNING"
        }

    def log(self, number: int, params: Params, outcome: Outcome, settings: str) -> None:
        """Log a trial as a run below that of the search."""
        from mlflow.entities import Metric, Param, RunTag

        run = self._find(str(number))
        if run is None:
            name = "own settings" if number == BASELINE else f"{number} {outcome.recipe}"
            begun = round(1000 * (time.time() - outcome.seconds))
            run = self._create(str(number), name, {PARENT: self._parent.info.run_id}, begun)
        elif run.info.status != "RUNNING":
            return
        run_id, begun = run.info.run_id, run.info.start_time
        # The same time whenever it is logged: MLflow drops a value that it has.
        metrics = [Metric(name, value, begun, 0) for name, value in _metrics(outcome).items()]
        proposed = [Param(name, str(value)) for name, value in params.items() if value is not None]
        tags = [RunTag(name, value[:MAX_TAG]) for name, value in _tags(outcome).items() if value]
        self._client.log_batch(run_id, metrics, proposed, tags)
        self._client.log_text(run_id, settings, SETTINGS)
        ended = begun + round(1000 * outcome.seconds)
        self._client.set_terminated(run_id, STATES[outcome.state], ended)

    def end(self, state: str, folder: Path) -> None:
        """Log the files of the result and the chosen trial, and end the run of the search."""
        run_id = self._parent.info.run_id
        for name in (PAGE, VALUES, SETTINGS):
            if (folder / name).exists():
                self._client.log_artifact(run_id, str(folder / name))
        if state == "finished":
            found = json.loads((folder / VALUES).read_text(encoding="utf-8"))
            chosen = found["chosen"]
            digests = {each["number"]: each["digest"] for each in found["validated"]}
            said = {"chosen": "none"}
            if chosen is not None:
                recipe = found["trials"][str(chosen)]["recipe"]
                said = {"chosen": str(chosen), "recipe": recipe, "digest": digests[chosen]}
            for name, value in said.items():
                self._client.set_tag(run_id, name, value)
        self._client.set_terminated(run_id, ENDS[state])

    def _experiment_id(self) -> str:
        """Return the ID of the experiment of the user's environment, or of ours; make it if there is none."""
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with suppress(MlflowException):  # another search has just made it
                self._client.create_experiment(name)
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            msg = f"the experiment {name!r} is deleted; restore it, or set MLFLOW_EXPERIMENT_NAME"
            raise ValueError(msg)
        experiment_id: str = found.experiment_id
        return experiment_id

    def _find(self, trial: str) -> Any:
        """Return the run of a trial, or of the search for ""; None if there is none."""
        which = f"tags.`{SEARCH}` = '{self._search}' and tags.`{TRIAL}` = '{trial}'"
        found = self._client.search_runs([self._experiment], which, max_results=1)
        return found[0] if found else None

    def _create(self, trial: str, name: str, tags: dict[str, str], started: int | None = None) -> Any:
        given = {SEARCH: self._search, TRIAL: trial, "mlflow.source.name": "pipeline search", **tags}
        return self._client.create_run(self._experiment, started, given, name)


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Return the figures of a trial, and by how much of itself each limit is missed."""
    found = {"seconds": outcome.seconds}
    if outcome.figures is not None:
        figures = asdict(outcome.figures)
        del figures["metric"]
        devices = figures.pop("instructions")
        found |= figures | {f"{device} instructions": count for device, count in devices.items()}
    found |= {f"missed/{name}": value for name, value in outcome.missed.items()}
    return {name: float(value) for name, value in found.items()}


def _tags(outcome: Outcome) -> dict[str, str]:
    return {
        "state": outcome.state,
        "reason": outcome.reason,
        "recipe": outcome.recipe,
        "feasible": str(outcome.is_feasible).lower(),
        "worker": outcome.worker,
    }
