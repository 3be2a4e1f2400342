"""What a data set can do, and the canonical ones themselves."""

from dataclasses import replace

import pytest
import torch
from arrays import MINE

from normbench.data import HELD_OUT, Dataset, is_held_out, load
from normbench.data.dataset import ARRAYS


def test_images_without_an_axis_of_channels_are_no_dataset():
    x, y = torch.zeros(4, 9, 9, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"x_train.*\(N, C, H, W\).*\(4, 9, 9\)"):
        Dataset("mine", ("0",), x, y, x, y)


def test_standardized_pixels_have_mean_0_and_deviation_1(mine):
    x = mine.standardize(mine.x_train)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_the_test_set_is_scaled_as_the_training_set(mine):
    pixels = MINE["x_train"].astype(float)
    expected = (MINE["x_test"] - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2), ddof=1)
    assert mine.standardize(mine.x_test).permute(0, 2, 3, 1).numpy() == pytest.approx(expected, abs=1e-5)
    part = mine.first(5)
    assert not torch.equal(part.standardize(part.x_test), mine.standardize(mine.x_test)), "of its own images"


def test_a_constant_channel_stays_finite(mine):
    dark = replace(mine, x_train=mine.x_train * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None])
    assert dark.standardize(dark.x_train)[:, 1].unique().tolist() == [0]


def test_fingerprint_tells_every_difference_and_only_differences(mine):
    elsewhere = {key: getattr(mine, key).clone() for key in ARRAYS}
    elsewhere["x_train"] = elsewhere["x_train"].contiguous(memory_format=torch.channels_last)
    assert replace(mine, name="other", **elsewhere).fingerprint == mine.fingerprint
    prints = {mine.fingerprint, mine.first(19).fingerprint}
    for key in ARRAYS:
        changed = getattr(mine, key).clone()
        changed.view(-1)[-1] ^= 1
        prints.add(replace(mine, **{key: changed}).fingerprint)
    same_bytes = {key: getattr(mine, key).reshape(-1, 3, 7, 9) for key in ("x_train", "x_test")}
    prints.add(replace(mine, **same_bytes).fingerprint)
    assert len(prints) == 2 + len(ARRAYS) + 1


def test_test_set_is_the_checksum_that_results_carry(digits, mine):
    assert digits.test_set == "286bdd93"
    other = replace(mine, y_test=mine.y_test.flip(0))
    assert other.test_set != mine.test_set == mine.first(5).test_set


def test_hold_out_keeps_the_test_set_away(digits):
    held = digits.hold_out(500)
    assert len(held.y_train) == 1000 and held.name == "digits" + HELD_OUT
    assert is_held_out(held.name) and not is_held_out(digits.name)
    assert torch.equal(held.x_test, digits.x_train[-500:]) and torch.equal(held.y_test, digits.y_train[-500:])
    for n in (0, 1500):
        with pytest.raises(ValueError, match=rf"\b{n} of 1500"):
            digits.hold_out(n)


def test_first(digits):
    assert digits.first(None) is digits
    assert torch.equal(digits.first(7).x_train, digits.x_train[:7]) and len(digits.first(7).y_test) == 297
    assert len(digits.first(1500).y_train) == 1500
    for n in (0, -1, 1501):
        with pytest.raises(ValueError, match=rf"images.*1500.*digits.*{n}"):
            digits.first(n)


def test_grey_is_told_from_colour(digits, mine):
    assert digits.is_grey and not mine.is_grey


# The data sets themselves


@pytest.mark.mnist
def test_the_canonical_mnist(mnist):
    assert (len(mnist.y_train), len(mnist.y_test), mnist.image_shape) == (60_000, 10_000, (1, 28, 28))
    mean, std = mnist.mean_std
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.1307, 0.3081)
    assert mnist.y_train[:6].tolist() == [5, 0, 4, 1, 9, 2] and mnist.test_set == "091bdade"


@pytest.mark.cifar10
def test_the_canonical_cifar10():
    cifar10 = load("cifar10")
    assert (len(cifar10.y_train), len(cifar10.y_test), cifar10.image_shape) == (50_000, 10_000, (3, 32, 32))
    mean, std = cifar10.mean_std
    assert [round(m, 4) for m in mean.flatten().tolist()] == [0.4914, 0.4822, 0.4465]
    assert [round(s, 4) for s in std.flatten().tolist()] == [0.2470, 0.2435, 0.2616]
    assert cifar10.y_train.bincount().tolist() == [5000] * 10 and cifar10.y_test.bincount().tolist() == [1000] * 10
    assert cifar10.test_set == "76fb646b"
