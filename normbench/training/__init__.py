"""One training: a network, a data set and a recipe become a run."""

from normbench.training.checks import check_network
from normbench.training.fingerprint import network_fingerprint
from normbench.training.loop import train, train_epoch
from normbench.training.optimizers import OPTIMIZERS
from normbench.training.placing import placed
from normbench.training.recipe import USUAL_L1, Recipe, labels
from normbench.training.run import Run
from normbench.training.testing import predict, scores
from normbench.training.trainer import Trainer

__all__ = [
    "OPTIMIZERS",
    "USUAL_L1",
    "Recipe",
    "Run",
    "Trainer",
    "check_network",
    "labels",
    "network_fingerprint",
    "placed",
    "predict",
    "scores",
    "train",
    "train_epoch",
]
