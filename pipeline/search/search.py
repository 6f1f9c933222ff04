"""The driver of a search: ask for trials, let workers run them, and build what is best."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import as_completed

from pipeline.build import Inputs, build
from pipeline.content import sha256_of, write_whole
from pipeline.errors import ConfigError, GateFailed, storing
from pipeline.event_file import EventFile
from pipeline.events import TrialFinished, emit, listening
from pipeline.isolation.memory import machine_bytes
from pipeline.planning.goal import read_goal
from pipeline.progress import track
from pipeline.recipe import recipe_of
from pipeline.run import Run
from pipeline.scratch import locked
from pipeline.search.cluster import connected, died, require_workers, submit
from pipeline.search.front import BASELINE, pareto_front, spread
from pipeline.search.halving import shares_of
from pipeline.search.objectives import Limits, Outcome, objectives_of
from pipeline.search.proposals import SAMPLERS, Proposals
from pipeline.search.space import AMOUNTS, METHOD, STEPS, settings_with, space_of
from pipeline.search.study import Study
from pipeline.search.trial import SETTINGS, Spec, run_trial
from pipeline.search.written import plain_settings, settings_text
from pipeline.sections import advice
from pipeline.settings import make_config
from pipeline.shared_store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client

    from pipeline.build_config import BuildConfig
    from pipeline.search.space import Params
    from pipeline.targets import Target
    from pipeline.validate.report import Report

KNOWN: tuple[dict[str, Any], ...] = (
    {METHOD: "ptq"},
    {"weights": 0.7},
    {"channels": 0.5},
    {"channels": 0.5, "weights": 0.6},
    {"channels": 0.3, "weights": 0.5},
    {"weights": 0.7, "clusters": 32},
)
"""Recipes that are good for many models, which a search tries first."""
TRIAL_BYTES = 2 << 30
"""Memory that a trial is assumed to take."""
MAX_COMPARED = 200
"""Earlier trials that a stopped one is compared with, the last ones."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What to search for, and how.

    Attributes:
        trials: how many to finish.
        goal: limits besides the gates, as ``pipeline plan`` takes them; "" for none.
        objectives: to improve; none for all that the target has.
        steps: to vary; none for ``STEPS``.
        sampler: a key of ``SAMPLERS``.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler; "" for workers of this machine.
        lag: how many trials may be open at once, on which the proposals depend; 0 for twice the workers.
        validated: of the front, at most so many are built and validated.
        seed: of the proposals.
    """

    trials: int = 30
    goal: str = ""
    objectives: tuple[str, ...] = ()
    steps: tuple[str, ...] = STEPS
    sampler: str = "tpe"
    workers: int = 2
    scheduler: str = ""
    lag: int = 0
    validated: int = 4
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A candidate that was built and validated on the target.

    Attributes:
        number: of its trial.
        folder: of the build.
        digest: of the release; "" if a gate failed.
        problem: which gates failed; "" if it passed.
        report: None if a gate failed.
    """

    number: int
    folder: Path
    digest: str = ""
    problem: str = ""
    report: Report | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a search.

    Attributes:
        objectives: names, in the order of the values.
        outcomes: by number of the trial; ``BASELINE`` is the user's own settings.
        front: the numbers of those that no other one beats in every objective.
        validated: those of the front that were built, the cheapest first.
        chosen: the number of the cheapest that passed every gate; None if none did.
        folder: of the search.
    """

    objectives: tuple[str, ...]
    outcomes: dict[int, Outcome]
    front: tuple[int, ...]
    validated: tuple[Validated, ...]
    chosen: int | None
    folder: Path


def search(
    target: Target, config: BuildConfig, chosen: SearchConfig, folder: Path, store: Path | str
) -> Found:
    """Search for small and fast models that pass the gates, and build the best; goes on where one was killed.

    Args:
        config: the user's settings, which trials vary.
        folder: for the study, the trials and the builds.
        store: the folder of the store, which all workers reach; or the URL of a shared store.

    Raises:
        ConfigError: an option is wrong, or the folder has another search.
        GateFailed: no candidate passed the gates.
        PipelineError: the inputs or the environment are at fault.
    """
    if chosen.sampler not in SAMPLERS:
        msg = f"--sampler: unknown sampler {chosen.sampler!r}; {advice(chosen.sampler, SAMPLERS, 'samplers')}"
        raise ConfigError(msg)
    goal = read_goal(chosen.goal, target) if chosen.goal else None
    open_store(store).close()  # one that cannot be used ends the search before its first trial
    space, objectives = space_of(chosen.steps), objectives_of(target, chosen.objectives)
    inputs = Inputs.of(config, target)
    lag = chosen.lag or 2 * chosen.workers
    with storing("search", "--out"):
        folder.mkdir(parents=True, exist_ok=True)
    settings, limits = plain_settings(config), Limits.of(config.gates, goal)
    asked = {
        "target": target.name,
        "model and data": sha256_of([inputs.model, inputs.data]),
        "settings": {key: settings[key] for key in settings if key not in {"model", "data"}},
        "goal": chosen.goal,
        "objectives": list(objectives),
        "steps": list(chosen.steps),
        "sampler": chosen.sampler,
        "lag": lag,
        "seed": chosen.seed,
    }
    try:
        with locked(folder, wait=False), EventFile(folder / "events.jsonl") as file, listening(file):
            study = Study(folder, asked, space, objectives)
            proposals = Proposals(space, objectives, chosen.sampler, lag, chosen.seed)
            driver = _Driver(study, proposals, chosen, settings, limits, target, folder, store)
            try:
                with connected(chosen.workers, chosen.scheduler) as client:
                    driver.run(client)
            finally:
                study.put_back()
            return _validated(study, driver, chosen, target, folder, store)
    except BlockingIOError as error:
        msg = f"{folder}: another search is running there; wait for it, or choose another --out"
        raise ConfigError(msg) from error


class _Driver:
    """Keeps the workers of one search busy until all its trials have ended."""

    def __init__(
        self,
        study: Study,
        proposals: Proposals,
        chosen: SearchConfig,
        settings: dict[str, Any],
        limits: Limits,
        target: Target,
        folder: Path,
        store: Path | str,
    ) -> None:
        self.study, self.proposals, self.chosen = study, proposals, chosen
        self.settings, self.limits, self.target = settings, limits, target
        self.folder, self.store = folder, store
        self._attempts: dict[int, int] = {}
        for number in range(len(study.params)):
            proposals.next(study.outcomes, study.params[number])

    def run(self, client: Client) -> None:
        """Run trials until as many have ended as are asked for.

        Raises:
            PipelineError: by a trial, if no other recipe would do better.
        """
        require_workers(client)
        running = as_completed(loop=client.loop)
        left = [number for number in (BASELINE, *self.study.open) if number not in self.study.outcomes]
        waiting = 0
        with track("search", self.chosen.trials, "trials") as advance:
            advance(len(self.study.finished))
            while True:
                left += self._asked(waiting + len(left))
                for number in left:
                    running.add(self._submit(client, number))
                waiting, left = waiting + len(left), []
                if not waiting:
                    return
                future = next(running)
                waiting -= 1
                number = int(future.key.split("-")[1]) if not future.key.startswith("own") else BASELINE
                outcome = self._outcome(future, number)
                if outcome is None:
                    left = [number]
                    continue
                self.study.tell(number, outcome)
                self._say(number, outcome)
                advance(number != BASELINE)

    def settings_of(self, number: int) -> dict[str, Any]:
        """Return the plain settings of a trial."""
        if number == BASELINE:
            return self.settings
        return settings_with(self.settings, self.study.params[number])

    def _asked(self, open_trials: int) -> list[int]:
        """Ask for the trials whose proposals may be known, and return their numbers."""
        asked = []
        while len(self.study.params) < self.chosen.trials:
            number = len(self.study.params)
            needed = number - self.proposals.lag
            if any(each not in self.study.outcomes for each in range(needed + 1)):
                break
            params = self.proposals.next(self.study.outcomes, self._known(number))
            asked.append(self.study.ask(params))
        return asked

    def _known(self, number: int) -> Params | None:
        """Return the known recipe that a trial tries, of those with the steps of this search."""
        fitting = [
            recipe for recipe in KNOWN if all(step in self.chosen.steps for step in recipe if step in AMOUNTS)
        ]
        return fitting[number] if number < len(fitting) else None

    def _submit(self, client: Client, number: int) -> Any:
        """Start a trial on a worker."""
        attempt = self._attempts[number] = self._attempts.get(number, -1) + 1
        name = "own" if number == BASELINE else f"trial-{number}"
        visible = range(max(number - self.proposals.lag + 1, 0))[-MAX_COMPARED:]
        is_known = number == BASELINE or self._known(number) is not None
        shares = () if is_known else shares_of(number)
        others = {
            f"{share:.3f}": tuple(
                self.study.outcomes[each].partial[f"{share:.3f}"]
                for each in visible
                if f"{share:.3f}" in self.study.outcomes[each].partial
            )
            for share in shares
        }
        spec = Spec(
            number=number,
            settings=self.settings_of(number),
            target=self.target.name,
            limits=self.limits,
            folder=self.folder / "trials" / ("own" if number == BASELINE else f"{number:04d}"),
            store=self.store,
            shares=shares,
            others=others,
        )
        memory = min(TRIAL_BYTES, machine_bytes())
        return submit(client, run_trial, spec, f"{name}-{attempt}", memory)

    def _outcome(self, future: Any, number: int) -> Outcome | None:
        """Return how a trial ended; None if it has to run again.

        Raises:
            PipelineError: what the trial raised.
        """
        try:
            found: Outcome = future.result()
        except CancelledError:  # the scheduler has lost it, e.g. with the network
            return None
        except Exception as error:
            if not died(error):
                raise
            recipe = recipe_of(make_config(self.settings_of(number), "trial"))
            reason = "its worker died every time; it may need more memory"
            return Outcome(state="refused", recipe=recipe, seconds=0.0, reason=reason)
        return found

    def _say(self, number: int, outcome: Outcome) -> None:
        objectives = self.study.objectives
        values = dict(zip(objectives, outcome.values(objectives), strict=True)) if outcome.figures else {}
        missed = ", ".join(name for name, value in outcome.missed.items() if value > 0)
        emit(
            TrialFinished(
                number=number,
                state=outcome.state,
                recipe=outcome.recipe,
                reason=outcome.reason or (f"beyond the limit of {missed}" if missed else ""),
                values=values,
                seconds=outcome.seconds,
                finished=len(self.study.finished),
                total=self.chosen.trials,
                front=pareto_front(self.study.outcomes, objectives),
            )
        )


def _validated(
    study: Study, driver: _Driver, chosen: SearchConfig, target: Target, folder: Path, store: Path | str
) -> Found:
    """Build and validate the best candidates, the cheapest first.

    Raises:
        GateFailed: none passes the gates.
        PipelineError: a stage could not finish.
    """
    front = pareto_front(study.outcomes, study.objectives)
    validated: list[Validated] = []
    with track("validate the front", min(len(front), chosen.validated), "candidates") as advance:
        for number in spread(front, study.outcomes, study.objectives, chosen.validated):
            validated.append(_build(number, driver.settings_of(number), target, folder, store))
            advance()
    passed = [each for each in validated if not each.problem]
    taken = passed[0].number if passed else None
    if taken is not None:
        text = settings_text(driver.settings_of(taken), folder)
        write_whole(folder / SETTINGS, text)
    return Found(
        objectives=study.objectives,
        outcomes=dict(study.outcomes),
        front=tuple(front),
        validated=tuple(validated),
        chosen=taken,
        folder=folder,
    )


def _build(
    number: int, settings: dict[str, Any], target: Target, folder: Path, store: Path | str
) -> Validated:
    """Build a candidate with every gate."""
    name = "own" if number == BASELINE else f"{number:04d}"
    place = folder / "front" / name
    try:
        with open_store(store) as opened:
            built = build(target, make_config(settings, f"trial {name}"), Run(place, opened))
    except GateFailed as error:
        return Validated(number=number, folder=place, problem=str(error))
    return Validated(
        number=number, folder=built.folder, digest=built.reproducible_digest, report=built.report
    )
