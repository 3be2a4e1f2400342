"""The page of a comparison: what stands on it, and how a browser shows it."""

import re
from dataclasses import replace
from functools import partial

import pytest
from made_up import made_up_arms, run_of

from normbench.checking import Cost, Price
from normbench.comparison import Comparison, Result
from normbench.runs import arms
from normbench.training import Recipe

ACCURACY = {"BN": 91.0, "GN": 90.0, "GN:2": 89.0, "LN": 60.0}
FAILURE = "no learning rate from 0.0001 to 3 could be trained (7 diverged), and that is a long line"


def result(size, seeds=3):
    recipes = [Recipe(norm, epochs=3, batch_size=size) for norm in ACCURACY]
    rates = [replace(recipe, lr=rate) for recipe in recipes for rate in (0.03, 0.1, 0.3)]
    made, tried = (
        made_up_arms(some, lambda recipe: ACCURACY[recipe.norm], seeds, images=1000)
        for some, seeds in ((recipes, seeds), (rates, 1))
    )
    return Result(size, made, {Recipe("IN", epochs=3, batch_size=size): FAILURE}, tried)


@pytest.fixture(scope="module")
def comparison():
    return Comparison("my_net.build", "mnist", [result(8), result(64)], (900, 1000), {"BatchNorm2d": 20})


@pytest.fixture(scope="module")
def page(comparison):
    return comparison.page(f"normbench compare <mine> --output /{'a-folder/' * 20}")


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(open_page, address):
    return partial(open_page, address)


def without_figures(monkeypatch, **changes):
    """The page of other comparisons, as quick as without pictures."""
    monkeypatch.setattr(Comparison, "figures", lambda _: {})
    return Comparison(**{"network": "net", "data": "mnist", "results": [result(8)]} | changes).page()


def test_all_is_inside(page, comparison):
    assert all(paragraph.split(".")[0] in page for paragraph in comparison.answer.split("\n\n"))
    assert "normbench compare &lt;mine&gt;" in page
    assert page.count("<svg") == 7 == page.count('role="img"'), "three for each batch size, and one for both"
    assert not re.search(r"""(src|[^:]href)=["'](?!#)""", page)
    assert all(f"{n} others" in page or f"on {n} images" in page for n in ("900", "1,000")) and "20 BatchNorm2d" in page


def test_a_notebook_shows_the_same_without_a_frame(monkeypatch):
    monkeypatch.setattr(Comparison, "figures", lambda _: {})
    shown = Comparison("net", "mnist", [result(8)])._repr_html_()
    assert "<h1>" in shown and "<html" not in shown


def test_numbers_are_written_as_everywhere(monkeypatch, page):
    """With a true minus sign, and none before a zero."""
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert "7,000" in cells and any(cell.startswith("+1.") for cell in cells)
    assert not any(re.search(r"-\d|−0\.00$", cell) for cell in cells)
    arms = made_up_arms([Recipe("BN"), Recipe("GN")], lambda _: 90.0, 3, deviation=0.0, images=1000)
    tied = without_figures(monkeypatch, results=[Result(8, arms)])
    assert ">+0.00<" in tied and "−0.00" not in tied


def test_what_is_not_known_of_a_file_is_left_out(monkeypatch):
    page = without_figures(monkeypatch)
    assert "Trained on" not in page and "Replaced" not in page and "What each costs" not in page


def test_the_price_has_a_row_per_arm(monkeypatch):
    costs = Cost("own", 0.2, 0.05, 2**20), Cost("GN", 0.25, 0.05, 2**21), Cost("<mine>", failure="it <cannot>")
    page = without_figures(monkeypatch, price=Price(costs, "Measured on an abacus."))
    table = page.partition("What each costs")[2].partition("</table>")[0]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in table.split("<tr>")[2:]]
    assert [row[0] for row in rows] == ["own (as it is)", "GN", "&lt;mine&gt;"]
    assert rows[1][1:] == ["250 ms (+25 %)", "50.0 ms", "2.00 MiB (+100 %)"]
    assert "it &lt;cannot&gt;" in page and "Measured on an abacus." in page


def test_what_one_has_is_marked(monkeypatch):
    made = replace(result(8), twins={"own": "GN"})
    page = without_figures(monkeypatch, results=[made])
    assert ">GN (yours)</th>" in page and "BN − GN (yours)" in page


@pytest.mark.parametrize("seeds", (1, 2))
def test_a_page_of_few_seeds_has_the_intervals_that_there_are(seeds, monkeypatch):
    page = without_figures(monkeypatch, results=[result(8, seeds)])
    assert ("BN − GN (2 groups)" in page) == (seeds > 1) == ("points (95" in page)


def test_it_shows_the_answer_and_its_pictures_and_asks_for_nothing(shown, comparison):
    page = shown()
    said = [" ".join(part.all_inner_texts()) for part in (page.locator(".verdict"), page.locator(".more"))]
    for paragraph in comparison.answer.split("\n\n"):
        assert all(
            sentence in " ".join(said).replace("\u00a0", " ") for sentence in re.split(r"(?<=\.) (?=[A-Z])", paragraph)
        )
    assert "my_net.build" in page.title()
    assert page.get_by_text(FAILURE).count() == 2 * 2  # in the answer and in a table, by batch size
    assert page.locator("figure svg:visible").count() == 2, "one for each batch size; the rest is folded"
    assert all(page.evaluate("[...document.querySelectorAll('figure svg')].map(figure => figure.ariaLabel)"))
    asked = [url for url in page.requests if not url.startswith("data:")]
    assert len(asked) == 1 and asked[0].endswith("/report.html") and page.complaints == []


@pytest.mark.parametrize("width", (420, 1200))
def test_nothing_is_cut_off(shown, width):
    """Wide tables are scrolled by themselves, in their own frames."""
    page = shown(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = (
        "[...document.querySelectorAll('h1, h2, p, pre, svg, .scroll')].map(part => part.getBoundingClientRect().right)"
    )
    assert max(page.evaluate(beyond)) <= width


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_text_and_figures_are_legible_in_the_dark(shown, scheme):
    """Figures have the colour of the text, on the ground of the page."""
    page = shown(scheme=scheme)
    text = "rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).color") == text
    assert text in page.evaluate("[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)")


def test_no_interval_of_an_accuracy_leaves_0_to_100_percent(monkeypatch):
    recipes = [Recipe(norm, epochs=3, batch_size=8) for norm in ("BN", "GN")]
    ends = {"BN": (99.9, 98.5), "GN": (0.1, 1.5)}
    made = arms(run_of(replace(recipe, seed=seed), ends[recipe.norm][seed]) for recipe in recipes for seed in (0, 1))
    assert all(arm.accuracy.high > 100 or arm.accuracy.low < 0 for arm in made.values())
    page = without_figures(monkeypatch, results=[Result(8, made)])
    intervals = re.findall(r"<td>[\d.]+ \((−?[\d.]+) to (−?[\d.]+)\)</td><td>[\d.]+</td><td>2 of 2</td>", page)
    assert "to 100.00" in page and "(0.00 to" in page and len(intervals) == 2
    assert all(0 <= float(low) <= float(high) <= 100 for low, high in intervals)
