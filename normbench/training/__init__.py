"""One training: a network, a data set and a recipe become a run."""

from normbench.training.checks import check_forward, check_network
from normbench.training.fingerprint import build_checksum, network_fingerprint, settings_checksum
from normbench.training.loop import train, train_epoch
from normbench.training.optimizers import OPTIMIZERS
from normbench.training.placing import placed
from normbench.training.recipe import USUAL_L1, Recipe, labels
from normbench.training.run import BY_FUNCTION, FROM_TABLE, ON_SAMPLES, Run
from normbench.training.testing import predict, scores
from normbench.training.trainer import Trainer

__all__ = [
    "BY_FUNCTION",
    "FROM_TABLE",
    "ON_SAMPLES",
    "OPTIMIZERS",
    "USUAL_L1",
    "Recipe",
    "Run",
    "Trainer",
    "build_checksum",
    "check_forward",
    "check_network",
    "labels",
    "network_fingerprint",
    "placed",
    "predict",
    "scores",
    "settings_checksum",
    "train",
    "train_epoch",
]
