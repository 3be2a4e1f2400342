"""The study's networks and their usual training: `Net` of model.py, and by `swap` what model.py leaves out."""

from typing import Any

import torch
from torch import nn

from model import COLOUR, Net
from normbench.data import Dataset
from normbench.device import seeded
from normbench.layers import parse
from normbench.swapping import swap
from normbench.training import Recipe, Trainer

OF_THE_MODEL = ("BN", "GN", "LN", "IN", "none")  # the normalizations of model.py; its "GN" has a number of groups


def build(recipe: Recipe, data: Dataset) -> nn.Module:
    """Make the network of `recipe` for images of `data`, on the CPU; its weights depend on `recipe.seed` alone.

    Raises ValueError for images that are too small for it, and for groups that do not divide the channels.
    """
    channels, height, width = data.image_shape
    colour: dict[str, Any] = {} if data.is_grey else COLOUR
    arguments = colour | {"in_channels": channels, "size": (height, width), "classes": len(data.classes)}
    name, number, standardized = parse(recipe.norm)
    with seeded(recipe.seed):
        if name in OF_THE_MODEL and (number is not None) == (name == "GN") and not standardized:
            return Net(name, number or 2, **arguments)
        return swap(Net("BN", **arguments), recipe.norm, example=torch.zeros(1, *data.image_shape))


def study_recipe(norm: str = "BN", **changes: Any) -> Recipe:
    """Return a recipe of the study, where weight decay falls on all parameters: so its runs were trained."""
    return Recipe(norm, **({"decay_on": "all"} | changes))


def usual_recipe(data: Dataset, norm: str = "BN", **changes: Any) -> Recipe:
    """Return the recipe that the study uses for `data`, but for the `changes`; colour images have one of their own."""
    usual: dict[str, Any] = {} if data.is_grey else {"optimizer": "muon", "mirrored": True}
    return study_recipe(norm, **(usual | changes))


TRAINER = Trainer("train", build, recorded=True)
