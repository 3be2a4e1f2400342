"""What the page on other libraries' networks rests on: a row per network that was swapped."""

from functools import cached_property

from study.benchmarks.networks import MOST_EXPORTED
from study.benchmarks.rows import Row
from study.readings.common import Reading

ROUNDING = 1e-3  # how far outputs may differ, as a share of the largest


class Networks(Reading):
    """What `swap` made of the networks of other libraries."""

    @cached_property
    def rows(self) -> list[Row]:
        """A row per network, library by library."""
        return sorted(self.n.lines("networks"), key=lambda row: (row["library"], row["network"].lower()))

    @cached_property
    def libraries(self) -> str:
        """The libraries in words."""
        *some, last = sorted({row["library"] for row in self.rows})
        return f"{', '.join(some)} and {last}" if some else last

    @cached_property
    def versions(self) -> str:
        """The libraries with their versions."""
        return ", ".join(sorted({f"{row['library']} {row['version']}" for row in self.rows}))

    @cached_property
    def norms(self) -> list[str]:
        """The normalizations that were tried."""
        return list(self.rows[0]["finite"])

    @property
    def most_exported(self) -> int:
        """Up to how many layers a network was scripted, compiled and exported, too."""
        return MOST_EXPORTED

    @cached_property
    def layers(self) -> int:
        """How many normalization layers were recognized."""
        return sum(sum(row["replaced"].values()) for row in self.rows)

    @cached_property
    def different(self) -> list[str]:
        """Networks that compute something else once their layers are made anew."""
        return [row["network"] for row in self.rows if not row["same"] < ROUNDING]

    @cached_property
    def infinite(self) -> list[str]:
        """Networks whose outputs are not finite with one of the normalizations."""
        return [row["network"] for row in self.rows if set(row["finite"].values()) != {True}]

    @cached_property
    def broken(self) -> list[str]:
        """Networks that could be scripted, traced, exported, copied or saved, and cannot any more."""
        return [row["network"] for row in self.rows if any(use.startswith("no") for use in row["after"].values())]
