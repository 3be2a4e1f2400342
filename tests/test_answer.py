"""The answer in words, for synthetic runs: which arms it names, with which numbers."""

import re
from dataclasses import replace

import pytest
from made_up import run_of

from normbench.comparison import Result
from normbench.runs import arms
from normbench.training import Recipe


def result(images=1000, failures=(), /, twins=None, seconds=None, **accuracies):
    """The result for runs of arms with these accuracies in %, one per seed; GN_2 is GN:2."""
    made = (
        run_of(Recipe(norm.replace("_", ":"), seed=seed), value, "mnist", images)
        for norm, values in accuracies.items()
        for seed, value in enumerate(values)
    )
    failed = {Recipe(norm): "diverged" for norm in failures}
    return Result(128, arms(made), failed, twins=twins or {}, step_seconds=seconds or {})


def answer(images=1000, failures=(), /, **accuracies):
    return result(images, failures, **accuracies).answer


BN, GN, LN = Recipe("BN"), Recipe("GN"), Recipe("LN")
POOR = [50, 50.1, 50.2, 50.1, 50]


def test_a_clear_winner():
    made = result(BN=[90, 90.1, 90.2, 90, 90.1], GN=[80, 80.2, 80.1, 80, 80.1], none=POOR)
    said = made.answer
    assert said.startswith("Take BN: 90.08 %") and "told apart" not in said and "unstable" not in said
    lead = made.leads[BN, GN]
    assert f"ahead of GN by 10.00 points (95 % interval {lead.low:.2f} to {lead.high:.2f})" in said
    assert re.search(r"without normalization by 40\.00 points \(95 %", said) and "single run" not in said


def test_no_winner():
    made = result(BN=[90, 91, 90.5, 91, 90], GN=[90.4, 91, 90.2, 90.8, 90.3], none=POOR)
    said, lead = made.answer, made.leads[GN, BN]
    assert said.startswith("GN and BN cannot be told apart") and "Take" not in said and "unstable" not in said
    assert re.search(r"In a single run of each, \w+ would come out best \d+ % of the time, \w+ \d+ %\.", said)
    assert f"up to {lead.high:.2f} points" in said, "the largest difference that may be hidden"
    assert f"0.04 points (95 % interval −{-lead.low:.2f} to {lead.high:.2f})" in said and "90.54 %" in said
    assert re.search(r"ahead of the network without normalization by 40\.4", said)


def test_arms_of_one_family_are_told_apart():
    said = answer(BN=[70, 70.1, 70.2], GN=[90, 90.1, 90.2], GN_2=[80, 80.1, 80.2])
    assert said.startswith("Take GN: 90.10 %") and "of GN (2 groups) by 10.00" in said
    assert "of GN by" not in said


def test_what_would_tell():
    told = r"about (\d+) seeds per arm would show it"
    one, two = (re.search(told, answer(BN=[90, 91, 90.5], GN=[90 - by, 91 - by, 90.5 - by])) for by in (0.5, 0.7))
    assert one and two and 3 < int(two[1]) < int(one[1])
    assert "only more test images" in answer(BN=[90, 91], GN=[91, 90])


def test_hidden_differences_are_those_from_the_best():
    made = result(BN=[90, 91, 92], GN=[90, 90.5, 91.5], LN=[89, 90, 92])
    hidden = max(max(-lead.low, lead.high) for (best, _), lead in made.leads.items() if best == BN)
    assert made.answer.startswith("BN, GN and LN cannot") and f"up to {hidden:.2f} points" in made.answer


def test_a_run_that_did_not_learn_is_in_no_mean():
    said = answer(BN=[88, 88.2, 88.1], GN=[80, 80.2, 80.1], IN=[87, 20, 87.2])
    assert re.search(r"IN \(1 of 3 runs did not learn\) by 1\.00 points|IN did not learn in 1 of 3 runs", said)
    assert "ahead" in said and "GN by 8.00 " in said and "64." not in said
    first = answer(BN=[99, 98, 60], GN=[80, 80.2, 80.1])
    assert "BN did not learn in 1 of 3 runs" in first and "Take BN" not in first


def test_an_arm_that_scatters_widely_is_said_to_be_unstable():
    said = answer(BN=[88, 88.2, 88.1, 88], GN=[80, 80.2, 80.1, 80], IN=[88, 60, 79, 70])
    assert "IN is unstable: its runs reach from 60.00 to 88.00 %" in said and "No normalization" not in said


def test_arms_that_fail_too_often_are_out():
    said = answer(BN=[88, 88.2, 88.1, 88], none=[90, 20, 10, 90.1])
    assert said.startswith("BN alone learns reliably: 88.0")
    assert "The network without normalization is out: of 4 runs, 2 did not learn" in said


@pytest.mark.parametrize("values", ([88, 86, 87], [89, 84.1, 87]))
def test_an_arm_that_scatters_like_others_or_little_is_not_unstable(values):
    assert "unstable" not in answer(BN=[88, 88.2, 88.1], IN=values)


def test_all_arms_scatter():
    assert "unstable" not in answer(BN=[88, 70, 60], GN=[50, 80, 60])


def test_no_normalization_may_win_fail_and_be_unstable():
    """Never with words that say the opposite, such as "no normalization is unstable"."""
    assert answer(none=[91, 91.1], GN=[80, 80.1]).startswith("Take no normalization: 91.05 %")
    failed = answer(1000, ["none"])
    assert "The network without normalization has no result: diverged." in failed
    unstable = answer(BN=[88, 88.2, 88.1], GN=[80, 80.2, 80.1], none=[86, 60, 75])
    assert "The network without normalization is unstable" in unstable


def test_one_training_each():
    said = answer(BN=[91], GN=[90])
    assert "One seed cannot tell" in said and "BN has 91.00 %" in said and "GN 90.00 %" in said
    assert "Take" not in said and "interval" not in said


def test_arms_that_failed():
    nothing = answer(1000, ["IN"])
    assert nothing.startswith("No arm could be trained.") and "IN has no result: diverged." in nothing
    alone = answer(1000, ["IN"], BN=[90, 91])
    assert alone.startswith("BN alone has a result: 90.50 %") and "IN has no result: diverged." in alone


GOOD, MIDDLING = [90, 90.1, 90.2, 90, 90.1], [80, 80.2, 80.1, 80, 80.1]


@pytest.mark.parametrize(
    "accuracies, twins, begins",
    (
        ({"own": GOOD, "GN": MIDDLING}, {}, "Keep the unchanged network: 90.08 %"),
        ({"BN": GOOD, "GN": MIDDLING}, {"own": "BN"}, "Keep BN (yours): 90.08 %"),
        ({"BN": GOOD, "GN": MIDDLING}, {"own": "GN"}, "Take BN: 90.08 %"),
        ({"none": GOOD, "own": MIDDLING}, {}, "Take no normalization: 90.08 %"),
    ),
)
def test_whether_to_keep_what_one_has(accuracies, twins, begins):
    made = result(twins=twins, **accuracies)
    assert made.answer.startswith(begins)
    ahead = made.answer.partition("clearly ahead of ")[2]
    behind = {"BN": "GN", "own": "GN", "none": "the unchanged network"}[next(iter(accuracies))]
    assert ahead.startswith(behind + (" (yours)" if made.yours == "GN" else ""))


def test_what_one_has_is_named_among_those_that_tie():
    near = [90.1, 90, 90.2, 90.1, 90]
    for accuracies, twins, yours in (
        ({"BN": GOOD, "GN": near, "none": POOR}, {"own": "BN"}, "BN (yours)"),
        ({"own": GOOD, "GN": near, "none": POOR}, {}, "the unchanged network"),
    ):
        said = answer(twins=twins, **accuracies)
        assert yours.lower() in said.partition("cannot be told apart")[0].lower() and "no change is shown" in said
    assert "no change" not in answer(twins={"own": "none"}, BN=GOOD, GN=near, none=POOR)
    assert "no change" not in answer(BN=GOOD, GN=near, none=POOR)


def test_an_arm_that_is_another_ones_network_is_named_once():
    said = answer(twins={"GN:1": "LN", "own": "LN"}, BN=GOOD, LN=MIDDLING)
    assert "GN (1 group) is the same network as LN (yours) here." in said and "unchanged" not in said


def test_layers_of_ones_own_have_the_names_that_they_were_given():
    """Also where somebody's layer is called as one of the table, or as the network as it is."""
    accuracy = {"mine()": 95.0, "own()": 90.0, "a.py:Norm": 90.0, "b.py:Norm": 90.0}
    made = (run_of(Recipe(norm, seed=seed), accuracy[norm] + seed / 10) for norm in accuracy for seed in (0, 1))
    both = Result(128, arms(made))
    assert set(both.labels.values()) == {"mine", "own", "Norm, a.py:Norm", "Norm, b.py:Norm"} and not both.yours
    assert both.answer.startswith("Take mine:") and "unchanged" not in both.answer


FASTER = {"BN": 0.100, "GN": 0.125, "none": 0.050}


@pytest.mark.parametrize(
    "seconds, said",
    (
        (FASTER, "Of these, BN trains fastest: 100.0 ms per step, GN takes 125.0"),
        (FASTER | {"GN": 0.109}, ""),
        ({"BN": 0.1, "none": 0.05}, ""),
        ({}, ""),
        ({"BN": 0.0004, "GN": 0.0003}, "Of these, GN trains fastest: 0.30 ms per step, BN takes 0.40"),
    ),
)
def test_where_accuracy_ties_the_price_decides(seconds, said):
    """If all that tie were measured and a tenth or more lies between them; those that are behind do not count."""
    tied = answer(seconds=seconds, BN=[90, 91, 90.5, 91, 90], GN=[90.4, 91, 90.2, 90.8, 90.3], none=POOR)
    assert (said or "told apart") in tied and ("fastest" in tied) == bool(said)
    assert "fastest" not in answer(seconds=seconds, BN=GOOD, GN=MIDDLING, none=POOR), "there accuracy decides"


def test_pairs():
    made = result(BN=[90, 91, 92], GN=[80, 91.5, 81])
    (row,) = made.pairs().to_dict("records")
    assert row["pair"] == "BN − GN" and row["low"] < row["points"] < row["high"]
    assert row["first wins"] == pytest.approx(7 / 9)


def test_results_are_keyed_by_what_decides_them():
    """Arms with one label and another rate are two, with labels of their own."""
    made = [run_of(replace(BN, lr=rate, seed=seed), 90.0 + seed, "mnist") for rate in (0.1, 0.2) for seed in (1, 2)]
    both = Result(128, arms(made))
    assert len(both.arms) == 2 == len(set(both.labels.values())) and len(both.leads) == 1
