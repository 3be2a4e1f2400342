"""Training on samples of any shape: torch data sets, a loss and a metric."""

import copy
import pickle
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import signals, wave_net, without_seconds
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from normbench.data import Goal, Samples
from normbench.training import Recipe, Trainer, check_network, train
from normbench.training.samples import Scored

SHORT = Recipe("BN", epochs=2, batch_size=16, augment="none")


class Noisy(Dataset):
    """The signals one by one, each with a random change from the generator that is asked for."""

    def __init__(self, draw, n=96):
        self.whole, self.draw = signals(n), draw

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, i):
        x, y = self.whole[i]
        return x + 0.1 * self.draw(), int(y)


@pytest.fixture
def samples():
    return Samples(signals(), signals(48, seed=1))


def trained(samples, recipe=SHORT, seed=0, **options):
    torch.manual_seed(seed)
    return train(wave_net(), samples, recipe, progress=False, **options)


def test_a_network_learns_and_its_run_says_how_well(samples):
    run = trained(samples, replace(SHORT, epochs=8))
    assert run.last["test_accuracy"] > 80 and run.last["train_loss"] < run.history[0]["train_loss"]
    assert run.measure == "accuracy" and run.unit == "%" and run.correct.shape == (48,)
    assert run.last["test_accuracy"] == pytest.approx(100 * run.correct.float().mean().item())
    assert run.fingerprint["trainer"] == "samples" and run.dataset == "TensorDataset"


def test_the_test_scores_are_those_of_all_test_samples_at_once(samples):
    torch.manual_seed(0)
    net = wave_net()
    run = train(net, samples, replace(SHORT, batch_size=20), progress=False)  # 48 = 20 + 20 + 8
    x, y = samples.test.tensors
    with torch.no_grad():
        outputs = net.eval()(x)
    assert run.last["test_loss"] == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-5)
    assert torch.equal(run.correct, outputs.argmax(dim=1) == y)


@pytest.mark.parametrize(
    "draw",
    (lambda: torch.randn(1), np.random.standard_normal, random.random),
    ids=("torch", "numpy", "python"),
)
def test_equal_seeds_are_equal_runs_whoever_draws_the_random_changes(draw):
    samples = Samples(Noisy(draw), signals(48, seed=1))
    first, again, other = (trained(samples, replace(SHORT, seed=seed)) for seed in (1, 1, 2))
    assert without_seconds(first) == without_seconds(again) != without_seconds(other)


def test_worker_processes_read_the_same_samples_for_equal_seeds():
    samples = Samples(Noisy(np.random.standard_normal), signals(48, seed=1), num_workers=1)
    first, again = (trained(samples) for _ in range(2))
    assert without_seconds(first) == without_seconds(again)


def test_arms_see_the_samples_in_the_same_order(samples):
    """Whatever the network draws itself."""
    seen = []

    class Watching(nn.Dropout):
        def forward(self, x):
            if self.training:
                seen.append(x[0, 0, 0].item())
            return super().forward(x)

    for rate in (0.0, 0.5):
        trained_net = nn.Sequential(Watching(rate), wave_net())
        train(trained_net, samples, SHORT, progress=False, check=False)
    half = len(seen) // 2
    assert len(seen) == 2 * 2 * 6 + 2 and seen[:half] == seen[half:]


def test_a_stopped_training_goes_on_to_the_same_run(tmp_path, monkeypatch):
    samples, recipe = Samples(Noisy(lambda: torch.randn(1)), signals(48, seed=1)), replace(SHORT, epochs=4)
    whole, file = trained(samples, recipe), tmp_path / "checkpoint.pt"
    from normbench.training.samples import OnSamples

    epoch, epochs = OnSamples.epoch, []

    def stopping(course):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return epoch(course)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OnSamples, "epoch", stopping)
        trained(samples, recipe, checkpoint=file)
    assert without_seconds(trained(samples, recipe, checkpoint=file)) == without_seconds(whole)
    again = trained(samples, recipe, checkpoint=file)
    assert torch.equal(again.correct, whole.correct), "a finished training is tested, not trained"


def test_every_sample_is_read_once_per_epoch():
    read = []

    class Counting(Noisy):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    samples = Samples(Counting(lambda: 0.0, n=40), signals(20, seed=1))
    trained(samples, replace(SHORT, epochs=1), check=False)
    epoch = read[-40:]
    assert sorted(epoch) == list(range(40)) and epoch != list(range(40))


def test_regression_has_a_score_per_sample_and_less_is_better():
    x = torch.randn(200, 5)
    samples = Samples(TensorDataset(x[:150], x[:150].sum(1)), TensorDataset(x[150:], x[150:].sum(1)), loss="mse")
    net = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    run = train(net, samples, Recipe("BN", epochs=10, batch_size=16, optimizer="adamw", lr=0.01), progress=False)
    assert (run.measure, run.unit) == ("mse", "") and run.last["test_mse"] < 1.5
    assert run.scores.mean().item() == pytest.approx(run.last["test_mse"], rel=1e-5)
    assert run.examples.shape == (50,) and not len(run.correct)


def test_a_metric_of_all_samples_at_once():
    def spread(outputs, targets):
        return (outputs.argmax(dim=1) == targets).float().std()

    run = trained(Samples(signals(), signals(48, seed=1), metric=spread))
    assert run.measure == "spread" and not len(run.scores) and not len(run.correct)
    wanted = train(wave_net(), Samples(signals(), signals(48, seed=1)), SHORT, progress=False)
    assert 0 <= run.last["test_spread"] <= 0.6 and wanted.measure == "accuracy"


def test_what_a_metric_returns_is_put_together():
    outputs, targets = torch.arange(10.0), torch.zeros(10)
    batches = list(zip(outputs.split(4), targets.split(4)))
    for metric, value, examples in (
        (lambda o, t: o - t, 4.5, 10),
        (lambda o, t: o > 6, 30.0, 10),
        (lambda o, t: (o - t).max(), 9.0, 0),
        (lambda o, t: float(o.sum()), 45.0, 0),
    ):
        scored = Scored(metric)
        for batch in batches:
            scored.add(*batch, len(batch[0]))
        scored.end()
        assert scored.value == pytest.approx(value) and len(scored.examples) == examples


def test_a_metric_that_needs_all_samples_may_fail_on_a_few():
    def needs_ten(outputs, targets):
        if len(outputs) < 10:
            raise ValueError("too few")
        return outputs.mean()

    scored = Scored(needs_ten)
    for batch in torch.arange(10.0).split(4):
        scored.add(batch, batch, len(batch))
    scored.end()
    assert scored.value == 4.5


def test_images_of_floats_and_volumes_are_trained_too():
    for shape, layer, norm in (
        ((3, 12, 10), nn.Conv2d, nn.BatchNorm2d),
        ((1, 6, 6, 6), nn.Conv3d, nn.BatchNorm3d),
    ):
        x, y = torch.randn(40, *shape), torch.arange(40) % 2
        net = nn.Sequential(layer(shape[0], 4, 3), norm(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        run = train(net, Samples(TensorDataset(x, y), TensorDataset(x, y)), SHORT, progress=False)
        assert run.correct.shape == (40,)


def test_mixed_precision_learns_and_hands_back_float32(samples):
    recipe = replace(SHORT, epochs=8, amp="bf16")
    run, exact = trained(samples, recipe), trained(samples, replace(recipe, amp=None))
    assert run.last["test_accuracy"] > 80 and run.last["test_loss"] != exact.last["test_loss"]
    assert run.last["test_loss"] == pytest.approx(exact.last["test_loss"], abs=0.1)
    net = wave_net()
    train(net, samples, recipe, progress=False)
    assert {values.dtype for values in net.parameters()} == {torch.float32}


def test_an_arm_that_diverges_fails_alone(samples):
    run = Trainer("samples", lambda recipe, data: wave_net())(replace(SHORT, lr=1e20), samples, progress=False)
    assert run.failure == "diverged" and run.last == {}


# What a training is known by


def test_the_fingerprint_is_that_of_samples_loss_and_metric():
    def changed(data):
        x, y = (values.clone() for values in data.tensors)
        x[7, 0, 3] += 1
        return TensorDataset(x, y)

    first = Samples(signals(), signals(48, seed=1))
    assert first.fingerprint == Samples(signals(), signals(48, seed=1)).fingerprint
    others = [
        replace(first, train=changed(first.train)),
        replace(first, test=changed(first.test)),
        replace(first, loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        replace(first, loss=nn.CrossEntropyLoss(label_smoothing=0.2)),
        replace(first, loss=F.cross_entropy),
        replace(first, metric="loss"),
        replace(first, metric=lambda outputs, targets: outputs.mean()),
        replace(first, metric=lambda outputs, targets: outputs.sum()),
        replace(first, version="2"),
        replace(first, train=Subset(first.train, range(95))),
    ]
    assert len({samples.fingerprint for samples in (first, *others)}) == len(others) + 1


def test_random_changes_do_not_make_the_fingerprint_another():
    prints = {Samples(Noisy(draw), signals()).fingerprint for draw in [np.random.standard_normal] * 2}
    assert len(prints) == 1


def test_a_version_stands_for_samples_that_change():
    one, other = (Samples(signals(seed=seed), signals(), version="1") for seed in (3, 4))
    assert one.fingerprint == other.fingerprint != replace(one, version="2").fingerprint


def test_samples_go_to_another_process(samples):
    again = pickle.loads(pickle.dumps(samples))
    assert again.fingerprint == samples.fingerprint
    assert without_seconds(trained(again)) == without_seconds(trained(samples))


# Parts


def test_what_is_held_out_is_trained_on_no_more(samples):
    part = samples.hold_out(20)
    assert part.sizes == (76, 20) and part.name == "TensorDataset (validation)"
    rows = [{tuple(x.flatten().tolist()) for x, _ in data} for data in (part.train, part.test, samples.train)]
    assert not rows[0] & rows[1] and rows[0] | rows[1] == rows[2]
    with pytest.raises(ValueError, match="96"):
        samples.hold_out(96)


def test_a_validation_set_of_ones_own_is_what_rates_are_chosen_on(samples):
    given = replace(samples, validation=signals(30, seed=2))
    assert given.hold_out(10).sizes == (96, 30) and given.sizes == (96, 48)


def test_a_part_is_a_random_choice(samples):
    few = samples.first(10)
    assert few.sizes == (10, 48) and [y for _, y in few.train] != [y for _, y in samples.train][:10]
    with pytest.raises(ValueError, match="97"):
        samples.first(97)


def test_what_a_network_is_offered(samples):
    assert samples.offers == {"in_channels": 1, "size": (40,), "num_classes": 3}

    class Named(Noisy):
        classes = ("a", "b", "c", "d")

    assert Samples(Named(lambda: 0.0), signals()).offers["num_classes"] == 4
    assert "num_classes" not in Samples(Noisy(lambda: 0.0), signals()).offers
    assert "num_classes" not in replace(samples, loss="mse").offers


# What is refused, in one line


class Words(Dataset):
    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 32

    def __getitem__(self, i):
        return self.make(i)


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1), 0


@pytest.mark.parametrize(
    "part, said",
    (
        (Endless(), "length"),
        ([], "no samples"),
        (torch.utils.data.DataLoader(signals()), "DataLoader"),
        (7, "int"),
    ),
)
def test_parts_that_are_no_samples(part, said):
    with pytest.raises(ValueError, match=said) as raised:
        Samples(part, signals())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "make, said",
    (
        (lambda i: torch.zeros(3), "(input, target)"),
        (lambda i: (torch.zeros(3), 0, "a name"), "(input, target)"),
        (lambda i: {"x": torch.zeros(3), "y": 0}, "dict"),
        (lambda i: ("text", 0), "(input, target)"),
        (lambda i: (torch.zeros(3 + i), 0), "batches"),
        (lambda i: 1 / 0, "division"),
    ),
    ids=("no target", "three parts", "dict", "text", "sizes", "raises"),
)
def test_samples_that_make_no_batch(make, said):
    samples = Samples(Words(make), Words(make))
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        train(nn.Linear(3, 2), samples, SHORT, progress=False)
    assert "\n" not in str(raised.value)


def relabelled(change):
    x, y = signals().tensors
    return TensorDataset(x, change(y))


@pytest.mark.parametrize(
    "samples, net, said",
    (
        (Samples(relabelled(lambda y: y + 1), signals()), wave_net(), "from 1 to 3.*subtract 1"),
        (Samples(relabelled(lambda y: y - 1), signals()), wave_net(), "from -1 to 1"),
        (Samples(relabelled(lambda y: y + 5), signals()), wave_net(), "from 5 to 7"),
        (Samples(signals(), signals()), nn.Sequential(wave_net(), nn.Softmax(dim=1)), "softmax"),
        (Samples(signals(), signals()), nn.Sequential(wave_net(), nn.Flatten(0)), "logits"),
        (Samples(signals(), signals(), loss="mse"), wave_net(), r"outputs \(2, 3\) and targets \(2,\)"),
        (Samples(signals(), signals(), loss=lambda o, t: o.square()), wave_net(), "one number.*mean"),
        (Samples(signals(), signals(), loss=lambda o, t: 0.5), wave_net(), "one number"),
        (Samples(signals(), signals(), loss=nn.CosineEmbeddingLoss()), wave_net(), "CosineEmbeddingLoss fails"),
        (Samples(signals(), signals(), metric=lambda o: o), wave_net(), "metric score fails: TypeError"),
        (Samples(signals(), signals()), nn.Conv2d(1, 2, 3), r"fails in testing on samples \(2, 1, 40\)"),
        (Samples(signals(), signals()), nn.Sequential(nn.Flatten(), nn.Linear(40, 3).requires_grad_(False)), "param"),
    ),
)
def test_networks_losses_and_labels_that_do_not_fit(samples, net, said):
    with pytest.raises(ValueError, match=said) as raised:
        check_network(net, samples, 16)
    assert "\n" not in str(raised.value)


def test_options_of_images_are_refused(samples):
    for change in ({"mirrored": True}, {"augment": "affine"}, {"batch_size": 97}):
        with pytest.raises(ValueError, match=str(next(iter(change)))):
            train(wave_net(), samples, replace(SHORT, **change), progress=False)


def test_a_check_leaves_the_network_as_it_was(samples):
    net = wave_net()
    before = copy.deepcopy(net.state_dict())
    check_network(net, samples, 16)
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())


def test_the_goal_is_that_of_loss_and_metric(samples):
    assert samples.goal == Goal() and replace(samples, loss="mse").goal.name == "mse"
