"""A comparison on torch data sets, and of a pretrained network."""

import sys
import warnings

import pytest
import torch
from made_up import signals, small, trained_for_a_while, wave_net
from torch import nn
from torch.utils.data import TensorDataset

from normbench import Comparison, compare, read
from normbench.commands import main
from normbench.data import Samples

QUICK = {"seeds": 2, "epochs": 2, "batch_size": 16, "price": False, "progress": False}


def noisy_waves():
    x, y = signals(120).tensors
    return TensorDataset(x + 2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)), y)


def test_a_network_for_signals_is_compared_and_resumed(tmp_path, capsys):
    def build(num_classes, in_channels):
        assert in_channels == 1
        return wave_net(num_classes)

    given = (noisy_waves(), signals(48, seed=1))
    arms, options = ("BN", "GN", "none"), QUICK | {"progress": True}
    found = compare(build, given, arms, folder=tmp_path, **options)
    assert "120 training and 48 test samples (1, 40)" in (said := capsys.readouterr().out)
    assert "on 20 held-out samples" in said and "on the test samples" in said
    (result,) = found.results
    assert {arm.recipe.norm for arm in result.arms.values()} == set(arms) and result.measure.unit == "%"
    assert result.has_examples and "%" in found.answer
    assert "</html>" in found.page() and set(found.figures()) >= {"Curves", "Learning rates tried"}
    finished = len(read(tmp_path / "runs.jsonl"))
    again = compare(build, (noisy_waves(), signals(48, seed=1)), arms, folder=tmp_path, **options)
    assert str(again) == str(found) and len(read(tmp_path / "runs.jsonl")) == finished
    assert "(1 of" not in capsys.readouterr().out, "nothing was trained"
    assert str(Comparison.read(tmp_path / "runs.jsonl", "build")) == str(found)


def test_another_data_set_is_trained_anew(tmp_path):
    for i, train in enumerate((noisy_waves(), signals(120, seed=7))):
        compare(wave_net, (train, signals(48, seed=1)), ("BN", "none"), folder=tmp_path, rates=[0.1], **QUICK)
        assert len(read(tmp_path / "runs.jsonl")) == 4 * (i + 1)


def test_the_error_of_a_regression_is_better_where_it_is_lower(tmp_path):
    x = torch.randn(200, 6)
    parts = [TensorDataset(x[i], x[i].sum(1)) for i in (slice(120), slice(120, 160), slice(160, None))]
    arms = {"BN": "BN", "bad": lambda channels: nn.Threshold(0.0, 100.0)}

    def build():
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    options = QUICK | {"epochs": 6, "optimizer": "adamw"}
    found = compare(build, parts, arms, folder=tmp_path, loss="mse", **options)
    (result,) = found.results
    assert result.measure.name == "mse" and not result.measure.higher_is_better
    assert [arm.recipe.norm for arm in result.ranked] == ["BN", "bad()"]
    assert {run.recipe.optimizer for run in read(tmp_path / "runs.jsonl")} == {"adamw"}
    assert "</html>" in found.page()


def test_options_of_other_data_are_refused_in_a_line(few_digits, tmp_path):
    pair = (signals(), signals())
    for data, options, said in (
        (few_digits, {"loss": "mse"}, "torch data sets"),
        (pair, {"augment": "affine"}, "augment"),
        (Samples(*pair), {"metric": "mae"}, "of their own"),
        (pair[:1], {}, "tuple"),
        (None, {}, "NoneType"),
        (pair, {"loss": "nll"}, "'nll'"),
        (pair, {"amp": "fp16"}, "bf16"),
        (pair, {"optimizer": "adam"}, "adamw"),
    ):
        with pytest.raises(ValueError, match=said) as raised:
            compare(wave_net, data, ("BN", "none"), folder=tmp_path, **QUICK | options)
        assert "\n" not in str(raised.value)


def trained_net(digits):
    torch.manual_seed(0)
    return trained_for_a_while(small(10, 1), digits)


def test_a_pretrained_network_starts_where_it_was(digits, tmp_path):
    """With a rate of almost 0, what is tested is the network as it was handed over."""
    net = trained_net(digits)
    state = net.state_dict()

    def build():
        again = small(10, 1)
        again.load_state_dict(state)
        return again

    with torch.no_grad():
        right = net.eval()(digits.standardize(digits.x_test)).argmax(dim=1) == digits.y_test
    options = QUICK | {"epochs": 1, "rates": [1e-12], "seeds": 1, "batch_size": 128}
    scores = {}
    for pretrained in (True, False):
        folder = tmp_path / str(pretrained)
        found = compare(build, digits, ("FrozenBN", "none", "LN"), folder=folder, pretrained=pretrained, **options)
        scores[pretrained] = {arm.recipe.norm: arm.accuracy.mean for arm in found.results[0].ranked}
    was = 100 * right.float().mean().item()
    assert was > 80 and scores[True]["FrozenBN"] == pytest.approx(was) == pytest.approx(scores[True]["none"], abs=0.5)
    assert scores[True]["LN"] > 0.7 * was and scores[False]["LN"] < 0.6 * was and scores[False]["none"] < 0.6 * was


def test_pretrained_needs_inputs_where_a_function_has_the_data(tmp_path):
    def train(net, seed):
        return 1.0

    with pytest.raises(ValueError, match="inputs"), warnings.catch_warnings():
        compare(wave_net, arms=("BN", "none"), train=train, pretrained=True, folder=tmp_path, seeds=1, progress=False)


DATA = """
from made_up import signals

def sets():
    return signals(60), signals(40, seed=1)

def gap(outputs, targets):
    return (outputs.argmax(dim=1) - targets).abs().float()

def broken():
    raise KeyError("x")
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `normbench compare` on a file of data sets: the status, what it printed, the last line of its errors."""
    (tmp_path / "my_data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        few = ["--arms", "BN", "none", "--seeds", "2", "--epochs", "1", "--rates", "0.1", "--batch-size", "20"]
        monkeypatch.setattr(sys, "argv", ["normbench", "compare", "made_up:wave_net", *few, "--no-price", *arguments])
        status = main()
        said = capsys.readouterr()
        return status, said.out, said.err.strip()

    return call


def test_a_function_of_data_sets_on_the_command_line(command, tmp_path):
    status, said, _ = command("--dataset", "my_data.py:sets", "--amp", "bf16")
    assert status == 0 and "60 training and 40 test samples (1, 40)" in said and " % of the test samples right" in said
    (folder,) = (tmp_path / "runs" / "compare").iterdir()
    assert {run.recipe.amp for run in read(folder / "runs.jsonl")} == {"bf16"} and folder.name.endswith("my_data.sets")
    status, said, _ = command(
        "--dataset", "my_data.py:sets", "--metric", "my_data.py:gap", "--higher-is-better", "False"
    )
    assert status == 0 and "lowest mean, gap" in said


@pytest.mark.parametrize(
    "arguments, said",
    (
        (["--dataset", "my_data.py:broken"], "KeyError"),
        (["--dataset", "my_data.py:nothing"], "'nothing'"),
        (["--dataset", "my_data.py:gap"], "my_data.py:gap"),
        (["--dataset", "my_data.py:sets", "--loss", "hinge"], "'hinge'"),
        (["--dataset", "my_data.py:sets", "--size", "32"], "--size"),
        (["--dataset", "digits", "--loss", "mse"], "torch data sets"),
    ),
)
def test_what_cannot_be_trained_on_is_said_in_a_line(command, arguments, said):
    status, _, error = command(*arguments)
    assert status == 2 and said in error and "\n" not in error
