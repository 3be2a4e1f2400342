"""What was tried on the way to the recipe: the lines of results/search.jsonl, and what they show."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from study.readings.common import Reading

Line = dict[str, Any]

# The lines were written with other words than the pages have.
WORDS = {
    "first weights": "initial weights",
    "moved by": "shifted by",
    "moves of": "shifts of",
    "half the distortion": "half the augmentation",
    "standardized filters": "weight standardization",
    "filters not standardized": "no weight standardization",
}
BASE = "16 24 P 32 32 P 40 32 H"  # the best network of the first round on CIFAR-10
TAKEN = ("Muon's momentum 0.8", "SGD's rate 0.1", "rates rise for 15 %")  # changes of the fourth round that are in use


def in_words(change: str) -> str:
    """Return the change of a line as the pages word it."""
    for old, new in WORDS.items():
        change = change.replace(old, new)
    return change


class Trials(Reading):
    """The lines of results/search.jsonl."""

    @cached_property
    def lines(self) -> list[Line]:
        return self.n.lines("search")

    def of(self, dataset: str, *epochs: int) -> dict[tuple[str, str, int], list[Line]]:
        """Return the lines of a data set and these lengths, by network, change and number of parameters."""
        tried: dict[tuple[str, str, int], list[Line]] = {}
        for line in self.lines:
            if line["dataset"] == dataset and line["epochs"] in epochs:
                tried.setdefault((line["layers"], line["change"], line["parameters"]), []).append(line)
        return tried

    # Second round on CIFAR-10

    def _second(self, epochs: int, change: str) -> list[Line]:
        return self.of("cifar10", epochs)[BASE, change, 45786]

    @cached_property
    def second_round(self) -> list[Line]:
        return [line for lines in self.of("cifar10", 6, 8, 20).values() for line in lines if "mirrored" not in line]

    @cached_property
    def muon_gain(self) -> float:
        """What Muon adds to group norm in 6 epochs."""
        return self._second(6, "Muon 0.1")[0]["accuracy"] - self._second(6, "")[0]["accuracy"]

    @cached_property
    def gelu_gain(self) -> float:
        """What GELU and PyTorch's own Muon add to that."""
        both = self._second(6, "Muon 0.1, PyTorch's, GELU")[0]["accuracy"]
        return both - self._second(6, "Muon 0.1")[0]["accuracy"]

    @cached_property
    def gains_of_mirrored_edges(self) -> tuple[float, float]:
        """What mirrored edges add to group norm and to batch norm in 8 epochs."""
        pairs = zip(self._second(8, ""), self._second(8, "black beyond the edges"))
        gn, bn = (mirrored["accuracy"] - black["accuracy"] for mirrored, black in pairs)
        return gn, bn

    # Third round

    @cached_property
    def third_round(self) -> list[Line]:
        return [line for line in self.lines if "mirrored" in line and "accuracy" in line]

    @cached_property
    def half_rate_gain(self) -> float:
        """What half the learning rate adds."""
        by_change = {line["change"]: line["accuracy"] for line in reversed(self.third_round)}
        return by_change["rate 0.05, GELU"] - by_change["rate 0.1, GELU"]

    @cached_property
    def mirror_gains(self) -> list[float]:
        """What mirror images at test time add, in each line."""
        return [line["mirrored"] - line["accuracy"] for line in self.third_round]

    # Fourth round

    @cached_property
    def fourth_round(self) -> list[Line]:
        return [line for line in self.lines if "shifted" in line]

    def _gains(self, changes: Iterable[str]) -> list[float]:
        by_change = {line["change"]: line["mirrored"] for line in reversed(self.fourth_round)}
        return [by_change[change] - by_change["–"] for change in changes]

    @cached_property
    def gains_of_those_in_use(self) -> list[float]:
        """What each of the changes adds that are in use."""
        return self._gains(TAKEN)

    @cached_property
    def gain_in_turn(self) -> float:
        """What mirroring in turn adds."""
        return self._gains(["mirrored in turn"])[0]

    @cached_property
    def shift_gains(self) -> list[float]:
        """What shifts at test time add, in each line."""
        return [line["shifted"] - line["mirrored"] for line in self.fourth_round]


def mean_of(lines: Iterable[Line], key: str) -> float:
    """Return the mean of one number over several lines."""
    return float(np.mean([line[key] for line in lines]))
