"""Losses and metrics: by name, against the formulas, and what does not fit is refused in a line."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normbench.data import LOSSES, METRICS, Goal


def loss_and_score(goal, outputs, targets):
    return goal.loss_function(outputs, targets), goal.metric_function(outputs, targets)


LOGITS = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
CLASSES = torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize(
    "targets",
    (
        CLASSES,
        CLASSES.to(torch.uint8),
        CLASSES.float(),
        CLASSES[:, None],
        F.one_hot(CLASSES, 3),
        F.one_hot(CLASSES, 3).float(),
    ),
    ids=("int64", "uint8", "float", "column", "one-hot", "one-hot float"),
)
def test_classes_are_taken_as_people_have_them(targets):
    loss, right = loss_and_score(Goal(), LOGITS, targets)
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, CLASSES))
    assert right.tolist() == [True, False, True, True]


def test_a_class_per_pixel_is_scored_by_the_share_that_is_right():
    outputs = torch.zeros(2, 3, 4, 4)
    outputs[:, 1] = 1.0
    masks = torch.ones(2, 4, 4, dtype=torch.long)
    masks[0, 0] = 2
    for targets in (masks, masks[:, None]):
        loss, shares = loss_and_score(Goal(), outputs, targets)
        torch.testing.assert_close(loss, F.cross_entropy(outputs, masks))
        assert shares.tolist() == [75.0, 100.0]


@pytest.mark.parametrize("shape", ((4,), (4, 1)))
def test_numbers_of_one_column_are_not_spread_into_a_square(shape):
    outputs, targets = torch.tensor([[0.0], [1.0], [2.0], [5.0]]), torch.tensor([0.0, 1.0, 2.0, 3.0]).view(shape)
    loss, squares = loss_and_score(Goal("mse"), outputs, targets)
    assert loss == 1.0 and squares.tolist() == [0.0, 0.0, 0.0, 4.0]
    assert Goal("mse", "mae").metric_function(outputs, targets).tolist() == [0.0, 0.0, 0.0, 2.0]


def test_binary_targets():
    outputs, targets = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 0, 0])
    loss, right = loss_and_score(Goal("bce"), outputs, targets)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(outputs, targets[:, None].float()))
    assert right.dtype == torch.bool and right.tolist() == [True, True, False]
    several = Goal("bce").metric_function(torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 1]]))
    assert several.tolist() == [50.0]


@pytest.mark.parametrize(
    "loss, outputs, targets, said",
    (
        ("cross_entropy", LOGITS, torch.zeros(4, 2), "outputs (4, 3) and targets (4, 2)"),
        ("cross_entropy", LOGITS, torch.rand(4), "whole numbers"),
        ("mse", torch.zeros(4, 2), torch.zeros(4), "outputs (4, 2) and targets (4,)"),
        ("bce", torch.zeros(2, 3), torch.zeros(3, 2), "outputs (2, 3) and targets (3, 2)"),
    ),
)
def test_targets_that_do_not_fit_are_refused(loss, outputs, targets, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Goal(loss).loss_function(outputs, targets)


@pytest.mark.parametrize(
    "goal, name, higher",
    (
        (Goal(), "accuracy", True),
        (Goal("mse"), "mse", False),
        (Goal("mse", "mae"), "mae", False),
        (Goal("bce"), "accuracy", True),
        (Goal(nn.HuberLoss()), "loss", False),
        (Goal("mse", "loss"), "loss", False),
        (Goal(nn.HuberLoss(), "mae"), "mae", False),
        (Goal("mse", F.cosine_similarity), "cosine_similarity", True),
        (Goal("mse", lambda outputs, targets: 0), "score", True),
    ),
)
def test_what_decides(goal, name, higher):
    assert (goal.name, goal.higher_is_better) == (name, higher)


@pytest.mark.parametrize("options", ({"loss": "nll"}, {"metric": "f1"}, {"loss": 3}, {"loss": None}, {"metric": 0.5}))
def test_unknown_names_are_refused_with_those_there_are(options):
    with pytest.raises(ValueError) as raised:
        Goal(**options)
    line = str(raised.value)
    assert repr(next(iter(options.values()))) in line and "\n" not in line
    assert all(name in line for name in (LOSSES if "loss" in options else METRICS)) or "function" in line
