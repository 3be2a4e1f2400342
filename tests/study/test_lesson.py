"""The training loop in the notebook's cell."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from published import code_cells

from normbench.training import train
from study.lesson import Lesson
from study.networks import build, study_recipe


@pytest.fixture
def train_one(few_digits, tmp_path):
    """The function of the notebook's cell, on a few digits: two epochs."""
    (loop,) = (cell.source for cell in code_cells() if "def train_one" in cell.source)
    variables = {"output": tmp_path, "data": few_digits, "EPOCHS": 2, "SEED": 3, "torch": torch, "F": F}
    variables |= {"study_recipe": study_recipe, "build": build, "Lesson": Lesson}
    exec(loop, variables)
    return variables["train_one"]


@pytest.mark.parametrize("norm, l1", (("BN", 1e-4), ("GN:2", 0.0), ("LN", 0.0)))
def test_the_loop_in_the_cell_gives_what_the_fast_one_gives(train_one, few_digits, norm, l1):
    ours = train_one(norm, l1=l1)
    recipe = study_recipe(norm, l1=l1, epochs=2, seed=3)
    fast = train(build(recipe, few_digits), few_digits, recipe, progress=False)
    assert ours.recipe == fast.recipe and ours.test_set == fast.test_set and ours.parameters == fast.parameters
    for row, other in zip(ours.history, fast.history, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - {"seconds"}:
            assert row[key] == pytest.approx(other[key], rel=2e-3, abs=2.1 if "accuracy" in key else 1e-6), key
    assert ours.history[0]["train_loss"] == pytest.approx(fast.history[0]["train_loss"], rel=1e-5)


def test_a_stopped_loop_goes_on_and_a_changed_one_begins_anew(train_one, monkeypatch):
    whole = train_one("LN")
    shutil.rmtree(train_one.__globals__["kept"])
    test = Lesson._tested
    monkeypatch.setattr(Lesson, "_tested", lambda lesson: test(lesson) if not lesson.history else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_one("LN")
    monkeypatch.setattr(Lesson, "_tested", test)
    seen = []
    batches = Lesson.batches
    monkeypatch.setattr(Lesson, "batches", lambda lesson: seen.append(lesson) or batches(lesson))
    again = train_one("LN")
    assert len(seen) == 1, "the second epoch alone"
    assert [row["test_loss"] for row in again.history] == [row["test_loss"] for row in whole.history]
    assert train_one("LN").errors == again.errors and len(seen) == 1, "a finished one is not trained again"
    changed = train_one.__code__.replace(co_consts=tuple(0.05 if c == 0.1 else c for c in train_one.__code__.co_consts))
    monkeypatch.setattr(train_one, "__code__", changed)
    assert train_one("LN").history != again.history and len(seen) == 3
