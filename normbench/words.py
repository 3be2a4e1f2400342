"""Numbers as text, the same everywhere: with a true minus sign, with their unit, in the singular or the plural."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which spares processes that only write numbers a second
    from normbench.stats import Interval, Summary


def fixed(value: float, digits: int = 2) -> str:
    """`value` with so many decimals, a true minus sign, and no minus before a zero."""
    return f"{value:z,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """`value` with so many decimals, always with its own sign: "−0.0" for what is a little below 0."""
    return f"{value or 0.0:+.{digits}f}".replace("-", "−")


def interval(value: Interval | Summary, digits: int = 2) -> str:
    """The ends of an interval of differences: "−0.04 to +0.02"."""
    return f"{signed(value.low, digits)} to {signed(value.high, digits)}"


def span(value: Interval | Summary, digits: int = 2) -> str:
    """The ends of an interval of amounts: "3.0 to 4.2"."""
    return f"{fixed(value.low, digits)} to {fixed(value.high, digits)}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 in %."""
    return f"{100 * share:.{digits}f} %"


def reason(error: BaseException) -> str:
    """The first line of what an error says; its type's name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def in_unit(value: float, unit: str) -> str:
    """The value of a claim's interval as text: differences with their sign."""
    if unit in ("points", "nats"):
        return signed(value, {"points": 3, "nats": 4}[unit])
    return f"{value:.0f} %" if unit == "%" else fixed(value)


def count(number: int, noun: str) -> str:
    """A number with its noun, in the singular or the plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def roughly(number: float) -> str:
    """An estimate's first two digits: "17", "130", "310,000"."""
    return f"{float(f'{number:.2g}'):,.0f}"


def duration(seconds: float) -> str:
    """In seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def seconds_of(time: float | str) -> float:
    """Return how long a time is: seconds as a number, or a text such as "90s", "45m", "2h", "1.5h".

    Raises ValueError for anything else, and for what is not above 0.
    """
    text = str(time).strip().lower()
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    try:
        seconds = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"a time is a number of seconds, or a text such as 45m or 2h, above 0; got {time!r}")
    return seconds
