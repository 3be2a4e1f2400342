"""Trainings that are stopped and go on, and checkpoints that are no use."""

import pickle
from dataclasses import replace

import pytest
import torch
from made_up import build, linear, small, without_seconds
from torch import nn

from normbench.training import Recipe, loop, train

RECIPE = Recipe("BN", l1=1e-4, epochs=4, batch_size=100, seed=5, optimizer="muon")
SHORT = replace(RECIPE, epochs=1)


def trained(recipe, data, checkpoint=None, net=None):
    return train(net or build(recipe, data), data, recipe, progress=False, checkpoint=checkpoint)


def leaky(net):
    """The network with another activation, which its state does not tell."""
    net[2] = nn.LeakyReLU()
    return net


@pytest.fixture(scope="module")
def finished(few_digits, tmp_path_factory):
    """The bytes of the checkpoint of a finished training of SHORT."""
    path = tmp_path_factory.mktemp("finished") / "checkpoint.pt"
    trained(SHORT, few_digits, path)
    return path.read_bytes()


@pytest.fixture
def checkpoint(finished, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(finished)
    return path


def stop_after(epochs, monkeypatch):
    """Make training raise KeyboardInterrupt, as Ctrl-C does, when so many epochs are finished."""
    done, original = [], loop.train_epoch

    def stopping(*args):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(1)
        return original(*args)

    monkeypatch.setattr(loop, "train_epoch", stopping)


@pytest.mark.parametrize("epochs", (1, 3))
def test_a_training_goes_on_to_the_same_run_bit_for_bit(few_digits, tmp_path, monkeypatch, epochs):
    path = tmp_path / "folder" / "checkpoint.pt"
    whole = trained(RECIPE, few_digits)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(epochs, patch)
        trained(RECIPE, few_digits, path)
    resumed = trained(RECIPE, few_digits, path)
    assert without_seconds(resumed) == without_seconds(whole)
    assert torch.equal(resumed.probabilities, whole.probabilities)
    assert not list(path.parent.glob("*.partial"))


def test_a_finished_training_is_not_repeated(few_digits, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    first = trained(RECIPE, few_digits, path)
    monkeypatch.setattr(loop, "train_epoch", None)
    again = trained(RECIPE, few_digits, path)
    assert again.history == first.history and again.mistakes == first.mistakes
    assert again.seconds >= sum(row["seconds"] for row in first.history)


def other_pixel(data):
    x_train = data.x_train.clone()
    x_train[7, 0, 3, 3] ^= 1
    return replace(data, x_train=x_train)


def other_test_set(data):
    return replace(data, x_test=data.x_test[:40], y_test=data.y_test[:40])


@pytest.mark.parametrize(
    "change, differs",
    (
        (dict(recipe=RECIPE), "epochs"),
        (dict(recipe=replace(SHORT, lr=0.05, seed=6)), "lr, seed"),
        (dict(net=linear()), "network"),
        (dict(net=leaky(small())), "network"),
        (dict(data=other_pixel), "data"),
        (dict(data=other_test_set), "data"),
    ),
)
def test_another_training_s_checkpoint_is_refused(few_digits, checkpoint, change, differs):
    data = change.get("data", lambda data: data)(few_digits)
    with pytest.raises(ValueError, match=rf"checkpoint\.pt belongs to a run with another {differs}; delete it"):
        trained(change.get("recipe", SHORT), data, checkpoint, change.get("net"))


def damaged(change):
    """Puts what `change` makes of a checkpoint's state in its place."""
    return lambda path: torch.save(change(torch.load(path)), path)


def without(key):
    return damaged(lambda state: {name: value for name, value in state.items() if name != key})


@pytest.mark.parametrize(
    "damage",
    (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("a text"),
        lambda path: path.write_bytes(pickle.dumps(Recipe(), protocol=2)),
        damaged(lambda state: [state]),
        damaged(lambda state: torch.zeros(3)),
        damaged(lambda state: {"training": "BN"}),
        damaged(lambda state: state | {"history": 3}),
        damaged(lambda state: state | {"net": {}}),
        damaged(lambda state: state | {"history": []}),
        damaged(lambda state: state | {"history": [{"test_accuracy": 90.0}]}),
        damaged(lambda state: state | {"history": state["history"] * 2}),
        damaged(lambda state: state | {"optimizers": state["optimizers"] | {"steps": 7}}),
        without("training"),
        without("history"),
        without("seconds"),
        without("generator"),
        without("optimizers"),
        without("generators"),
    ),
)
def test_a_broken_checkpoint(few_digits, checkpoint, damage):
    damage(checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is broken; delete it"):
        trained(SHORT, few_digits, checkpoint)


def test_a_folder_that_is_a_file(few_digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be saved to"):
        trained(SHORT, few_digits, tmp_path / "file" / "checkpoint.pt")
