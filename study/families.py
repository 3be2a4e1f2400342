"""Which arms of an experiment are compared, and how: one family of comparisons whose intervals hold simultaneously."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations, groupby

from normbench import stats
from normbench.runs import Arm, Arms
from normbench.stats import Difference
from normbench.training import Recipe
from study.experiments import EXPERIMENTS, MAIN

ALPHA = 0.05
# The difference in points that it takes to matter, by data set: a tenth of the errors of the MNIST networks, and a
# fortieth of those on CIFAR-10.
STATED = {"mnist": 0.05, "cifar10": 0.3}

# Two arms a and b: how far a is ahead of b. Four arms a, b, c and d: how much more that is than c is ahead of d.
Comparison = tuple[Recipe, ...]
WEIGHTS = {2: (1, -1), 4: (1, -1, -1, 1)}


def all_pairs(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare each arm with each other."""
    return list(combinations(recipes, 2))


def plain_pairs_and_l1(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare all arms without a penalty, each with L1 with itself without, and the three models of the studies."""
    recipes = list(recipes)
    penalized = [(recipe, replace(recipe, l1=0.0)) for recipe in recipes if recipe.l1]
    plain = combinations((recipe for recipe in recipes if not recipe.l1), 2)
    return [*plain, *penalized, *((MAIN[0], other) for other in MAIN[1:])]


def pairs_of_each_length(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare all arms that are trained for the same number of epochs."""
    by_epochs = groupby(sorted(recipes, key=lambda recipe: recipe.epochs), key=lambda recipe: recipe.epochs)
    return [pair for _, of_length in by_epochs for pair in combinations(of_length, 2)]


def pairs_of_each_batch_size(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare all arms with equal batches, each norm's largest batches with its smallest, and with what BN loses."""
    recipes = list(recipes)
    sizes = sorted({recipe.batch_size for recipe in recipes})
    of_size = {size: [recipe for recipe in recipes if recipe.batch_size == size] for size in sizes}
    equal = [pair for same in of_size.values() for pair in combinations(same, 2)]
    losses = [(many, few) for many in of_size[sizes[-1]] for few in of_size[sizes[0]] if many.norm == few.norm]
    (of_bn,) = (loss for loss in losses if loss[0].family == "BN")
    return [*equal, *losses, *((*of_bn, *loss) for loss in losses if loss != of_bn)]


def each_penalty_against_none(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare each arm with a penalty with the same without."""
    penalized = [recipe for recipe in recipes if recipe.l1 or recipe.l2]
    return [(recipe, replace(recipe, l1=0.0, l2=0.0, proximal=False)) for recipe in penalized]


def each_strength_and_way(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare each penalty with none, and each proximal step with the subgradient."""
    recipes = list(recipes)
    proximal = [(recipe, replace(recipe, proximal=False)) for recipe in recipes if recipe.proximal]
    return [*each_penalty_against_none(recipes), *proximal]


def many_against_few(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare one pair: batch norm with 32 images per statistic, and with 2."""
    of_bn = {recipe.images_per_statistic: recipe for recipe in recipes if recipe.family == "BN"}
    return [(of_bn[32], of_bn[2])]


def group_norm_against_batch_norm(recipes: Iterable[Recipe]) -> list[Comparison]:
    """Compare batch norm with 32 images per statistic with 2, and group norm with each number."""
    recipes = list(recipes)
    (gn,) = (recipe for recipe in recipes if recipe.family == "GN")
    against = [(gn, recipe) for recipe in recipes if recipe.family == "BN" and recipe.images_per_statistic <= 32]
    return [*many_against_few(recipes), *against]


# What is not named here varies one thing: all its pairs are compared.
FAMILIES: Mapping[str, Callable[[Iterable[Recipe]], list[Comparison]]] = {
    "head_to_head": plain_pairs_and_l1,
    "length": pairs_of_each_length,
    "small_batches": pairs_of_each_batch_size,
    "penalties": each_penalty_against_none,
    "l1_strength": each_strength_and_way,
    "ghosts": many_against_few,
    "cifar10_ghosts": group_norm_against_batch_norm,
}


def family(name: str, recipes: Iterable[Recipe]) -> list[Comparison]:
    """Return the comparisons that are made in an experiment of these arms."""
    return FAMILIES.get(name, all_pairs)(recipes)


def confidence(name: str, arms: Arms, *compared: Recipe) -> float:
    """Return the confidence of one comparison so that the family is simultaneous at 95 % (Bonferroni).

    Raises KeyError for a comparison that is not one of the family.
    """
    comparisons = family(name, arms)
    a, b, *rest = compared
    if not {(a, b, *rest), (b, a, *reversed(rest))} & set(comparisons):
        said = ", ".join(arms[recipe].label if recipe in arms else recipe.label for recipe in compared)
        raise KeyError(f"{name} does not compare {said}: see FAMILIES")
    return 1 - ALPHA / len(comparisons)


def gap(name: str, arms: Arms, *compared: Recipe) -> Difference:
    """Return how far the first arm is ahead of the second, in points of accuracy for new seeds and new test images.

    Of four arms: how much more that is than the third is ahead of the fourth. The interval is one of the family's.
    Failed runs are left out. Raises KeyError as `confidence`.
    """
    samples = [arms[recipe].correct for recipe in compared]
    return stats.accuracy_contrast(samples, WEIGHTS[len(compared)], confidence(name, arms, *compared))


def gap_of(name: str, arms: Arms, metric: str, a: Recipe, b: Recipe) -> Difference:
    """Return the mean of a metric of the last epoch with `a` minus that with `b`, for new seeds (Welch's t).

    How images vary is not in the interval, for only means over images are stored. It is one of the family's. Failed
    runs are left out. Raises KeyError as `confidence`.
    """
    return stats.difference(last(arms[a], metric), last(arms[b], metric), confidence=confidence(name, arms, a, b))


def seeds_to_exclude(name: str, arms: Arms, *compared: Recipe) -> float:
    """Return how many seeds per arm show a difference of `STATED` points, or that there is none, in 4 of 5 cases.

    Infinite where no number would, because there are too few test images. Raises KeyError as `confidence`.
    """
    samples, sure = [arms[recipe].correct for recipe in compared], confidence(name, arms, *compared)
    return stats.seeds_to_exclude(samples, stated(name), WEIGHTS[len(compared)], sure) or math.inf


def stated(name: str) -> float:
    """Return the difference in points that it takes to matter on an experiment's data set."""
    return STATED[EXPERIMENTS[name].dataset]


def last(arm: Arm, metric: str = "test_accuracy") -> list[float]:
    """Return the metric of the last epoch of each run that came to its end."""
    return [run.last[metric] for run in arm.succeeded]
