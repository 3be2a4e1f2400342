"""The interactive page in a browser, against the arithmetic by hand and PyTorch."""

import re

import pytest
import torch
from made_up import noise, run_of
from made_up_results import write_runs

from model import normalization
from normbench.words import fixed
from study import by_hand, report
from study.experiments import EXPERIMENTS, path
from study.numbers import Numbers

METHODS = ("BN", "GN", "LN", "IN")
OTHER = torch.tensor([[[[7.25, -3, 0.5]], [[0, 2, 2]], [[1, -1, 4]]]]).double().repeat(2, 1, 1, 1)
OTHER[1] += torch.tensor([[[1.5, 0, -2]]])
BATCHES = {"example": by_hand.EXAMPLE, "decimals": by_hand.DECIMALS, "other": OTHER}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page with synthetic results: the more images share a statistic, the better."""
    folder = tmp_path_factory.mktemp("results")
    recipes = EXPERIMENTS["cifar10_ghosts"].plan(folder)
    made = [run_of(recipe, 70 + recipe.images_per_statistic / 100 + noise(recipe), "cifar10") for recipe in recipes]
    write_runs(made, path("cifar10_ghosts", folder))
    return report.explorer_page(Numbers(folder))


@pytest.fixture(scope="module")
def address(text, tmp_path_factory):
    page = tmp_path_factory.mktemp("explorer") / "explorer.html"
    page.write_text(text, encoding="utf-8")
    return page.as_uri()


@pytest.fixture
def explorer(open_page, address):
    page = open_page(address)
    yield page
    assert page.complaints == [] and page.requests == [address]


def put(page, x):
    """Type a batch x (N, C, H, W) into the page."""
    for axis, length in zip("NCHW", x.shape):
        page.select_option(f"#{axis}", str(length))
    for i, value in enumerate(x.flatten().tolist()):
        page.fill(f"#x [data-i='{i}']", f"{value:g}")


def results(page):
    """What the page computes, and what it shows: two tensors."""
    shown = page.locator("#y .cell").all_inner_texts()
    numbers = torch.tensor([float(text.replace("−", "-")) for text in shown])
    return torch.tensor(page.evaluate("explorer.normalize()"), dtype=torch.float64), numbers.double()


def changed(page):
    """Of how many images a result is marked as changed, by image."""
    cells = page.locator("#y .cell").evaluate_all("cells => cells.map(cell => cell.classList.contains('changed'))")
    return torch.tensor(cells).view(page.evaluate("explorer.state.shape")).sum(dim=(1, 2, 3)).tolist()


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
    explorer.locator("#x [data-i='30']").focus()
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
    assert explorer.get_attribute("#x [data-i='30']", "aria-label").endswith(f"becomes {fixed(y.item(), 2)}")
    sharing = by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten() == set_number
    shares = "cells => cells.map(cell => cell.classList.contains('shares'))"
    for side in "xy":
        assert explorer.locator(f"#{side} .cell").evaluate_all(shares) == sharing.tolist()


def test_halves_are_rounded_as_in_python(explorer):
    for value in (3.28125, 3.28135, -0.03125, 0.09375, 1e-9, -2.5):
        explorer.fill("#x [data-i='0']", f"{value}")
        explorer.locator("#x [data-i='1']").focus()
        assert explorer.input_value("#x [data-i='0']") == by_hand.show(value)


def test_gamma_and_beta_belong_to_the_channel_of_the_chosen_cell(explorer):
    before, _ = results(explorer)
    explorer.locator("#x [data-i='6']").focus()  # image 1, green
    explorer.fill("#gamma", "2.5")
    explorer.fill("#beta", "-1")
    expected = before.view(4, 4, 2, 2).clone()
    expected[:, 1] = 2.5 * expected[:, 1] - 1
    torch.testing.assert_close(results(explorer)[0].view(4, 4, 2, 2), expected)
    assert "γ of green" in explorer.inner_text("#gamma-name") and "2.5 · (2 − 0.5)" in explorer.inner_text("#steps")


@pytest.mark.parametrize("nm", METHODS)
def test_a_number_changes_its_set_and_nothing_else(explorer, nm):
    explorer.check(f"[value={nm}]")
    before, number = results(explorer)[0], by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten()
    explorer.fill("#x [data-i='21']", "−9,5")
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
        explorer.fill(f"#x [data-i='{i}']", typed)
    assert sum(changed(explorer)) == 0, "as it was"
    explorer.fill("#x [data-i='0']", "5")
    assert changed(explorer) == [2, 2, 2] and "4 of the 12 results of other images" in explorer.inner_text(
        "#dependence"
    )


@pytest.mark.parametrize("typed", ("", "-", "two", "1e999"))
def test_what_is_no_number_changes_nothing(explorer, typed):
    before, _ = results(explorer)
    explorer.fill("#x [data-i='3']", typed)
    assert explorer.get_attribute("#x [data-i='3']", "aria-invalid") == "true"
    assert torch.equal(results(explorer)[0], before)
    explorer.click("#more")
    assert explorer.input_value("#x [data-i='3']") == "0", "−1 and one more"
    assert explorer.get_attribute("#x [data-i='3']", "aria-invalid") in (None, "false")


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
    places = explorer.locator("#x .cell").evaluate_all("cells => cells.map(cell => cell.tabIndex)")
    assert places.count(0) == 1
    explorer.locator("#x [data-i='0']").focus()
    for key, i in (
        *(("ArrowRight", 1), ("ArrowRight", 4), ("ArrowDown", 6), ("ArrowDown", 20), ("ArrowLeft", 17)),
        *(("ArrowUp", 3), ("ArrowUp", 1), ("ArrowUp", 1), ("Enter", 3), *[("ArrowDown", None)] * 6),
        *(("ArrowDown", 51), ("ArrowDown", 51), ("ArrowUp", 49), *[("ArrowUp", None)] * 5, ("ArrowDown", 17)),
    ):
        explorer.keyboard.press(key)
        at = explorer.evaluate("[Number(document.activeElement.dataset.i), explorer.state.cell]")
        assert at[0] == at[1] and i in (at[0], None)
    explorer.keyboard.type("5")
    assert explorer.evaluate("explorer.state.x[17]") == 5, "typing replaces the number"


def test_another_batch_and_back(explorer):
    explorer.click("#draw")
    assert explorer.evaluate("explorer.state.x") != by_hand.EXAMPLE.flatten().tolist()
    explorer.select_option("#C", "6")
    assert "channel 6" in explorer.inner_text("#x")
    explorer.click("#example")
    assert explorer.evaluate("explorer.state.x") == by_hand.EXAMPLE.flatten().tolist()
    assert explorer.input_value("#C") == "4"


@pytest.mark.parametrize("width", (420, 1200))
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_it_fits_a_window(open_page, address, width, scheme):
    page = open_page(address, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for side in "xy":
        assert page.evaluate(f"{side}.scrollWidth <= {side}.clientWidth"), "the first batch needs no scrolling"
    for axis in "CW":
        page.select_option(f"#{axis}", "6")
    assert page.evaluate("document.documentElement.scrollWidth") == width, "a wide one is scrolled by itself"
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red + green + blue < 200) == (scheme == "dark")


def test_the_measured_curve_rises_with_the_images_per_statistic(explorer):
    svg = explorer.inner_html("#measured")
    assert svg.count("<circle") == svg.count('class="bar"') == 4, "batch norm, with an interval each"
    assert svg.count("stroke-dasharray") == svg.count("<rect") == 1, "group norm, which does not depend on them"
    assert all(f">{name}</text>" in svg for name in ("BN", "GN", "2", "8", "32", "128"))
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)]
    assert heights == sorted(heights, reverse=True)
    said = explorer.inner_text("body")
    assert "CIFAR-10" in said and "8 seeds" in said and "batches have 128 images" in said


def test_only_the_data_is_written_by_the_report(text):
    before = (report.PROJECT / report.EXPLORER).read_text(encoding="utf-8")
    assert report.DATA.sub("", before) == report.DATA.sub("", text)
    assert report.DATA.search(before).group() != report.DATA.search(text).group()


def test_a_page_without_a_place_for_the_data_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / report.EXPLORER).write_text("<html></html>")
    with pytest.raises(ValueError, match="needs one"):
        report.explorer_page(Numbers())


def test_in_a_notebook_it_is_a_frame_as_high_as_the_page(open_page, text, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / report.EXPLORER).write_text(text, encoding="utf-8")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><meta charset=utf-8>{report.explorer()}", encoding="utf-8")
    page = open_page(notebook.as_uri(), scheme="dark")
    frame = page.frames[1]
    frame.evaluate("Math.random = () => 0.99")
    frame.click("#redraw")
    assert "48 of the 48" in frame.inner_text("#dependence")
    page.wait_for_function("document.querySelector('iframe').offsetHeight > 1300")
    assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "nothing is cut off"
    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "as the notebook"
