import dataclasses

import pytest
import torch

from normbench import train as module
from normbench.train import Config, train

CONFIG = Config("BN", l1=1e-4, epochs=4, batch_size=100, seed=5)


def stop_after(epochs, monkeypatch):
    """Make training raise KeyboardInterrupt, as Ctrl-C does, when so many epochs are finished."""
    done, original = [], module.train_epoch

    def stopping(*args):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(1)
        return original(*args)

    monkeypatch.setattr(module, "train_epoch", stopping)


def without_seconds(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]


@pytest.mark.parametrize("epochs", (1, 3))
def test_a_training_goes_on_to_the_same_run_bit_for_bit(few_digits, tmp_path, monkeypatch, epochs):
    path = tmp_path / "folder" / "checkpoint.pt"
    whole = train(CONFIG, few_digits, progress=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(epochs, patch)
        train(CONFIG, few_digits, progress=False, checkpoint=path)
    resumed = train(CONFIG, few_digits, progress=False, checkpoint=path)
    assert without_seconds(resumed) == without_seconds(whole)
    assert torch.equal(resumed.probabilities, whole.probabilities)
    assert not list(path.parent.glob("*.partial"))


def test_a_finished_training_is_not_repeated(few_digits, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    first = train(CONFIG, few_digits, progress=False, checkpoint=path)
    monkeypatch.setattr(module, "train_epoch", None)
    again = train(CONFIG, few_digits, progress=False, checkpoint=path)
    assert again.history == first.history and again.mistakes == first.mistakes
    assert again.seconds >= sum(row["seconds"] for row in first.history)


def test_another_training_s_checkpoint_is_refused(few_digits, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(dataclasses.replace(CONFIG, epochs=1), few_digits, progress=False, checkpoint=path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is of another training \(config\); delete it"):
        train(CONFIG, few_digits, progress=False, checkpoint=path)


def test_the_checkpoint_of_other_images_is_refused(few_digits, tmp_path):
    path, config = tmp_path / "checkpoint.pt", dataclasses.replace(CONFIG, epochs=1)
    train(config, few_digits, progress=False, checkpoint=path)
    other = dataclasses.replace(few_digits, x_test=few_digits.x_test[:40], y_test=few_digits.y_test[:40])
    with pytest.raises(ValueError, match=r"is of another training \(test set\)"):
        train(config, other, progress=False, checkpoint=path)


def test_the_checkpoint_of_another_network_is_refused(few_digits, tmp_path):
    path, config = tmp_path / "checkpoint.pt", dataclasses.replace(CONFIG, epochs=1)
    train(config, few_digits, progress=False, checkpoint=path)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10), torch.nn.LogSoftmax(dim=1))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is of another network; delete it"):
        train(config, few_digits, progress=False, checkpoint=path, net=net)


def test_a_broken_checkpoint(few_digits, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(dataclasses.replace(CONFIG, epochs=1), few_digits, progress=False, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is broken; delete it"):
        train(dataclasses.replace(CONFIG, epochs=1), few_digits, progress=False, checkpoint=path)


def test_a_folder_that_is_a_file(few_digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be saved to"):
        train(dataclasses.replace(CONFIG, epochs=1), few_digits, False, checkpoint=tmp_path / "file" / "checkpoint.pt")
