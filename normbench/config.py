"""What decides a training, apart from the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from model import normalization
from normbench.augment import AUGMENTATIONS
from normbench.penalty import PENALIZED

USUAL_L1 = 1e-4  # as in the published studies

LOWEST = dict(gp=0, ghost=0, l1=0, l2=0, epochs=1, batch_size=1, weight_decay=0, width=1, images=0, seed=0)
# A hundred times the channels are ten thousand times the weights; PyTorch's generators take seeds of 64 bits.
HIGHEST = dict(width=100, seed=2**64 - 1)


@dataclass(frozen=True)
class Config:
    """One network and its training; every option has a default.

    Raises ValueError for a value out of range and for options that contradict each other, TypeError for a value of
    the wrong type.
    """

    nm: str = "BN"
    """Normalization: BN, GN, LN, IN, LN_CHW (layer norm with a weight for each element), LN_C (over the channels of
    each pixel), or none."""
    gp: int = 2
    """Number of groups, for GN alone. It must divide every channel count; 1 group is LN, a group a channel is IN.
    0 is for other networks than this project's: as many as fit each layer, up to 32."""
    ghost: int = 0
    """How many images BN takes a mean and a variance over, for BN alone (ghost batch norm); 0 for the whole batch."""
    l1: float = 0.0
    """λ1 of the penalty λ1·Σ|p| in the loss. The published studies use 1e-4; 1e-3 costs accuracy."""
    l2: float = 0.0
    """λ2 of the penalty λ2·Σp² in the loss. The default weight decay is the same as λ2 = 2.5e-4 on all parameters."""
    penalized: str = "all"
    """What both penalties act on: all parameters, conv (the convolutions' weights and the average's), or gamma (the
    scales γ). The network for colour images standardizes its filters: their size decides only how fast they change."""
    proximal: bool = False
    """L1 by a proximal step, which makes exact zeros, instead of by its subgradient, which makes none. It needs l1."""
    epochs: int = 20
    """How often every training image is seen."""
    batch_size: int = 128
    """Training images a step. BN needs several; the others work with one, too."""
    lr: float = 0.1
    """Highest learning rate: the rate rises to it and falls to almost 0 (OneCycle). Muon takes half of it."""
    weight_decay: float = 5e-4
    """The optimizer's own pull of all parameters towards 0: the same as an l2 of half its size."""
    optimizer: str = "auto"
    """sgd; muon, which is Muon for the filters of convolutions and SGD for the rest; or auto: muon for standardized
    filters, which the network for colour images has, else sgd."""
    filters: str = "auto"
    """plain, or standardized: used with mean 0 and a fixed variance each; auto: standardized for colour images."""
    width: int = 1
    """Factor on the channels of every convolution, up to 100."""
    augment: str = "auto"
    """Random changes of training images: affine (turn, stretch, move), crop-flip, none, or
    auto: affine for grey images, crop-flip for colour."""
    images: int = 0
    """How many of the training images are used, the first ones; 0 for all."""
    seed: int = 0
    """Decides the first weights, the order of the images and their random changes."""

    def __post_init__(self):
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), field.type)
        for name, low in LOWEST.items():
            _check_range(name, getattr(self, name), low, HIGHEST.get(name, math.inf))
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be finite and above 0, got {self.lr}")
        normalization(self.nm, channels=1, group=1, size=(1, 1))  # raises for an unknown name
        _check_choice("penalized", self.penalized, PENALIZED)
        _check_choice("optimizer", self.optimizer, ("auto", "sgd", "muon"))
        _check_choice("filters", self.filters, ("auto", "plain", "standardized"))
        _check_choice("augment", self.augment, ("auto", *AUGMENTATIONS))
        if self.nm == "none" and self.penalized == "gamma":
            raise ValueError("a network without normalization has no gamma to penalize; choose all or conv")
        if self.ghost and self.nm != "BN":
            raise ValueError(f"ghost is for BN alone, not for {self.nm}; leave it out")
        if self.proximal and not self.l1:
            raise ValueError(f"proximal is a way to apply l1, which is 0; set l1 too, for example to {USUAL_L1:g}")

    @property
    def images_a_statistic(self) -> int:
        """Over how many images of a batch BN takes a mean and a variance."""
        return self.ghost or self.batch_size

    @property
    def label(self) -> str:
        """The arm's name in figures and tables: "BN + L1", "GN (8 groups) + L1 + L2", "LN + proximal L1 0.001"."""
        norm = f"GN ({self.gp} groups)" if self.nm == "GN" and self.gp not in (0, 2) else self.nm
        norm += f" ({self.ghost} images)" if self.ghost else ""
        norm += f", {self.filters} filters" if self.filters != "auto" else ""
        penalties = []
        if self.l1:
            l1 = "proximal L1" if self.proximal else "L1"
            penalties.append(l1 if self.l1 == USUAL_L1 else f"{l1} {self.l1:g}")
        if self.l2:
            penalties.append("L2")
        label = " + ".join([norm, *penalties])
        return f"{label} on {self.penalized}" if penalties and self.penalized != "all" else label


def _check_type(name: str, value: object, kind: type) -> None:
    allowed = (int, float) if kind is float else kind
    is_wrong_bool = isinstance(value, bool) and kind is not bool  # to Python, True is an int
    if is_wrong_bool or not isinstance(value, allowed):
        raise TypeError(f"{name} must be of type {kind.__name__}, got {value!r}")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if value == math.inf:
        raise ValueError(f"{name} must be finite, got inf")
    if not value >= low:  # NaN neither
        raise ValueError(f"{name} must be at least {low}, got {value}")
    if value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
