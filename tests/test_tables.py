from conftest import made_up_run

from normbench import tables


def test_seeds_table_gives_mean_and_deviation():
    runs = [made_up_run("BN", 1, accuracies=(90.0, last)) for last in (98.0, 99.0, 99.5)]
    row, single = tables.seeds_table([*runs, made_up_run("LN", 2)]).splitlines()[2:]
    # Deviation with n - 1: sqrt((0.8333² + 0.1667² + 0.6667²) / 2); 4.303 of 0.7638 / sqrt(3) to both sides
    assert row == "| BN | **98.833 %** | 96.936 to 100.731 | 0.764 | 98.00 % | 99.50 % | 3 | 7,000 |"
    assert single.startswith("| LN | **98.000 %** | – | – |")
