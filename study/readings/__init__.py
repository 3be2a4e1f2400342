"""What the sentences of the pages rest on: a class for each reading, a named property for each statistic.

A template says `{% set filters = readings.Filters(n) %}` and guards a sentence with
`holds(filters.plain_lead.low > 0)`; a test asks the same property. Differences are in percentage points of accuracy;
their intervals allow for all comparisons of the experiment (`families.FAMILIES`).
"""

from study.readings.answer import Answer
from study.readings.atlas import Atlas, Place, Setting
from study.readings.cifar10 import Cifar10, Cifar10Rates, Filters, Recipes
from study.readings.common import by_norm
from study.readings.mnist import HeadToHead, Length, OwnRates, Rates, RatesToday
from study.readings.networks import ROUNDING, Networks
from study.readings.penalties import L1Strength, Luck, Penalties, StudyC
from study.readings.small_batches import Cifar10Ghosts, Ghosts, SmallBatches, median
from study.readings.speed import Speed
from study.readings.trials import Line, Trials, in_words, mean_of

__all__ = [
    "ROUNDING",
    "Answer",
    "Atlas",
    "Cifar10",
    "Cifar10Ghosts",
    "Cifar10Rates",
    "Filters",
    "Ghosts",
    "HeadToHead",
    "L1Strength",
    "Length",
    "Line",
    "Luck",
    "Networks",
    "OwnRates",
    "Penalties",
    "Place",
    "Rates",
    "RatesToday",
    "Recipes",
    "Setting",
    "SmallBatches",
    "Speed",
    "StudyC",
    "Trials",
    "by_norm",
    "in_words",
    "mean_of",
    "median",
]
