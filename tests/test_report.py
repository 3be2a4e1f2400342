import pytest
from conftest import made_up_run

from model import NORMALIZATIONS, Net
from normbench import report


@pytest.fixture
def three():
    return [made_up_run("BN", 4, l1=1e-4), made_up_run("GN", 1), made_up_run("LN", 3)]


def test_table_reports_the_last_epoch_and_names_the_best(three):
    row = report.table(three).splitlines()[2]
    cells = [cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in row.strip("|").split("|")]
    assert cells == ["BN + L1", "**98.00 %**", "4 of 200", "0.1250", "99.00 % (epoch 2)", "97.50 %", "7,000", "4"]
    assert "selected on the test set" in report.table(three)


def test_conditions(three):
    text = report.conditions(three)
    for part in ("made-up", "3 epochs", "one run each", "on CPU", "1.3 s an epoch", "12 s in all"):
        assert part in text


def test_findings_are_computed(three):
    ranking, penalty, gap, shared = report.findings(three).splitlines()
    assert ranking.index("GN") < ranking.index("LN") < ranking.index("BN + L1")
    assert "3 images apart, 1.50 points" in ranking
    assert "sampling error of one such accuracy is 0.81 points" in ranking  # 100·sqrt(p(1 - p)/200), p = 8/600
    assert "McNemar's exact test of these two trained networks gives p = 0.25" in ranking  # 3 against 0: 2 / 2³
    assert "names no winner" in ranking
    assert "0.2500 (others: GN 0.2500, LN 0.2500)" in penalty and "is 0.1000" in penalty and "0.3500" in penalty
    assert "BN + L1 -0.50" in gap
    assert "1 test images are wrong in all 3 models, 4 in at least one" in shared


def test_findings_without_a_penalty(three):
    assert len(report.findings(three[1:]).splitlines()) == 3


def test_result_line():
    text = report.result_line(made_up_run("GN", 4))
    assert text == (
        "GN on made-up: 98.00 % of 200 test images right after 3 epochs (seed 0), 4 wrong; 7,000 parameters, 4 s on CPU"
    )


def test_parameters_table_counts():
    rows = report.parameters_table().splitlines()[2:]
    widths = sum(layer.out_channels for layer in Net().features if hasattr(layer, "out_channels"))
    elements = 8 * 12**2 + 8 * 12**2 + 3 * 16 * 6**2
    for nm, row in zip(NORMALIZATIONS, rows, strict=True):
        _, name, trainable, kept, total, _ = (cell.strip() for cell in row.split("|"))
        assert name == nm
        assert int(trainable.replace(",", "")) == {"none": 0, "LN_CHW": 2 * elements}.get(nm, 2 * widths)
        assert kept == (str(2 * widths) if nm == "BN" else "–")
        assert int(total.replace(",", "")) == sum(p.numel() for p in Net(nm).parameters())
