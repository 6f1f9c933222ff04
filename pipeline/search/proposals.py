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

from pipeline.search.objectives import is_maximized
from pipeline.search.space import places, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

    from pipeline.search.objectives import Outcome
    from pipeline.search.space import Parameter, Params

RANDOM_TRIALS = 10
"""The first trials, known recipes included, after which a sampler learns from results."""
POPULATION = 20


def _tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator (Ozaki et al., 2022, doi:10.1613/jair.1.13188)."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=RANDOM_TRIALS)


def _nsga2(seed: int) -> BaseSampler:
    """NSGA-II (Deb et al., 2002, doi:10.1109/4235.996017)."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def _random(seed: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": _tpe, "nsga2": _nsga2, "random": _random}


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
    """

    def __init__(
        self,
        space: Mapping[str, Parameter],
        objectives: tuple[str, ...],
        sampler: str,
        lag: int,
        seed: int,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives, self.lag = space, objectives, lag
        self._sampler, self._seed = SAMPLERS[sampler], seed
        self._mirror = optuna.create_study(directions=directions(objectives))
        self._asked: list[Trial] = []
        self._told = 0

    def next(self, outcomes: Mapping[int, Outcome], given: Params | None = None) -> Params:
        """Propose the parameters of the next trial.

        Args:
            outcomes: by number of the trial; those up to ``lag`` trials ago are needed.
            given: take these instead: a known recipe, or what was proposed before.
        """
        number = len(self._asked)
        while self._told <= number - self.lag:
            self._tell(self._asked[self._told], outcomes[self._told])
            self._told += 1
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        self._mirror.sampler = self._sampler(int.from_bytes(digest[:4], "big"))
        if given is not None:
            self._mirror.enqueue_trial(places(given, self.space))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._mirror.ask()
            params = suggest(trial, self.space)
        self._asked.append(trial)
        return params

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        """Give the sampler an outcome; a trial without figures teaches it nothing."""
        if outcome.figures is None:
            self._mirror.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        for name, value in outcome.missed.items():
            trial.set_constraint(name, value)
        self._mirror.tell(trial, outcome.values(self.objectives))
