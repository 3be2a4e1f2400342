"""What decides a training, apart from the data."""

import math
from dataclasses import dataclass, fields

from model import normalization
from normbench.augment import AUGMENTATIONS
from normbench.penalty import PENALIZED

USUAL_L1 = 1e-4  # as in the published studies


@dataclass(frozen=True)
class Config:
    """One network and its training: every option has a value that serves.

    Raises ValueError for a value out of range, TypeError for one of the wrong type.
    """

    nm: str = "BN"
    """Normalization: BN, GN, LN, IN, LN_CHW (layer norm with a weight for each element), or none."""
    gp: int = 2
    """Number of groups, for GN alone. It must divide every channel count; 1 group is LN, a group a channel is IN."""
    l1: float = 0.0
    """λ1 of the penalty λ1·Σ|p| in the loss. The published studies use 1e-4; 1e-3 costs accuracy."""
    l2: float = 0.0
    """λ2 of the penalty λ2·Σp² in the loss. The default weight decay is the same as λ2 = 2.5e-4 on all parameters."""
    penalized: str = "all"
    """What both penalties act on: all parameters, conv (the convolutions' weights and the average's), or gamma (the
    scales γ). The network for colour images standardizes its filters, so that their size matters for the pace alone."""
    proximal: bool = False
    """L1 by a proximal step, which makes exact zeros, instead of by its subgradient, which makes none."""
    epochs: int = 20
    """How often every training image is seen."""
    batch_size: int = 128
    """Training images a step. BN needs several; the others do not mind."""
    lr: float = 0.1
    """Highest learning rate: the rate rises to it and falls to almost 0 (OneCycle). Try 0.02 without normalization."""
    weight_decay: float = 5e-4
    """The optimizer's own pull of all parameters towards 0: the same as an l2 of half its size."""
    width: int = 1
    """Factor on the channels of every convolution."""
    augment: str = "auto"
    """Random changes of training images: affine (turn, stretch, move), crop-flip, none, or
    auto: affine for grey images, crop-flip for colour."""
    images: int = 0
    """How many of the training images are used, the first ones; 0 for all."""
    seed: int = 0
    """Decides the first weights, the order of the images and their random changes."""

    def __post_init__(self):
        for field in fields(self):
            value, allowed = getattr(self, field.name), (field.type,) + (int,) * (field.type is float)
            if not isinstance(value, allowed) or isinstance(value, bool) != (field.type is bool):
                raise TypeError(f"{field.name} must be of type {field.type.__name__}, got {value!r}")
        lowest = dict(gp=1, epochs=1, batch_size=1, width=1, images=0, seed=0, l1=0, l2=0, weight_decay=0)
        for name, low in lowest.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
            if getattr(self, name) == math.inf:
                raise ValueError(f"{name} must be finite, got inf")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0, got {self.lr}")
        for name, allowed in dict(penalized=PENALIZED, augment=("auto", *AUGMENTATIONS)).items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        normalization(self.nm, channels=1, group=1, size=(1, 1))  # raises for an unknown name
        if self.nm == "none" and self.penalized == "gamma":
            raise ValueError("a network without normalization has no gamma to penalize; choose all or conv")

    @property
    def label(self) -> str:
        """The arm's name in figures and tables: "BN + L1", "GN (4 groups) + L1 + L2", "LN + proximal L1 0.001"."""
        parts = [self.nm + f" ({self.gp} groups)" * (self.nm == "GN" and self.gp != 2)]
        if self.l1:
            parts.append("proximal " * self.proximal + "L1" + f" {self.l1:g}" * (self.l1 != USUAL_L1))
        if self.l2:
            parts.append("L2")
        on = f" on {self.penalized}" * (self.penalized != "all" and len(parts) > 1)
        return " + ".join(parts) + on
