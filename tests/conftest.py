import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from normbench import runs
from normbench.config import Config
from normbench.data import Dataset, load
from normbench.experiments import EXPERIMENTS, path
from normbench.train import Run

ROOT = Path(__file__).parent.parent
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


@pytest.fixture(scope="session")
def browser():
    """Chromium, where there is one and playwright too."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
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


def made_up_run(nm, errors, l1=0.0, accuracies=(90.0, 99.0, 98.0)):
    """A run over 200 test images of which the first `errors` are wrong."""
    scores = dict(train_loss=0.25, penalty=1000 * l1, train_accuracy=97.5, test_loss=0.125, seconds=1.0)
    history = tuple(dict(epoch=epoch, test_accuracy=accuracy) | scores for epoch, accuracy in enumerate(accuracies, 1))
    correct = torch.arange(200) >= errors
    return Run(Config(nm, l1=l1, epochs=3), "made-up", history, correct, parameters=7000, seconds=4.0, device="CPU")


@pytest.fixture
def three():
    """The studies' three models, with 4, 1 and 3 wrong test images."""
    return [made_up_run("BN", 4, l1=1e-4), made_up_run("GN", 1), made_up_run("LN", 3)]


def run_of(config, accuracy, dataset="mnist", images=1000, best=None, lag=0.0, **row):
    """A made-up run of `config` with that last-epoch test accuracy, wrong on its first test images.

    `best` is the accuracy of its best epoch, where that is another; `lag` what running averages add to the loss.
    """
    correct = torch.arange(images) >= images * (1 - accuracy / 100)
    penalty = 0.03 if config.l1 else 0.0
    scores = dict(train_loss=0.02, penalty=penalty, train_accuracy=98.0, test_loss=0.03)
    scores |= dict(l1_norm=1000.0, zeros=0.0, seconds=1.0) | row
    history = [
        scores | dict(epoch=epoch, test_accuracy=accuracy - 0.5 * (config.epochs - epoch))
        for epoch in range(1, config.epochs + 1)
    ]
    if best is not None:
        history[0]["test_accuracy"] = best
    losses = dict(running=0.1 + lag, precise=0.1, batch=0.1)
    statistics = {kind: dict(test_loss=loss, test_accuracy=accuracy) for kind, loss in losses.items()}
    how = dict(parameters=7000, seconds=4.0, device="CPU", statistics=statistics)
    return Run(config, dataset, tuple(history), correct, **how)


def noise(config, deviation=0.05):
    """What chance adds to a run: the same each time for one config and seed, and nothing in common with another."""
    return random.Random(repr(config)).gauss(0, deviation)


def made_up_arms(configs, accuracy, seeds=16, deviation=0.03, dataset="mnist", images=10_000, **row):
    """Arms of made-up runs: `accuracy(config)` is each one's, but for what the seed adds; `row` may be functions."""
    return runs.arms(
        run_of(
            config,
            accuracy(config) + noise(config, deviation),
            dataset,
            images,
            **{key: value(config) if callable(value) else value for key, value in row.items()},
        )
        for seed in range(seeds)
        for config in (replace(arm, seed=seed) for arm in configs)
    )


def write_results(folder, accuracy, deviation=0.05, **row):
    """Made-up runs of every experiment in `folder`, as `made_up_arms` makes them."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        for name, experiment in EXPERIMENTS.items():
            for config in experiment.plan(folder):
                scores = {key: value(config) if callable(value) else value for key, value in row.items()}
                spread = deviation(config) if callable(deviation) else deviation
                made = run_of(config, accuracy(config) + noise(config, spread), experiment.data_name, **scores)
                runs.append(made, path(name, folder))
    for name in ("notebook", "speed", "search", "cost", "step", "side_by_side", "gpu", "compare"):
        if (file := ROOT / "results" / f"{name}.jsonl").exists():
            (folder / file.name).write_bytes(file.read_bytes())


def leaky(net):
    """A `Net` with another activation, which its state does not tell."""
    for i, layer in enumerate(net.features):
        if isinstance(layer, nn.ReLU):
            net.features[i] = nn.LeakyReLU(inplace=True)
    return net


def without_seconds(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]


def linear(classes=10, *last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes), *last)


def interrupted(command, folder, marker):
    """Start the command, send it Ctrl-C as soon as the file `marker` is there: exit status and its last words."""
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"}
    options = dict(cwd=folder, env=environment, start_new_session=True, text=True)
    # Tests that a shell runs in the background would hand on to the command that Ctrl-C is to be ignored.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    try:
        deadline = time.monotonic() + 600
        while not any(path.stat().st_size for path in Path(folder).rglob(marker)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its workers
        said = process.communicate(timeout=600)[1]
    finally:
        process.kill()
    assert "Traceback" not in said, said
    return process.returncode, said.splitlines()[-1]


def pytest_collection_modifyitems(items):
    """Tests marked `mnist` or `cifar10` run where DATA_DIR is set, which says that the data are there."""
    if not os.environ.get("DATA_DIR"):
        for item in items:
            if {"mnist", "cifar10"} & {marker.name for marker in item.iter_markers()}:
                item.add_marker(pytest.mark.skip(reason="set DATA_DIR to the folder that holds MNIST and CIFAR-10"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
