"""Trainings by a function of the user's own: what it is given, what it may return, what fails, what is kept."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from normbench.comparison import Comparison, compare
from normbench.comparison.own import OwnTraining
from normbench.layers import Affine
from normbench.networks import Named
from normbench.runs import read

QUICK = {"progress": False, "price": False, "arms": ("BN", "none"), "seeds": 3}
KINDS = {nn.BatchNorm1d: "BN", nn.Identity: "none", Affine: "none"}


def build():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def kind(net):
    return KINDS.get(type(net[1]), "other")


def scored(net, lr, seed):
    """BN is better by 1, best at the rate 0.1; the deviation over seeds is 0.1."""
    return (kind(net) == "BN") - abs(math.log10(lr) + 1) + 0.1 * (seed % 3 - 1)


def test_a_number_per_training_gives_an_answer(tmp_path):
    found = compare(build, train=scored, rates=(0.01, 0.1, 1.0), folder=tmp_path, **QUICK)
    (result,) = found.results
    assert [arm.recipe.norm for arm in result.ranked] == ["BN", "none"] and {
        arm.recipe.lr for arm in result.ranked
    } == {0.1}
    (lead,) = result.leads.values()
    assert lead.estimate == pytest.approx(1) and 0 < lead.low < 1 < lead.high
    assert not result.has_examples and found.data == "scored" and result.measure.name == "score"
    assert "%" not in found.answer.replace("95 % interval", "").split("If each")[0] and "points" not in found.answer
    assert "seed of its own" in found.page() and "test images" not in found.page()


def test_where_lower_is_better_the_lowest_leads(tmp_path):
    def loss(net, lr, seed):
        return {"loss": -scored(net, lr, seed)}

    found = compare(build, train=loss, rates=(0.01, 0.1, 1.0), higher_is_better=False, folder=tmp_path, **QUICK)
    (result,) = found.results
    assert result.ranked[0].recipe.norm == "BN" and result.ranked[0].recipe.lr == 0.1
    (pair,) = result.leads
    assert pair[0].norm == "BN" and result.leads[pair].low > 0
    assert list(result.pairs()["first wins"]) == [1.0]


def test_a_score_per_example_speaks_of_new_examples_too(tmp_path):
    noise = np.random.default_rng(0).normal(0, 1, 200)

    def train(net, seed):
        return {"dice": (kind(net) == "BN") * 0.2 * noise + 0.001 * seed, "loss": 0.5}

    found = compare(build, train=train, folder=tmp_path, **QUICK)
    (result,) = found.results
    assert result.has_examples and result.measure.name == "dice" and "examples" in found.page()
    (arm, _) = result.ranked
    assert arm.last("test_loss").tolist() == [0.5] * 3
    (lead,) = result.leads.values()

    def alone(net, seed):
        return float(train(net, seed)["dice"].mean())

    by_seeds = compare(build, train=alone, folder=tmp_path / "alone", **QUICK)
    (of_seeds,) = by_seeds.results[0].leads.values()
    assert lead.high - lead.low > of_seeds.high - of_seeds.low, "test examples could have been others"
    stored = read(tmp_path / "runs.jsonl")[0]
    assert stored.measure == "dice" and stored.unit == "" and len(stored.scores) == 200


def test_right_and_wrong_answers_are_an_accuracy(tmp_path):
    def train(net, seed):
        return torch.arange(10) >= (1 if kind(net) == "BN" else 4) + seed % 2

    (result,) = compare(build, train=train, folder=tmp_path, **QUICK).results
    assert result.measure.unit == "%" and result.ranked[0].score.mean == pytest.approx(100 * (0.8 + 0.9 + 0.8) / 3)
    assert read(tmp_path / "runs.jsonl")[0].correct.tolist() == [False] * 2 + [True] * 8


def test_it_is_given_what_it_names(tmp_path):
    given = []

    def train(net, seed, lr, norm, split, device, epochs, batch_size=7, weight_decay=3.0):
        given.append((norm, seed, lr, split, device, epochs, batch_size, weight_decay))
        return -abs(lr - 0.2)

    options = QUICK | {"seeds": 1, "device": "cpu", "epochs": 2}
    compare(build, train=train, rates=(0.1, 0.2, 0.4), folder=tmp_path, **options)
    assert ("BN", 0, 0.4, "validation", "cpu", 2, 7, 3.0) in given
    assert ("none", 1, 0.2, "test", "cpu", 2, 7, 3.0) in given
    assert read(tmp_path / "runs.jsonl")[0].dataset == "train (validation)"
    given.clear()
    compare(build, train=train, rates=(0.1,), batch_size=32, folder=tmp_path, **options)
    assert {row[-2] for row in given} == {32}


def test_each_arm_gets_the_weight_decay_that_is_best_for_it_from_as_many_tries_as_the_others(tmp_path):
    tries = []

    def train(net, seed, lr, norm, split, weight_decay):
        tries.append((norm, split, lr, weight_decay))
        return -abs(lr - 0.2) - abs(weight_decay - {"BN": 0.01, "none": 0.1}[norm]) + 1e-4 * seed % 3

    asked = {"rates": (0.1, 0.2, 0.4), "weight_decay": (0.01, 0.03, 0.1), "folder": tmp_path, "version": "1"}
    found = compare(build, train=train, **asked, **QUICK)
    (result,) = found.results
    assert {arm.recipe.norm: arm.recipe.weight_decay for arm in result.ranked} == {"BN": 0.01, "none": 0.1}
    assert {arm.recipe.lr for arm in result.ranked} == {0.2} and result.has_decays
    others = [norm for norm, split, _, decay in tries if split == "validation" and decay != 0.01]
    assert others.count("BN") == others.count("none") == 2, "each of the other two once"
    listed = {arm["weight_decay"] for arm in found.to_dict()["results"][0]["arms"]}
    assert "weight decay" in found.page() and listed == {0.01, 0.1}
    tries.clear()
    assert str(compare(build, train=train, **asked, **QUICK)) == str(found) and not tries, "all is kept"
    for wrong in ((), (0.1, 0.1), (-1.0, 0.1)):
        with pytest.raises(ValueError, match="decay"):
            compare(build, train=train, **asked | {"weight_decay": wrong}, **QUICK)


def test_the_same_weights_and_random_numbers_for_every_arm(tmp_path):
    drawn = {}

    def train(net, seed, norm):
        numbers = torch.rand(1).item(), np.random.rand(), net[0].weight.sum().item()
        drawn.setdefault(seed, set()).add(numbers)
        return 0.0

    before = torch.get_rng_state()
    compare(build, train=train, folder=tmp_path, **QUICK)
    assert [len(numbers) for numbers in drawn.values()] == [1, 1, 1] and len(set.union(*drawn.values())) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_one_that_raises_fails_its_arm_and_is_tried_again(tmp_path):
    broken = [True]

    def train(net, seed):
        if kind(net) == "none" and broken[0]:
            raise KeyError("no such image")
        return float(seed)

    found = compare(build, train=train, folder=tmp_path, **QUICK | {"arms": ("BN", "GN:2", "none")})
    (reason,) = found.results[0].failures.values()
    assert "KeyError: 'no such image'" in reason and "no such image" in found.answer and len(found.results[0].arms) == 2
    broken[0] = False
    again = compare(build, train=train, folder=tmp_path, version="", **QUICK | {"arms": ("BN", "GN:2", "none")})
    assert len(again.results[0].arms) == 3


def test_a_rate_that_raises_is_not_followed_by_others(tmp_path):
    tried = []

    def train(net, lr):
        tried.append(lr)
        raise ValueError("out of order")

    found = compare(build, train=train, rates=(0.1, 1.0), folder=tmp_path, **QUICK)
    assert sorted(set(tried)) == [0.1, 1.0] and "out of order" in found.answer


def test_scores_that_are_not_finite_have_diverged(tmp_path):
    def train(net):
        return math.nan if kind(net) == "none" else 1.0

    found = compare(build, train=train, folder=tmp_path, **QUICK)
    assert "diverged" in next(iter(found.results[0].failures.values()))


@pytest.mark.parametrize(
    "train, options, message",
    (
        (lambda: 1.0, {}, "takes no network"),
        (lambda net, data: 1.0, {}, "asks for 'data'"),
        (lambda net, lr: 1.0, {}, "give rates"),
        (lambda net: 1.0, {"rates": (0.1, 0.2)}, "takes no lr"),
        (lambda net: 1.0, {"batch_size": 8}, "takes no batch_size"),
        ("nowhere.py:train", {}, "there is no file nowhere.py"),
        (lambda net: 1.0, {"images": 10}, "its own data"),
        (lambda net: 1.0, {"optimizer": "adamw"}, "takes no optimizer"),
    ),
)
def test_what_cannot_be_asked_of_it(train, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compare(build, train=train, folder=tmp_path, **QUICK | options)


@pytest.mark.parametrize("returned", ("good", None, [[1.0, 2.0]], {}, [], {"a": object()}))
def test_what_is_no_score(returned, tmp_path):
    found = compare(build, train=lambda net: returned, folder=tmp_path, **QUICK)
    assert not found.results[0].arms and all("return" in reason for reason in found.results[0].failures.values())


def test_without_data_and_without_a_function_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="give data"):
        compare(build, folder=tmp_path, **QUICK)


def test_inputs_try_the_networks_first(tmp_path):
    trained = []

    def train(net):
        trained.append(kind(net))
        return 1.0

    class Odd(nn.Module):
        def __init__(self, channels):
            super().__init__()

        def forward(self, x):
            return x[:, :-1]

    options = QUICK | {"arms": {"BN": "BN", "none": "none", "odd": Odd}, "seeds": 1}
    found = compare(build, train=train, inputs=torch.randn(6, 4), folder=tmp_path, **options)
    assert "must keep the shape" in found.answer and set(trained) == {"BN", "none"}


FILE = """
import helpers
from torch import nn

RATE = 0.5

def train(net, seed):
    return helpers.score(net, seed) + RATE

def build():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
"""
HELPERS = "def score(net, seed):\n    return seed + 0.1 * sum(p.numel() for p in net.parameters())\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("/nowhere")  # what is added to the path goes with the test
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "helpers.py").write_text(HELPERS)
    return tmp_path


def trained(project, name="mine.py", **options):
    """How many trainings a call adds, with a function named by its file."""
    file = project / "runs" / "runs.jsonl"
    before = len(read(file)) if file.exists() else 0
    compare(f"{project}/{name}:build", train=f"{project}/{name}:train", folder=project / "runs", **QUICK | options)
    return len(read(file)) - before


@pytest.mark.parametrize(
    "file, old, new",
    (
        ("mine.py", "RATE = 0.5", "RATE = 0.6"),
        ("mine.py", "seed) + RATE", "seed) - RATE"),
        ("mine.py", "nn.Linear(8, 2)", "nn.Dropout(0.1), nn.Linear(8, 2)"),
        ("mine.py", "    return nn.Seq", "    import torch; torch.rand(1)\n    return nn.Seq"),
    ),
)
def test_an_edit_trains_anew(project, file, old, new):
    assert trained(project) == 6 and trained(project) == 0
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    assert trained(project) == 6


def test_a_comment_trains_nothing_anew_nor_does_an_edit_under_a_version(project):
    assert trained(project) == 6
    path = project / "mine.py"
    path.write_text(path.read_text().replace("def train", "# a remark\n\n\ndef train"))
    assert trained(project) == 0
    assert trained(project, version="1") == 6
    path.write_text(path.read_text().replace("+ RATE", "- RATE"))
    assert trained(project, version="1") == 0 and trained(project, version="2") == 6


def test_more_seeds_take_the_finished_ones(project):
    assert trained(project, seeds=2) == 4 and trained(project, seeds=3) == 2 and trained(project, seeds=1) == 0


def test_workers_are_given_the_file(project):
    task = OwnTraining(Named(f"{project}/mine.py:train"))
    packed = pickle.dumps(task)
    (project / "mine.py").unlink()
    assert pickle.loads(packed).name == "mine.train"


def test_an_unknown_source_is_said_and_not_kept(tmp_path, capsys):
    made: dict = {}
    exec("def train(net, seed):\n    return float(seed)", made)
    for _ in range(2):
        compare(build, train=made["train"], folder=tmp_path, **QUICK | {"progress": True})
    assert "give a version" in capsys.readouterr().out and len(read(tmp_path / "runs.jsonl")) == 12


def test_what_was_stored_is_read_as_it_was(tmp_path):
    found = compare(build, train=scored, rates=(0.01, 0.1, 1.0), folder=tmp_path, **QUICK)
    again = Comparison.read(tmp_path / "runs.jsonl", "build")
    assert again.answer == found.answer and again.data == "scored"
    assert json.loads((tmp_path / "runs.jsonl").read_text().splitlines()[0])["measure"] == "score"
