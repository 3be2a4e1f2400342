import itertools
import re

import pytest
import torch
from conftest import run_of
from torch import nn

from normbench import compare as module
from normbench import runs
from normbench import train as training
from normbench.compare import best_rate, compare
from normbench.comparison import Comparison, Result
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
    (result,) = found.results
    assert result.batch_size == 64 and not result.failures and not result.tried
    assert [arm.label for arm in result.arms.values()] == ["BN", "GN", "GN (4 groups)", "none"]
    assert [run.config.seed for arm in result.arms.values() for run in arm.runs] == [1, 2] * 4
    assert found.swapped == {"BatchNorm2d": 1} and found.images == (300, 50)
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
    assert {run.parameters for arm in found.arms.values() for run in arm.runs} == {4 * 25 + 4 + 8 + 2570}


def test_rates_are_chosen_on_held_out_images_and_widened(few_digits, tmp_path, trainings):
    found = compare(network, few_digits, ("BN", "none"), folder=tmp_path, **FEW | {"rates": (1e-6, 1e-5), "seeds": 1})
    tried, chosen = found.results[0].tried, {config.nm: config.lr for config in found.arms}
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


def test_a_comparison_is_read_from_what_it_has_left(few_digits, tmp_path):
    options = FEW | dict(batch_size=(32, 64), rates=(0.01, 0.1), seeds=3)
    found = compare(network, few_digits, ("BN", "GN", "none"), folder=tmp_path, **options)
    read = Comparison.read(tmp_path / "runs.jsonl", "my network")
    assert read.answer.startswith("With batches of 32: ") and [result.batch_size for result in read.results] == [32, 64]
    for again, result in zip(read.results, found.results, strict=True):
        assert list(again.leads.values()) == list(result.leads.values()) and {*again.arms} == {*result.arms}
        assert {*again.tried} == {*result.tried} and len(again.tried) > 2


def test_an_arm_that_diverges_is_a_row(few_digits, tmp_path):
    found = compare(explodes, few_digits, ("BN", "none"), folder=tmp_path, **FEW)
    assert found.results[0].failures == {"BN": "2 of 2 trainings diverged", "none": "2 of 2 trainings diverged"}
    assert "No arm could be trained" in found.answer and "diverged" in found.page()


def test_an_arm_out_of_memory_is_a_row(few_digits, tmp_path, monkeypatch):
    def out_of_memory(config, *arguments, **keywords):
        if config.nm == "GN":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return original(config, *arguments, **keywords)

    original = training.train
    monkeypatch.setattr(training, "train", out_of_memory)
    found = compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW)
    assert found.results[0].failures == {"GN": "2 of 2 trainings out of memory"}
    assert found.answer.startswith("BN alone has a result")


def test_an_arm_whose_network_cannot_be_trained_is_a_row(few_digits, tmp_path):
    def flat(num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))

    found = compare(flat, few_digits, ("BN", "IN"), folder=tmp_path, **FEW)
    assert re.search("more than 1 spatial element", found.results[0].failures["IN"]) and len(found.arms) == 1


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
        (network, {"workers": 0, "progress": True}, "workers must be at least 1, got 0"),
        (network, {"images": 301}, "images 301 is above the 300 training images"),
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
    assert re.search(r"Trainings that are left: 4\. They take about \d+ s here, 1 at a time\. Stopped, the same", said)
    assert re.search(r"GN, seed 2: \d+\.\d\d %  \(4 of 4\)", said)


def test_nothing_is_measured_where_nothing_is_left(few_digits, tmp_path, capsys, monkeypatch):
    measured = []
    monkeypatch.setattr(module, "_seconds", lambda config, *_: measured.append(config.nm) or 1000.0)
    options = dict(arms=("BN", "GN"), folder=tmp_path) | FEW | {"rates": (0.05, 0.1, 0.2)}
    compare(network, few_digits, **options)
    assert not measured
    stored = (tmp_path / "runs.jsonl").read_text().splitlines(keepends=True)
    compare(network, few_digits, **options | {"progress": True})
    assert not measured and "are left" not in capsys.readouterr().out
    gone = next(i for i, line in enumerate(stored) if '"nm": "GN"' in line and '"seed": 2' in line)
    (tmp_path / "runs.jsonl").write_text("".join(stored[:gone] + stored[gone + 1 :]))
    compare(network, few_digits, **options | {"progress": True})
    assert measured == ["GN"]
    assert (
        "Trainings that are left: 1, and more where the best rate lies at the edge. They take at least 17 minutes here"
        in (capsys.readouterr().out)
    )


@pytest.mark.parametrize("first, then, left", (((0.1,), (0.2,), 4), ((0.05, 0.1, 0.2), (0.06, 0.1, 0.3), 4)))
def test_other_rates_are_left_to_try(first, then, left, few_digits, tmp_path, capsys):
    options = dict(arms=("BN", "GN"), folder=tmp_path) | FEW
    compare(network, few_digits, **options | {"rates": first})
    compare(network, few_digits, **options | {"rates": then, "progress": True})
    assert f"Trainings that are left: {left}" in capsys.readouterr().out


def test_workers_share_the_time_and_threads_and_take_time_to_start(few_digits, capsys, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(module, "_seconds", lambda *_: 10.0 * torch.get_num_threads())
    monkeypatch.setattr(runs, "stored", lambda *_, **__: [])
    options = module.Swapped(network), few_digits, few_digits, [0.1, 0.2], 3, module.Path("nowhere"), None, True
    torch.set_num_threads(4)
    try:
        module._Work(*options).estimate([Config("BN")], workers=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    expected = 5 * 20 / 2 + 2 * module.WORKERS_START
    assert (
        f"left: 5, and more where the best rate lies at the edge. They take at least {expected:.0f} s here, 2 at"
        in (capsys.readouterr().out)
    )


def test_the_time_of_a_training_grows_with_images_and_epochs(digits, monkeypatch):
    def made_up(config, data, progress, net):
        """0.1 s for the first epoch, then 1 ms an image."""
        n = len(data.y_train) + len(data.y_test)
        return module.Run(config, "digits", ({"seconds": 0.1}, {"seconds": n / 1000}), torch.ones(1), 1, 1.0, "CPU")

    clock = itertools.count(step=3)
    monkeypatch.setattr(module, "train", made_up)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    seconds = module._seconds(Config("BN", epochs=20, batch_size=32), module.Swapped(network), digits)
    assert seconds == pytest.approx(20 * 1.797 + 3, rel=0.02)


def test_few_of_the_images_of_a_sorted_data_set(few_digits, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(module, "check_network", lambda net, data, size: given.append(data))
    order = few_digits.y_train.argsort()
    data = module.replace(few_digits, x_train=few_digits.x_train[order], y_train=few_digits.y_train[order])
    found = compare(network, data, ("BN", "GN"), folder=tmp_path, images=120, **FEW)
    assert found.images == (120, 50) and "Trained on 120 images, tested on 50 others" in found.page()
    assert {len(data.y_train) for data in given} == {120}
    assert all(len(data.y_train.unique()) == 10 for data in given), "the first 120 are of four classes"


# The answer


def answer(images=1000, failures=None, **accuracies):
    """The answer for made-up runs of arms with these accuracies in %, one a seed."""
    return result(images, failures, **accuracies).answer


def result(images=1000, failures=None, **accuracies):
    made = (
        run_of(Config(nm, seed=seed), value, "mnist", images)
        for nm, values in accuracies.items()
        for seed, value in enumerate(values)
    )
    return Result(128, by_arm(made), failures or {}, {})


def test_a_clear_winner():
    said = answer(BN=[90, 90.1, 90.2, 90, 90.1], GN=[80, 80.2, 80.1, 80, 80.1], none=[50, 50.1, 50.2, 50.1, 50])
    assert said.startswith("Take BN: 90.08 % of the test images right on average. BN is clearly ahead of GN by 10.00 ")
    assert re.search(
        r"10\.00 points \(95 % interval \d+\.\d\d to 1\d\.\d\d\) and of no normalization by 40\.00 points \(95 %", said
    )
    assert "the best would be BN in 100 % of all cases" in said
    assert "told apart" not in said and "unstable" not in said and "no result" not in said


def test_no_winner():
    made = result(BN=[90, 91, 90.5, 91, 90], GN=[90.4, 91, 90.2, 90.8, 90.3], none=[50, 50.1, 50.2, 50.1, 50])
    said, gn, bn = made.answer, *made.ranked[:2]
    lead = made.leads[gn, bn]
    assert said.startswith(
        f"GN and BN cannot be told apart with 5 seeds; differences of up to {lead.high:.2f} points between them may be "
        "hidden. GN has the highest mean, 90.54 % of the test images right, ahead of BN by 0.04 points (95 % interval "
        f"−{-lead.low:.2f} to {lead.high:.2f})."
    )
    assert "GN is clearly ahead of no normalization by 40.4" in said and "unstable" not in said and "Take" not in said


def test_what_would_tell():
    told = r"it would take (.*) to see it\."
    said = answer(BN=[90, 91, 90.5], GN=[89.5, 90.5, 90])
    assert re.search(told, said)[1] == "about 17 seeds an arm", "that is a lead of one deviation"
    assert re.search(told, answer(BN=[90, 91], GN=[91, 90]))[1] == "more test images"


def test_hidden_differences_are_those_of_all_that_are_tied():
    made = result(BN=[90, 91, 92], GN=[90, 90.5, 91.5], LN=[86, 90, 95])
    hidden = max(max(-lead.low, lead.high) for lead in made.leads.values())
    bn = made.ranked[0]
    assert hidden > max(lead.high for (best, _), lead in made.leads.items() if best is bn)
    assert made.answer.startswith(
        f"BN, GN and LN cannot be told apart with 3 seeds; differences of up to {hidden:.2f} points"
    )


def test_an_unstable_arm_is_said_to_be_so_instead_of_tied():
    said = answer(BN=[88, 88.2, 88.1], GN=[80, 80.2, 80.1], IN=[88, 20, 87])
    assert said.startswith("Take BN: 88.10 % of the test images right on average. BN is clearly ahead of GN by 8.00 ")
    assert "IN is unstable: its seeds reach from 20.00 to 88.00 %; its mean is 23.10 points (95 % interval −" in said
    assert "told apart" not in said


def test_an_unstable_arm_that_is_ahead():
    said = answer(BN=[99, 98, 60], GN=[80, 80.2, 80.1])
    assert said.startswith("BN and GN cannot be told apart with 3 seeds")
    assert "BN is unstable: its seeds reach from 60.00 to 99.00 %. " in said


@pytest.mark.parametrize("values", ([88, 86, 87], [89, 84.1, 87]))
def test_an_arm_that_scatters_like_others_or_little_is_not_unstable(values):
    assert "unstable" not in answer(BN=[88, 88.2, 88.1], IN=values)


def test_no_normalization_may_win_and_fail():
    assert answer(none=[91, 91.1], GN=[80, 80.1]).startswith("Take no normalization: 91.05 %")
    assert answer(failures={"none": "diverged"}).endswith(" No normalization has no result: diverged.")


def test_all_arms_scatter():
    assert "unstable" not in answer(BN=[88, 70, 60], GN=[50, 80, 60])


def test_one_training_each():
    said = answer(BN=[91], GN=[90])
    assert said == (
        "One seed cannot tell: BN has 91.00 % of the test images right, GN 1.00 points less, and other seeds may turn "
        "that round. Train five seeds an arm; the first is kept."
    )


@pytest.mark.parametrize(
    "accuracies, said",
    (
        ({}, "No arm could be trained. IN has no result: diverged."),
        ({"BN": [90, 91]}, "BN alone has a result: 90.50 % of the test images right on average. IN has no result: div"),
    ),
)
def test_an_arm_that_failed(accuracies, said):
    assert answer(failures={"IN": "diverged"}, **accuracies).startswith(said)


def test_pairs():
    (row,) = result(BN=[90, 91, 92], GN=[80, 91.5, 81]).pairs().itertuples(index=False)
    assert row.pair == "BN − GN" and row.low < row.points < row.high
    assert row._4 == pytest.approx(7 / 9)


@pytest.mark.parametrize("seeds", (1, 2))
def test_a_page_of_few_seeds_has_the_intervals_that_there_are(seeds):
    values = dict(BN=[90, 91][:seeds], GN=[80, 81][:seeds])
    found = Comparison("net", "mnist", (1000, 1000), {"BatchNorm2d": 3}, [result(**values)])
    page = found.page()
    assert ("BN − GN" in page) == (seeds > 1) == ("points (95" in page)


# The page


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
