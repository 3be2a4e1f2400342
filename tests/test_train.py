import dataclasses

import pytest
import torch

from model import NORMALIZATIONS, Net
from normbench import train as module
from normbench.data import Dataset, load
from normbench.penalty import l1_norm
from normbench.train import Config, build, predict, train


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


def without_seconds(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]


@pytest.mark.parametrize("nm", NORMALIZATIONS)
def test_learns_the_digits(nm, digits):
    lr = 0.02 if nm == "none" else 0.1  # a network without normalization bears less
    run = train(Config(nm, gp=4, epochs=20, batch_size=32, lr=lr), digits, progress=False)
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


def test_a_network_of_one_s_own(few_digits):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10), torch.nn.LogSoftmax(dim=1))
    run = train(Config(epochs=1), few_digits, progress=False, net=net)
    assert run.parameters == 7850 and run.history[0]["train_loss"] > 0


def test_width_multiplies_the_channels(few_digits):
    convolutions = [
        [m for m in build(Config(width=width), few_digits).modules() if isinstance(m, torch.nn.Conv2d)]
        for width in (1, 3)
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

    monkeypatch.setattr(module, "warp", spy)
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


@pytest.mark.parametrize(
    "values, error, message",
    (
        (dict(nm="batch"), ValueError, "unknown normalization 'batch'"),
        (dict(nm="GN", gp=0), ValueError, "gp must be at least 1, got 0"),
        (dict(epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (dict(width=0), ValueError, "width must be at least 1, got 0"),
        (dict(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (dict(l1=-1e-4), ValueError, "l1 must be at least 0, got -0.0001"),
        (dict(weight_decay=-1), ValueError, "weight_decay must be at least 0, got -1"),
        (dict(lr=0), ValueError, "lr must be above 0, got 0"),
        (dict(lr=float("nan")), ValueError, "lr must be above 0, got nan"),
        (dict(l1=float("inf")), ValueError, "l1 must be finite, got inf"),
        (dict(seed=-1), ValueError, "seed must be at least 0, got -1"),
        (dict(epochs="ten"), TypeError, "epochs must be of type int, got 'ten'"),
        (dict(epochs=2.5), TypeError, r"epochs must be of type int, got 2\.5"),
        (dict(nm=3), TypeError, "nm must be of type str, got 3"),
        (dict(proximal=1), TypeError, "proximal must be of type bool, got 1"),
        (dict(epochs=True), TypeError, "epochs must be of type int, got True"),
        (dict(l2=-1), ValueError, "l2 must be at least 0, got -1"),
        (dict(penalized="bias"), ValueError, "penalized must be one of all, conv, gamma, got 'bias'"),
        (dict(augment="flip"), ValueError, "augment must be one of auto, affine, crop-flip, none, got 'flip'"),
        (dict(nm="none", penalized="gamma"), ValueError, "no gamma to penalize; choose all or conv"),
    ),
)
def test_bad_configs(values, error, message):
    with pytest.raises(error, match=message):
        Config(**values)


def test_groups_that_do_not_divide_every_width(few_digits):
    with pytest.raises(ValueError, match=r"3 groups.*8 channels"):
        train(Config("GN", gp=3), few_digits)


@pytest.mark.parametrize(
    "config, label",
    (
        (Config("BN", l1=1e-4), "BN + L1"),
        (Config("GN"), "GN"),
        (Config("GN", gp=4, l1=1e-4, l2=1e-4), "GN (4 groups) + L1 + L2"),
        (Config("LN", gp=4, l2=1e-4), "LN + L2"),
        (Config("IN", l1=1e-3, proximal=True), "IN + proximal L1 0.001"),
        (Config("BN", l1=1e-4, penalized="gamma"), "BN + L1 on gamma"),
    ),
)
def test_label(config, label):
    assert config.label == label


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


@pytest.mark.cifar10
def test_one_epoch_of_cifar10():
    data = load("cifar10")
    few = dataclasses.replace(data, x_train=data.x_train[:20_000], y_train=data.y_train[:20_000])
    assert train(Config("BN", epochs=1), few, progress=False).history[-1]["test_accuracy"] > 40
