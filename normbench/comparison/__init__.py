"""Which normalization should a network use: trained with each, how far apart they are, and the answer."""

from normbench.comparison.comparing import compare
from normbench.comparison.demo import small_network
from normbench.comparison.differences import (
    ALPHA,
    MARGIN,
    gap,
    gaps,
    same,
    seeds_to_decide,
    seeds_to_tell,
    share_seeds,
    typical_difference,
)
from normbench.comparison.named import Named
from normbench.comparison.network import Swapped, is_of_a_user
from normbench.comparison.result import Comparison, Result
from normbench.comparison.tables import read_table
from normbench.comparison.tasks import samples_of

__all__ = [
    "ALPHA",
    "MARGIN",
    "Comparison",
    "Named",
    "Result",
    "Swapped",
    "compare",
    "gap",
    "gaps",
    "is_of_a_user",
    "read_table",
    "same",
    "samples_of",
    "seeds_to_decide",
    "seeds_to_tell",
    "share_seeds",
    "small_network",
    "typical_difference",
]
