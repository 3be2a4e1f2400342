import dataclasses

import pytest
from conftest import run_of, write_results

from normbench import readings
from normbench.experiments import GROUPS, MAIN, RECORD, SHORT, STRENGTHS, STUDY_C, finished, rates, seeded


def runs(arms, accuracy, seeds=(0, 1, 2, 3), **row):
    """Made-up runs, each seed 0.01 points above the one before."""
    return [run_of(config, accuracy(config) + config.seed / 100, **row) for config in seeded(arms, seeds)]


def test_head_to_head_names_pairs_that_differ_and_those_that_do_not():
    apart, wins, *_ = readings.head_to_head(runs(MAIN, lambda c: 99.0 + (c.nm == "LN"))).splitlines()[1:]
    assert apart.startswith("- Pairs that differ significantly, after correction for their number: 2 of 3 (")
    assert "LN above BN + L1; LN above GN" in apart and apart.endswith("closer than 0.05 points: 1.")
    assert "LN beats BN + L1 in 100 %" in wins or "LN beats GN in 100 %" in wins
    first, apart, wins = readings.head_to_head(runs(MAIN, lambda c: 99.0)).splitlines()
    assert "0 of 3. Pairs" in apart and "in 50 %, and" in wins and "0.000 (" in first


def test_groups():
    text = readings.groups(runs(GROUPS, lambda c: 99.0 + c.gp / 10 if c.nm == "GN" else 99.0))
    assert "1 (LN): 99.015 %, 2: 99.215 %, 4: 99.415 %, 8: 99.815 %, a channel each (IN): 99.015 %" in text
    assert "Best and worst (8; 1 (LN)) are 0.8" in text and "number: 9 of 10." in text


def test_batch_size_and_the_rates_that_were_chosen(tmp_path):
    def accuracy(config):
        tried = [config.lr == rate.lr for rate in rates(config)]
        return 97.0 + (config.nm == "BN") + 0.5 * (len(tried) > 1 and tried[1 if config.nm == "GN" else 0])

    write_results(tmp_path, accuracy, deviation=0.0)
    found = finished("batch_size", tmp_path)
    text = readings.batch_size(found)
    assert "BN 1.50 % at 2, 1.50 % at 32, 2.00 % at 128, 1.50 % at 512" in text
    assert "BN has the lowest mean error at 2, 4, 8, 16, 32, 64, 128, 256, 512 (of" in text
    assert "loss 0.1000 with running averages" in text
    text = readings.rates(found)
    assert "constant for BN 2, LN 2, BN 4, LN 4" in text and "linear" not in text
    assert "square root for GN 2, GN 4" in text


def test_strengths():
    def zeros(config):
        return 12.5 * config.proximal * (config.l1 >= 1e-3)

    found = [run_of(config, 98.0, zeros=zeros(config)) for config in STRENGTHS]
    text = readings.strengths(found)
    assert "from 1000 to 1000" in text and "at most 0.0 %" in text
    assert "1e-05: 0.0 % and 98.00 %, 0.0001: 0.0 % and 98.00 %, 0.001: 12.5 % and 98.00 %, 0.01: 12.5 %" in text


def test_luck():
    values, best = [98.0, 98.2, 98.4], [0.5, 0.5, 0.5]
    found = [run_of(dataclasses.replace(RECORD, seed=seed), value) for seed, value in enumerate(values * 4)]
    for run, more in zip(found, best * 4):
        run.history[0]["test_accuracy"] = run.history[-1]["test_accuracy"] + more
    spread, adds, apart = readings.luck(found).splitlines()
    assert "12 seeds of one recipe: mean 98.20 %, standard deviation 0.171, from 98.00 to 98.40 %" in spread
    assert "adds 0.500 points; the best of ten seeds adds 0.200; both together 0.700" in adds
    assert apart.startswith("- Two trainings of the same recipe differ by 0.19")  # 32 pairs 0.2 and 16 pairs 0.4, of 66


@pytest.mark.parametrize("winner, share", (("BN", "0 %"), ("GN", "100 %")))
def test_winners(winner, share):
    found = runs([SHORT[nm] for nm in ("BN", "GN", "LN")], lambda c: 98.0 + (c.nm == winner))
    long = runs(MAIN, lambda c: 99.0)
    rows = readings.winners_table(long, found, runs(STUDY_C, lambda c: 99.0)).splitlines()[2:]
    assert f"**GN {share}**" in rows[2] and rows[2].startswith("| B | GN |")
    assert "**BN + L1 33 %**, GN 33 %, LN 33 %" in rows[0] and rows[0].endswith("| 4 |")
