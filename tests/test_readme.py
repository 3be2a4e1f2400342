from pathlib import Path

import pytest
from conftest import made_up_run

from normbench import readme

ROOT = Path(__file__).parent.parent


def test_seeds_table_gives_mean_and_deviation():
    runs = [made_up_run("BN", 1, accuracies=(90.0, last)) for last in (98.0, 99.0, 99.5)]
    row, single = readme.seeds_table([*runs, made_up_run("LN", 2)]).splitlines()[2:]
    # Deviation with n - 1: sqrt((0.8333² + 0.1667² + 0.6667²) / 2); 4.303 of 0.7638 / sqrt(3) to both sides
    assert row == "| BN | **98.833 %** | 96.936 to 100.731 | 0.764 | 98.00 % | 99.50 % | 3 | 7,000 |"
    assert single.startswith("| LN | **98.000 %** | – | – |")


def test_seeds_reading_sets_the_gap_beside_a_seed_s():
    runs = [
        made_up_run(nm, 1, accuracies=(last,)) for nm, last in (("BN", 98.0), ("BN", 99.0), ("LN", 99), ("LN", 99.5))
    ]
    text = readme.seeds_reading(runs)
    # Variances 0.5 and 0.125; sqrt(2) times the root of their mean is 0.791
    assert "highest mean (LN) and the lowest (BN) are 0.750 points" in text and "typically 0.791 points" in text


def test_speed_table_gives_the_ratios():
    seconds = {"study A": 60.0, "our network": 30.0, "ours": 5.0, "floor": 4.0}
    (row,) = readme.speed_table([{"nm": "GN", "seconds": seconds}]).splitlines()[2:]
    assert row == "| GN | 60.00 s | 30.00 s | 5.00 s | 4.00 s | **12.0** | 1.25 |"


def test_update_replaces_the_generated_part_alone():
    text = "before\n<!-- speed: generated -->\nold\n<!-- end of speed -->\nafter\n"
    updated = readme.update(text, "speed", "new")
    assert updated.startswith("before\n") and updated.endswith("\nafter\n")
    assert "new" in updated and "old" not in updated
    assert readme.update(updated, "speed", "new") == updated
    with pytest.raises(ValueError, match="no markers <!-- results"):
        readme.update(text, "results", "new")


def test_the_readme_says_what_the_published_runs_say():
    text = (ROOT / readme.README).read_text()
    assert readme.readme(text, ROOT / readme.RESULTS) == text, "run `python -m normbench.readme`"
