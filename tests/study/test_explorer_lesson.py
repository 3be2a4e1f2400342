"""What a lesson does with the interactive page: the measured curve, addresses, questions, program and worksheet."""

import io
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from explorer_cells import METHODS, PER_PIXEL, cell, results

from normbench.words import fixed
from study import by_hand


def test_the_measured_curve_rises_with_the_images_per_statistic(explorer):
    svg = explorer.inner_html("#measured")
    assert svg.count("<circle") == svg.count("line bar") == 4, "batch norm, with an interval each"
    assert svg.count("stroke-dasharray") == svg.count("<rect") == 1, "group norm, which does not depend on them"
    assert all(f">{name}</text>" in svg for name in ("BN", "GN", "2", "8", "32", "128"))
    heights = [float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', svg)]
    assert heights == sorted(heights, reverse=True)
    said = explorer.inner_text("body")
    assert "CIFAR-10" in said and "8 seeds" in said and "batches of 128 images" in said


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
