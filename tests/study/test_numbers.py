"""Lookups, families of comparisons, and the statistics that sentences rest on."""

import math
from dataclasses import replace
from math import isinf

import pytest
from made_up import failed_run_of, made_up_arms, noise, run_of
from made_up_results import write_results, write_runs

from model import Net
from normbench import stats
from normbench.layers import NORMALIZATIONS
from normbench.runs import arms
from normbench.training import USUAL_L1, Recipe
from study import families, readings, tables
from study.experiments import EXPERIMENTS, IN_SMALL_BATCHES, path
from study.networks import study_recipe
from study.numbers import Numbers, winners
from study.rates import best_rate


def numbers_of(folder, name, accuracy, deviation=0.02, **row):
    """Numbers of one experiment alone."""
    experiment = EXPERIMENTS[name]
    found = made_up_arms(
        [replace(recipe, seed=0) for recipe in experiment.plan(folder) if recipe.seed == experiment.seeds[0]],
        accuracy,
        seeds=len(experiment.seeds),
        deviation=deviation,
        dataset=experiment.data_name,
        **row,
    )
    first = experiment.seeds[0]
    made = [
        replace(run, recipe=replace(run.recipe, seed=run.recipe.seed + first))
        for arm in found.values()
        for run in arm.runs
    ]
    write_runs(made, path(name, folder))
    return Numbers(folder)


def level(recipe):
    return 98.0


def test_arms_are_found_by_norm_and_penalty(tmp_path):
    n = numbers_of(tmp_path, "head_to_head", level)
    assert n.arm("head_to_head", "GN:2").recipe == study_recipe("GN:2")
    assert n.arm("head_to_head", "GN:2", l1=USUAL_L1).recipe == study_recipe("GN:2", l1=USUAL_L1)
    assert [arm.recipe.norm for arm in n.arms("head_to_head", "LN", "BN", l1=0.0)] == ["LN", "BN"]
    with pytest.raises(KeyError, match="0 arms of norm GN:3"):
        n.arm("head_to_head", "GN:3")


def test_an_arm_must_be_the_only_one(tmp_path):
    n = numbers_of(tmp_path, "rates", level)
    with pytest.raises(KeyError, match="5 arms of norm BN"):
        n.arm("rates", "BN")
    assert n.arm("rates", "BN", lr=0.2).recipe.lr == 0.2


@pytest.mark.parametrize(
    "name, size",
    [
        ("head_to_head", 21 + 4 + 2),
        ("cifar10", 6),
        ("filters", 6),
        ("length", 6 * 10),
        ("small_batches", 9 + 3 + 2),
        ("penalties", 15),
        ("study_c", 6),
        ("l1_strength", 8 + 4),
        ("ghosts", 1),
        ("cifar10_ghosts", 1 + 3),
    ],
)
def test_families_are_fixed(name, size):
    recipes = IN_SMALL_BATCHES if name == "small_batches" else EXPERIMENTS[name].arms
    comparisons = families.family(name, recipes)
    assert (
        len(comparisons)
        == size
        == len({frozenset(compared) for compared in comparisons if len(compared) == 2})
        + sum(len(compared) == 4 for compared in comparisons)
    ), "no pair is compared twice"
    assert {recipe for compared in comparisons for recipe in compared} <= set(recipes)


def test_a_pair_has_one_interval_that_allows_for_its_family(tmp_path):
    n = numbers_of(tmp_path, "cifar10", level)
    bn, gn = n.arms("cifar10", "WS+BN", "WS+GN:2")
    there, back = n.gap("cifar10", bn, gn), n.gap("cifar10", gn, bn)
    assert there == stats.accuracy_contrast([bn.correct, gn.correct], confidence=1 - 0.05 / 6)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    here, loss = n.gap_on_these_images("cifar10", bn, gn), n.loss_gap("cifar10", bn, gn)
    assert here == stats.difference(bn.last(), gn.last(), confidence=1 - 0.05 / 6)
    assert here.estimate == pytest.approx(there.estimate, abs=0.01)
    assert loss.estimate == pytest.approx(bn.last("test_loss").mean() - gn.last("test_loss").mean())


def test_what_is_not_compared_has_no_gap(tmp_path):
    n = numbers_of(tmp_path, "length", level)
    with pytest.raises(KeyError, match="FAMILIES"):
        n.gap("length", n.arm("length", "BN", epochs=1), n.arm("length", "BN", epochs=2))


def test_how_much_more_batch_norm_loses_is_a_comparison_of_four_arms(tmp_path):
    def accuracy(recipe):
        return 80.0 + {2: -3.0, 32: 0.0}.get(recipe.batch_size, -1.0) * (2 if recipe.family == "BN" else 1)

    numbers_of(tmp_path, "small_batches_rates", lambda recipe: 80.0 - abs(recipe.lr - 0.01))
    small = readings.SmallBatches(numbers_of(tmp_path, "small_batches", accuracy))
    for family in ("GN", "LN"):
        more = small.loses_more_than(family)
        assert 0 < more.low < more.estimate == pytest.approx(3.0, abs=0.2)
        assert more.estimate == pytest.approx(small.losses["BN"].estimate - small.losses[family].estimate)


def test_more_seeds_exclude_a_smaller_difference(tmp_path):
    n = numbers_of(tmp_path, "cifar10", level, deviation=0.3)
    bn, gn = n.arms("cifar10", "WS+BN", "WS+GN:2")
    assert n.stated("cifar10") == 0.3 and n.stated("head_to_head") == 0.05
    assert 6 < n.seeds_to_exclude("cifar10", bn, gn) < stats.MOST_SEEDS
    families_of_one = stats.seeds_to_exclude([bn.correct, gn.correct], 0.3)
    assert families_of_one < n.seeds_to_exclude("cifar10", bn, gn)


def by_norm(**points):
    return lambda recipe: 98.0 + points.get(recipe.family, 0.0)


def test_leads_have_the_higher_mean_first(tmp_path):
    n = numbers_of(tmp_path, "cifar10", by_norm(BN=1.0, IN=-1.0))
    some = n.arms("cifar10")
    differing = {(lead.first.recipe.family, lead.second.recipe.family) for lead in n.differing("cifar10", some)}
    assert differing == {("BN", "GN"), ("BN", "LN"), ("BN", "IN"), ("GN", "IN"), ("LN", "IN")}
    widest = n.widest("cifar10", some)
    assert (widest.first.recipe.family, widest.second.recipe.family) == ("BN", "IN")
    assert widest.gap.estimate == pytest.approx(2.0, abs=0.1)
    assert n.at_most("cifar10", some) == pytest.approx(widest.gap.high)


def test_winners_leave_failed_runs_out():
    recipe = Recipe("BN", epochs=2)
    of_bn = [run_of(replace(recipe, seed=seed), 98.0) for seed in range(3)]
    of_ln = [run_of(replace(recipe, norm="LN", seed=seed), 99.0) for seed in range(2)]
    found = arms([*of_bn, *of_ln, failed_run_of(replace(recipe, norm="LN", seed=2))])
    assert winners(found.values()) == pytest.approx({"BN": 0.0, "LN": 1.0})


def test_failed_runs_are_counted_and_in_no_mean():
    recipe = Recipe("BN", epochs=2)
    found = arms(
        [*(run_of(replace(recipe, seed=seed), 98.0) for seed in range(2)), failed_run_of(replace(recipe, seed=2))]
    )
    failed = arms([failed_run_of(replace(recipe, norm="LN"))])
    rows = [row.strip("| ").split(" | ") for row in tables.accuracy([*found.values(), *failed.values()]).splitlines()]
    assert rows[2] == ["BN", "**98.000 ± 0.000**", "0.000", "98.00", "98.00", "0.0300 ± 0.0000", "3 (1 failed)"]
    assert rows[3] == ["LN", "–", "–", "–", "–", "–", "1 (1 failed)"]


def test_an_unfinished_experiment_says_so(tmp_path):
    n = numbers_of(tmp_path, "luck", level)
    assert n.seeds("luck") == "100" and tables.trained(n, "luck").endswith(" per epoch.")
    file = path("luck", tmp_path)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))
    assert Numbers(tmp_path).seeds("luck") == "7 of 100 planned"
    assert tables.trained(Numbers(tmp_path), "luck").endswith("So far 7 of 100 planned seeds.")


# The statistics of sentences


def test_batch_norm_leads_with_plain_convolutions_alone(tmp_path):
    def accuracy(recipe):
        return 88.0 + 0.5 * (recipe.norm == "BN")

    filters = readings.Filters(numbers_of(tmp_path, "filters", accuracy))
    assert filters.plain_lead.low > 0 and filters.plain_lead.estimate == pytest.approx(0.5, abs=0.1)
    assert filters.standardized_lead.low < 0 < filters.standardized_lead.high
    gain_of_bn, gain_of_gn = filters.plain_gains
    assert gain_of_bn.low > 0 and gain_of_gn.low < 0 < gain_of_gn.high


@pytest.mark.parametrize("fails", (True, False))
def test_runs_that_fail_without_normalization_are_counted(tmp_path, fails):
    def accuracy(recipe):
        return 10.0 if fails and recipe.norm == "none" and recipe.lr >= 0.2 else 98.0

    rates = readings.Rates(numbers_of(tmp_path, "rates", accuracy))
    failures = rates.failures_without_at_high_rates
    assert (failures.failed, failures.runs) == (6 if fails else 0, 6)
    assert rates.failures_with_at_high_rates == readings.common.Failures(0, 30)
    assert (rates.p_fails_more_without < 0.001) == fails
    assert rates.p_fails_more_without <= 1


def of_own_rates(folder, accuracy, deviation=0.02):
    for name in ("rates", "rates_today", "own_rates"):
        experiment = EXPERIMENTS[name]
        made = [
            run_of(recipe, accuracy(recipe) + noise(recipe, deviation), experiment.data_name, images=10_000)
            for recipe in experiment.plan(folder)
        ]
        write_runs(made, path(name, folder))
    return Numbers(folder)


def test_each_normalization_is_compared_at_its_own_rate(tmp_path):
    def accuracy(recipe):
        best = {"DyT": 0.05, "GN": 0.2}.get(recipe.family, 0.1)
        return 99.0 - 0.3 * (recipe.family == "DyT") - 0.2 * abs(math.log2(recipe.lr / best))

    n = of_own_rates(tmp_path, accuracy)
    own, today = readings.OwnRates(n), readings.RatesToday(n)
    assert own.rates == dict.fromkeys(("none", "BN", "LN", "LN_C", "IN", "RMS"), 0.1) | {
        "GN (2 groups)": 0.2,
        "GN (8 groups)": 0.2,
        "DyT": 0.05,
    }
    assert own.at_an_edge == today.at_an_edge == []
    assert set(own.behind) == {"DyT"} and len(own.behind["DyT"]) == 8 and len(own.leads) == 36
    assert today.best["DyT"][0] == 0.05 and today.best["DyT"][1] == pytest.approx(98.7, abs=0.05)


def test_a_rate_at_the_edge_of_those_tried_is_told(tmp_path):
    n = of_own_rates(
        tmp_path, lambda recipe: 99.0 - 0.2 * abs(math.log2(recipe.lr / (0.025 if recipe.family == "DyT" else 0.1)))
    )
    assert readings.OwnRates(n).at_an_edge == readings.RatesToday(n).at_an_edge == ["DyT"]


def test_runs_that_failed_at_an_own_rate_are_told(tmp_path):
    n = of_own_rates(tmp_path, lambda recipe: 9.8 if recipe.family == "LN" and recipe.seed in (20, 30) else 99.0)
    assert [(arm.label, sum(arm.failures.values())) for arm in readings.OwnRates(n).failing] == [("LN", 2)]


def test_an_experiment_that_has_not_begun_says_so(tmp_path):
    assert not readings.OwnRates(Numbers(tmp_path)).is_there
    assert not readings.RatesToday(Numbers(tmp_path)).is_there


@pytest.mark.parametrize(
    "means, best",
    (
        ({0.05: 99.40, 0.1: 99.45, 0.2: 99.44}, 0.1),
        ({0.05: 99.40, 0.1: 99.445, 0.2: 99.45}, 0.1),  # half an image of 10,000 apart: the lower
        ({0.05: 99.40, 0.1: 99.45, 0.2: 10.0}, 0.1),  # one that has not learned is not the best
    ),
)
def test_the_best_rate_is_the_lower_of_two_that_tie(means, best):
    tried = arms(run_of(Recipe("BN", lr=lr, seed=seed), mean) for lr, mean in means.items() for seed in range(2))
    assert best_rate(tried.values()) == best


def test_ranks_see_what_means_hide(tmp_path):
    def accuracy(recipe):
        if recipe.epochs == 1 and recipe.norm == "LN":
            return 90.0 if recipe.seed == 60 else 97.0
        if recipe.epochs == 1 and recipe.norm == "none":
            return 10.0 if recipe.seed < 64 else 96.0
        return 98.0

    length = readings.Length(numbers_with_seeds(tmp_path, "length", accuracy))
    assert "LN" not in {lead.second.recipe.norm for lead in length.differing(1)}, "one run hides the other five"
    assert length.below == {"LN": [1], "none": [1]}


def numbers_with_seeds(folder, name, accuracy, deviation=0.02):
    experiment = EXPERIMENTS[name]
    made = [run_of(recipe, accuracy(recipe) + noise(recipe, deviation)) for recipe in experiment.plan(folder)]
    write_runs(made, path(name, folder))
    return Numbers(folder)


def test_every_recipe_for_cifar10_that_was_scored_is_known():
    scored = readings.Recipes(Numbers()).scored
    assert [one.letter for one in scored] == list("ABCDE")
    first = scored[0]
    lines = [line for line in Numbers().lines("cifar10_recipes") if line["recipe"] == "A"]
    of_bn = [line["test_accuracy"] for line in lines if line["norm"] == "WS+BN"]
    assert first.means["BN"] == pytest.approx(sum(of_bn) / 3, abs=1e-4), "by image as in the file"
    assert first.over_ln.low < first.means["BN"] - first.means["LN"] < first.over_ln.high
    assert scored[-1].over_ln is None and "LN" not in scored[-1].means


def test_a_rate_that_fails_is_short_of_the_best_without_end(tmp_path):
    def accuracy(recipe):
        return 10.0 if recipe.norm == "IN" and recipe.lr == 0.1 else 98.0 + recipe.lr * (recipe.norm == "LN")

    rates = readings.Rates(numbers_of(tmp_path, "rates", accuracy, deviation=0.0))
    assert isinf(rates.shortfalls["IN"]) and rates.shortfalls["LN"] == pytest.approx(0.3, abs=0.02)
    assert next(lr for label, _, lr in rates.short_of_best if label == "LN") == 0.4


@pytest.mark.parametrize("gains, helps", (((1, 1, 1), ["L1", "L2", "L1 + L2"]), ((1, 0, 0), ["L1"]), ((0, 0, 0), [])))
def test_penalties_that_help_without_normalization(tmp_path, gains, helps):
    def accuracy(recipe):
        by_penalty = dict(zip(((True, False), (False, True), (True, True)), gains))
        return 97.0 + by_penalty.get((bool(recipe.l1), bool(recipe.l2)), 0) * (recipe.norm == "none")

    penalties = readings.Penalties(numbers_of(tmp_path, "penalties", accuracy))
    assert penalties.helps_none == helps and penalties.none_needs_a_penalty == all(gains)
    assert penalties.moved == []


def test_what_is_ahead_of_batch_norm(tmp_path):
    def accuracy(recipe):
        ahead = recipe.family == "LN" and recipe.batch_size == 8 and recipe.mirrored
        return 90.0 + 2.0 * ahead

    write_results(tmp_path, accuracy, deviation=0.02)
    answer = readings.Answer(Numbers(tmp_path))
    assert [(lead.first.recipe.norm, lead.first.recipe.batch_size) for lead in answer.ahead_of_bn] == [("WS+LN", 8)]


def test_no_edge_of_the_rates_is_the_best(tmp_path):
    """The rates of small batches are chosen among five; an edge would say that a better one lies outside."""

    def accuracy(recipe):
        lowest = recipe.batch_size == 2 and recipe.family == "BN" and recipe.lr < 0.004
        usual = recipe.lr == round(0.1 * (recipe.batch_size / 128) ** 0.5, 6)
        return 90.0 + lowest + 0.5 * usual

    numbers_of(tmp_path, "small_batches_rates", accuracy, deviation=0.0)
    n = numbers_of(tmp_path, "small_batches", accuracy, deviation=0.0)
    at_edge = readings.SmallBatches(n).rates_at_an_edge
    assert [(arm.recipe.family, arm.recipe.batch_size) for arm in at_edge] == [("BN", 2)]


def test_parameters_table_counts():
    rows = [row.split("|")[1:-1] for row in tables.parameters().splitlines() if row.startswith("|")][2:]
    widths = sum(layer.out_channels for layer in Net().features if hasattr(layer, "out_channels"))
    elements = 8 * 12**2 + 8 * 12**2 + 3 * 16 * 6**2
    for norm, row in zip(NORMALIZATIONS, rows, strict=True):
        name, trainable, kept, total = (cell.strip() for cell in row)
        assert name == norm
        own = {"LN_CHW": 2 * elements, "DyT": 2 * widths + 5, "Derf": 2 * widths + 2 * 5}.get(norm, 2 * widths)
        assert trainable == ("–" if norm == "none" else f"{own:,}")
        assert kept == (str(2 * widths) if norm in ("BN", "BRN", "FrozenBN") else "–")
        if norm in ("BN", "LN", "IN", "none"):
            assert int(total.replace(",", "")) == sum(p.numel() for p in Net(norm).parameters())
