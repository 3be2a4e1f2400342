"""The interactive page in a browser, against the arithmetic by hand and PyTorch."""

import numpy as np
import pytest
import torch
from explorer_cells import METHODS, PER_PIXEL, cell, changed, put, results

from model import normalization
from normbench.words import fixed
from study import by_hand

OTHER = torch.tensor([[[[7.25, -3, 0.5]], [[0, 2, 2]], [[1, -1, 4]]]]).double().repeat(2, 1, 1, 1)
OTHER[1] += torch.tensor([[[1.5, 0, -2]]])
BATCHES = {"example": by_hand.EXAMPLE, "decimals": by_hand.DECIMALS, "other": OTHER}


@pytest.mark.parametrize("name", BATCHES)
def test_its_numbers_are_those_by_hand(explorer, name):
    x = BATCHES[name]
    put(explorer, x)
    for nm in METHODS:
        explorer.check(f"[value={nm}]")
        for groups in explorer.locator("#groups option").all_inner_texts() if nm == "GN" else ["1"]:
            if nm == "GN":
                assert x.shape[1] % int(groups) == 0
                explorer.select_option("#groups", groups)
            computed, shown = results(explorer)
            expected = by_hand.normalize_by_hand(x, nm, int(groups)).flatten()
            torch.testing.assert_close(computed, expected, rtol=0, atol=1e-9)
            torch.testing.assert_close(shown, expected, rtol=0, atol=0.00501)
            for worked, found in zip(by_hand.work_all(x, nm, int(groups)), explorer.evaluate("explorer.sets()")):
                for key in ("n", "total", "mean", "squares", "variance"):
                    assert found[key] == pytest.approx(getattr(worked, key), abs=1e-9)


@pytest.mark.parametrize("nm", METHODS)
def test_it_shows_the_steps_that_one_takes_by_hand(explorer, nm):
    explorer.check(f"[value={nm}]")
    explorer.locator(cell(30)).focus()
    set_number = by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten()[30]
    worked, steps = by_hand.work_all(by_hand.EXAMPLE, nm)[set_number], explorer.locator("#steps dd").all_inner_texts()
    mean, variance = by_hand.show(worked.mean), by_hand.show(worked.variance)
    total, squares = by_hand.show(worked.total), by_hand.show(worked.squares)
    for step in (
        f"μ = {total} / {worked.n} = {mean}",
        f"Σ (x − μ)² = {squares}",
        f"σ² = {squares} / {worked.n} = {variance}",
        f"σ = √{variance} = {by_hand.show(worked.deviation)}",
    ):
        assert step in steps
    y = by_hand.normalize_by_hand(by_hand.EXAMPLE, nm).flatten()[30]
    assert steps[-1].endswith(f"= {by_hand.show(y.item())}")
    assert explorer.get_attribute(cell(30), "aria-label").endswith(f"becomes {fixed(y.item(), 2)}")
    sharing = by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten() == set_number
    for grid in ("#batch", f"#y-{nm}"):
        lit = explorer.locator(f"{grid} .cell").evaluate_all(
            "cells => cells.map(cell => cell.classList.contains('in'))"
        )
        assert lit == sharing.tolist()


def per_pixel(x, nm):
    """The two methods that look at one pixel, in NumPy: x (N, C, H, W), γ 1 and β 0."""
    if nm == "RMS":
        return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("nm", PER_PIXEL)
@pytest.mark.parametrize("name", BATCHES)
def test_methods_per_pixel_give_what_numpy_gives(explorer, nm, name):
    x = BATCHES[name]
    put(explorer, x)
    explorer.check(f"[value={nm}]")
    expected = torch.from_numpy(per_pixel(x.numpy(), nm)).flatten()
    computed, shown = results(explorer)
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(shown, expected, rtol=0, atol=0.00501)
    explorer.locator(cell(1)).focus()
    steps = explorer.locator("#steps dd").all_inner_texts()
    assert steps[-1].endswith(f"= {by_hand.show(expected[1].item())}")
    assert ("μ" in " ".join(steps)) == (nm == "LN_C"), "RMSNorm subtracts nothing"


def test_all_methods_are_side_by_side_on_the_same_batch(explorer):
    put(explorer, by_hand.DECIMALS)
    explorer.locator(cell(7)).focus()
    for nm in (*METHODS, *PER_PIXEL):
        shown = explorer.locator(f"#y-{nm} .cell").all_inner_texts()
        expected = (
            per_pixel(by_hand.DECIMALS.numpy(), nm)
            if nm in PER_PIXEL
            else by_hand.normalize_by_hand(by_hand.DECIMALS, nm).numpy()
        )
        numbers = [float(text.replace("−", "-")) for text in shown]
        np.testing.assert_allclose(numbers, expected.flatten(), rtol=0, atol=0.0501)
    for nm, sets in {"BN": 4, "GN": 6, "LN": 3, "IN": 12, "LN_C": 4, "RMS": 4}.items():
        frames = explorer.locator(f"#y-{nm} .frame")
        assert frames.count() == sets, "per pixel only the cells of the chosen set"
        assert explorer.locator(f"#y-{nm} .frame.in").count() == (4 if nm in PER_PIXEL else 1)


@pytest.mark.parametrize("nm", METHODS)
def test_a_frame_holds_the_cells_of_its_set_and_no_other(explorer, nm):
    explorer.check(f"[value={nm}]")
    explorer.locator(cell(30)).focus()
    inside = explorer.evaluate("""() => {
        const frame = document.querySelector("#batch .frame.in").getBoundingClientRect();
        return [...document.querySelectorAll("#batch .cell")].map(cell => {
            const at = cell.getBoundingClientRect(), x = at.x + at.width / 2, y = at.y + at.height / 2;
            return frame.left < x && x < frame.right && frame.top < y && y < frame.bottom;
        });
    }""")
    numbers = by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten()
    assert inside == (numbers == numbers[30]).tolist()


def test_36_sets_can_be_distinguished_without_colour(explorer):
    explorer.select_option("#N", "6")
    explorer.select_option("#C", "6")
    explorer.check("[value=IN]")
    corners = explorer.locator("#batch .frame").evaluate_all(
        "frames => frames.map(frame => JSON.stringify(frame.getBoundingClientRect()))"
    )
    assert len(set(corners)) == 36
    style = "frame => { const s = getComputedStyle(frame); return [parseFloat(s.borderTopWidth), s.borderTopColor]; }"
    chosen = explorer.locator("#batch .frame.in").evaluate(style)
    other = explorer.locator("#batch .frame:not(.in)").first.evaluate(style)
    assert chosen[0] >= 3 * other[0] and chosen[1] != other[1]


def test_halves_are_rounded_as_in_python(explorer):
    for value in (3.28125, 3.28135, -0.03125, 0.09375, 1e-9, -2.5):
        explorer.fill(cell(0), f"{value}")
        explorer.locator(cell(1)).focus()
        assert explorer.input_value(cell(0)) == by_hand.show(value)


def test_gamma_and_beta_belong_to_the_channel_of_the_chosen_cell(explorer):
    before, _ = results(explorer)
    explorer.locator(cell(6)).focus()  # image 1, channel 2
    explorer.fill("#gamma", "2.5")
    explorer.fill("#beta", "-1")
    expected = before.view(4, 4, 2, 2).clone()
    expected[:, 1] = 2.5 * expected[:, 1] - 1
    torch.testing.assert_close(results(explorer)[0].view(4, 4, 2, 2), expected)
    assert "γ of channel 2" in explorer.inner_text("#gamma-name") and "2.5 · (2 − 0.5)" in explorer.inner_text("#steps")


@pytest.mark.parametrize("nm", METHODS)
def test_a_number_changes_its_set_and_nothing_else(explorer, nm):
    explorer.check(f"[value={nm}]")
    before, number = results(explorer)[0], by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten()
    explorer.fill(cell(21), "−9,5")
    x = by_hand.EXAMPLE.flatten().clone()
    x[21] = -9.5
    after, _ = results(explorer)
    torch.testing.assert_close(after, by_hand.normalize_by_hand(x.view(4, 4, 2, 2), nm).flatten(), rtol=0, atol=1e-9)
    moved = (after - before).abs() > 1e-9
    assert not moved[number != number[21]].any() and moved[number == number[21]].float().mean() > 0.9
    assert sum(changed(explorer)) == moved.sum()


def test_all_changes_of_an_image_are_one_change(explorer):
    explorer.select_option("#C", "3")
    explorer.select_option("#N", "3")
    put(explorer, by_hand.DECIMALS[:, :3, :1])
    for i, typed in ((0, "5"), (0, "5.5"), (1, "7"), (0, "0.5"), (1, "-1.2")):
        explorer.fill(cell(i), typed)
    assert sum(changed(explorer)) == 0, "as it was"
    explorer.fill(cell(0), "5")
    assert changed(explorer) == [2, 2, 2] and "4 of the 12 results of other images" in explorer.inner_text(
        "#dependence"
    )


@pytest.mark.parametrize("typed", ("", "-", "two", "1e999"))
def test_what_is_no_number_changes_nothing(explorer, typed):
    before, _ = results(explorer)
    explorer.fill(cell(3), typed)
    assert explorer.get_attribute(cell(3), "aria-invalid") == "true"
    assert torch.equal(results(explorer)[0], before)
    explorer.click("#more")
    assert explorer.input_value(cell(3)) == "0", "−1 and one more"
    assert explorer.get_attribute(cell(3), "aria-invalid") in (None, "false")


def test_other_images_depend_on_one_under_batch_norm_alone(explorer):
    explorer.select_option("#image", "3")
    explorer.evaluate("Math.random = () => 0.99")
    explorer.click("#redraw")
    for nm in METHODS:
        explorer.check(f"[value={nm}]")
        marked = changed(explorer)
        assert marked[2] > 0 and (min(marked) > 0 if nm == "BN" else sum(marked) == marked[2])
        said = explorer.inner_text("#dependence")
        assert ("48 of the 48 results of other images" in said) == (nm == "BN")
        assert ("no result of another image has changed" in said) == (nm != "BN")


@pytest.mark.parametrize("seen", (0, 1, 10, 50))
def test_in_testing_batch_norm_goes_by_what_pytorch_keeps(explorer, seen):
    layer = normalization("BN", 4).double()
    for _ in range(seen):
        layer(by_hand.EXAMPLE)
    explorer.fill("#seen", str(seen))
    explorer.check("#evaluating")
    torch.testing.assert_close(results(explorer)[0], layer.eval()(by_hand.EXAMPLE).flatten(), rtol=0, atol=1e-9)
    kept = [float(text.replace("−", "-")) for text in explorer.locator("#running td").all_inner_texts()]
    torch.testing.assert_close(torch.tensor(kept[2::4]).double(), layer.running_mean, rtol=0, atol=0.000501)
    torch.testing.assert_close(torch.tensor(kept[3::4]).double(), layer.running_var, rtol=0, atol=0.000501)
    before, _ = results(explorer)
    explorer.click("#redraw")
    torch.testing.assert_close(results(explorer)[0][16:], before[16:], rtol=0, atol=0)
    assert changed(explorer)[1:] == [0, 0, 0] and "With batch norm at test time" in explorer.inner_text("#dependence")


def test_a_set_of_one_number_cannot_be_trained_on(explorer):
    for axis in "NHW":
        explorer.select_option(f"#{axis}", "1")
    assert "cannot be trained on this" in explorer.inner_text("#testing") and explorer.is_hidden("#averages")
    assert results(explorer)[0].tolist() == [0, 0, 0, 0] and "y is β" in explorer.inner_text("#steps")
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        normalization("BN", 4)(torch.ones(1, 4, 1, 1))


def test_groups_always_divide_the_channels(explorer):
    explorer.check("[value=GN]")
    for channels in (1, 2, 3, 4, 5, 6):
        explorer.select_option("#C", str(channels))
        offered = [int(text) for text in explorer.locator("#groups option").all_inner_texts()]
        assert offered == [k for k in range(1, channels + 1) if channels % k == 0]
        assert int(explorer.input_value("#groups")) in offered
        assert len(explorer.evaluate("explorer.sets()")) == 4 * int(explorer.input_value("#groups"))


def test_by_keyboard(explorer):
    """One stop for the whole batch; arrows go on over the edges of maps and stay at those of the batch."""
    places = explorer.locator("#batch input").evaluate_all("cells => cells.map(cell => cell.tabIndex)")
    assert places.count(0) == 1
    explorer.locator(cell(0)).focus()
    for key, i in (
        *(("ArrowRight", 1), ("ArrowRight", 4), ("ArrowDown", 6), ("ArrowDown", 20), ("ArrowLeft", 17)),
        *(("ArrowUp", 3), ("ArrowUp", 1), ("ArrowUp", 1), ("Enter", 3), *[("ArrowDown", None)] * 6),
        *(("ArrowDown", 51), ("ArrowDown", 51), ("ArrowUp", 49), *[("ArrowUp", None)] * 5, ("ArrowDown", 17)),
    ):
        explorer.keyboard.press(key)
        at = explorer.evaluate("[Number(document.activeElement.parentElement.dataset.i), explorer.state.cell]")
        assert at[0] == at[1] and i in (at[0], None)
    explorer.keyboard.type("5")
    assert explorer.evaluate("explorer.state.x[17]") == 5, "typing replaces the number"


def test_another_batch_and_back(explorer):
    explorer.click("#draw")
    assert explorer.evaluate("explorer.state.x") != by_hand.EXAMPLE.flatten().tolist()
    explorer.select_option("#C", "6")
    assert "channel 6" in explorer.inner_text("#batch")
    explorer.click("#example")
    assert explorer.evaluate("explorer.state.x") == by_hand.EXAMPLE.flatten().tolist()
    assert explorer.input_value("#C") == "4"
