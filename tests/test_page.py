"""The page of a comparison as a browser shows it."""

import shutil
from dataclasses import replace

import pytest
from conftest import made_up_arms

from normbench.comparison import Comparison, Result
from normbench.config import Config

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
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
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(comparison.page(f"normbench compare --output /{'a-folder/' * 20}"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(browser, address):
    """The page in a window of some width: what it asks for, and what it complains about, are kept."""

    def open_page(width=1200, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        return page

    return open_page


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
