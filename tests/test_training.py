import copy
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from made_up import TRAINER, build, linear, small, without_seconds
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from normbench.data import Dataset, augmenting
from normbench.layers import NORMALIZATIONS
from normbench.training import Recipe, Trainer, check_network, loop, network_fingerprint, predict, scores, train
from normbench.training import step as step_module
from normbench.training.penalty import Penalty, l1_norm
from normbench.training.step import Step
from normbench.training.testing import worst_mistakes

NORMS = [*NORMALIZATIONS, "GN:4", "BN:8", "WS+GN"]


@pytest.fixture(scope="module")
def few_photographs() -> Dataset:
    """Made-up colour images of 32x32 pixels, whose class is the channel that is bright."""
    labels = torch.arange(200) % 3
    images = torch.randint(0, 100, (200, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images[torch.arange(200), labels] += 100
    images = images.to(torch.uint8)
    return Dataset("made-up", ("red", "green", "blue"), images[:150], labels[:150], images[150:], labels[150:])


def test_a_run_agrees_with_itself(few_digits):
    run = TRAINER(Recipe("GN", epochs=3), few_digits, progress=False)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert torch.equal(run.correct, run.probabilities.argmax(dim=1) == few_digits.y_test)
    assert run.history[-1]["test_accuracy"] == pytest.approx(100 * run.correct.float().mean().item())
    assert run.errors == int((~run.correct).sum())
    of_the_truth = run.probabilities[torch.arange(50), few_digits.y_test]
    assert run.history[-1]["test_loss"] == pytest.approx(-of_the_truth.log().mean().item(), rel=1e-4)
    assert run.parameters == sum(p.numel() for p in small().parameters())
    assert sum(row["seconds"] for row in run.history) <= run.seconds


@pytest.mark.parametrize("nm", ("BN", "LN"))
def test_same_seed_same_history_bit_for_bit(nm, few_digits):
    recipe = Recipe(nm, l1=1e-4, epochs=3, seed=3)
    first, second = (TRAINER(recipe, few_digits, progress=False) for _ in range(2))
    assert without_seconds(first) == without_seconds(second)
    assert torch.equal(first.probabilities, second.probabilities)


def test_images_are_mirrored_in_turn_over_the_epochs(few_photographs, monkeypatch):
    seen = {}

    def noted(matrices, images, epoch, seed):
        changed = augmenting.mirrored_in_turn(matrices, images, epoch, seed)
        seen[epoch] = changed[images.argsort(), 0, 0]
        return changed

    monkeypatch.setattr(loop, "mirrored_in_turn", noted)
    TRAINER(Recipe("LN", epochs=3, augment="crop-turn"), few_photographs, progress=False)
    assert list(seen) == [0, 1, 2]
    assert torch.equal(seen[0], -seen[1]) and torch.equal(seen[0], seen[2]) and len(set(seen[0].tolist())) == 2


def test_another_seed_another_history(few_digits):
    first, second = (TRAINER(Recipe(seed=seed, epochs=1), few_digits, progress=False) for seed in (1, 2))
    assert without_seconds(first) != without_seconds(second)


def test_a_network_of_one_s_own_returns_logits_or_log_probabilities(few_digits):
    recipe = Recipe("BN", l1=1e-4, epochs=2, batch_size=100)
    logits, log_probabilities = linear(), linear(10, nn.LogSoftmax(dim=1))
    first, second = (train(net, few_digits, recipe, progress=False) for net in (logits, log_probabilities))
    assert first.parameters == second.parameters == 7850
    assert first.last["train_loss"] > 0
    torch.testing.assert_close(first.probabilities.sum(dim=1), torch.ones(50))
    torch.testing.assert_close(first.probabilities, second.probabilities, rtol=1e-4, atol=1e-6)
    expected = F.nll_loss(first.probabilities.log(), few_digits.y_test).item()
    assert first.last["test_loss"] == pytest.approx(expected, rel=1e-5)
    x = few_digits.standardize(few_digits.x_test)
    torch.testing.assert_close(predict(logits, x).exp(), first.probabilities)


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
    monkeypatch.setattr(loop, "train_epoch", None)
    with pytest.raises(ValueError, match=rf"must return logits or log-probabilities.*\(2, 10\).*in {returned}$"):
        train(net, few_digits, Recipe(epochs=1), progress=False)


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
    monkeypatch.setattr(loop, "train_epoch", None)
    with pytest.raises(ValueError, match=message):
        train(net, few_digits, Recipe(epochs=1), progress=False)


def test_batch_norm_without_maps_cannot_have_a_batch_of_one_image(few_digits, monkeypatch):
    recipe, net = Recipe(epochs=1, batch_size=23, images=300), linear(10, nn.BatchNorm1d(10))
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match=r"fails in training.*another batch_size than 23"),
    ):
        patch.setattr(loop, "train_epoch", None)
        train(net, few_digits, recipe, progress=False)
    train(net, few_digits, replace(recipe, batch_size=25), progress=False)


def test_the_check_of_a_network_changes_nothing(few_digits, monkeypatch):
    net, checked = nn.Sequential(linear(), nn.BatchNorm1d(10), nn.Dropout(0.5)).eval(), []
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    monkeypatch.setattr(loop, "train_epoch", lambda *_: checked.append(copy.deepcopy(net.state_dict())) or {}[0])
    with pytest.raises(KeyError):
        train(net, few_digits, Recipe(epochs=1), progress=False)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(values, checked[0][name]) for name, values in before.items())


def test_layers_that_are_made_for_the_first_images(few_digits):
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    assert train(net, few_digits, Recipe(epochs=1), progress=False).parameters == 7850


def test_a_network_that_cannot_be_copied_is_trained(few_digits):
    net = linear()
    net.lock = threading.Lock()
    assert len(train(net, few_digits, Recipe(epochs=1), progress=False).fingerprint["network"]) == 16


def test_the_caller_s_random_numbers_are_left_alone(few_digits):
    state = torch.random.get_rng_state()
    TRAINER(Recipe(epochs=1), few_digits, progress=False)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("batch_size", (64, 300))
def test_every_training_image_once_an_epoch(few_digits, monkeypatch, batch_size):
    """Each image carries its number as two pixel values; `warp` sees the images that are trained on."""
    numbered = torch.zeros_like(few_digits.x_train)
    numbers = torch.arange(len(numbered))
    numbered[:, 0, 0, 0], numbered[:, 0, 0, 1] = numbers // 256, numbers % 256
    seen = []

    def spy(images, matrices, grey):
        seen.append((256 * images[:, 0, 0, 0] + images[:, 0, 0, 1]).long())
        return images

    monkeypatch.setattr(step_module, "warp", spy)
    data = replace(few_digits, x_train=numbered)
    TRAINER(Recipe(epochs=2, batch_size=batch_size), data, progress=False)
    epochs = torch.cat(seen).view(2, -1)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, numbers)
    assert not torch.equal(epochs[0], epochs[1]), "the order is drawn anew"


def test_the_penalty_shrinks_the_weights(digits):
    penalties = [row["penalty"] for row in TRAINER(Recipe(l1=1e-2, epochs=5), digits, progress=False).history]
    assert penalties[-1] < 0.8 * penalties[0]


def test_a_batch_above_the_data_set(few_digits):
    with pytest.raises(ValueError, match=r"301.*300 training images of digits"):
        train(small(), few_digits, Recipe(batch_size=301))


def test_mistakes_are_the_most_confident_ones(few_digits):
    run = TRAINER(Recipe("GN", epochs=2), few_digits, progress=False)
    confidence, predicted = run.probabilities.max(dim=1)
    wrong = [i for i in range(50) if predicted[i] != few_digits.y_test[i]]
    expected = sorted(wrong, key=lambda i: -confidence[i])[:10]
    assert [i for i, _, _ in run.mistakes] == expected
    assert [p for _, p, _ in run.mistakes] == predicted[expected].tolist()
    assert [c for _, _, c in run.mistakes] == confidence[expected].tolist()


# Not by instance norm, which takes the brightness of each channel out of this network.
@pytest.mark.parametrize("norm", ("BN", "GN:2", "LN", "LN_CHW", "LN_C", "none", "BN:5", "WS+GN:2"))
def test_learns_colours(norm, few_photographs):
    run = TRAINER(Recipe(norm, epochs=8, batch_size=25, lr=0.05), few_photographs, progress=False)
    assert run.last["test_accuracy"] > 90


@pytest.mark.parametrize("norm", ("BN", "GN", "none"))
def test_learns_the_digits(norm, digits):
    lr = 0.02 if norm == "none" else 0.1  # a network without normalization bears less
    run = TRAINER(Recipe(norm, epochs=10, batch_size=32, lr=lr), digits, progress=False)
    assert run.last["test_accuracy"] > 80
    assert run.last["train_loss"] < 0.8 < run.history[0]["train_loss"]


def test_a_run_carries_what_it_was_made_with(few_digits):
    recipe = Recipe("GN", epochs=1, images=200)
    run = TRAINER(recipe, few_digits, progress=False)
    network = network_fingerprint(build(recipe, few_digits), (1, 28, 28))
    assert run.fingerprint == {"data": few_digits.fingerprint, "network": network, "trainer": "train"}
    assert run.versions["torch"] == torch.__version__ and run.recipe == recipe and not run.failure


def test_a_trainer_s_name_is_what_runs_remember(few_digits):
    run = Trainer("another", build)(Recipe(epochs=1), few_digits, progress=False)
    assert run.fingerprint["trainer"] == "another"


@pytest.mark.parametrize("error, failure", ((FloatingPointError("nan"), "diverged"), (MemoryError(), "out of memory")))
def test_a_failed_training_is_a_run_without_a_result(error, failure, few_digits):
    def failing(net, data, recipe, **_):
        raise error

    run = Trainer("train", build, train=failing)(Recipe(epochs=1), few_digits, progress=False)
    assert (run.failure, run.history, run.last, run.errors) == (failure, (), {}, 50)
    assert run.fingerprint == TRAINER(Recipe(epochs=1), few_digits, progress=False).fingerprint


def test_an_error_of_another_kind_is_no_failed_training(few_digits):
    def failing(net, data, recipe, **_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Trainer("train", build, train=failing)(Recipe(epochs=1), few_digits, progress=False)


def test_a_loss_that_is_not_finite(few_digits):
    recipe = Recipe("none", lr=1e20, epochs=2, batch_size=32)
    with pytest.raises(FloatingPointError, match=r"none.*epoch 1.*lower.*1e\+20"):
        train(build(recipe, few_digits), few_digits, recipe, progress=False)
    assert TRAINER(recipe, few_digits, progress=False).failure == "diverged"


def test_the_penalty_is_reported_apart(few_digits):
    """One batch, so that the one step's penalty is that of the initial weights."""
    recipe = Recipe(l1=1e-3, epochs=1, batch_size=300)
    plain, penalized = (TRAINER(replace(recipe, l1=l1), few_digits, progress=False).history[0] for l1 in (0.0, 1e-3))
    assert plain["penalty"] == 0
    expected = 1e-3 * l1_norm(list(build(recipe, few_digits).parameters())).item()
    assert penalized["penalty"] == pytest.approx(expected, rel=1e-5)
    assert penalized["train_loss"] == plain["train_loss"], "the data term knows nothing of the penalty"


def test_the_last_epoch_is_predicted_once(few_digits, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "predict", lambda net, x, mirrored: calls.append(len(x)) or predict(net, x, mirrored))
    TRAINER(Recipe(epochs=3, batch_size=100), few_digits, progress=False)
    assert calls == [50] * 3


def test_predict_depends_on_each_image_alone(few_digits):
    net, x = small(), few_digits.standardize(few_digits.x_train)
    torch.testing.assert_close(predict(net, x), torch.cat([predict(net, batch) for batch in x.split(7)]))


def test_mirrored_testing_averages_an_image_and_its_mirror_image(few_digits):
    net, x = small().eval(), few_digits.standardize(few_digits.x_test)
    probabilities = (predict(net, x).exp() + predict(net, x.flip(-1)).exp()) / 2
    assert not torch.allclose(predict(net, x), predict(net, x.flip(-1)), atol=1e-3)
    torch.testing.assert_close(predict(net, x, mirrored=True).exp(), probabilities)
    torch.testing.assert_close(predict(net, x, mirrored=True), predict(net, x.flip(-1), mirrored=True))
    runs = [TRAINER(Recipe(epochs=1, mirrored=way), few_digits, progress=False) for way in (False, True)]
    assert runs[0].last["train_loss"] == runs[1].last["train_loss"], "training shows each image once"
    assert runs[0].last["test_loss"] != runs[1].last["test_loss"]


def test_of_equally_sure_mistakes_the_first_come_first():
    probabilities = torch.eye(3).repeat(40, 1)
    labels = torch.arange(120) % 3
    labels[20:] = (labels[20:] + 1) % 3
    assert [image for image, _, _ in worst_mistakes(probabilities, labels)] == list(range(20, 30))


@pytest.mark.parametrize("error", (TypeError("no"), AttributeError("no"), AssertionError(), KeyError("no")))
def test_whatever_a_network_raises_is_a_reason(error, few_digits):
    class Raises(nn.Linear):
        def forward(self, x):
            raise error

    with pytest.raises(ValueError, match=r"fails in testing on images \(2, 1, 28, 28\)") as raised:
        check_network(Raises(2, 2), few_digits, 100)
    assert raised.value.__cause__ is error


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


def train_on_a_fake_gpu(recipe, shape, monkeypatch):
    """An epoch and its tests with tensors of shapes and devices but no numbers, which needs no GPU.

    PyTorch cannot do two steps so: backward, which computes where forward has computed, and the fused optimizer.
    """
    augmenting._pixel_coordinates.cache_clear()
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    monkeypatch.setattr(step_module, "Recorded", lambda function: function)
    net = build(recipe, SimpleNamespace(classes=range(10), image_shape=shape))
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True) as mode:
        data = fake_data(shape)
        for module in net.modules():
            for store in (module._parameters, module._buffers):
                for name, values in store.items():
                    if values is not None:
                        fake = mode.from_tensor(values.detach()).to("cuda")
                        store[name] = nn.Parameter(fake) if isinstance(values, nn.Parameter) else fake
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        optimizers = SimpleNamespace(
            next_rate=lambda: 0.1, step=lambda rate: optimizer.step(), momentum=0.9, recordable=True
        )
        step = Step(data, net, optimizers, Penalty(net, recipe.l1, recipe.l2, recipe.proximal), recorded=True)
        row = loop.train_epoch(recipe, data, step, torch.Generator().manual_seed(0))
        log_probabilities = predict(net, data.standardize(data.x_test), recipe.mirrored)
        assert log_probabilities.device.type == "cuda" and log_probabilities.shape == (20, 10)
        row |= scores("test", log_probabilities, data.y_test)
    augmenting._pixel_coordinates.cache_clear()
    assert row.keys() >= {"train_loss", "penalty", "l1_norm", "zeros", "test_accuracy"}


@pytest.mark.parametrize("shape", ((1, 28, 28), (3, 32, 32)))
@pytest.mark.parametrize("norm", NORMS)
def test_everything_is_on_the_device_of_the_data(norm, shape, monkeypatch):
    recipe = Recipe(norm, l1=1e-4, l2=1e-4, proximal=norm == "GN", batch_size=30, mirrored=norm == "LN")
    train_on_a_fake_gpu(recipe, shape, monkeypatch)


@pytest.mark.parametrize("left", (0, 1), ids=("images left on the CPU", "matrices left on the CPU"))
def test_a_tensor_left_on_the_cpu_is_noticed(left, monkeypatch):
    original = step_module.warp

    def mistaken(*arguments, grey):
        return original(*(value.cpu() if i == left else value for i, value in enumerate(arguments)), grey=grey)

    monkeypatch.setattr(step_module, "warp", mistaken)
    with pytest.raises(RuntimeError, match="device"):
        train_on_a_fake_gpu(Recipe("GN"), (1, 28, 28), monkeypatch)
