"""The atlas: where each normalization stands in a network, on data, with a batch size."""

import re
from dataclasses import replace

import numpy as np
import pytest
from made_up import run_of

from normbench.runs import append
from normbench.training import Recipe
from study import atlas
from study.numbers import Numbers
from study.readings import Atlas, Place

MEANS = {"BN": 90.0, "GN": 89.9, "LN": 80.0, "none": 40.0}


def finished(folder, network, batch_size, failing=(), **changes):
    """Keep three made-up runs of each of `MEANS` as those of a network."""
    (folder / "atlas" / network).mkdir(parents=True, exist_ok=True)
    for norm, mean in MEANS.items():
        for seed in (1, 2, 3):
            run = run_of(Recipe(norm, seed=seed, batch_size=batch_size), mean + 0.2 * seed, "cifar10")
            if norm in failing:
                run = replace(run, failure="diverged", history=())
            append(replace(run, **changes), folder / "atlas" / network / "runs.jsonl")


@pytest.fixture
def found(tmp_path):
    finished(tmp_path, "wide", 128, failing=("none",))
    finished(tmp_path, "wide", 8)
    return Atlas(Numbers(tmp_path))


def test_a_row_says_who_is_first_behind_and_failing(found):
    small, large = found.settings
    assert (small.recipe.batch_size, large.recipe.batch_size) == (8, 128)
    assert large.places == {"BN": Place.FIRST, "GN": Place.OPEN, "LN": Place.BEHIND, "none": Place.FAILS}
    assert small.places["none"] == Place.BEHIND and small.behind["none"].estimate == pytest.approx(50.0)
    assert found.norms == ["BN", "GN", "LN", "none"]
    heads, _, first, second = atlas.overview(found).splitlines()
    assert heads == "| network | data | batch | steps | BN | GN | LN | none |"
    assert re.search(r"\| \*\*90.40\*\* \| ≤ \d.\d \| −10.0 \| −50.0 \|$", first) and second.endswith(
        "| −10.0 | fails |"
    )
    assert not found.clear and found.counts["none"] == {Place.BEHIND: 1, Place.FAILS: 1}


def test_one_that_is_ahead_of_all_others_has_its_accuracy(tmp_path, monkeypatch):
    monkeypatch.setitem(MEANS, "GN", 70.0)
    finished(tmp_path, "deep", 8)
    found = Atlas(Numbers(tmp_path))
    assert found.clear == found.settings and "| **90.40** | −20.0 |" in atlas.overview(found)


def test_every_difference_has_a_row(found):
    rows = atlas.differences(found).splitlines()[2:]
    assert len(rows) == 8 and sum("of 3 runs diverged" in row for row in rows) == 1


def test_the_figure_names_every_arm_of_every_setting(found):
    figure = atlas.plot_atlas(found.settings)
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names.count("BN") == 2 and "none, fails" in names and "wide, CIFAR-10, batches of 8" in names
    marked = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None", None)]
    assert len(marked) == 7
    assert np.min([line.get_xdata()[0] for line in marked]) == 0


def test_scores_that_are_no_accuracies_are_refused(tmp_path):
    finished(tmp_path, "masks", 8, measure="loss", unit="")
    with pytest.raises(ValueError, match="compares accuracies"):
        _ = Atlas(Numbers(tmp_path)).settings
