"""What to do next: a command to copy, and what it does."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.comparison.verdict import Kind
from normbench.words import count, roughly

if TYPE_CHECKING:
    from normbench.comparison.result import Result

MOST_SEEDS = 100  # that anyone is advised to train


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        said: in words.
        command: to copy; "" if there is none.
    """

    said: str
    command: str = ""


def next_step(result: "Result", command: str = "") -> Step:
    """Return what to do next; `command` is what made the comparison, of which the next one is a change."""
    found = result.verdict
    if found.kind is Kind.FAILED:
        rates = sorted(recipe.lr for recipe in result.arms) or [0.01]
        lower = f"{rates[0] / 10:.1g}"
        return Step(
            f"Try lower learning rates, such as {lower}, or more epochs.",
            _with(command, "--rates", lower, f"{rates[0] / 3:.1g}"),
        )
    if found.kind in (Kind.TAKE, Kind.EQUAL):
        norm = result.arms[found.best[0]].recipe.norm
        if norm == result.yours or norm.endswith("()"):
            return Step("Nothing has to change.")
        return Step("Put it into your network:", f'import normbench as nb\n\nnb.swap(net, "{norm}")')
    if found.out_of_time:
        return Step("More time decides; finished runs are kept.", _with(command, "--budget", "2h"))
    needed = 10 if found.kind is Kind.ONE_SEED else found.seeds_needed
    if needed is not None and found.seeds < needed <= MOST_SEEDS:
        seeds = int(float(roughly(needed)))
        more = (seeds - found.seeds) * len(found.best)
        return Step(
            f"Finished runs are kept; {count(more, 'run')} at most are left to do.",
            _with(command, "--seeds", str(seeds)),
        )
    if result.has_examples:
        return Step("More seeds would hardly tell more: choose by price, or test on more images.")
    return Step("More seeds would hardly tell more: choose by price.")


def _with(command: str, option: str, *values: str) -> str:
    """Return the command with an option of these values, in the place of the one that it has."""
    if not command:
        return ""
    parts = shlex.split(command)
    if option in parts:
        start = parts.index(option)
        end = next((i for i in range(start + 1, len(parts)) if parts[i].startswith("--")), len(parts))
        parts[start:end] = []
    return shlex.join([*parts, option, *values])
