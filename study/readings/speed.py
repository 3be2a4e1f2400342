"""What the page on speed rests on: the lines that benchmarks wrote."""

from functools import cached_property
from typing import Any

from study.readings.common import Reading


class Speed(Reading):
    """What a training costs, as the benchmarks measured it."""

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """Seconds per epoch of four loops, a row per normalization."""
        return self.n.lines("speed")

    @cached_property
    def bn(self) -> dict[str, Any]:
        return next(row for row in self.epochs if row["nm"] == "BN")

    @cached_property
    def gains(self) -> list[float]:
        """How many times as long an epoch takes with study A's loop and network."""
        return [row["seconds"]["study A"] / row["seconds"]["ours"] for row in self.epochs]

    @cached_property
    def loop_gains(self) -> list[float]:
        """How many times as long an epoch of our network takes with study A's loop."""
        return [row["seconds"]["our network"] / row["seconds"]["ours"] for row in self.epochs]

    @cached_property
    def over_floor(self) -> list[float]:
        """How many times as long an epoch takes as its steps alone, without data and augmentation."""
        return [row["seconds"]["ours"] / row["seconds"]["floor"] for row in self.epochs]

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """Milliseconds per step by kind of operation, a row per network and normalization."""
        return self.n.lines("step")

    @cached_property
    def side_by_side(self) -> dict[str, Any]:
        """Two trainings in turn and side by side, as measured last."""
        return self.n.lines("side_by_side")[-1]

    @cached_property
    def gpu(self) -> list[dict[str, Any]]:
        """Milliseconds per step on a GPU, recorded and not."""
        return self.n.lines("gpu")

    @cached_property
    def gains_of_recording(self) -> list[float]:
        """How many times as long a step takes on a GPU if it is not recorded."""
        return [row["milliseconds"]["eager"] / row["milliseconds"]["recorded"] for row in self.gpu]
