import os

import pytest
import torch
from arrays import write_npz
from made_up import made_up_run
from small_comparison import Engine

from normbench.data import Dataset, load
from study.screenshots import browser_path

torch.set_num_threads(1)  # small networks on a busy machine wait for a second thread longer than it saves


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def few_digits(digits) -> Dataset:
    """The first 300 training and 50 test images: enough for whether, too few for how well."""
    train, test = slice(300), slice(50)
    return Dataset(
        "digits", digits.classes, digits.x_train[train], digits.y_train[train], digits.x_test[test], digits.y_test[test]
    )


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load("mnist")


@pytest.fixture
def mine(tmp_path):
    return load("mine", write_npz(tmp_path))


@pytest.fixture
def no_network(monkeypatch):
    import torchvision

    def refuse(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried a mirror, got:\n<no network>\n")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def three():
    """The studies' three models, with 4, 1 and 3 wrong test images."""
    return [made_up_run("BN", 4, l1=1e-4), made_up_run("GN:2", 1), made_up_run("LN", 3)]


@pytest.fixture(scope="session")
def browser():
    """Chromium, where there is one and playwright too."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = browser_path()
    if not chromium:
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens an address in a window: the page keeps what it asks for, and what it complains about."""
    pages = []

    def opened(address, width=1200, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for page in pages:
        page.close()


def pytest_collection_modifyitems(items):
    """Tests marked `mnist` or `cifar10` run where DATA_DIR is set, which says that the data are there."""
    if not os.environ.get("DATA_DIR"):
        for item in items:
            if {"mnist", "cifar10"} & {marker.name for marker in item.iter_markers()}:
                item.add_marker(pytest.mark.skip(reason="set DATA_DIR to the folder that holds MNIST and CIFAR-10"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
