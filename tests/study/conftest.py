import pytest
from made_up import noise, run_of
from made_up_results import write_runs

from study import explorer as explorer_page
from study.experiments import EXPERIMENTS, path
from study.numbers import Numbers


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
