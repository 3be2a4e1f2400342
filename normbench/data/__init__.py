"""Names, files and folders become batches: data sets, how they are loaded, and how their images are augmented."""

from normbench.data.augmenting import (
    AUGMENTATIONS,
    IN_TURN,
    affine_matrices,
    augmentation,
    crop_flip_matrices,
    mirrored_in_turn,
    warp,
)
from normbench.data.dataset import HELD_OUT, Dataset
from normbench.data.goal import ACCURACY, LOSSES, METRICS, Function, Goal
from normbench.data.known import DATASETS, is_held_out, title
from normbench.data.loading import load
from normbench.data.samples import Samples, known_labels
from normbench.data.task import Task, shape_of_inputs

__all__ = [
    "ACCURACY",
    "AUGMENTATIONS",
    "DATASETS",
    "HELD_OUT",
    "IN_TURN",
    "LOSSES",
    "METRICS",
    "Dataset",
    "Function",
    "Goal",
    "Samples",
    "Task",
    "affine_matrices",
    "augmentation",
    "crop_flip_matrices",
    "is_held_out",
    "known_labels",
    "load",
    "mirrored_in_turn",
    "shape_of_inputs",
    "title",
    "warp",
]
