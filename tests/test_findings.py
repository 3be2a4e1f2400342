from conftest import made_up_run

from normbench.findings import findings, result_line


def test_findings_are_computed(three):
    order, penalty, gap, shared = findings(three).splitlines()
    assert order.index("GN 9") < order.index("LN 9") < order.index("BN + L1 9")
    assert "3 images apart, 1.50 points" in order
    assert "accuracy is 0.81 points" in order  # 100·sqrt(p(1 - p)/200), p = 8/600
    assert "p = 0.25" in order  # 3 against 0: 2 / 2³
    assert (
        "is 0.2500" in penalty and "GN 0.2500, LN 0.2500" in penalty and "is 0.1000" in penalty and "0.3500" in penalty
    )
    assert "BN + L1 −0.50" in gap
    assert "4 test images" in shared and "1 by all" in shared


def test_findings_without_a_penalty_and_in_the_singular():
    apart = [made_up_run("GN", 1), made_up_run("LN", 2)]
    order, _, shared = findings(apart).splitlines()
    assert "1 image apart" in order and "2 test images" in shared
    far = findings([made_up_run("GN", 0), made_up_run("LN", 100)])
    assert "p < 0.01" in far
    one_epoch = result_line(made_up_run("GN", 4, accuracies=(98.0,)))
    assert "after 3 epochs" in one_epoch  # the config's


def test_result_line():
    text = result_line(made_up_run("GN", 4))
    for fact in ("GN on made-up: 98.00 % of 200 test images", "3 epochs", "seed 0", "4 wrong", "7,000", "4 s on CPU"):
        assert fact in text
