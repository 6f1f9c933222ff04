"""The driver of a search: ask for trials, let workers run them, and build what is best."""

from __future__ import annotations

import math
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.building import build
from pipeline.compiling import Inputs
from pipeline.content import sha256_of, write_whole
from pipeline.errors import ConfigError, GateFailed, StageError, storing
from pipeline.event_file import EventFile
from pipeline.events import SearchFinished, TrialFinished, TrialStarted, emit, listening
from pipeline.isolation.memory import machine_bytes
from pipeline.opening import open_inputs
from pipeline.planning.goal import read_goal
from pipeline.progress import track
from pipeline.recipe import recipe_of
from pipeline.run import Run
from pipeline.scratch import locked
from pipeline.searching.cluster import capacity, connected, died, hear_starts, lost, require_workers, submit
from pipeline.searching.front import BASELINE, spread
from pipeline.searching.halving import may_stop
from pipeline.searching.objectives import Limits, Outcome, objectives_of
from pipeline.searching.page import write_result
from pipeline.searching.proposals import SAMPLERS, Proposals
from pipeline.searching.result import Found, Validated, front_folder
from pipeline.searching.space import STEPS, settings_with, space_of
from pipeline.searching.starts import starts_of
from pipeline.searching.study import Study
from pipeline.searching.tracking import tracked
from pipeline.searching.trial import SETTINGS, Spec, run_trial
from pipeline.searching.written import plain_settings, settings_text
from pipeline.sections import advice
from pipeline.settings import make_config
from pipeline.shared_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributed import Client

    from pipeline.build_config import BuildConfig
    from pipeline.searching.space import Params
    from pipeline.targets import Target

TRIAL_BYTES = 2 << 30
"""Memory that a trial is assumed to take."""
MAX_SHOWING = 0.01
"""Share of the time that the page of a running search may take."""
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
        workers: processes on this machine; with a scheduler, how many will come if not all have yet.
        scheduler: address of a Dask scheduler; "" for workers of this machine.
        lag: how many trials may be open at once; 0 for those that keep the workers busy that the search
            begins with.
        validated: of the front, at most so many are built and validated.
        tracking: ``NAME:URI`` of a tracker that every trial is logged to; "" for none.
        seed: of the proposals.
    """

    trials: int = 30
    goal: str = ""
    objectives: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    sampler: str = "tpe"
    workers: int = 2
    scheduler: str = ""
    lag: int = 0
    validated: int = 4
    tracking: str = ""
    seed: int = 0


def search(
    target: Target,
    config: BuildConfig,
    chosen: SearchConfig,
    folder: Path,
    store: Path | str,
    trial: Callable[[Spec], Outcome] = run_trial,
) -> Found:
    """Search for small and fast models that pass the gates, and build the best; continue one that was killed.

    Args:
        config: the user's settings, which trials vary.
        folder: for the study, the trials and the builds.
        store: the folder of the store, which all workers reach; or the URL of a shared store.
        trial: what workers run.

    Raises:
        ConfigError: an option is wrong, or the folder has another search.
        PipelineError: the inputs or the environment are at fault.
    """
    chosen = replace(chosen, steps=chosen.steps or STEPS)
    if chosen.sampler not in SAMPLERS:
        msg = f"--sampler: unknown sampler {chosen.sampler!r}; {advice(chosen.sampler, SAMPLERS, 'samplers')}"
        raise ConfigError(msg)
    goal = read_goal(chosen.goal, target) if chosen.goal else None
    open_store(store).close()  # one that cannot be used ends the search before its first trial
    space, objectives = space_of(chosen.steps), objectives_of(target, chosen.objectives)
    settings, limits = plain_settings(config), Limits.of(config.gates, goal)
    config = make_config(settings, "search")  # with absolute paths: workers run elsewhere, and share stages
    inputs = Inputs.of(config, target)
    with storing("search", "--out"):
        folder.mkdir(parents=True, exist_ok=True)
    asked = _asked(target, inputs, settings, chosen, objectives)
    try:
        with locked(folder, wait=False), EventFile(folder / "events.jsonl") as file, listening(file):
            study = Study(folder, asked, space, objectives)
            if isinstance(store, str):
                _share(inputs, config, folder, store)
            starts = study.begun_with(
                "starts", lambda: starts_of(space, inputs.model, config, target, limits, folder, store)
            )
            driver = _Driver(
                study=study, starts=starts, chosen=chosen, settings=settings, inputs=inputs, limits=limits,
                target=target, folder=folder, store=store, trial=trial,
            )  # fmt: skip
            with tracked(chosen.tracking, study, folder, driver.text_of):
                try:
                    with connected(chosen.workers, chosen.scheduler) as client:
                        driver.run(client)
                finally:
                    study.put_back()
                found = _validated(study, driver, chosen, target, folder, store)
                with storing("search", "--out"):
                    write_result(found, target.name)
            emit(SearchFinished(chosen=found.chosen))
            return found
    except BlockingIOError as error:
        msg = f"{folder}: another search is running there; wait for it, or choose another --out"
        raise ConfigError(msg) from error


def _asked(
    target: Target,
    inputs: Inputs,
    settings: dict[str, Any],
    chosen: SearchConfig,
    objectives: tuple[str, ...],
) -> dict[str, Any]:
    """Return what a search is a function of: one of anything else is another search."""
    return {
        "target": target.name,
        "model and data": sha256_of([inputs.model.digest, inputs.data.digest]),
        "settings": {key: settings[key] for key in settings if key not in {"model", "data"}},
        "goal": chosen.goal,
        "objectives": list(objectives),
        "steps": list(chosen.steps),
        "sampler": chosen.sampler,
        "seed": chosen.seed,
    }


def _share(inputs: Inputs, config: BuildConfig, folder: Path, store: str) -> None:
    """Open the model and the data here, so that workers find them in the shared store and need no files.

    Raises:
        PipelineError: the inputs are at fault.
    """
    with open_store(store) as opened:
        run = Run(folder / "inputs", opened)
        open_inputs(inputs.model, inputs.data, inputs.field, config, run)


def open_trials(workers: int) -> int:
    """Return how many trials may be open at once, on which the proposals depend.

    No trial begins before the one that is so many earlier has ended. The more workers there are, the slower
    is the slowest trial of each round, during which the others need work.
    """
    return workers * max(2, round(math.log2(workers)))


@dataclass(kw_only=True)
class _Driver:
    """Keeps the workers of one search busy until all its trials have ended."""

    study: Study
    starts: list[Params]
    chosen: SearchConfig
    settings: dict[str, Any]
    inputs: Inputs
    limits: Limits
    target: Target
    folder: Path
    store: Path | str
    trial: Callable[[Spec], Outcome]
    proposals: Proposals = field(init=False)
    _attempts: dict[int, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _ended: int = 0  # trials without a gap
    _shown_at: float = -math.inf
    _show_cost_s: float = 0.0

    def run(self, client: Client) -> None:
        """Run trials until as many have ended as are asked for.

        Raises:
            PipelineError: by a trial, if no other recipe would do better.
        """
        from distributed import as_completed

        require_workers(client)
        self._begin(capacity(client))
        hear_starts(client, lambda begun, host: emit(TrialStarted(**begun, worker=host)))
        running = as_completed(loop=client.loop)
        left = [number for number in (BASELINE, *self.study.open) if number not in self.study.outcomes]
        waiting = 0
        with track("search", self.chosen.trials, "trials") as advance:
            advance(len(self.study.finished))
            while True:
                for _ in range(capacity(client) - waiting):
                    number = left.pop(0) if left else self._asked()
                    if number is None:
                        break
                    running.add(self._submit(client, number))
                    waiting += 1
                if not waiting:
                    return
                future = next(running)
                waiting -= 1
                number = self._numbers.pop(future.key)
                outcome = self._outcome(future, number)
                future.release()  # else a worker that dies later has to compute it again
                if outcome is None:
                    left.insert(0, number)
                    continue
                self.study.tell(number, outcome)
                self._say(number, outcome)
                self._show()
                advance(number != BASELINE)

    def _begin(self, workers: int) -> None:
        """Propose again what was proposed before."""
        study, chosen = self.study, self.chosen
        lag = study.begun_with("lag", lambda: chosen.lag or open_trials(max(chosen.workers, workers)))
        self.proposals = Proposals(
            study.space, study.objectives, chosen.sampler, lag, chosen.seed, self.starts
        )
        for number in range(len(study.params)):
            self.proposals.next(study.outcomes, study.params[number])

    def settings_of(self, number: int) -> dict[str, Any]:
        """Return the plain settings of a trial."""
        if number == BASELINE:
            return self.settings
        return settings_with(self.settings, self.study.params[number])

    def text_of(self, number: int) -> str:
        """Return the settings of a trial as TOML for the folder of the search."""
        return settings_text(self.settings_of(number), self.folder)

    def _asked(self) -> int | None:
        """Ask for the next trial, and return its number; None if its proposal cannot be known yet."""
        number = len(self.study.params)
        while self._ended in self.study.outcomes:
            self._ended += 1
        if number >= self.chosen.trials or self._ended <= number - self.proposals.lag:
            return None
        return self.study.ask(self.proposals.next(self.study.outcomes))

    def _submit(self, client: Client, number: int) -> Any:
        """Start a trial on a worker."""
        attempt = self._attempts[number] = self._attempts.get(number, -1) + 1
        name = "own" if number == BASELINE else f"trial-{number}"
        visible = range(max(number - self.proposals.lag + 1, 0))[-MAX_COMPARED:]
        earlier = [self.study.outcomes[each].compressed for each in visible]
        settings = self.settings_of(number)
        begun = {"number": number, "recipe": recipe_of(make_config(settings, name))}
        spec = Spec(
            number=number,
            settings=settings,
            inputs=self.inputs,
            target=self.target.name,
            limits=self.limits,
            folder=self.folder / "trials" / ("own" if number == BASELINE else f"{number:04d}"),
            store=self.store,
            may_stop=number >= len(self.starts) and may_stop(number),
            others=tuple(values for values in earlier if values),
        )
        memory = min(TRIAL_BYTES, machine_bytes())
        future = submit(client, self.trial, spec, f"{name}-{attempt}", memory, begun)
        self._numbers[future.key] = number
        return future

    def _show(self) -> None:
        """Write how far the search is; often for a small one, more rarely where that takes longer."""
        begun = time.monotonic()
        if begun - self._shown_at < self._show_cost_s / MAX_SHOWING:
            return
        with suppress(OSError):  # the study has what counts
            write_result(_found(self.study, self.folder), self.target.name, self.chosen.trials)
        self._shown_at = time.monotonic()
        self._show_cost_s = self._shown_at - begun

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
            if lost(error):
                stage, hint = "search", "start it; the same command continues the search"
                raise StageError(stage, f"the scheduler is gone: {error}", hint) from error
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
                finished=len(self.study.outcomes) - (BASELINE in self.study.outcomes),
                total=self.chosen.trials,
                front=self.study.front.numbers,
            )
        )


def _validated(
    study: Study, driver: _Driver, chosen: SearchConfig, target: Target, folder: Path, store: Path | str
) -> Found:
    """Build and validate the best candidates, the cheapest first.

    Raises:
        PipelineError: a stage could not finish.
    """
    front = study.front.numbers
    validated: list[Validated] = []
    with track("validate the front", min(len(front), chosen.validated), "candidates") as advance:
        for number in spread(front, study.outcomes, study.objectives, chosen.validated):
            validated.append(_build(number, driver.settings_of(number), target, folder, store))
            advance()
    passed = [each for each in validated if not each.problem]
    taken = passed[0].number if passed else None
    if taken is not None:
        write_whole(folder / SETTINGS, driver.text_of(taken))
    return replace(_found(study, folder), validated=tuple(validated), chosen=taken)


def _found(study: Study, folder: Path) -> Found:
    """Return what is known before validation."""
    return Found(
        objectives=study.objectives,
        outcomes=dict(study.outcomes),
        front=tuple(study.front.numbers),
        validated=(),
        chosen=None,
        folder=folder,
    )


def _build(
    number: int, settings: dict[str, Any], target: Target, folder: Path, store: Path | str
) -> Validated:
    """Build a candidate with every gate."""
    place = folder / front_folder(number)
    try:
        with open_store(store) as opened:
            built = build(target, make_config(settings, f"trial {place.name}"), Run(place, opened))
    except GateFailed as error:
        return Validated(number=number, folder=place, problem=str(error))
    return Validated(
        number=number, folder=built.folder, digest=built.reproducible_digest, report=built.report
    )
