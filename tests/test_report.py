from pathlib import Path

import pytest
import torch

from model import NORMALIZATIONS, Net
from normbench import report
from normbench.train import Config, Run

ROOT = Path(__file__).parent.parent


def made_up_run(nm, errors, l1=0.0, accuracies=(90.0, 99.0, 98.0)):
    """A run over 200 test images of which the first `errors` are wrong."""
    history = tuple(
        dict(
            epoch=i,
            train_loss=0.25,
            penalty=1000 * l1,
            train_accuracy=97.5,
            test_loss=0.125,
            test_accuracy=accuracy,
            seconds=1.0,
        )
        for i, accuracy in enumerate(accuracies, 1)
    )
    correct = torch.arange(200) >= errors
    return Run(Config(nm, l1=l1, epochs=3), "made-up", history, correct, parameters=7000, seconds=4.0, device="CPU")


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
    assert "names no winner" in ranking
    assert "0.2500 (others: GN 0.2500, LN 0.2500)" in penalty and "is 0.1000" in penalty and "0.3500" in penalty
    assert "BN + L1 -0.50" in gap
    assert "1 test images are wrong in all 3 models, 4 in at least one" in shared


def test_findings_without_a_penalty(three):
    assert len(report.findings(three[1:]).splitlines()) == 3


def test_parameters_table_counts():
    rows = report.parameters_table().splitlines()[2:]
    widths = sum(layer.out_channels for layer in Net().features if hasattr(layer, "out_channels"))
    for nm, row in zip(NORMALIZATIONS, rows, strict=True):
        _, name, trainable, kept, total, _ = (cell.strip() for cell in row.split("|"))
        assert name == nm
        assert int(trainable) == (0 if nm == "none" else 2 * widths)
        assert kept == (str(2 * widths) if nm == "BN" else "–")
        assert int(total.replace(",", "")) == sum(p.numel() for p in Net(nm).parameters())


def test_seeds_table_gives_mean_and_deviation():
    runs = [made_up_run("BN", 1, accuracies=(90.0, last)) for last in (98.0, 99.0, 99.5)]
    row, single = report.seeds_table([*runs, made_up_run("LN", 2)]).splitlines()[2:]
    # Deviation with n - 1: sqrt((0.8333² + 0.1667² + 0.6667²) / 2)
    assert row == "| BN | **98.833 %** | 0.764 | 98.00 % | 99.50 % | 3 | 7,000 |"
    assert single.startswith("| LN | **98.000 %** | – |")


def test_speed_table_gives_the_ratios():
    seconds = {"study A": 60.0, "our network": 30.0, "ours": 5.0, "floor": 4.0}
    (row,) = report.speed_table([{"nm": "GN", "seconds": seconds}]).splitlines()[2:]
    assert row == "| GN | 60.00 s | 30.00 s | 5.00 s | 4.00 s | **12.0** | 1.25 |"


def test_update_replaces_the_generated_part_alone():
    text = "before\n<!-- speed: generated -->\nold\n<!-- end of speed -->\nafter\n"
    updated = report.update(text, "speed", "new")
    assert updated.startswith("before\n") and updated.endswith("\nafter\n")
    assert "new" in updated and "old" not in updated
    assert report.update(updated, "speed", "new") == updated
    with pytest.raises(ValueError, match="no markers <!-- results"):
        report.update(text, "results", "new")


def test_the_readme_says_what_the_published_runs_say():
    text = (ROOT / report.README).read_text()
    assert report.readme(text, ROOT / report.RESULTS) == text, "run `python -m normbench.report`"
