"""Search the cheapest set of layers with which a model passes: add by gain per cost, then remove.

Finding the best set is exponential in the number of layers, so the search is greedy, as in accuracy-aware
mixed precision (Wu et al., 2020, arXiv:2004.09602, "partial quantization"). It also tries pairs of
neighbours, because a layer gains nothing from exact inputs that it rounds, or whose reader rounds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Units = frozenset[int]
"""Layers by their place."""

MAX_MOVES = 12
"""Most layers and pairs to add, those that gain most alone: the cost of each is measured."""
MAX_PAIRS = 48
SYNERGY = 1.2
"""How much more than its parts a pair has to gain to be tried as a whole."""


class Outcome(Protocol):
    """What a set of wide layers achieves.

    Attributes:
        error: of the outputs, a share of their power; smaller is better.
        passes: whether it is good enough.
    """

    @property
    def error(self) -> float: ...
    @property
    def passes(self) -> bool: ...


T = TypeVar("T", bound=Outcome)


@dataclass
class Search(Generic[T]):
    """A search, with all that it tried.

    Attributes:
        measure: returns the outcome of each of some sets.
        cost: returns what a set costs; asked for few sets.
        tried: outcome of each set.
    """

    measure: Callable[[Sequence[Units]], Sequence[T]]
    cost: Callable[[Units], float]
    tried: dict[Units, T] = field(default_factory=dict)

    def cheapest(self, units: Sequence[int], neighbours: Iterable[tuple[int, int]]) -> Units | None:
        """Return the cheapest set found with which the model passes; None if it does not with all units.

        Args:
            units: the layers to choose from.
            neighbours: pairs of layers of which one reads the other.
        """
        nothing, everything = Units(), Units(units)
        self._try([nothing, everything])
        if self.tried[nothing].passes:
            return nothing
        if not self.tried[everything].passes:
            return None
        moves = self._moves(units, neighbours)
        self._pruned(self._added(moves) or everything)
        passing = [each for each, outcome in self.tried.items() if outcome.passes and each != everything]
        return min(passing or [everything], key=lambda each: (self._costs(each), self.tried[each].error))

    def _try(self, sets: Iterable[Units]) -> None:
        new = [each for each in dict.fromkeys(sets) if each not in self.tried]
        self.tried |= dict(zip(new, self.measure(new), strict=True))

    def _gain(self, units: Units, over: Units = frozenset()) -> float:
        return self.tried[over].error - self.tried[over | units].error

    def _costs(self, units: Units) -> float:
        """Return the sum of the costs of single layers, an upper bound: neighbours share conversions."""
        return sum(self.cost(Units([unit])) for unit in units)

    def _moves(self, units: Sequence[int], neighbours: Iterable[tuple[int, int]]) -> list[Units]:
        """Return the layers and pairs that gain most."""
        single = [Units([unit]) for unit in units]
        pairs = [Units(pair) for pair in dict.fromkeys(neighbours) if set(pair) <= set(units)]
        self._try(single if len(pairs) > MAX_PAIRS else [*single, *pairs])
        pairs = sorted(pairs, key=lambda pair: min(self.tried[Units([unit])].error for unit in pair))
        pairs = pairs[:MAX_PAIRS]
        self._try(pairs)
        joint = [
            pair for pair in pairs if self._gain(pair) > SYNERGY * sum(self._gain(Units([u])) for u in pair)
        ]
        gaining = [each for each in (*single, *joint) if self._gain(each) > 0]
        return sorted(gaining, key=lambda each: -self._gain(each))[:MAX_MOVES]

    def _added(self, moves: list[Units]) -> Units | None:
        """Add the move with the most gain per cost until the model passes; None if it never does."""
        chosen, waiting = Units(), list(moves)
        while waiting:
            self._try(chosen | move for move in waiting)
            rest = [move for move in waiting if not move <= chosen and self._gain(move, chosen) > 0]
            if not rest:
                return None
            best = max(rest, key=lambda move: self._gain(move, chosen) / self._costs(move - chosen))
            chosen |= best
            waiting = [move for move in rest if move != best]
            if self.tried[chosen].passes:
                return chosen
        return None

    def _pruned(self, chosen: Units) -> None:
        """Remove what is not needed, starting with the most expensive."""
        for unit in sorted(chosen, key=lambda each: -self.cost(Units([each]))):
            fewer = chosen - {unit}
            self._try([fewer])
            if self.tried[fewer].passes:
                chosen = fewer
