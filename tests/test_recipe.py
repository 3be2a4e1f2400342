import json
from dataclasses import asdict, replace

import pytest

from normbench.training import Recipe, labels


@pytest.mark.parametrize(
    "values, error, named",
    (
        ({"norm": "batch"}, ValueError, "'batch'"),
        ({"norm": "GN:0"}, ValueError, "'GN:0'"),
        ({"norm": 3}, TypeError, "norm 3"),
        ({"epochs": 0}, ValueError, "epochs 1 0"),
        ({"epochs": "ten"}, TypeError, "epochs int 'ten'"),
        ({"epochs": 2.5}, TypeError, "epochs int 2.5"),
        ({"epochs": True}, TypeError, "epochs int True"),
        ({"batch_size": 0}, ValueError, "batch_size 1 0"),
        ({"images": 0}, ValueError, "images 1 0"),
        ({"images": -1}, ValueError, "images 1 -1"),
        ({"images": 2.0}, TypeError, "images int None 2.0"),
        ({"l1": -1e-4}, ValueError, "l1 0 -0.0001"),
        ({"l1": float("nan")}, ValueError, "l1 nan"),
        ({"l1": float("inf")}, ValueError, "l1 finite inf"),
        ({"l2": -1}, ValueError, "l2 0 -1"),
        ({"weight_decay": -1}, ValueError, "weight_decay 0 -1"),
        ({"weight_decay": float("nan")}, ValueError, "weight_decay nan"),
        ({"lr": 0}, ValueError, "lr 0"),
        ({"lr": float("nan")}, ValueError, "lr nan"),
        ({"lr": float("inf")}, ValueError, "lr finite inf"),
        ({"seed": -1}, ValueError, "seed 0 -1"),
        ({"seed": 2**64}, ValueError, f"seed {2**64 - 1} {2**64}"),
        ({"proximal": 1}, TypeError, "proximal bool 1"),
        ({"proximal": True}, ValueError, "proximal l1"),
        ({"augment": "flip"}, ValueError, "augment auto affine crop-flip crop-turn none 'flip'"),
        ({"optimizer": "adam"}, ValueError, "optimizer sgd adamw muon 'adam'"),
        ({"optimizer": None}, TypeError, "optimizer str None"),
        ({"decay_on": "gamma"}, ValueError, "decay_on weights all 'gamma'"),
        ({"optimizer": "adamw", "l1": 1e-4, "proximal": True}, ValueError, "proximal adamw"),
    ),
)
def test_bad_values_are_named_with_what_is_allowed(values, error, named):
    with pytest.raises(error) as raised:
        Recipe(**values)
    message = str(raised.value)
    assert all(word in message for word in named.split()) and "\n" not in message


@pytest.mark.parametrize(
    "recipe",
    (Recipe(), Recipe("WS+GN:4", l1=1e-3, proximal=True, seed=2**64 - 1), Recipe("BN:2", images=100, mirrored=True)),
)
def test_a_recipe_is_what_its_fields_say(recipe):
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


def test_what_is_not_given_is_the_optimizer_s():
    assert (Recipe().lr, Recipe().weight_decay) == (0.1, 5e-4)
    adamw = Recipe(optimizer="adamw")
    assert (adamw.lr, adamw.weight_decay) == (1e-3, 0.05) and adamw == Recipe(optimizer="adamw", lr=1e-3)
    given = Recipe(optimizer="adamw", lr=0.5, weight_decay=0.0)
    assert (given.lr, given.weight_decay) == (0.5, 0.0)
    assert Recipe(optimizer="muon", lr=None, weight_decay=None) == Recipe(optimizer="muon")


@pytest.mark.parametrize(
    "recipe, label, family, images_per_statistic",
    (
        (Recipe("BN", l1=1e-4), "BN + L1", "BN", 128),
        (Recipe("BN:16", batch_size=64), "BN (16 images)", "BN", 16),
        (Recipe("GN"), "GN", "GN", 128),
        (Recipe("GN:4", l1=1e-4, l2=1e-4), "GN (4 groups) + L1 + L2", "GN", 128),
        (Recipe("LN", l2=1e-4), "LN + L2", "LN", 128),
        (Recipe("IN", l1=1e-3, proximal=True), "IN + proximal L1 0.001", "IN", 128),
        (Recipe("WS+GN:2"), "WS + GN (2 groups)", "GN", 128),
    ),
)
def test_label_and_family(recipe, label, family, images_per_statistic):
    assert (recipe.label, recipe.family, recipe.images_per_statistic) == (label, family, images_per_statistic)


def test_labels_tell_recipes_apart():
    recipes = [Recipe("BN"), Recipe("GN"), Recipe("GN:2"), Recipe("LN", lr=0.1), Recipe("LN", lr=0.2, epochs=3)]
    named = labels(recipes)
    assert list(named) == recipes and len(set(named.values())) == len(recipes)
    assert named[recipes[0]] == "BN" and "0.2" in named[recipes[4]] and "3 epochs" in named[recipes[4]]
    assert list(labels([Recipe("BN", epochs=1), Recipe("BN", epochs=2)]).values()) == ["BN, 1 epoch", "BN, 2 epochs"]


@pytest.mark.parametrize(
    "change",
    (
        {"l1": 1e-3, "l2": 1e-3},
        {"l2": 2e-3},
        {"lr": 0.2},
        {"batch_size": 4},
        {"epochs": 3},
        {"optimizer": "muon"},
        {"weight_decay": 0.0},
        {"decay_on": "all"},
        {"augment": "none"},
        {"mirrored": True},
        {"images": 10},
        {"seed": 5},
    ),
)
def test_every_field_can_tell_two_recipes_apart(change):
    first = Recipe("BN", l2=1e-3) if "l2" in change else Recipe("BN")
    assert len(set(labels([first, replace(first, **change)]).values())) == 2
