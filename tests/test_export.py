"""A comparison for programs and pull requests, and what its page advises to do next."""

import json
import math

import pytest
from made_up import run_of

from normbench.comparison import Comparison, Result
from normbench.comparison.export import save, settings, stored
from normbench.comparison.next_step import next_step
from normbench.comparison.race import Rules
from normbench.runs import append, arms
from normbench.training import Recipe
from normbench.words import seconds_of

CLEAR = {"BN": [90, 90.1, 90.2, 90.1], "none": [80, 80.2, 80.1, 80.1]}
TIED = {"BN": [90, 91, 90.5, 90.2], "GN": [90.3, 90.6, 90.1, 90.4]}


def result(scores, rules=None, **changes):
    made = (run_of(Recipe(norm, seed=i), value) for norm, values in scores.items() for i, value in enumerate(values, 1))
    return Result(128, arms(made), rules=rules or Rules(4), **changes)


def test_a_dict_is_json_and_says_what_the_answer_says(tmp_path):
    found = Comparison("net", "mnist", [result(CLEAR, chance=11.35)])
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    (part,) = told["results"]
    assert part["verdict"]["kind"] == "take" and part["verdict"]["best"] == ["BN"]
    first, second = part["arms"]
    assert first["behind_the_first"] is None and first["mean"] == pytest.approx(90.1)
    assert second["out"] == {"after_seeds": 3, "because": "behind"} and second["behind_the_first"]["low"] > 0
    save(found, tmp_path)
    assert settings(stored(tmp_path))[128]["race"]["chance"] == 11.35 and not settings(stored(tmp_path / "nowhere"))


def test_a_comparison_that_is_read_again_knows_which_network_is_yours(tmp_path):
    of_none = Recipe("none")
    usual = {"twins": {"own": "none", "LN": "BN"}, "far_behind": frozenset({of_none}), "step_seconds": {"BN": 0.02}}
    found = Comparison("net", "mnist", [result(CLEAR, **usual)], (100, 50))
    save(found, tmp_path)
    for arm in found.arms.values():
        for run in arm.runs:
            append(run, tmp_path / "runs.jsonl")
    again = Comparison.read(tmp_path / "runs.jsonl", "net")
    assert again.results[0].yours == "none" and "(yours)" in again.results[0].labels[of_none]
    assert again.to_dict() == found.to_dict() and "LN is the same network as BN" in again.answer


def test_markdown_has_a_row_per_arm():
    text = Comparison("net", "mnist", [result(CLEAR)]).to_markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 2 and rows[2].startswith("| BN | 90.") and "Take BN" in text


def test_what_to_do_next():
    take = next_step(result(CLEAR), "normbench compare")
    assert 'swap(net, "BN")' in take.command
    command = "normbench compare 'my net.py:build' --seeds 4 --epochs 3"
    more = next_step(result(TIED), command)
    needed = result(TIED).verdict.seeds_needed
    assert (
        needed is None
        or needed > 100
        or more.command.startswith("normbench compare 'my net.py:build' --epochs 3 --seeds ")
    )
    time_over = next_step(result(TIED, stopped=True), command)
    assert "--budget" in time_over.command
    failed = next_step(result({"BN": [math.nan] * 2 + [5.0], "GN": [6.0] * 3}, chance=10.0), command)
    assert "--rates" in failed.command


@pytest.mark.parametrize("given, seconds", ((90, 90), ("90s", 90), ("45m", 2700), ("1.5h", 5400), ("2H", 7200)))
def test_a_time(given, seconds):
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("given", ("", "soon", "0h", -3, "nan", "inf"))
def test_what_is_no_time(given):
    with pytest.raises(ValueError, match="45m"):
        seconds_of(given)
