"""The study of a search in a file: an Optuna study, which a killed driver leaves whole."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import optuna
from optuna.trial import TrialState

from pipeline.errors import ConfigError
from pipeline.searching.front import BASELINE, Front
from pipeline.searching.objectives import Outcome
from pipeline.searching.proposals import directions
from pipeline.searching.space import places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from pipeline.searching.space import Parameter, Params

FILE = "study.db"
NAME = "search"
ASKED, OUTCOME, OWN = "asked", "outcome", "own settings"
STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "refused": TrialState.FAIL}


class Study:
    """Trials that were asked for and how they ended; ``optuna-dashboard sqlite:///FOLDER/study.db`` shows it.

    A trial is written with its parameters in one transaction when it is asked for, and is RUNNING until its
    outcome is. One that is RUNNING when a search begins was left by a killed driver, and runs again.

    Args:
        folder: of the search.
        asked: the settings of the search, JSON-like; a study of others is not continued.

    Raises:
        ConfigError: the folder has a search with other settings, or its file is damaged.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        space: Mapping[str, Parameter],
        objectives: tuple[str, ...],
    ) -> None:
        self.asked, self.space, self.objectives = asked, space, objectives
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = folder / FILE
        try:
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            self._study = optuna.create_study(
                storage=self._storage, study_name=NAME, directions=directions(objectives), load_if_exists=True
            )
        except Exception as error:  # of SQLAlchemy, which has many
            msg = (
                f"{path}: not a study of a search ({type(error).__name__}); remove it or choose another --out"
            )
            raise ConfigError(msg) from error
        self._check(asked, path)
        trials = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}
        self.params = {trial.number: self._params(trial) for trial in trials}
        self.outcomes = {
            trial.number: Outcome.from_dict(json.loads(trial.user_attrs[OUTCOME]))
            for trial in trials
            if trial.state.is_finished()
        }
        for number in self.open:
            self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING)
        if own := self._study.user_attrs.get(OWN):
            self.outcomes[BASELINE] = Outcome.from_dict(json.loads(own))
        self.front = Front(objectives)
        for number, outcome in self.outcomes.items():
            self.front.add(number, outcome)

    def _check(self, asked: Mapping[str, Any], path: Path) -> None:
        """Keep what is asked, or compare it with what was."""
        text = json.dumps(asked, sort_keys=True)
        before = self._study.user_attrs.get(ASKED)
        if before is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(self.objectives))
            self._study.set_user_attr(ASKED, text)
        elif before != text:
            old = json.loads(before)
            changed = sorted(key for key in {*old, *asked} if old.get(key) != asked.get(key))
            msg = f"{path}: a search with another {' and '.join(changed)}; choose another --out, or remove it"
            raise ConfigError(msg)

    def begun_with(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what the search began with, JSON-like; of one that begins now, what ``make`` returns."""
        if name not in self._study.user_attrs:
            self._study.set_user_attr(name, make())
        return self._study.user_attrs[name]

    @property
    def id(self) -> str:
        """A random ID, by which trackers find this study again."""
        found: str = self.begun_with("id", lambda: uuid4().hex)
        return found

    @property
    def open(self) -> list[int]:
        """The numbers of the trials that were asked for and have no outcome."""
        return sorted(self.params.keys() - self.outcomes.keys())

    @property
    def finished(self) -> list[int]:
        """The numbers of the trials that have an outcome, without that of the user's own settings."""
        return sorted(self.outcomes.keys() - {BASELINE})

    def put_back(self) -> None:
        """Let no trial be RUNNING: those that are open wait for the search to go on."""
        for number in self.open:
            self._storage.set_trial_state_values(self._ids[number], TrialState.WAITING)

    def ask(self, params: Params) -> int:
        """Write a new trial, and return its number."""
        distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.IntDistribution(0, len(parameter.values) - 1)
            if parameter.is_ordered
            else optuna.distributions.CategoricalDistribution(parameter.values)
            for name, parameter in self.space.items()
        }
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=places(params, self.space), distributions=distributions
            )
        )
        number = len(self.params)
        self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(
            self._study._study_id, number
        )
        self.params[number] = params
        return number

    def tell(self, number: int, outcome: Outcome) -> None:
        """Write how a trial ended; nothing if that is known already."""
        if number in self.outcomes:
            return
        text = json.dumps(outcome.to_dict())
        if number == BASELINE:
            self._study.set_user_attr(OWN, text)
            self._keep(number, outcome)
            return
        attributes = {"recipe": outcome.recipe, "reason": outcome.reason, OUTCOME: text}
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._ids[number], name, value)
        state = STATES[outcome.state]
        values = outcome.values(self.objectives) if state is TrialState.COMPLETE else None
        self._study.tell(number, values, state)
        self._keep(number, outcome)

    def _keep(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        self.front.add(number, outcome)

    def _params(self, trial: FrozenTrial) -> Params:
        return {
            name: parameter.values[trial.params[name]] if parameter.is_ordered else trial.params[name]
            for name, parameter in self.space.items()
        }
