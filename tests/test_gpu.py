"""What only a GPU can show; skipped without one."""

import pytest
import torch
from made_up import TRAINER, build, linear

from normbench.layers import NORMALIZATIONS
from normbench.training import OPTIMIZERS, Recipe, Trainer, train
from normbench.training import step as step_module

RECORDED = Trainer("train", build, recorded=True)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SHORT = Recipe(epochs=2, images=1000)


@pytest.fixture(scope="module")
def on_gpu(digits):
    return digits.to("cuda")


def trained(recipe, data, trainer, monkeypatch):
    """The run, and how many steps were replayed."""
    replays, replay = [], torch.cuda.CUDAGraph.replay
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(1) or replay(graph))
        return trainer(recipe, data, progress=False), len(replays)


@pytest.mark.parametrize(
    "recipe",
    (
        *(Recipe(nm, epochs=2, images=1000) for nm in NORMALIZATIONS),
        Recipe("BN:4", epochs=2, images=1000),
        Recipe("BN", l1=1e-3, l2=1e-3, epochs=2, images=1000),
        Recipe("GN", l1=1e-3, proximal=True, epochs=2, images=1000),
        Recipe("GN", optimizer="muon", lr=0.05, epochs=2, images=1000),
        Recipe("GN", optimizer="adamw", epochs=2, images=1000),
    ),
    ids=lambda recipe: recipe.label + " " + recipe.optimizer,
)
def test_recorded_steps_train_as_plain_ones(recipe, on_gpu, monkeypatch):
    plain, none = trained(recipe, on_gpu, TRAINER, monkeypatch)
    recorded, replayed = trained(recipe, on_gpu, RECORDED, monkeypatch)
    can_be = OPTIMIZERS[recipe.optimizer].recordable
    expected = 2 * 7 - 3 if can_be else 0  # all but the first three, and the smaller last of each epoch
    assert none == 0 and replayed == expected
    for name in ("train_loss", "test_loss", "penalty", "l1_norm"):
        for epoch in (0, 1):
            expected = plain.history[epoch][name]
            assert recorded.history[epoch][name] == pytest.approx(expected, rel=0.02, abs=1e-6), name
    assert recorded.last["zeros"] == pytest.approx(plain.last["zeros"], abs=2)


def test_a_gpu_learns_as_a_cpu_does(digits, on_gpu):
    recipe = Recipe("GN", epochs=4)
    there, here = RECORDED(recipe, on_gpu, progress=False), RECORDED(recipe, digits, progress=False)
    assert there.last["test_loss"] == pytest.approx(here.last["test_loss"], rel=0.15)
    assert there.last["test_accuracy"] == pytest.approx(here.last["test_accuracy"], abs=3)


def test_a_stopped_training_goes_on(on_gpu, tmp_path, monkeypatch):
    file, whole = tmp_path / "checkpoint.pt", RECORDED(SHORT, on_gpu, progress=False)
    original = step_module.Step.__call__
    steps = []

    def stopping(step, *batch):
        steps.append(1)
        if len(steps) == 12:  # in the second epoch
            raise KeyboardInterrupt
        return original(step, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(step_module.Step, "__call__", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(build(SHORT, on_gpu), on_gpu, SHORT, progress=False, checkpoint=file, recorded=True)
    resumed = train(build(SHORT, on_gpu), on_gpu, SHORT, progress=False, checkpoint=file, recorded=True)
    assert resumed.last["test_loss"] == pytest.approx(whole.last["test_loss"], rel=0.02)


def test_nothing_is_recorded_unless_asked_for(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", None)
    assert train(linear(), on_gpu, SHORT, progress=False).last["test_accuracy"] > 50


def test_equal_seeds_give_equal_runs_where_cudnn_is_told_to(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    first, second = (RECORDED(SHORT, on_gpu, progress=False) for _ in range(2))
    assert torch.equal(first.probabilities, second.probabilities)
