"""What decides a training, apart from the network's own code and the data: a `Recipe`, and labels for eyes."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from normbench.data import AUGMENTATIONS
from normbench.layers import label, parse
from normbench.training.decay import DECAY_ON, WEIGHTS
from normbench.training.optimizers import OPTIMIZERS
from normbench.training.precision import AMP

USUAL_L1 = 1e-4  # as in the published studies

LOWEST = {"l1": 0, "l2": 0, "epochs": 1, "batch_size": 1, "weight_decay": 0, "images": 1, "seed": 0}
HIGHEST = {"seed": 2**64 - 1}  # PyTorch's generators take seeds of 64 bits


@dataclass(frozen=True)
class Recipe:
    """One normalization and one training; every option has a default.

    A learning rate and a weight decay that are not given, or None, become those of the optimizer. `replace` keeps
    them: who changes the optimizer of a recipe gives these two anew, too.

    Raises ValueError for a value out of range and for options that contradict each other, TypeError for a value of
    the wrong type.
    """

    norm: str = "BN"
    """Normalization: BN, GN, LN, IN, LN_CHW (layer norm with a weight per element), LN_C (over the channels of each
    pixel) or none; GN:8 for eight groups; BN:16 for ghost batch norm with 16 images per statistic; WS+GN to standardize
    the weights of the convolutions, too."""
    l1: float = 0.0
    """λ1 of the penalty λ1·Σ|p| in the loss. The published studies use 1e-4; 1e-3 costs accuracy."""
    l2: float = 0.0
    """λ2 of the penalty λ2·Σp² in the loss: for SGD the same as a weight decay of twice its size on all parameters."""
    proximal: bool = False
    """L1 by a proximal step, which makes exact zeros, instead of by its subgradient, which makes none. It needs l1."""
    epochs: int = 20
    """How often every training image is seen."""
    batch_size: int = 128
    """Training images per step. BN needs several; the others work with one, too."""
    lr: float = None  # type: ignore[assignment]
    """Highest learning rate: the rate rises to it and falls to almost 0 (OneCycle). Muon takes half of it. By default
    0.1, and 0.001 for AdamW."""
    weight_decay: float = None  # type: ignore[assignment]
    """Weight decay, by default 5e-4, and 0.05 for AdamW. Muon's filters have one of their own."""
    optimizer: str = "sgd"
    """sgd: SGD with Nesterov momentum; adamw: AdamW; or muon: Muon for the filters of convolutions, SGD for the
    rest."""
    decay_on: str = WEIGHTS
    """What weight decay falls on: weights, which leaves out biases and what normalizations train, such as γ and β; or
    all parameters."""
    amp: str | None = None
    """bf16 for automatic mixed precision in bfloat16; by default all is in float32."""
    augment: str = "auto"
    """Random changes of training images: affine (turn, stretch, move), crop-flip, crop-turn (mirrored in every other
    epoch), none, or auto: affine for grey images, crop-flip for colour."""
    mirrored: bool = False
    """Whether testing shows each image twice, as it is and mirrored, and averages the probabilities, as Krizhevsky et
    al. (2012) do: right where a mirror image is of the same class."""
    images: int | None = None
    """How many of the training images are used, the first ones; by default all."""
    seed: int = 0
    """Decides the initial weights, the order of the images and their random changes."""

    def __post_init__(self):
        _check_type("optimizer", self.optimizer, str)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        row = OPTIMIZERS[self.optimizer]
        for name, usual in (("lr", row.rate), ("weight_decay", row.weight_decay)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual)
        for name, kind in KINDS.items():
            _check_type(name, getattr(self, name), kind)
        for name, low in LOWEST.items():
            if (value := getattr(self, name)) is not None:
                _check_range(name, value, low, HIGHEST.get(name, math.inf))
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be finite and above 0, got {self.lr}")
        parse(self.norm)  # raises for an unknown name
        _check_choice("decay_on", self.decay_on, DECAY_ON)
        if self.amp is not None:
            _check_choice("amp", self.amp, AMP)
        _check_choice("augment", self.augment, ("auto", *AUGMENTATIONS))
        if self.proximal and not self.l1:
            raise ValueError(f"proximal is a way to apply l1, which is 0; set l1 too, for example to {USUAL_L1:g}")
        if self.proximal and row.momentum is None:
            raise ValueError(f"the proximal step is that of SGD, not of {self.optimizer}; leave proximal out")

    @property
    def family(self) -> str:
        """The normalization's name in `layers.NORMALIZATIONS`: "GN" for "WS+GN:2"."""
        return parse(self.norm).name

    @property
    def images_per_statistic(self) -> int:
        """Over how many images of a batch BN takes a mean and a variance."""
        return (parse(self.norm).number if self.family == "BN" else None) or self.batch_size

    @property
    def label(self) -> str:
        """Normalization and penalties for readers: "BN + L1", "GN (8 groups) + L1 + L2", "LN + proximal L1 0.001"."""
        l1 = ("proximal L1" if self.proximal else "L1") + (f" {self.l1:g}" if self.l1 != USUAL_L1 else "")
        return " + ".join([label(self.norm), *([l1] if self.l1 else []), *(["L2"] if self.l2 else [])])


KINDS = get_type_hints(Recipe)

# How a label names what it leaves out otherwise, where other recipes have the same label.
DETAILS = {
    "norm": "{}",
    "l2": "L2 {:g}",
    "lr": "rate {:g}",
    "batch_size": "batch {}",
    "epochs": "{} epochs",
    "optimizer": "{}",
    "weight_decay": "weight decay {:g}",
    "decay_on": "weight decay on {}",
    "amp": "{}",
    "augment": "{} augmentation",
    "mirrored": "mirrored: {}",
    "images": "{} images",
    "seed": "seed {}",
}

# What None stands for in them.
NOT_GIVEN = {"images": "all", "amp": "float32"}


def labels(recipes: Iterable[Recipe]) -> dict[Recipe, str]:
    """Give each recipe a label that none of the others has.

    It is the recipe's own `label`; recipes that share one also get what they differ in: "BN, rate 0.1".
    """
    given = list(dict.fromkeys(recipes))
    alike: dict[str, list[Recipe]] = {}
    for recipe in given:
        alike.setdefault(recipe.label, []).append(recipe)
    named = {}
    for recipe in given:
        family = alike[recipe.label]
        varied = [name for name in DETAILS if len({getattr(other, name) for other in family}) > 1]
        details = [_detail(name, getattr(recipe, name)) for name in varied]
        named[recipe] = ", ".join([recipe.label, *details])
    return named


def _detail(name: str, value: object) -> str:
    text = DETAILS[name].format(NOT_GIVEN.get(name) if value is None else value)
    return text.removesuffix("s") if value == 1 else text


def _check_type(name: str, value: object, kind: Any) -> None:
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    allowed = (*kinds, int) if float in kinds else kinds
    is_wrong_bool = isinstance(value, bool) and bool not in kinds  # to Python, True is an int
    if is_wrong_bool or not isinstance(value, allowed):
        wanted = " or ".join("None" if one is NoneType else one.__name__ for one in kinds)
        raise TypeError(f"{name} must be of type {wanted}, got {value!r}")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if value == math.inf:
        raise ValueError(f"{name} must be finite, got inf")
    if not value >= low:  # NaN neither
        raise ValueError(f"{name} must be at least {low}, got {value}")
    if value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}")


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
