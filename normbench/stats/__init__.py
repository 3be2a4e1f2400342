"""Samples become intervals, tests and chances; accuracies and their differences are in points, that is in %."""

from normbench.stats.levels import level
from normbench.stats.pooling import Scatter, scatter, seeds_to_show
from normbench.stats.samples import (
    MOST_SEEDS,
    Difference,
    Interval,
    Summary,
    accuracy_contrast,
    best_of,
    chance_deviation,
    chance_of_range,
    difference,
    excess_deviation,
    is_constant,
    mcnemar,
    resampled,
    sample_of,
    seeds_to_exclude,
    summary,
    superiority,
    winners,
)

__all__ = [
    "MOST_SEEDS",
    "Difference",
    "Interval",
    "Scatter",
    "Summary",
    "accuracy_contrast",
    "best_of",
    "chance_deviation",
    "chance_of_range",
    "difference",
    "excess_deviation",
    "is_constant",
    "level",
    "mcnemar",
    "resampled",
    "sample_of",
    "scatter",
    "seeds_to_exclude",
    "seeds_to_show",
    "summary",
    "superiority",
    "winners",
]
