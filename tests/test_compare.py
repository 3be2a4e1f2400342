"""`compare` from start to end: what is trained, what is kept, what fails, what is said."""

import re
from dataclasses import replace

import pytest
import torch
from small_comparison import FEW, Engine, MyNorm, network
from torch import nn

from normbench.comparison import Comparison, compare
from normbench.comparison.rates import best_of
from normbench.comparison.verdict import Kind
from normbench.runs import read
from normbench.training import Recipe


def another(num_classes):
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, num_classes)
    return nn.Sequential(*layers)


def without_normalization(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))


def wrong_shape():
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2304, 3))


class Explosion(nn.Module):
    def forward(self, x):
        return x * 1e20 * 1e20 if self.training else x


class OutOfMemory(nn.Module):
    """Like a network that fits with the two images of the check, and not with a batch."""

    def forward(self, x):
        if self.training and len(x) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return x


def test_from_start_to_answer(few_digits, tmp_path, engine):
    options = FEW | {"folder": tmp_path, "engine": engine}
    found = compare(network, few_digits, ("BN", "GN", "GN:2", "none"), **options)
    (result,) = found.results
    assert result.batch_size == 64 and not result.failures and not result.tried
    assert [recipe.norm for recipe in result.arms] == ["BN", "GN", "GN:2", "none"]
    assert [arm.seeds for arm in result.arms.values()] == [(1, 2)] * 4
    assert found.replaced == {"BatchNorm2d": 1} and found.images == (300, 50)
    assert len(found.frame()) == 8 == len(engine.trained)
    assert set(result.labels.values()) == {"BN", "GN", "GN (2 groups)", "none"}
    again = compare(network, few_digits, ("BN", "GN", "GN:2", "none"), **options)
    assert again.answer == found.answer and len(engine.trained) == 8


def test_a_network_is_built_once_for_each_arm_before_its_runs(few_digits, tmp_path, engine):
    built = []

    def counted(num_classes, in_channels):
        built.append(num_classes)
        return network(num_classes, in_channels)

    compare(counted, few_digits, ("BN", "GN"), folder=tmp_path, engine=engine, **FEW | {"progress": True})
    assert len(built) == 1 + 2 + len(engine.trained), "the network as it is, each arm's, and that of each run"


def test_a_stop_loses_nothing(few_digits, tmp_path, engine):
    stopped = Engine(stop=2)
    with pytest.raises(KeyboardInterrupt):
        compare(network, few_digits, ("BN", "GN"), folder=tmp_path, engine=stopped, **FEW)
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, engine=engine, **FEW)
    assert len({*stopped.trained, *engine.trained}) == 4 == len(stopped.trained) + len(engine.trained)


def test_another_network_does_not_mix_in(few_digits, tmp_path, engine, capsys):
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, engine=engine, **FEW)
    found = compare(another, few_digits, ("BN", "GN"), folder=tmp_path, engine=engine, **FEW)
    assert len(engine.trained) == 8 and "network of 4" in capsys.readouterr().err
    assert {run.parameters for arm in found.arms.values() for run in arm.runs} == {4 * 25 + 4 + 8 + 2570}


def test_rates_are_chosen_on_held_out_images_and_widened(few_digits, tmp_path):
    found = compare(network, few_digits, ("BN", "none"), folder=tmp_path, **FEW | {"rates": (1e-6, 1e-5), "seeds": 1})
    tried, chosen = found.results[0].tried, {recipe.norm: recipe.lr for recipe in found.arms}
    assert {run.dataset for arm in tried.values() for run in arm.runs} == {"digits (validation)"}
    assert all(len(arm.correct[0]) == 50 for arm in tried.values())
    rates = sorted(recipe.lr for recipe in tried if recipe.norm == "BN")
    assert rates == [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1], "the best was at the edge, four times over"
    assert chosen["BN"] == best_of(Recipe("BN", epochs=1, batch_size=64), tried) >= 0.01


def test_each_batch_size_has_its_answer_and_can_be_read_again(few_digits, tmp_path):
    options = FEW | {"batch_size": (32, 64), "rates": (0.01, 0.1), "seeds": 3}
    found = compare(network, few_digits, ("BN", "GN", "none"), folder=tmp_path, **options)
    first, second = found.answer.split("\n\n")
    assert "32" in first.split(":")[0] and "64" in second.split(":")[0]
    read_again = Comparison.read(tmp_path / "runs.jsonl", "my network")
    assert read_again.answer == found.answer and read_again.images == found.images and read_again.replaced is None
    for again, result in zip(read_again.results, found.results, strict=True):
        assert again.batch_size == result.batch_size
        assert again.leads == result.leads and {*again.arms} == {*result.arms} and {*again.tried} == {*result.tried}


def test_a_file_without_runs_is_no_comparison(tmp_path):
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"runs\.jsonl"):
        Comparison.read(tmp_path / "runs.jsonl", "my network")


@pytest.mark.parametrize("fault, reason", ((Explosion, "diverged"), (OutOfMemory, "out of memory")))
@pytest.mark.parametrize("rates", ((0.1,), (0.05, 0.1)))
def test_arms_whose_runs_fail_are_rows(fault, reason, rates, few_digits, tmp_path):
    def faulty(num_classes):
        layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), fault(), nn.Flatten(), nn.Linear(256, num_classes)
        return nn.Sequential(*layers)

    found = compare(faulty, few_digits, ("BN", "none"), folder=tmp_path, **FEW | {"rates": rates})
    (result,) = found.results
    assert result.verdict.kind is Kind.FAILED and result.verdict.best == ()
    assert [recipe.norm for recipe in (*result.failures, *result.verdict.fails)] == ["BN", "none"]
    assert all(reason in failure for failure in result.failures.values())
    assert found.answer.count(reason) == 2 and "Take" not in found.answer
    assert all(not run.history for run in read(tmp_path / "runs.jsonl")), "no accuracy is invented"


def test_an_arm_whose_network_cannot_be_trained_is_a_row(few_digits, tmp_path):
    def flat(num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))

    found = compare(flat, few_digits, ("BN", "IN", "GN:3"), folder=tmp_path, **FEW)
    why = {recipe.norm: reason for recipe, reason in found.results[0].failures.items()}
    assert "more than 1 spatial element" in why["IN"] and "3 groups" in why["GN:3"]
    assert [recipe.norm for recipe in found.arms] == ["BN"] and "IN has no result" in found.answer


def test_a_last_batch_of_one_image_is_known_before_hours_are_spent(few_digits, tmp_path):
    """Of 300 images 250 are left to choose rates with, and 250 = 83 · 3 + 1."""

    def wide(num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))

    options = FEW | {"batch_size": 83, "rates": (0.05, 0.1)}
    found = compare(wide, few_digits, ("BN", "LN"), folder=tmp_path, **options)
    assert [(recipe.norm, "83" in why) for recipe, why in found.results[0].failures.items()] == [("BN", True)]


# The network as it is, layers of one's own, twins


def test_the_network_as_it_is_gives_way_to_its_own_normalization(few_digits, tmp_path, engine, capsys):
    options = FEW | {"folder": tmp_path, "engine": engine, "progress": True}
    found = compare(network, few_digits, ("own", "BN", "GN"), **options)
    (result,) = found.results
    assert [recipe.norm for recipe in result.arms] == ["BN", "GN"] and len(engine.trained) == 4
    assert result.yours == "BN" and set(result.labels.values()) == {"BN (yours)", "GN"}
    assert "BN (yours)" in found.answer and "as it is has BN" in capsys.readouterr().out


class OfPixels(nn.LayerNorm):
    """Layer norm over the channels at each pixel."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize("norm, twins", ((OfPixels(8), {}), (nn.GroupNorm(4, 8), {"own": "GN"})))
def test_what_one_has_and_no_arm_has_is_trained(norm, twins, few_digits, tmp_path, engine):
    def built(num_classes):
        return nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), norm, nn.Flatten(), nn.Linear(512, num_classes))

    found = compare(built, few_digits, ("own", "BN", "GN", "GN:8"), folder=tmp_path, engine=engine, **FEW)
    (result,) = found.results
    assert result.twins == twins and len(engine.trained) == 2 * len(result.arms)
    assert result.yours == ("GN" if twins else "own")
    if not twins:
        assert [recipe.norm for recipe in result.arms] == ["own", "BN", "GN", "GN:8"]
        assert "the unchanged network" in found.answer.lower()


def test_two_names_of_one_network_are_trained_once(few_digits, tmp_path, engine):
    found = compare(network, few_digits, ("LN", "GN:1", "BN"), folder=tmp_path, engine=engine, **FEW)
    assert [recipe.norm for recipe in found.arms] == ["LN", "BN"] and len(engine.trained) == 4
    assert found.results[0].twins == {"GN:1": "LN"} and "GN (1 group) is the same network as LN" in found.answer


class RaisesInTheSecondStep(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error, self.steps = error, 0

    def forward(self, x):
        self.steps += self.training and len(x) > 2
        if self.steps == 2:
            raise self.error
        return x


@pytest.mark.parametrize("error", (KeyError("second"), AssertionError("second"), SystemExit(0)))
def test_what_a_network_raises_in_training_ends_its_arm_alone(few_digits, tmp_path, error):
    """The estimate meets it first, before there are runs."""

    def faulty(num_classes):
        last = RaisesInTheSecondStep(error), nn.Flatten(), nn.Linear(256, num_classes)
        return nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), *last)

    found = compare(faulty, few_digits, ("BN", "none"), folder=tmp_path, **FEW | {"progress": True})
    assert all(type(error).__name__ in why for why in found.results[0].failures.values()) and not found.arms


class ReadsAverages(nn.Module):
    """As networks do that gate or prune by their batch norm."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.linear(self.norm(self.conv(x)).relu().mean((2, 3)) * self.norm.running_var.sigmoid())


def test_an_arm_whose_network_raises_in_the_check_is_a_row(few_digits, tmp_path):
    found = compare(ReadsAverages, few_digits, ("BN", "GN", "none"), folder=tmp_path, **FEW)
    failures = {recipe.norm: why for recipe, why in found.results[0].failures.items()}
    assert {*failures} == {"GN", "none"} and all("running_var" in why for why in failures.values())
    assert [recipe.norm for recipe in found.arms] == ["BN"]


class DrawnAtEachBuild(nn.Sequential):
    def __init__(self, num_classes):
        layers = nn.utils.spectral_norm(nn.Conv2d(1, 4, 5, stride=3)), nn.BatchNorm2d(4), nn.Flatten()
        super().__init__(*layers, nn.Linear(256, num_classes))
        self.register_buffer("noise", torch.randn(1, 1, 28, 28))

    def forward(self, x):
        return super().forward(x + 0.1 * self.noise)


def test_buffers_that_are_drawn_at_each_build_do_not_lose_the_first_training(few_digits, tmp_path, engine):
    options = FEW | {"folder": tmp_path, "engine": engine}
    found = compare(DrawnAtEachBuild, few_digits, ("BN", "GN"), **options)
    assert len(found.arms) == 2 and len(engine.trained) == 4
    compare(DrawnAtEachBuild, few_digits, ("BN", "GN"), **options)
    assert len(engine.trained) == 4, "they are kept"


def test_a_batch_may_be_all_images_where_none_are_held_out(few_digits, tmp_path):
    found = compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"batch_size": 300, "seeds": 1})
    assert len(found.arms) == 2


def test_the_price_is_that_of_each_arm(few_digits, tmp_path, engine):
    arms = {"own": "own", "BN": "BN", "mine": MyNorm, "none": "none"}
    options = FEW | {"folder": tmp_path, "engine": engine, "price": True, "seeds": 1}
    found = compare(network, few_digits, arms, **options)
    own, *others = found.price.costs
    assert [cost.arm for cost in found.price.costs] == ["own", "BN", "mine", "none"]
    assert own.step > 0 and others[0].step == own.step and others[0].kept == own.kept, "BN is what it has"
    assert {"BN", "mine()"} <= {*found.results[0].step_seconds} <= {"own", "BN", "mine()", "none"}
    assert compare(network, few_digits, arms, **options | {"price": False}).price is None


@pytest.mark.parametrize(
    "build, changes, facts",
    (
        (without_normalization, {}, "without_normalization.*no normalization layer"),
        (wrong_shape, {}, r"\(2, 10\)"),
        (network, {"arms": ("BN",)}, "two or more arms"),
        (network, {"arms": ("BN", "BN")}, "each arm once.*BN, BN"),
        (network, {"arms": "BN"}, r"several arms.*'BN'"),
        (network, {"arms": {"BN": "BN", "mine": 3}}, "function of the channels.*3"),
        (network, {"arms": ("BN", "nowhere/my_norms.py:MyNorm")}, "no file nowhere/my_norms.py"),
        (network, {"arms": ("BN", "no_such_module:MyNorm")}, "no_such_module cannot be imported"),
        (network, {"arms": ("own", "BN")}, "own and BN are the same network.*another arm"),
        (network, {"arms": ("BN", "batch")}, "'batch'.*GN"),
        (network, {"arms": ("BN", "LN:4")}, "'LN:4'.*LN"),
        (network, {"arms": ("GN:3", "GN:5")}, "3 groups.*8 channels"),
        (network, {"seeds": 0}, "seeds.*at least 1, got 0"),
        (network, {"epochs": 0}, "epochs.*at least 1, got 0"),
        (network, {"workers": 0, "progress": True}, "workers.*at least 1, got 0"),
        (network, {"images": 301}, "images.*300.*301"),
        (network, {"rates": (0.0, 0.1)}, r"rates.*above 0.*\[0\.0, 0\.1\]"),
        (network, {"batch_size": 280, "rates": (0.1, 0.3)}, "280.*250"),
        (network, {"batch_size": (32, 32)}, r"each once.*\[32, 32\]"),
        (network, {"batch_size": (0, 32)}, r"at least 1.*\[0, 32\]"),
    ),
)
def test_bad_input(build, changes, facts, few_digits, tmp_path):
    with pytest.raises(ValueError, match=facts):
        compare(build, few_digits, folder=tmp_path, **{"arms": ("BN", "GN")} | FEW | changes)
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed_unless_progress_is_asked_for(few_digits, tmp_path, capsys):
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"rates": (0.05, 0.1)})
    assert capsys.readouterr() == ("", "")


def test_what_is_told_before_and_while_it_runs(few_digits, tmp_path, capsys):
    compare(network, few_digits, ("BN", "GN"), folder=tmp_path, **FEW | {"progress": True})
    preview, layers, left, *_, last, standing = capsys.readouterr().out.splitlines()
    assert all(number in preview for number in ("5,354", "300", "50")) and "1 BatchNorm2d" in layers
    assert re.search(r"4\b.* \d+ s", left)
    assert re.search(r"GN, seed 2: \d+\.\d\d %.*4 of 4", last)
    assert re.search(r"2 seeds.*(BN|GN) leads with \d\d\.\d\d %", standing)


def test_some_of_the_images_of_a_sorted_data_set(few_digits, tmp_path):
    """The first 120 are of four classes; a random subset has all ten, held out or not."""
    order = few_digits.y_train.argsort()
    ordered = replace(few_digits, x_train=few_digits.x_train[order], y_train=few_digits.y_train[order])
    seen = []

    def engine(trainer, recipes, data, progress):
        seen.append(data)
        yield from Engine()(trainer, recipes, data, progress)

    options = FEW | {"batch_size": 20, "rates": (0.05, 0.1), "seeds": 1}
    found = compare(network, ordered, ("BN", "GN"), folder=tmp_path, images=120, engine=engine, **options)
    assert found.images == (120, 50)
    assert {len(data.y_train) for data in seen} == {100, 120}
    assert all(len(data.y_train.unique()) == 10 for data in seen) and len(seen[0].y_test.unique()) > 4
    assert torch.equal(seen[0].x_train, seen[-1].x_train[:100]), "the same subset each time"
