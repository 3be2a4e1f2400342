"""What a comparison allows one to say, before it is put into words."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from normbench.comparison.race import Ending, Standing
from normbench.stats import Difference

K = TypeVar("K", bound=Hashable)


class Kind(StrEnum):
    """What is known."""

    TAKE = "take"
    EQUAL = "equal"
    OPEN = "open"
    ONE_SEED = "one seed"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict(Generic[K]):
    """What a race found.

    Attributes:
        kind: TAKE for one arm that is ahead of all others; EQUAL for arms that differ by less than the margin that was
            stated; OPEN for arms that cannot be told apart with these runs; ONE_SEED where there is one run each;
            FAILED where no arm learns reliably.
        best: the arm to take, or those that are equal or not told apart, the best mean first; empty if all failed.
        behind: how far the first of them is ahead of each arm that is behind for certain, the nearest first.
        level: the same for the others of `best`.
        fails: arms that are out because too many of their runs fail.
        margin: the margin that was stated, if any.
        seeds: how many the arms of `best` have.
        seeds_needed: how many per arm would show the lead over the next, if it is real; None where none would, or
            nothing is left to show.
        stopped: whether the race ended before the planned seeds, because they would hardly have shown a lead.
        out_of_time: whether it ended for want of time.
    """

    kind: Kind
    best: tuple[K, ...]
    behind: Mapping[K, Difference] = field(default_factory=dict)
    level: Mapping[K, Difference] = field(default_factory=dict)
    fails: tuple[K, ...] = ()
    margin: float | None = None
    seeds: int = 0
    seeds_needed: int | None = None
    stopped: bool = False
    out_of_time: bool = False

    @property
    def hidden(self) -> float:
        """How far at most the others of `best` may be from the first: the end of an interval that is further from 0."""
        return max((max(-lead.low, lead.high) for lead in self.level.values()), default=0.0)


def verdict(standing: Standing[K], margin: float | None = None, out_of_time: bool = False) -> Verdict[K]:
    """Return what the last standing of a race says, whether or not the race is over."""
    leads = sorted(standing.leads.items(), key=lambda item: item[1].estimate)
    return Verdict(
        kind=_kind(standing),
        best=standing.racing,
        behind={arm: lead for arm, lead in leads if arm in standing.out and not standing.out[arm].fails},
        level={arm: lead for arm, lead in leads if arm in standing.racing},
        fails=tuple(arm for arm, left in standing.out.items() if left.fails),
        margin=margin,
        seeds=standing.round,
        seeds_needed=standing.seeds_needed if standing.ending is not Ending.EQUAL else None,
        stopped=standing.ending is Ending.HOPELESS,
        out_of_time=out_of_time,
    )


def _kind(standing: Standing[K]) -> Kind:
    if not standing.racing:
        return Kind.FAILED
    if len(standing.racing) == 1:
        return Kind.TAKE
    if standing.ending is Ending.EQUAL:
        return Kind.EQUAL
    return Kind.OPEN if standing.leads else Kind.ONE_SEED
