"""The search finds the cheapest set of layers with which a model passes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from pipeline.precision.search import Search

UNITS = tuple(range(6))
CHAIN = tuple(pairwise(UNITS))
COSTS = dict.fromkeys(UNITS, 10.0)


@dataclass
class Outcome:
    """The errors of all layers that are not wide, added up."""

    error: float
    passes: bool


def search(error_of, limit=1.0, costs=COSTS):
    """Return a search where the model passes with an error below a limit, and the sizes of the sets tried."""

    def measure(sets):
        return [Outcome(error_of(units), error_of(units) < limit) for units in sets]

    return Search(measure, lambda units: sum(costs[unit] for unit in units))


def added(errors):
    return lambda units: sum(error for unit, error in errors.items() if unit not in units)


def test_a_model_that_passes_stays_as_it_is():
    assert search(added({2: 0.5})).cheapest(UNITS, CHAIN) == frozenset()


def test_a_model_that_fails_with_all_layers_wide_is_hopeless():
    assert search(lambda units: 2.0).cheapest(UNITS, CHAIN) is None


def test_the_one_layer_that_loses_is_found():
    errors = dict.fromkeys(UNITS, 0.1) | {4: 5.0}

    assert search(added(errors)).cheapest(UNITS, CHAIN) == {4}


def test_a_layer_that_gains_less_but_costs_much_less_is_taken():
    errors = {1: 5.0, 3: 4.6, 4: 0.3}
    costs = COSTS | {1: 1000.0}

    assert search(added(errors), limit=5.5, costs=costs).cheapest(UNITS, CHAIN) == {3}


def test_layers_that_were_added_first_and_are_not_needed_in_the_end_are_removed():
    # Layer 0 gains most for its cost at first, but only with 3 and 5 the model passes, and then without it.
    errors = {0: 2.0, 3: 2.6, 5: 2.6}
    costs = COSTS | {0: 1.0}

    assert search(added(errors), limit=2.1, costs=costs).cheapest(UNITS, CHAIN) == {3, 5}


def test_two_neighbours_that_gain_only_together_are_found():
    def error_of(units):
        return 0.5 if {2, 3} <= units else 5.0

    assert search(error_of).cheapest(UNITS, CHAIN) == {2, 3}


def test_where_no_step_gains_layers_are_removed_from_all():
    def error_of(units):
        return 0.5 if {0, 2, 4} <= units else 5.0

    assert search(error_of).cheapest(UNITS, CHAIN) == {0, 2, 4}


@pytest.mark.parametrize("count", [10, 40])
def test_the_work_grows_slowly_with_the_number_of_layers(count):
    units = tuple(range(count))
    errors = {unit: 1.0 + unit / count for unit in units}
    found = search(added(errors), limit=sum(errors.values()) / 2, costs=dict.fromkeys(units, 1.0))

    assert found.cheapest(units, pairwise(units))

    assert len(found.tried) < 10 * count + 150
