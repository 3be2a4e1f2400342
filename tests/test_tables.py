"""Trainings that someone has done, in a table: which rows are taken, what is refused, the command."""

import sys

import numpy as np
import pandas as pd
import pytest

from normbench import __main__ as cli
from normbench.comparison import Comparison

SCORES = {"batch": (0.80, 0.82, 0.81, 0.80), "GN": (0.90, 0.91, 0.90, 0.92), "LN:new": (0.70, np.nan, 0.71, 0.7)}


@pytest.fixture
def frame():
    rows = [(arm, seed, score, 1 - score) for arm, scores in SCORES.items() for seed, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["norm", "seed", "dice", "loss"])


def test_the_best_arm_is_found_and_a_row_without_a_score_has_failed(frame):
    (result,) = Comparison.from_frame(frame, arm="norm", score=["dice", "loss"]).results
    gn, batch, new = [arm.recipe for arm in result.ranked]
    assert [result.labels[arm] for arm in (gn, batch, new)] == ["GN", "batch", "LN:new"]
    lead = result.leads[gn, batch]
    assert lead.estimate == pytest.approx(0.1) and lead.low > 0
    assert result.standing.learned[new] == (3, 4) and result.mean(result.arms[new]).estimate == pytest.approx(
        0.7033, abs=1e-4
    )
    assert "LN:new (1 of 4 runs did not learn)" in result.answer
    assert result.ranked[0].last("test_loss").mean() == pytest.approx(0.0925)


def test_lower_may_be_better_and_seeds_may_be_missing(frame):
    found = Comparison.from_frame(frame.drop(columns="seed"), "norm", "loss", None, higher_is_better=False)
    assert (found.results[0].ranked[0].recipe.norm == "GN" and "lower" in found.page()) or "GN" in found.answer


def test_digits_follow_the_scatter(frame):
    frame["dice"] /= 1000
    assert "0.00" in Comparison.from_frame(frame, "norm", "dice").answer
    digits = Comparison.from_frame(frame, "norm", "dice").results[0].measure.digits
    assert 5 <= digits <= 7


@pytest.mark.parametrize(
    "change, message",
    (
        (lambda frame: frame.rename(columns={"norm": "arm"}), "no column 'norm'; it has arm, seed, dice, loss"),
        (lambda frame: frame.assign(dice="high"), "'dice' must have numbers"),
        (lambda frame: frame.assign(norm="BN", seed=range(12)), "two or more"),
        (lambda frame: frame.assign(seed=1), "batch has seed 1 twice"),
        (lambda frame: frame.assign(seed="first"), "whole number"),
        (lambda frame: frame.assign(seed=-1), "whole number"),
        (lambda frame: frame.assign(norm=None), "names no arm"),
        (lambda frame: frame[:0], "two or more"),
    ),
)
def test_what_is_no_such_table(frame, change, message):
    with pytest.raises(ValueError, match=message):
        Comparison.from_frame(change(frame), "norm", "dice")


def decide(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["normbench", "decide", *arguments])
    return cli.main()


@pytest.mark.parametrize("suffix", (".csv", ".tsv", ".jsonl"))
def test_the_command_answers_and_leaves_a_page(frame, suffix, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"mine{suffix}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }[suffix]()
    assert decide(monkeypatch, path.name, "--arm", "norm", "--score", "dice", "loss") == 0
    shown = capsys.readouterr().out
    assert "Take GN" in shown and "runs/decide/mine/report.html" in shown
    page = (tmp_path / "runs/decide/mine/report.html").read_text()
    assert "dice" in page and "parameters" not in page and "learning rate" not in page


@pytest.mark.parametrize(
    "name, content", (("no.csv", None), ("no.xlsx", b""), ("empty.csv", b""), ("wrong.jsonl", b"{"))
)
def test_a_file_that_is_no_table_is_one_line(name, content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert decide(monkeypatch, name) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
