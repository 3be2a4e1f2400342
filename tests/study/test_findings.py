"""What a few runs show, in sentences."""

from dataclasses import replace

from made_up import made_up_run

from study.findings import findings, result_line


def test_findings_are_computed(three):
    order, penalty, gap, shared = findings(three).splitlines()
    assert order.index("GN (2 groups) 98") < order.index("LN 98") < order.index("BN + L1 98")
    assert "3 images apart, 1.50 points" in order
    assert "accuracy is 0.81 points" in order  # 100·sqrt(p(1 - p)/200), p = 8/600
    assert "p = 0.25" in order  # 3 against 0: 2 / 2³
    assert "is 0.2500" in penalty and "LN 0.2500" in penalty and "is 0.1000" in penalty and "0.3500" in penalty
    assert "BN + L1 −0.50" in gap
    assert "4 test images" in shared and "1 by all" in shared


def test_findings_without_a_penalty_and_in_the_singular():
    order, _, shared = findings([made_up_run("GN:2", 1), made_up_run("LN", 2)]).splitlines()
    assert "1 image apart" in order and "2 test images" in shared
    assert "p < 0.01" in findings([made_up_run("GN:2", 0), made_up_run("LN", 100)])


def test_a_penalty_with_nothing_to_compare_it_with():
    penalty = findings([made_up_run("GN:2", 0, l1=1e-4), made_up_run("LN", 2, l1=1e-4)]).splitlines()[1]
    assert "0.1000" in penalty and "others" not in penalty


def test_runs_of_one_normalization_have_names_of_their_own():
    slow, fast = made_up_run("BN", 1), made_up_run("BN", 2)
    fast = replace(fast, recipe=replace(fast.recipe, lr=0.4))
    text = findings([slow, fast])
    assert "rate 0.1" in text and "rate 0.4" in text


def test_result_line():
    text = result_line(made_up_run("GN:2", 4))
    for fact in ("GN (2 groups) on made-up: 98.00 % of 200 test images", "3 epochs", "seed 0", "4 wrong", "7,000"):
        assert fact in text
    assert "4 s on CPU" in text
    assert "after 3 epochs" in result_line(made_up_run("GN:2", 4, accuracies=(98.0,))), "those of the recipe"
