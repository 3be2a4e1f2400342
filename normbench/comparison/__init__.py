"""Which normalization should a network use: trained with each, how far apart they are, and the answer."""

from normbench.comparison.comparing import compare
from normbench.comparison.demo import small_network
from normbench.comparison.differences import (
    MARGIN,
    same,
    typical_difference,
)
from normbench.comparison.result import Comparison, Result
from normbench.comparison.tables import read_table
from normbench.comparison.tasks import samples_of

__all__ = [
    "MARGIN",
    "Comparison",
    "Result",
    "compare",
    "read_table",
    "same",
    "samples_of",
    "small_network",
    "typical_difference",
]
