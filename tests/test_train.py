import copy
import dataclasses
import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import linear, without_seconds
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from model import NORMALIZATIONS, Net
from normbench import augment
from normbench import step as step_module
from normbench import train as module
from normbench.config import Config
from normbench.data import Dataset, load
from normbench.penalty import l1_norm
from normbench.step import Step
from normbench.train import (
    build,
    network_fingerprint,
    predict,
    scores,
    train,
    train_epoch,
    train_or_diverge,
    with_log_probabilities,
)


@pytest.fixture(scope="module")
def few_photographs() -> Dataset:
    """Made-up colour images of 32x32 pixels, whose class is the channel that is bright."""
    labels = torch.arange(200) % 3
    images = torch.randint(0, 100, (200, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images[torch.arange(200), labels] += 100
    images = images.to(torch.uint8)
    return Dataset("made-up", ("red", "green", "blue"), images[:150], labels[:150], images[150:], labels[150:])


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_learns_colours(nm, few_photographs):
    run = train(Config(nm, gp=4, epochs=8, batch_size=25, lr=0.02), few_photographs, progress=False)
    assert run.history[-1]["test_accuracy"] > 90


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_learns_the_digits(nm, digits):
    lr = 0.02 if nm == "none" else 0.1  # a network without normalization bears less
    run = train(Config(nm, gp=4, epochs=10, batch_size=32, lr=lr), digits, progress=False)
    assert run.history[-1]["test_accuracy"] > 90
    assert run.history[-1]["train_loss"] < 0.3 < run.history[0]["train_loss"]


def test_a_run_agrees_with_itself(few_digits):
    run = train(Config("GN", epochs=3), few_digits, progress=False)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert torch.equal(run.correct, run.predictions == few_digits.y_test)
    assert run.history[-1]["test_accuracy"] == pytest.approx(100 * run.correct.float().mean().item())
    assert run.errors == int((~run.correct).sum())
    of_the_truth = run.probabilities[torch.arange(50), few_digits.y_test]
    assert run.history[-1]["test_loss"] == pytest.approx(-of_the_truth.log().mean().item(), rel=1e-4)
    assert run.parameters == sum(p.numel() for p in Net("GN").parameters())
    assert sum(row["seconds"] for row in run.history) <= run.seconds


@pytest.mark.parametrize("nm", ("BN", "LN"))
def test_same_seed_same_history_bit_for_bit(nm, few_digits):
    config = Config(nm, l1=1e-4, epochs=3, seed=3)
    first, second = (train(config, few_digits, progress=False) for _ in range(2))
    assert without_seconds(first) == without_seconds(second)
    assert torch.equal(first.probabilities, second.probabilities)


def test_another_seed_another_history(few_digits):
    first, second = (train(Config(seed=seed, epochs=1), few_digits, progress=False) for seed in (1, 2))
    assert without_seconds(first) != without_seconds(second)


def test_a_network_of_one_s_own_returns_logits_or_log_probabilities(few_digits):
    config = Config("BN", l1=1e-4, epochs=2, batch_size=100)
    logits, log_probabilities = linear(), linear(10, nn.LogSoftmax(dim=1))
    first, second = (train(config, few_digits, progress=False, net=net) for net in (logits, log_probabilities))
    assert first.parameters == second.parameters == 7850
    assert first.last["train_loss"] > 0
    torch.testing.assert_close(first.probabilities.sum(dim=1), torch.ones(50))
    torch.testing.assert_close(first.probabilities, second.probabilities, rtol=1e-4, atol=1e-6)
    expected = F.nll_loss(first.probabilities.log(), few_digits.y_test).item()
    assert first.last["test_loss"] == pytest.approx(expected, rel=1e-5)
    x = few_digits.standardize(few_digits.x_test)
    torch.testing.assert_close(predict(logits, x).exp(), first.probabilities)


def test_net_itself_is_not_wrapped():
    assert with_log_probabilities(net := Net()) is net


class TupleInTraining(nn.Sequential):
    """As networks with auxiliary classifiers do, such as Inception."""

    def forward(self, x):
        y = super().forward(x)
        return (y, y) if self.training else y


@pytest.mark.parametrize(
    "net, returned",
    (
        (linear(11), r"testing it returned \(2, 11\)"),
        (linear(10, nn.Unflatten(1, (1, 10))), r"testing it returned \(2, 1, 10\)"),
        (linear(10, nn.Flatten(0)), r"testing it returned \(20,\)"),
        (
            linear(10, nn.Unflatten(1, (1, 10)), nn.AdaptiveMaxPool1d(1, return_indices=True)),
            "testing it returned tuple",
        ),
        (TupleInTraining(linear()), "training it returned tuple"),
    ),
)
def test_a_network_that_returns_something_else(net, returned, few_digits, monkeypatch):
    monkeypatch.setattr(module, "train_epoch", None)
    with pytest.raises(ValueError, match=rf"must return logits or log-probabilities.*\(2, 10\).*in {returned}$"):
        train(Config(epochs=1), few_digits, progress=False, net=net)


@pytest.mark.parametrize(
    "net, message",
    (
        (linear(10, nn.Softmax(dim=1)), "returns probabilities; leave out its softmax"),
        (linear().requires_grad_(False), "no parameters to train"),
        (nn.Sequential(nn.Flatten(), nn.LogSoftmax(dim=1)), "no parameters to train"),
        (nn.Conv2d(3, 10, 28), r"fails in testing on images \(2, 1, 28, 28\): .*to have 3 channels"),
        (linear().double(), r"fails in testing on images \(2, 1, 28, 28\): .*same dtype"),
    ),
)
def test_a_network_that_cannot_be_trained(net, message, few_digits, monkeypatch):
    monkeypatch.setattr(module, "train_epoch", None)
    with pytest.raises(ValueError, match=message):
        train(Config(epochs=1), few_digits, progress=False, net=net)


def test_batch_norm_without_maps_cannot_have_a_batch_of_one_image(few_digits, monkeypatch):
    config, net = Config(epochs=1, batch_size=23, images=300), linear(10, nn.BatchNorm1d(10))
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match=r"fails in training.*another batch_size than 23"),
    ):
        patch.setattr(module, "train_epoch", None)
        train(config, few_digits, progress=False, net=net)
    train(dataclasses.replace(config, batch_size=25), few_digits, progress=False, net=net)


def test_the_check_of_a_network_changes_nothing(few_digits, monkeypatch):
    net, checked = nn.Sequential(linear(), nn.BatchNorm1d(10), nn.Dropout(0.5)).eval(), []
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    monkeypatch.setattr(module, "train_epoch", lambda *_: checked.append(copy.deepcopy(net.state_dict())) or {}[0])
    with pytest.raises(KeyError):
        train(Config(epochs=1), few_digits, progress=False, net=net)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(values, checked[0][name]) for name, values in before.items())


def test_layers_that_are_made_for_the_first_images(few_digits):
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    assert train(Config(epochs=1), few_digits, progress=False, net=net).parameters == 7850


def test_a_network_that_cannot_be_copied_is_trained(few_digits):
    net = linear()
    net.lock = threading.Lock()
    assert len(train(Config(epochs=1), few_digits, progress=False, net=net).fingerprint["network"]) == 16


def test_a_run_carries_the_fingerprints_of_data_and_network(few_digits):
    config = Config("GN", epochs=1, images=200)
    run = train(config, few_digits, progress=False)
    network = network_fingerprint(build(config, few_digits), (1, 28, 28))
    assert run.fingerprint == {"data": few_digits.fingerprint, "network": network, "trainer": "normbench.train.train"}
    tried = train_or_diverge(config, few_digits, progress=False)
    diverged = train_or_diverge(Config("GN", lr=1e20, epochs=1, images=200), few_digits, progress=False)
    assert diverged.errors == 50 and diverged.fingerprint == tried.fingerprint
    assert tried.fingerprint == run.fingerprint | {"trainer": "normbench.train.train_or_diverge"}


def test_width_multiplies_the_channels(few_digits):
    convolutions = [
        [m for m in build(Config(width=width), few_digits).modules() if isinstance(m, nn.Conv2d)] for width in (1, 3)
    ]
    assert all(3 * one.out_channels == three.out_channels for one, three in zip(*convolutions, strict=True))


def test_the_caller_s_random_numbers_are_left_alone(few_digits):
    state = torch.random.get_rng_state()
    train(Config(epochs=1), few_digits, progress=False)
    assert torch.equal(state, torch.random.get_rng_state())


def test_same_first_weights_for_all_arms(few_digits):
    first = [build(Config(nm, seed=4), few_digits).classifier.weight for nm in NORMALIZATIONS]
    assert all(torch.equal(first[0], other) for other in first)


@pytest.mark.parametrize("batch_size", (64, 300))
def test_every_training_image_once_an_epoch(few_digits, monkeypatch, batch_size):
    """Each image carries its number as two pixel values; `warp` sees the images that are trained on."""
    numbered = torch.zeros_like(few_digits.x_train)
    numbers = torch.arange(len(numbered))
    numbered[:, 0, 0, 0], numbered[:, 0, 0, 1] = numbers // 256, numbers % 256
    seen = []

    def spy(images, matrices):
        seen.append((256 * images[:, 0, 0, 0] + images[:, 0, 0, 1]).long())
        return images

    monkeypatch.setattr(step_module, "warp", spy)
    data = dataclasses.replace(few_digits, x_train=numbered)
    train(Config(epochs=2, batch_size=batch_size), data, progress=False)
    epochs = torch.cat(seen).view(2, -1)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, numbers)
    assert not torch.equal(epochs[0], epochs[1]), "the order is drawn anew"


def test_the_penalty_is_reported_apart(few_digits):
    """One batch, so that the one step's penalty is that of the first weights."""
    config = Config(l1=1e-3, epochs=1, batch_size=300)
    plain, penalized = (
        train(dataclasses.replace(config, l1=l1), few_digits, progress=False).history[0] for l1 in (0.0, 1e-3)
    )
    assert plain["penalty"] == 0
    assert penalized["penalty"] == pytest.approx(
        1e-3 * l1_norm(list(build(config, few_digits).parameters())).item(), rel=1e-5
    )
    assert penalized["train_loss"] == plain["train_loss"], "the data term knows nothing of the penalty"


def test_the_penalty_shrinks_the_weights(digits):
    penalties = [row["penalty"] for row in train(Config(l1=1e-2, epochs=5), digits, progress=False).history]
    assert penalties[-1] < 0.8 * penalties[0]


def test_the_last_epoch_is_predicted_once(few_digits, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "predict", lambda net, x: calls.append(len(x)) or predict(net, x))
    train(Config(epochs=3, batch_size=100), few_digits, progress=False)
    assert calls == [50] * 3


def test_predict_depends_on_each_image_alone(few_digits):
    net, x = build(Config("BN"), few_digits), few_digits.standardize(few_digits.x_test)
    torch.testing.assert_close(predict(net, x), predict(net, x, batch_size=7))


def test_a_loss_that_is_not_finite(few_digits):
    with pytest.raises(FloatingPointError, match=r"none: the loss is not finite in epoch 1; try a lower.*1e\+20"):
        train(Config("none", lr=1e20, epochs=2, batch_size=32), few_digits, progress=False)


def test_a_batch_above_the_data_set(few_digits):
    with pytest.raises(ValueError, match="batch_size 301 is above the 300 training images of digits"):
        train(Config(batch_size=301), few_digits)


def test_images_too_small_for_the_network(few_digits):
    small = {part: getattr(few_digits, part)[..., 10:17, 10:17] for part in ("x_train", "x_test")}
    with pytest.raises(ValueError, match=r"images of 7x7 pixels are too small"):
        train(Config(), dataclasses.replace(few_digits, **small))


def test_groups_that_do_not_divide_every_width(few_digits):
    with pytest.raises(ValueError, match=r"3 groups.*8 channels"):
        train(Config("GN", gp=3), few_digits)


@pytest.mark.mnist
@pytest.mark.parametrize("config", (Config("BN", l1=1e-4, epochs=1), Config("GN", epochs=1), Config("LN", epochs=1)))
def test_one_epoch_of_mnist(config, mnist):
    assert train(config, mnist, progress=False).history[-1]["test_accuracy"] > 96


def test_mistakes_are_the_most_confident_ones(few_digits):
    run = train(Config("GN", epochs=2), few_digits, progress=False)
    confidence, predicted = run.probabilities.max(dim=1)
    wrong = [i for i in range(50) if predicted[i] != few_digits.y_test[i]]
    expected = sorted(wrong, key=lambda i: -confidence[i])[:10]
    assert [i for i, _, _ in run.mistakes] == expected
    assert [p for _, p, _ in run.mistakes] == predicted[expected].tolist()
    assert [c for _, _, c in run.mistakes] == confidence[expected].tolist()


def test_of_equally_sure_mistakes_the_first_come_first():
    probabilities = torch.eye(3).repeat(40, 1)
    labels = torch.arange(120) % 3
    labels[20:] = (labels[20:] + 1) % 3
    assert [image for image, _, _ in module._mistakes(probabilities, labels)] == list(range(20, 30))


@pytest.mark.cifar10
def test_one_epoch_of_cifar10():
    data = load("cifar10")
    few = dataclasses.replace(data, x_train=data.x_train[:20_000], y_train=data.y_train[:20_000])
    assert train(Config("BN", epochs=1), few, progress=False).history[-1]["test_accuracy"] > 40


def fake_data(shape):
    """A data set without numbers whose tensors say that they are on a GPU; made under a FakeTensorMode."""
    data = object.__new__(Dataset)  # whose checks need numbers
    tensors = {
        f"{kind}_{part}": torch.empty(n, *size, dtype=dtype, device="cuda")
        for part, n in (("train", 64), ("test", 20))
        for kind, size, dtype in (("x", shape, torch.uint8), ("y", (), torch.int64))
    }
    vars(data).update(name="fake", classes=tuple("0123456789"), **tensors)
    return data


def train_on_a_fake_gpu(config, shape, monkeypatch):
    """An epoch and its tests with tensors of shapes and devices but no numbers, which needs no GPU.

    PyTorch cannot do two steps so: backward, which computes where forward has computed, and the fused optimizer.
    """
    monkeypatch.setattr(augment, "_pixel_coordinates", augment._pixel_coordinates.__wrapped__)  # keeps no fake ones
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    monkeypatch.setattr(step_module, "Recorded", lambda function: function)
    with FakeTensorMode(shape_env=ShapeEnv()):
        data = fake_data(shape)
        with torch.device("cuda"):
            net = build(config, data)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        optimizers = SimpleNamespace(next_rate=lambda: 0.1, step=lambda rate: optimizer.step())
        row = train_epoch(config, data, Step(config, data, net, optimizers), torch.Generator().manual_seed(0))
        log_probabilities = predict(net, data.standardize(data.x_test))
        assert log_probabilities.device.type == "cuda" and log_probabilities.shape == (20, 10)
        row |= scores("test", log_probabilities, data.y_test)
    assert row.keys() >= {"train_loss", "penalty", "l1_norm", "zeros", "test_accuracy"}


@pytest.mark.parametrize("shape", ((1, 28, 28), (3, 32, 32)))
@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_everything_is_on_the_device_of_the_data(nm, shape, monkeypatch):
    train_on_a_fake_gpu(Config(nm, l1=1e-4, l2=1e-4, proximal=nm == "GN", batch_size=30), shape, monkeypatch)


@pytest.mark.parametrize(
    "function, argument", (("warp", 1), ("warp", 0)), ids=("matrices left on the CPU", "images left on the CPU")
)
def test_a_tensor_left_on_the_cpu_is_noticed(function, argument, monkeypatch):
    original = getattr(step_module, function)

    def mistaken(*arguments):
        return original(*(value.cpu() if i == argument else value for i, value in enumerate(arguments)))

    monkeypatch.setattr(step_module, function, mistaken)
    with pytest.raises(RuntimeError, match="device"):
        train_on_a_fake_gpu(Config("GN"), (1, 28, 28), monkeypatch)
