import itertools
import re

import pytest
import torch
from conftest import run_of
from torch import nn

from normbench import compare as module
from normbench import train as training
from normbench.compare import best_rate, compare, pairs_table
from normbench.config import Config
from normbench.runs import arms as by_arm
from normbench.train import train_or_diverge

FEW = dict(seeds=2, epochs=1, batch_size=64, rates=(0.1,), progress=False)


def network(num_classes, in_channels):
    layers = nn.Conv2d(in_channels, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(512, num_classes))


def another(num_classes):
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, num_classes)
    return nn.Sequential(*layers)


def without_normalization(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))


def wrong_shape():
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2304, 3))


def explodes(num_classes):
    class Times(nn.Module):
        def forward(self, x):
            return x * 1e20

    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), Times(), Times(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(256, num_classes))


@pytest.fixture
def trainings(monkeypatch):
    """The configs that were trained, in their order."""
    trained = []

    def counted(config, data, *arguments, **keywords):
        trained.append(config)
        return train_or_diverge(config, data, *arguments, **keywords)

    counted.__module__, counted.__qualname__ = "normbench.train", "train_or_diverge"
    monkeypatch.setattr(module, "train_or_diverge", counted)
    return trained


def test_from_start_to_answer(few_digits, tmp_path, trainings):
    found = compare(network, few_digits, ("BN", "GN", "GN:4", "none"), folder=tmp_path, **FEW)
    (arms,) = found.arms.values()
    assert [arm.label for arm in arms.values()] == ["BN", "GN", "GN (4 groups)", "none"]
    assert [run.config.seed for arm in arms.values() for run in arm.runs] == [1, 2] * 4
    assert found.swapped == {"BatchNorm2d": 1} and not found.failures[64]
    assert len(found.frame()) == 8 == len(trainings)
    again = compare(network, few_digits, ("BN", "GN", "GN:4", "none"), folder=tmp_path, **FEW)
    assert again.answer == found.answer and len(trainings) == 8


def test_a_stop_loses_nothing(few_digits, tmp_path, trainings, monkeypatch):
    original, n = module.train_or_diverge, itertools.count()

    def stopped(*arguments, **keywords):
        if next(n) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    stopped.__module__, stopped.__qualname__ = "normbench.train", "train_or_diverge"
    monkeypatch.setattr(module, "train_or_diverge", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    assert len(trainings) == 4 == len(set(trainings))


def test_another_network_does_not_mix_in(few_digits, tmp_path, trainings, capsys):
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    found = compare(another, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    assert len(trainings) == 8 and "4 stored runs are not taken" in capsys.readouterr().err
    assert {run.parameters for arm in found.arms[64].values() for run in arm.runs} == {4 * 25 + 4 + 8 + 2570}


def test_rates_are_chosen_on_held_out_images_and_widened(few_digits, tmp_path, trainings):
    found = compare(network, few_digits, ("BN", "none"), folder=tmp_path, **FEW | {"rates": (1e-6, 1e-5), "seeds": 1})
    tried, chosen = found.tried[64], {config.nm: config.lr for config in found.arms[64]}
    assert {run.dataset for arm in tried.values() for run in arm.runs} == {"digits (validation)"}
    assert all(len(arm.correct[0]) == 50 for arm in tried.values())
    rates = sorted(config.lr for config in tried if config.nm == "BN")
    assert rates == [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1]  # the best was at the edge, four times over
    assert chosen["BN"] == best_rate(Config("BN", gp=0, epochs=1, batch_size=64, lr=chosen["BN"]), tried) >= 0.01


def test_each_batch_size_has_its_answer(few_digits, tmp_path):
    found = compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"batch_size": (32, 64)})
    assert [paragraph.split(":")[0] for paragraph in found.answer.split("\n\n")] == [
        "With batches of 32",
        "With batches of 64",
    ]
    assert "Accuracy by batch size" in found.figures()


def test_an_arm_that_diverges_is_a_row(few_digits, tmp_path):
    found = compare(explodes, few_digits, ("BN", "none"), folder=tmp_path, **FEW)
    assert found.failures[64] == {"BN": "2 of 2 trainings diverged", "none": "2 of 2 trainings diverged"}
    assert "No arm could be trained" in found.answer and "diverged" in found.page()


def test_an_arm_out_of_memory_is_a_row(few_digits, tmp_path, monkeypatch):
    def out_of_memory(config, *arguments, **keywords):
        if config.nm == "GN":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return original(config, *arguments, **keywords)

    original = training.train
    monkeypatch.setattr(training, "train", out_of_memory)
    found = compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    assert found.failures[64] == {"GN": "2 of 2 trainings out of memory"}
    assert found.answer.startswith("BN alone has a result")


def test_an_arm_whose_network_cannot_be_trained_is_a_row(few_digits, tmp_path):
    def flat(num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))

    found = compare(flat, few_digits, ("BN", "IN"), folder=tmp_path, **FEW)
    assert re.search("more than 1 spatial element", found.failures[64]["IN"]) and list(found.arms[64].values())


@pytest.mark.parametrize(
    "build, changes, message",
    (
        (without_normalization, {}, "no normalization layer"),
        (wrong_shape, {}, r"must return logits or log-probabilities \(images, classes\), \(2, 10\)"),
        (network, {"arms": ("BN",)}, "two or more arms"),
        (network, {"arms": ("BN", "BN")}, "two or more arms"),
        (network, {"arms": ("BN", "batch")}, "unknown normalization 'batch'"),
        (network, {"arms": ("BN", "BN:4")}, "'BN:4' is no arm"),
        (network, {"seeds": 0}, "seeds must be at least 1"),
        (network, {"rates": (0.0, 0.1)}, "rates must be above 0"),
        (network, {"batch_size": 280}, "batch size 280 is above the 250 training images"),
        (network, {"batch_size": (32, 32)}, "batch sizes, each once"),
    ),
)
def test_bad_input(build, changes, message, few_digits, tmp_path):
    with pytest.raises(ValueError, match=message):
        compare(build, few_digits, folder=tmp_path, **{"arms": ("BN", "GN")} | FEW | changes)
    assert not list(tmp_path.iterdir())


def test_what_is_told_before_and_while_it_runs(few_digits, tmp_path, capsys):
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"progress": True})
    said = capsys.readouterr().out
    assert "network (5,354 parameters) on scikit-learn's digits: 10 classes, 300 training and 50 test images" in said
    assert "Normalizations that are swapped: 1 BatchNorm2d." in said
    assert re.search(r"About 4 trainings: about \d+ s\. Stopped, the same command goes on", said)
    assert re.search(r"GN, seed 2: \d+\.\d\d %  \(4 of 4\)", said)


def answer(**accuracies):
    """The answer for made-up runs of arms with these accuracies in %, one a seed."""
    return module._answer(arms_of(**accuracies), {})


def arms_of(**accuracies):
    return by_arm(
        run_of(Config(nm, seed=seed), value, "mnist", 1000)
        for nm, values in accuracies.items()
        for seed, value in enumerate(values)
    )


def test_a_clear_winner():
    said = answer(BN=[90, 90.1, 90.2, 90, 90.1], GN=[80, 80.2, 80.1, 80, 80.1], none=[50, 50.1, 50.2, 50.1, 50])
    assert said.startswith("Take BN: 90.08 % of the test images on average. It is ahead of GN by 10.00 points")
    assert "the best would be BN in 100 % of all cases" in said


def test_no_winner():
    said = answer(BN=[90, 91, 90.5, 91, 90], GN=[90.4, 91, 90.2, 90.8, 90.3], none=[50, 50.1, 50.2, 50.1, 50])
    assert said.startswith("GN and BN cannot be told apart with 5 seeds. GN has the highest mean, 90.54 %")
    assert "Clearly behind is none by" in said and re.search("it would take about [0-9,]+ seeds", said)


def test_one_training_each():
    assert "With one training an arm nothing can be told: BN has 91.00 %" in answer(BN=[91], GN=[90])


def test_pairs():
    (row,) = pairs_table(arms_of(BN=[90, 91, 92], GN=[80, 91.5, 81])).itertuples(index=False)
    assert row.pair == "BN − GN" and row.low < row.points < row.high
    assert row._4 == pytest.approx(7 / 9)


def test_the_page_has_all_inside(few_digits, tmp_path):
    found = compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"rates": (0.05, 0.1, 0.2)})
    page = found.page("normbench compare <mine>")
    assert found.answer.split(".")[0] in page and "normbench compare &lt;mine&gt;" in page
    assert page.count("data:image/png;base64,") == 3 == len(found.figures())
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<h1>" in found._repr_html_() and "<html" not in found._repr_html_()


def test_training_images_are_shuffled_before_some_are_held_out(few_digits):
    order = few_digits.y_train.argsort()
    data = module.replace(few_digits, x_train=few_digits.x_train[order], y_train=few_digits.y_train[order])
    held_out = module._shuffled(data).hold_out(50)
    assert len(held_out.y_test.unique()) == 10
    assert torch.equal(module._shuffled(data).x_train, module._shuffled(data).x_train)
