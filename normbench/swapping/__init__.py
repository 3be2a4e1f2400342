"""The normalization layers of any network: found, replaced by others, and reported on.

>>> net = swap(torchvision.models.resnet18(), "GN")  # a copy with group norm instead of batch norm
"""

from normbench.swapping.copying import copied
from normbench.swapping.evaluating import evaluating
from normbench.swapping.kinds import Known
from normbench.swapping.network import (
    Example,
    Report,
    normalizations,
    rebuilt,
    recognized,
    replacements,
    swap,
    swapped,
    unknown,
)
from normbench.swapping.recognition import recognize
from normbench.swapping.replacing import Make
from normbench.swapping.watching import Watched, watch

__all__ = [
    "Example",
    "Known",
    "Make",
    "Report",
    "Watched",
    "copied",
    "evaluating",
    "normalizations",
    "rebuilt",
    "recognize",
    "recognized",
    "replacements",
    "swap",
    "swapped",
    "unknown",
    "watch",
]
