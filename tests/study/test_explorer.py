"""The interactive page in a browser, against the arithmetic by hand and PyTorch."""

import io
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from made_up import noise, run_of
from made_up_results import write_runs

from model import normalization
from normbench.words import fixed
from study import by_hand
from study import explorer as explorer_page
from study.experiments import EXPERIMENTS, path
from study.numbers import Numbers

METHODS = ("BN", "GN", "LN", "IN")
PER_PIXEL = ("LN_C", "RMS")
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
    return explorer_page.page(Numbers(folder))


@pytest.fixture(scope="module")
def address(text, tmp_path_factory):
    page = tmp_path_factory.mktemp("explorer") / "explorer.html"
    page.write_text(text, encoding="utf-8")
    return page.as_uri()


@pytest.fixture
def explorer(open_page, address):
    page = open_page(address)
    yield page
    assert page.complaints == [] and {request.partition("#")[0] for request in page.requests} == {address}


def cell(i):
    """The selector of number i of the batch."""
    return f"#batch [data-i='{i}'] input"


def put(page, x):
    """Type a batch x (N, C, H, W) into the page."""
    for axis, length in zip("NCHW", x.shape):
        page.select_option(f"#{axis}", str(length))
    for i, value in enumerate(x.flatten().tolist()):
        page.fill(cell(i), f"{value:g}")


def results(page):
    """What the page computes, and what it shows: two tensors."""
    shown = page.locator("#batch .y").all_inner_texts()
    numbers = torch.tensor([float(text.replace("−", "-")) for text in shown])
    return torch.tensor(page.evaluate("explorer.normalize()"), dtype=torch.float64), numbers.double()


def changed(page):
    """Of how many images a result is marked as changed, by image."""
    cells = page.locator("#batch .cell").evaluate_all("cells => cells.map(cell => cell.classList.contains('changed'))")
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


@pytest.mark.parametrize("width", (360, 800, 1400))
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_it_fits_a_window(open_page, address, width, scheme):
    page = open_page(address, width, scheme)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    for grid in ("batch", "y-BN", "y-RMS"):
        assert page.evaluate(f"$('{grid}').scrollWidth <= $('{grid}').clientWidth"), (
            "the first batch needs no scrolling"
        )
    page.select_option("#W", "4")
    page.select_option("#C", "6")
    assert page.evaluate(fits), "a wide one is scrolled by itself"
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red + green + blue < 200) == (scheme == "dark")


def test_the_measured_curve_rises_with_the_images_per_statistic(explorer):
    svg = explorer.inner_html("#measured")
    assert svg.count("<circle") == svg.count("line bar") == 4, "batch norm, with an interval each"
    assert svg.count("stroke-dasharray") == svg.count("<rect") == 1, "group norm, which does not depend on them"
    assert all(f">{name}</text>" in svg for name in ("BN", "GN", "2", "8", "32", "128"))
    heights = [float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', svg)]
    assert heights == sorted(heights, reverse=True)
    said = explorer.inner_text("body")
    assert "CIFAR-10" in said and "8 seeds" in said and "Batches have 128 images" in said


def test_means_of_batches_scatter_by_one_over_the_root_of_their_size(explorer):
    sizes, drawn = explorer.evaluate("explorer.SIZES"), []
    for seed in range(20):
        drawn.append(explorer.evaluate(f"(explorer.state.seed = {seed}, explorer.scatter())"))
    means = np.array(drawn).transpose(1, 0, 2).reshape(len(sizes), -1)  # 1000 per size
    np.testing.assert_allclose(means.std(axis=1) * np.sqrt(sizes), 1, atol=0.08)  # 3.5 standard errors
    assert np.abs(means.mean(axis=1) * np.sqrt(sizes)).max() < 0.12


def test_a_slider_says_how_the_means_of_that_size_scatter(explorer):
    explorer.fill("#size", "6")
    values = np.array(explorer.evaluate("explorer.scatter()")[6])
    said = explorer.inner_text("#scattered")
    assert "128 images" in said and fixed(values.std(), 2) in said and "= 0.09" in said
    assert explorer.inner_html("#scatter").count("<circle") == 7 * 50
    before = explorer.inner_html("#scatter")
    explorer.click("#again")
    assert explorer.inner_html("#scatter") != before


# The address


ADDRESS = "nm=GN&groups=4&shape=2x4x1x2&x=1,2,3,4,5,6,7,8,-1,-2,-3,-4,-5.5,6,7,1e3&cell=9&gamma=1,2,1,1&beta=0,0,-1,0"


def test_the_state_is_in_the_address(open_page, address):
    page = open_page(f"{address}#{ADDRESS}")
    x = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5.5, 6, 7, 1e3]).double().view(2, 4, 1, 2)
    gamma, beta = torch.tensor([1.0, 2, 1, 1]).double(), torch.tensor([0.0, 0, -1, 0]).double()
    expected = by_hand.normalize_by_hand(x, "GN", 4) * gamma.view(1, -1, 1, 1) + beta.view(1, -1, 1, 1)
    torch.testing.assert_close(results(page)[0], expected.flatten(), rtol=0, atol=1e-9)
    assert "image 2, channel 1, row 1, column 2" in page.inner_text("#chosen").lower()
    page.fill(cell(0), "4.5")
    page.wait_for_function("location.hash.includes('x=4.5,2,')")
    again = open_page(page.url)
    torch.testing.assert_close(results(again)[0], results(page)[0], rtol=0, atol=0)
    again.click("#example")
    again.check("[value=BN]")
    again.wait_for_function("!location.hash.includes('x=')")
    assert page.complaints == again.complaints == []


@pytest.mark.parametrize(
    "part",
    (
        "nm=XX&groups=3&cell=999&seen=-1",
        "shape=9x9x9x9&x=1",
        "shape=1x2x1x2&x=1,2,3",
        "shape=1x2x1x2&x=1,2,3,",
        "shape=1x2x1x2&x=1,2,3,NaN",
        "gamma=1,2&beta=a,b,c,d&question=77",
        "x=<img src=x onerror=alert(1)>&nm=__proto__",
    ),
)
def test_what_an_address_cannot_mean_is_left_out(open_page, address, part):
    page = open_page(f"{address}#{part}")
    assert page.evaluate("explorer.state.x") == by_hand.EXAMPLE.flatten().tolist()
    assert page.evaluate("[explorer.state.nm, explorer.state.cell, explorer.state.seen]") == ["BN", 0, 10]
    torch.testing.assert_close(results(page)[0], by_hand.normalize_by_hand(by_hand.EXAMPLE, "BN").flatten())
    assert page.complaints == [] and len(page.requests) == 1


def test_parts_can_be_hidden_for_a_lesson(open_page, address):
    page = open_page(f"{address}#hide=code,small")
    assert page.is_hidden("#code") and page.is_hidden("#measured") and page.is_visible("#questions")


# Questions


def answer(page, number, *named):
    page.click(f"#numbers button:nth-child({number})")
    for choice in named:
        page.click(f"#batch [data-i='{4 * choice}'] .y" if isinstance(choice, int) else f"#answers [value='{choice}']")
    page.click("#check")
    return page.inner_text("#verdict")


# By question: what is right, and a guess that names one thing too many or too few. Maps are numbered image by image.
QUESTIONS = {
    1: ((0, 4, 8, 12), (0, 4, 8), "image 4, channel 1"),
    2: ((4, 5), (4, 5, 6), "image 2, channel 3"),
    3: (("LN",), ("LN", "IN"), "instance norm"),
    4: (("RMS",), (), "RMSNorm"),
    5: (("0, or β",), ("x itself",), "x itself"),
}


@pytest.mark.parametrize("number", QUESTIONS)
def test_a_prediction_is_checked_by_trying(explorer, number):
    right, wrong, named = QUESTIONS[number]
    assert answer(explorer, number, *right).startswith("Right")
    said = answer(explorer, number, *wrong)
    assert not said.startswith("Right") and named in said
    if number in (1, 2):
        before = by_hand.EXAMPLE.clone()
        after = before.clone()
        after[1, 0, 0, 0] += 4
        nm = ("BN", "GN")[number - 1]
        moved = (by_hand.normalize_by_hand(after, nm) - by_hand.normalize_by_hand(before, nm)).abs() > 1e-9
        assert sorted(right) == moved.flatten(2).any(2).flatten().nonzero().flatten().tolist()


# The program and the worksheet


@pytest.mark.parametrize("nm", (*METHODS, *PER_PIXEL))
@pytest.mark.parametrize("changes", ("", "&gamma=1,2,0.5,-1&beta=0,1,0,-2", "&test=1&seen=3"))
def test_the_program_shown_computes_what_the_page_shows(open_page, address, nm, changes):
    page = open_page(f"{address}#nm={nm}{changes}")
    program, found = page.inner_text("#code"), {}
    with redirect_stdout(io.StringIO()):
        exec(program, found)
    expected = results(page)[0].view(4, 4, 2, 2)
    for name in ("y", "by_hand"):
        torch.testing.assert_close(found[name].detach().double(), expected, rtol=0, atol=2e-6)
    assert page.inner_text("#layer") in program


def test_on_paper_it_is_a_worksheet_with_solutions_on_a_page_of_their_own(open_page, address):
    page = open_page(f"{address}#cell=3")
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    page.emulate_media(media="print")
    assert page.is_hidden("#batch") and page.is_visible("#worksheet")
    asked, solved = (page.locator("#worksheet > table").nth(1), page.locator(".solutions table"))
    for nm, line, empty in zip(METHODS, solved.locator("tr").all()[1:], asked.locator("tr").all()[1:]):
        worked = by_hand.work_all(by_hand.EXAMPLE, nm)[by_hand.sets(nm, by_hand.EXAMPLE.shape).flatten()[3]]
        y = by_hand.normalize_by_hand(by_hand.EXAMPLE, nm).flatten()[3].item()
        numbers = [by_hand.show(v) for v in (worked.n, worked.total, worked.mean, worked.squares, worked.variance, y)]
        assert line.locator("td").all_inner_texts() == numbers
        assert "".join(empty.locator("td").all_inner_texts()).strip() == ""
    assert page.inner_text("#worksheet .here") == "−1"


# Without scripts, made by the report, in a notebook


def test_without_scripts_it_can_be_read(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    said = page.inner_text("body")
    worked = by_hand.work_all(by_hand.EXAMPLE, "IN")[-1]
    assert f"{fixed(worked.mean, 3)}, {fixed(worked.deviation, 3)}" in said and "8 numbers" in said
    assert page.locator("#still table").count() == 6 and page.is_hidden("#app"), "no dead controls"
    page.close()


def test_only_the_data_is_written_by_the_report(text):
    before = explorer_page.PAGE.read_text(encoding="utf-8")
    assert emptied(before) == emptied(text)
    for place in (explorer_page.DATA, explorer_page.STILL):
        assert place.search(before).group() != place.search(text).group()


def emptied(page):
    return explorer_page.DATA.sub("", explorer_page.STILL.sub("", page))


def test_a_page_without_a_place_for_the_data_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_page, "PAGE", tmp_path / "explorer.html")
    explorer_page.PAGE.write_text("<html></html>")
    with pytest.raises(ValueError, match="needs one"):
        explorer_page.page(Numbers())


@pytest.mark.parametrize("width", (400, 800, 1200))
@pytest.mark.parametrize("colour, dark", (("white", False), ("#111", True)))
def test_in_a_notebook_it_is_a_frame_that_fits_and_looks_like_it(
    open_page, text, tmp_path, monkeypatch, width, colour, dark
):
    monkeypatch.setattr(explorer_page, "PAGE", tmp_path / "explorer.html")
    explorer_page.PAGE.write_text(text, encoding="utf-8")
    notebook = tmp_path / "notebook.html"
    style = f"background: {colour}; margin: 0 1rem"
    notebook.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><body style='{style}'>{explorer_page.frame()}", encoding="utf-8"
    )
    page = open_page(notebook.as_uri(), width, scheme="light" if dark else "dark")
    frame = page.frames[1]
    frame.fill(cell(0), "9")
    assert changed(frame)[3] > 0, "it works"
    assert frame.is_hidden("h1") and frame.is_hidden("#questions") and frame.is_visible("#steps")
    page.wait_for_function("document.querySelector('iframe').offsetHeight != 640")
    assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "nothing is cut off below"
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nor at the right"
    assert page.evaluate("document.querySelector('iframe').offsetHeight") < (1500 if width < 800 else 850)
    red, green, blue = map(int, re.findall(r"\d+", frame.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red + green + blue < 384) == dark, "as what is around it, whatever the system prefers"
    assert page.complaints == []
