"""A finished run: what came out, and what it was made with."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from normbench.training.recipe import Recipe

DIVERGED, OUT_OF_MEMORY, RAISED = "diverged", "out of memory", "raised"
# Trainers: the built-in one on samples of any shape, a function of the user's own, and whatever made a table.
ON_SAMPLES, BY_FUNCTION, FROM_TABLE = "samples", "function", "table"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        recipe: the normalization and the training.
        dataset: the name of the data set.
        history: a row per epoch. train_loss and train_accuracy are those of the augmented training images as they were
            trained on, test_loss and test_accuracy those after the epoch: mean negative log-likelihoods in nats,
            without any penalty, and accuracies in %. penalty is the mean λ1·Σ|p| + λ2·Σp² over the epoch's steps;
            l1_norm (Σ|p|) and zeros (the share of exact zeros in %) describe the parameters at the end of the epoch.
            Besides these, epoch (from 1) and seconds. A failed training has none.
        correct: (N,) bool, which test images the last epoch got right; none of them in a failed training, and empty
            where the measure is no accuracy per example.
        parameters: how many numbers the network's parameters are.
        seconds: how long the training took, with the time before a stop.
        device: what it was trained on.
        mistakes: the ten wrong test images that the network was most sure of: (image, prediction, its probability).
        test_set: a checksum of the test labels.
        fingerprint: what else the result depends on: "data" and "network" are checksums, "trainer" is the name of what
            trained. Empty where nobody recorded them.
        failure: why there is no result: "diverged", "out of memory" or "raised ValueError: …"; empty for a training
            that came to its end.
        statistics: test scores by the statistics that batch norm normalizes with; empty where nobody asked for them.
        versions: those of Python and of the libraries, by name.
        commit: that of the code, where it is known.
        probabilities: (N, classes) float of the test images; None for a run that was read from a file.
        measure: the name of the score that decides: the last row of the history has it as "test_NAME".
        unit: that of the score: "%", or "" for a plain number.
        scores: (N,) float, the score of each test example; empty where there is none, and where `correct` says it.
    """

    recipe: Recipe
    dataset: str
    history: tuple[dict[str, float], ...]
    correct: Tensor
    parameters: int
    seconds: float
    device: str
    mistakes: tuple[tuple[int, int, float], ...] = ()
    test_set: str = ""
    fingerprint: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    probabilities: Tensor | None = None
    measure: str = "accuracy"
    unit: str = "%"
    scores: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def is_built_in(self) -> bool:
        """Whether normbench trained it by its recipe; what else trains knows its own epochs and batches."""
        return self.fingerprint.get("trainer") not in (BY_FUNCTION, FROM_TABLE)

    @property
    def things(self) -> str:
        """What its examples are called."""
        return "samples" if self.fingerprint.get("trainer") == ON_SAMPLES else "images"

    @property
    def raised(self) -> bool:
        """Whether an error of the user's own code ended it, which another call may not meet again."""
        return self.failure.startswith(RAISED)

    @property
    def score(self) -> float:
        """The score that decides, after the last epoch; nan for a failed training."""
        return self.last.get(f"test_{self.measure}", math.nan)

    @property
    def examples(self) -> Tensor:
        """(N,) float, what each test example adds to the score, which is their mean; empty where that is not known."""
        return self.scores if len(self.scores) else 100.0 * self.correct.float()

    @property
    def last(self) -> dict[str, float]:
        """The last epoch's row of the history: what is reported. Empty for a failed training."""
        return self.history[-1] if self.history else {}

    @property
    def best(self) -> dict[str, float]:
        """The row with the highest test accuracy, the first of several: selected on the test set, and so flattering."""
        return max(self.history, key=lambda row: row.get("test_accuracy", -math.inf), default={})

    @property
    def errors(self) -> int:
        """How many test images the last epoch got wrong."""
        return int((~self.correct).sum())
