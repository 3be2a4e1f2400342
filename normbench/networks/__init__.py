"""A user's network and functions: found by their names, built for the data, with their normalization swapped."""

from normbench.networks.named import Named
from normbench.networks.network import Swapped, is_of_a_user

__all__ = ["Named", "Swapped", "is_of_a_user"]
