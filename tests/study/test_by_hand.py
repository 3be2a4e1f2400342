"""The arithmetic by hand against PyTorch's layers."""

import math
import re

import pytest
import torch
from torch import nn

from study import by_hand
from study.by_hand import DECIMALS, EXAMPLE, NORMS
from study.report import page

SETS = {"BN": (4, 16), "GN": (8, 8), "LN": (4, 16), "IN": (16, 4)}  # of EXAMPLE, and the cells of each


def layers(nm, channels, groups=2):
    """The PyTorch layers that `nm` should equal."""
    if nm == "LN":
        return [nn.GroupNorm(1, channels), nn.LayerNorm([channels, 2, 2])]
    made = {
        "BN": nn.BatchNorm2d(channels),
        "GN": nn.GroupNorm(groups, channels),
        "IN": nn.InstanceNorm2d(channels, affine=True),
    }
    return [made[nm]]


def numbers(text):
    return [float(x) for x in re.findall(r"-?\d+\.?\d*", text.replace("−", "-"))]


@pytest.mark.parametrize("batch", (EXAMPLE, DECIMALS, EXAMPLE / 300), ids=("study C", "decimals", "small"))
@pytest.mark.parametrize("nm", NORMS)
def test_equals_pytorch(nm, batch):
    """Where the numbers are small, ε is not."""
    result = by_hand.normalize_by_hand(batch, nm)
    for layer in layers(nm, batch.shape[1]):
        torch.testing.assert_close(result, layer.double()(batch).detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("groups", (1, 2, 4))
def test_number_of_groups(groups):
    result = by_hand.normalize_by_hand(EXAMPLE, "GN", groups)
    torch.testing.assert_close(result, nn.GroupNorm(groups, 4).double()(EXAMPLE).detach(), rtol=1e-12, atol=1e-14)


def test_published_cells():
    assert EXAMPLE.dtype == torch.float64 and EXAMPLE.shape == (4, 4, 2, 2)
    image_1 = [[-3, -2, 1, -1], [2, -2, 2, 1], [3, -3, 2, 0], [2, 0, 3, -3]]
    blue = [image_1[0], [-1, 2, -1, 2], [-3, 1, 0, 3], [3, -3, -1, -3]]
    assert EXAMPLE[0].flatten(1).tolist() == image_1 and EXAMPLE[:, 0].flatten(1).tolist() == blue
    assert EXAMPLE.abs().max() <= 3 and (EXAMPLE.round() == EXAMPLE).all()


@pytest.mark.parametrize(
    ("nm", "mean", "variance"), (("BN", -0.375, 4.359375), ("GN", -0.25, 3.4375), ("LN", 0.125, 4.484375))
)
def test_published_right_values(nm, mean, variance):
    worked = by_hand.work_all(EXAMPLE, nm)[0]
    assert (worked.mean, worked.variance, worked.deviation) == (mean, variance, math.sqrt(variance))


@pytest.mark.parametrize("nm", NORMS)
def test_sets_part_the_batch(nm):
    member, worked = by_hand.sets(nm, EXAMPLE.shape), by_hand.work_all(EXAMPLE, nm)
    count, size = SETS[nm]
    assert member.shape == EXAMPLE.shape
    assert member.flatten().bincount().tolist() == [size] * count == [w.n for w in worked]
    assert all(w.deviation > 0.5 for w in worked)
    assert sum(w.total for w in worked) == EXAMPLE.sum()


def test_what_a_set_holds():
    def same(nm, *cells):
        return len({by_hand.sets(nm, EXAMPLE.shape)[cell].item() for cell in cells}) == 1

    assert same("BN", (0, 1, 0, 0), (3, 1, 1, 1)) and not same("BN", (0, 1, 0, 0), (0, 2, 0, 0))
    assert same("GN", (2, 2, 0, 0), (2, 3, 1, 1)) and not same("GN", (2, 1, 0, 0), (2, 2, 0, 0))
    assert same("LN", (2, 0, 0, 0), (2, 3, 1, 1)) and not same("LN", (2, 0, 0, 0), (1, 0, 0, 0))
    assert same("IN", (2, 1, 0, 0), (2, 1, 1, 1)) and not same("IN", (2, 0, 0, 0), (2, 1, 0, 0))


def test_bad_names_groups_and_numbers_are_named():
    with pytest.raises(ValueError, match=r"'XN'.*BN, GN, LN, IN"):
        by_hand.sets("XN", EXAMPLE.shape)
    with pytest.raises(ValueError, match=r"3 groups.*4 channels"):
        by_hand.normalize_by_hand(EXAMPLE, "GN", groups=3)
    with pytest.raises(ValueError, match=r"1 to 4.*5"):
        by_hand.steps(EXAMPLE, "LN", number=5)


def test_steps_show_every_number():
    lines = by_hand.steps(EXAMPLE, "GN").splitlines()
    at = {line.split()[1]: line for line in lines if line[:1].isdigit()}
    assert numbers(at["sum"])[1:] == [-5, 3, -2]
    assert numbers(at["mean"])[1:] == [-2, 8, -0.25]
    assert numbers(at["squares"])[-1] == 27.5
    assert numbers(at["variance"])[1:] == [27.5, 8, 3.4375]
    assert numbers(at["std."])[1:] == [3.4375, 1.854]
    result = nn.GroupNorm(2, 4).double()(EXAMPLE)[0, :2].flatten().tolist()
    cells = [numbers(line) for line in lines[-8:]]
    assert [(int(cell[0]), cell[2], cell[-1]) for cell in cells] == [
        (1, x, round(y, 4)) for x, y in zip(EXAMPLE[0, :2].flatten().tolist(), result)
    ]
    assert ["channel 1" in line for line in lines[-8:]] == [True] * 4 + [False] * 4
    third = by_hand.steps(EXAMPLE, "GN", number=3).splitlines()
    assert [numbers(line)[2] for line in third[-8:]] == EXAMPLE[1, :2].flatten().tolist(), "of image 2"


def test_rounding_shows_no_minus_before_zero():
    assert by_hand.show(-1e-9) == "0"
    assert by_hand.show(-0.25) == "−0.25" and by_hand.show(20.0) == "20"


@pytest.mark.parametrize("shape", ((4, 2, 2), (8, 5, 3)))
def test_parameters_are_a_pair_per_channel_or_element(shape):
    c, h, w = shape
    made = by_hand.layers(c, h, w)
    assert [by_hand.trainable(layer) for layer in made.values()] == [2 * c, 2 * c, 2 * c, 2 * c * h * w, 2 * c]
    assert {name: by_hand.averages(layer) for name, layer in made.items() if by_hand.averages(layer)} == {"BN": 2 * c}


def test_running_statistics_are_kept_and_not_trained():
    layer = nn.BatchNorm2d(4).double()
    layer(DECIMALS)
    assert not any(buffer.requires_grad for buffer in layer.buffers())
    blue = by_hand.work_all(DECIMALS, "BN")[0]
    # The one place of n - 1: a tenth of it has moved from 1 towards the unbiased variance.
    assert layer.running_var[0].item() == pytest.approx(0.9 + 0.1 * blue.squares / (blue.n - 1))
    assert blue.variance == pytest.approx(blue.squares / blue.n)


def test_the_page_of_slips():
    rows = [line.strip("| ").split(" | ") for line in page("slips.md").splitlines() if line.startswith("|")][2:]
    c, mean, layer, biased, ln, gn, weights = (correct for _, correct in rows)
    assert "**−0.25**" in c and "3.4375" in c and "**1.854**" in c
    assert "5.1 / 13 = **0.3923**" in mean
    total = DECIMALS[0].sum().item()
    assert numbers(layer)[-4:] == pytest.approx([total, 16, total / 16, (total - 0.5) / 16], abs=5e-5)
    blue = DECIMALS[:, 0]
    right, wrong = (blue.std(correction=n).item() for n in (0, 1))
    assert f"**{right:.4f}**" in biased and f"{wrong:.4f}" in biased
    assert "**8**" in ln and "**32**" in ln and "**8**" in gn
    assert "0 and 1" in weights


def test_the_page_of_what_is_trained():
    rows = [line for line in page("trainable.md").splitlines() if line.startswith("| ")][1:]
    assert [numbers(row.split("|")[3])[0] for row in rows] == [8, 8, 8, 32, 8]
    assert "`BatchNorm2d(4)`" in rows[0] and rows[0].endswith("| 8 |") and rows[1].endswith("| – |")
