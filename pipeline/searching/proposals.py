"""What to try next: Optuna's samplers, such that the answer depends on the seed and on results, not on time.

Proposal ``k`` knows the results of the trials ``0 .. k - lag`` and no others, however many have ended
meanwhile, and its random numbers follow from the seed and ``k``. So a search that was killed goes on as if
it had not been, and several workers find what one finds.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection

from pipeline.searching.front import pareto_front
from pipeline.searching.objectives import is_maximized
from pipeline.searching.space import places, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

    from pipeline.searching.objectives import Outcome
    from pipeline.searching.space import Parameter, Params

RANDOM_TRIALS = 10
"""The first trials, known recipes included, after which a sampler learns from results."""
POPULATION = 20
REMEMBERED = 1000
"""Trials after which a sampler's memory is cut to three quarters: each makes a proposal slower."""


def _tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator (Ozaki et al., 2022, doi:10.1613/jair.1.13188)."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=RANDOM_TRIALS)


def _nsga2(seed: int) -> BaseSampler:
    """NSGA-II (Deb et al., 2002, doi:10.1109/4235.996017)."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def _random(seed: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": _tpe, "nsga2": _nsga2, "random": _random}
GENETIC = ("nsga2",)
"""Samplers that record the generation of each trial, so that none may be left out."""


def directions(objectives: tuple[str, ...]) -> list[StudyDirection]:
    """Return the direction of each objective."""
    return [StudyDirection.MAXIMIZE if is_maximized(name) else StudyDirection.MINIMIZE for name in objectives]


class Proposals:
    """Proposes parameters in the order of the trials.

    Args:
        space: parameters by name.
        objectives: the values of a trial.
        sampler: a key of ``SAMPLERS``.
        lag: how many trials may be open at once.
        seed: of the search.
        starts: what the first trials are.
    """

    def __init__(
        self,
        space: Mapping[str, Parameter],
        objectives: tuple[str, ...],
        sampler: str,
        lag: int,
        seed: int,
        starts: Sequence[Params] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives, self.lag, self.starts = space, objectives, lag, starts
        self._sampler, self._seed = SAMPLERS[sampler], seed
        self._is_genetic = sampler in GENETIC
        self._mirror = optuna.create_study(directions=directions(objectives))
        self._params: list[Params] = []
        self._trials: dict[int, Trial] = {}  # of the mirror
        self._told = 0

    def next(self, outcomes: Mapping[int, Outcome], given: Params | None = None) -> Params:
        """Propose the parameters of the next trial.

        Args:
            outcomes: by number of the trial; those up to ``lag`` trials ago are needed.
            given: take these instead, which were proposed before the search was interrupted.
        """
        number = len(self._params)
        if given is None and number < len(self.starts):
            given = self.starts[number]
        while self._told <= number - self.lag:
            if self._told not in self._trials:  # was forgotten while it was open
                self._ask(self._told, _random(0), self._params[self._told])
            self._tell(self._trials[self._told], outcomes[self._told])
            self._told += 1
        if len(self._trials) >= REMEMBERED and not self._is_genetic:
            self._forget(outcomes)
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        params = self._ask(number, self._sampler(int.from_bytes(digest[:4], "big")), given)
        self._params.append(params)
        return params

    def _ask(self, number: int, sampler: BaseSampler, given: Params | None) -> Params:
        """Ask the mirror for a trial; what is given needs no sampler, unless that counts generations."""
        self._mirror.sampler = sampler
        if given is not None:
            self._mirror.enqueue_trial(places(given, self.space))
            if not self._is_genetic:
                self._mirror.sampler = _random(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._trials[number] = self._mirror.ask()
            return suggest(self._trials[number], self.space)

    def _forget(self, outcomes: Mapping[int, Outcome]) -> None:
        """Begin a new mirror with the newest of the front, of the other results and of the open trials."""
        known = {number: outcomes[number] for number in self._trials if number < self._told}
        front = pareto_front(known, self.objectives)[-REMEMBERED // 4 :]
        others = sorted(known.keys() - set(front))[len(front) - REMEMBERED // 2 :]
        unended = sorted(self._trials.keys() - known.keys())[-REMEMBERED // 4 :]
        self._mirror, self._trials = optuna.create_study(directions=directions(self.objectives)), {}
        for number in sorted([*front, *others, *unended]):
            self._ask(number, _random(0), self._params[number])
            if number in known:
                self._tell(self._trials[number], known[number])

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        """Give the sampler an outcome; a trial without figures teaches it nothing."""
        if outcome.figures is None:
            self._mirror.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        for name, value in outcome.missed.items():
            trial.set_constraint(name, value)
        self._mirror.tell(trial, outcome.values(self.objectives))
