import os
import pickle
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch import nn

from normbench.config import Config
from normbench.data import Dataset
from normbench.networks import OURS, Swapped
from normbench.swap import normalizations


def in_colour(num_classes):
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    return nn.Sequential(*layers)


SOURCE = """
from neighbour import CHANNELS
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, CHANNELS, 28), nn.BatchNorm2d(CHANNELS), nn.Flatten(), nn.Linear(CHANNELS, 10))

def fails():
    raise KeyError("weights")

def wrong():
    return 3

number = 7
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("/nowhere")  # what is added to the path goes with the test
    (tmp_path / "neighbour.py").write_text("CHANNELS = 6")
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def test_a_function_of_a_file_that_imports_its_neighbour(few_digits, file):
    net = Swapped(f"{file}:build")(Config("GN", gp=0), few_digits)
    assert isinstance(net[1], nn.GroupNorm) and net[1].num_groups == 3


def test_a_function_of_a_module(few_digits):
    net = Swapped(OURS)(Config("IN"), few_digits)
    assert {type(layer) for layer in normalizations(net).values()} == {nn.InstanceNorm2d}
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_example():
    some = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4).long()
    data = Dataset("made-up", ("a", "b", "c"), *some, *some)
    net = Swapped(f"{ROOT / 'examples' / 'resnet8.py'}:build")(Config("GN", gp=0), data)
    assert [layer.num_groups for layer in normalizations(net).values()] == [8, 8, 8, 16, 16, 32, 32]
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_network_of_torchvision_takes_grey_images(few_digits):
    net = Swapped("torchvision:resnet18")(Config("GN", gp=0), few_digits)
    assert net.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_grey_images_go_three_times_to_a_network_for_colour(few_digits):
    net = Swapped(in_colour)(Config("BN"), few_digits).eval()
    grey = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(net(grey), net[1](grey.repeat(1, 3, 1, 1)))


def test_weights_depend_on_the_seed_alone(few_digits):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (
        Swapped(in_colour)(Config(nm, seed=seed), few_digits)[1][0].weight
        for nm, seed in (("BN", 1), ("GN", 1), ("BN", 2))
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "name, message",
    (
        ("resnet18", "names no network; give file.py:function"),
        ("torchvision:resnet19", "no classification network 'resnet19'"),
        ("nowhere/net.py:build", "there is no file nowhere/net.py"),
        ("no_such_module:build", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("{file}:number", "has no function 'number'"),
        ("{file}:other", "has no function 'other'"),
        ("{file}:fails", "cannot make a network: KeyError: 'weights'"),
        ("{file}:wrong", "must return a torch.nn.Module, but it returned int"),
        ("torchvision:alexnet", "AlexNet has no normalization layer"),
    ),
)
def test_what_is_no_network(name, message, few_digits, file):
    with pytest.raises(ValueError, match=message):
        Swapped(name.format(file=file))(Config("GN"), few_digits)


# Files that other machines do not have

ALONE = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Sizes:  # dataclasses look for the module when types are texts
    channels: int = 6

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, Sizes().channels, 28), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 10))

if __name__ == "__main__":
    raise SystemExit("this is no script")
"""
ELSEWHERE = """
import pickle, sys
from normbench.config import Config
from normbench.data import load

network = pickle.load(open("pickled", "rb"))
again = pickle.loads(pickle.dumps(network))
assert again == network
try:
    print([type(layer).__name__ for layer in again(Config("GN", gp=0), load("digits"))])
except ValueError as error:
    sys.exit(str(error))
"""


def elsewhere(network, tmp_path):
    """What a process in another folder makes of the pickled network, after its files are gone."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "pickled").write_bytes(pickle.dumps(network))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=there, env=environment, capture_output=True, text=True
    )
    return ended.stdout.strip(), ended.stderr.strip()


def test_a_file_is_sent_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone.py").write_text(ALONE)
    network = Swapped("alone.py:build")
    assert b"__main__" not in pickle.dumps(network), "engines would take it for the script's own function"
    assert network.name == "alone.build"
    assert elsewhere(network, tmp_path) == ("['Conv2d', 'GroupNorm', 'Flatten', 'Linear']", "")


def test_neighbours_of_a_file_are_not_sent_along(file, tmp_path):
    shown, said = elsewhere(Swapped(f"{file}:build"), tmp_path)
    assert shown == "" and said == (
        f"{file} cannot be imported: ModuleNotFoundError: No module named 'neighbour'; the file is sent here without "
        "its neighbours: put all that it needs into it"
    )


def test_a_file_is_read_once_and_again_when_it_has_changed(few_digits, file):
    with file.open("a") as added:
        added.write("\nwith open(__file__ + '.log', 'a') as log: log.write('!')\n")
    network, log = Swapped(f"{file}:build"), file.with_name("mine.py.log")
    for _ in range(3):
        network(Config("GN", gp=0), few_digits)
    assert log.read_text() == "!"
    file.write_text(file.read_text().replace("import CHANNELS", "import CHANNELS as half\nCHANNELS = 2 * half"))
    assert Swapped(f"{file}:build")(Config("GN", gp=0), few_digits)[1].num_channels == 12 and log.read_text() == "!!"
