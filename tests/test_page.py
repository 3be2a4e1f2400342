"""The page of a comparison as a browser shows it."""

from dataclasses import replace
from functools import partial

import pytest
from conftest import made_up_arms

from normbench.comparison import Comparison, Result
from normbench.config import Config

ACCURACY = {"BN": 91.0, "GN": 90.0, "LN": 60.0}
FAILURE = "no learning rate from 0.0001 to 3 could be trained (7 diverged), and that is a long line"


def result(size):
    configs = [Config(nm, gp=0, epochs=3, batch_size=size) for nm in ACCURACY]
    rates = [replace(config, lr=rate) for config in configs for rate in (0.03, 0.1, 0.3)]
    made, tried = (
        made_up_arms(some, lambda config: ACCURACY[config.nm], seeds, images=1000)
        for some, seeds in ((configs, 3), (rates, 1))
    )
    return Result(size, made, {"IN": FAILURE}, tried)


@pytest.fixture(scope="module")
def comparison():
    return Comparison("my_net.build", "mnist", (900, 1000), {"BatchNorm2d": 20}, [result(8), result(64)])


@pytest.fixture(scope="module")
def address(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(comparison.page(f"normbench compare --output /{'a-folder/' * 20}"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(open_page, address):
    return partial(open_page, address)


def test_it_shows_the_answer_and_its_pictures_and_asks_for_nothing(shown, comparison):
    page = shown()
    said = page.locator(".answer").inner_text().replace("\u00a0", " ")
    assert said.split("\n\n") == comparison.answer.split("\n\n")
    assert page.title() == "Which normalization for my_net.build?"
    assert page.get_by_text(FAILURE).count() == 2 * 2  # in the answer and in a table, by batch size
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == len(comparison.figures()) == 7 and min(widths) > 500
    asked = [url for url in page.requests if not url.startswith("data:")]
    assert len(asked) == 1 and asked[0].endswith("/report.html") and page.complaints == []


@pytest.mark.parametrize("width", (420, 1200))
def test_nothing_is_cut_off(shown, width):
    """Wide tables are scrolled by themselves, in their own frames."""
    page = shown(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = "[...document.querySelectorAll('h1, h2, p, img, .scroll')].map(part => part.getBoundingClientRect().right)"
    assert max(page.evaluate(beyond)) <= width


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_text_and_figures_are_legible_in_the_dark(shown, scheme):
    """Figures are dark on white, whatever the page is."""
    page = shown(scheme=scheme)
    text = page.evaluate("getComputedStyle(document.querySelector('.answer p')).color")
    assert text == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)")
    image = page.evaluate("getComputedStyle(document.images[0]).backgroundColor")
    assert image == "rgb(255, 255, 255)"
