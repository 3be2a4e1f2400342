"""A user's own network, found by its name and swapped."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from made_up import ROOT
from torch import nn

from normbench.comparison import small_network
from normbench.data import Dataset
from normbench.defaults import NETWORK
from normbench.networks import Swapped
from normbench.swapping import normalizations
from normbench.training import Recipe

GN = Recipe("GN")


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

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

number = 7
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("/nowhere")  # what is added to the path goes with the test
    (tmp_path / "neighbour.py").write_text("CHANNELS = 6")
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def test_a_function_of_a_file_that_imports_its_neighbour(few_digits, file):
    net = Swapped(f"{file}:build")(GN, few_digits)
    assert isinstance(net[1], nn.GroupNorm) and net[1].num_channels == 6


def test_the_networks_own_layers_are_named(few_digits, file):
    (layer,) = Swapped(f"{file}:build").layers(few_digits).items()
    assert layer[0] == "1" and isinstance(layer[1], nn.BatchNorm2d)


@pytest.mark.parametrize("size", (8, 28, 33))
@pytest.mark.parametrize("channels", (1, 3))
def test_the_network_that_is_taken_if_none_is_given(size, channels):
    images = torch.zeros(4, channels, size, size, dtype=torch.uint8)
    data = Dataset("synthetic", ("a", "b", "c"), images, torch.zeros(4).long(), images, torch.zeros(4).long())
    net = Swapped(NETWORK)(Recipe("IN"), data)
    assert {type(layer) for layer in normalizations(net).values()} == {nn.InstanceNorm2d}
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 3)
    assert {type(layer) for layer in normalizations(small_network(3, channels)).values()} == {nn.BatchNorm2d}


def test_the_example():
    some = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4).long()
    data = Dataset("synthetic", ("a", "b", "c"), *some, *some)
    net = Swapped(f"{ROOT / 'examples' / 'resnet8.py'}:build")(GN, data)
    assert [layer.num_groups for layer in normalizations(net).values()] == [8, 8, 8, 16, 16, 32, 32]
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_network_of_torchvision_takes_grey_images(few_digits):
    net = Swapped("torchvision:resnet18")(GN, few_digits)
    assert net.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_grey_images_go_three_times_to_a_network_for_colour(few_digits):
    net = Swapped(in_colour)(Recipe("BN"), few_digits).eval()
    grey = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(net(grey), net[1](grey.repeat(1, 3, 1, 1)))


def test_feature_maps_are_measured_for_a_weight_per_element(few_digits):
    net = Swapped(in_colour)(Recipe("LN_CHW"), few_digits)
    assert net[1][1].normalized_shape == (4, 26, 26)


def lazy(num_classes):
    return nn.Sequential(
        nn.LazyConv2d(4, 5), nn.LazyBatchNorm2d(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(num_classes)
    ).eval()


def test_lazy_layers_get_shapes_and_the_weights_of_the_seed(few_digits):
    """By a pass that changes neither the running averages nor the modes of the network."""
    recipes = Recipe("BN", seed=1), Recipe("GN", seed=1), Recipe("BN", seed=2)
    first, same, other = (Swapped(lazy)(recipe, few_digits) for recipe in recipes)
    assert first[1].num_features == 4 and not first[1].running_mean.any() and not first.training
    assert torch.equal(first[4].weight, same[4].weight) and not torch.equal(first[4].weight, other[4].weight)


ENDS = {
    "exits": "import sys\nsys.exit()",
    "parses": "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('data')\nparser.parse_args()",
    "quits": "raise SystemExit('done')",
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("as_file", (True, False))
def test_a_file_that_ends_the_program_is_told_in_one_line(few_digits, tmp_path, name, as_file, monkeypatch, capsys):
    (tmp_path / f"{name}.py").write_text(ENDS[name])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{name}.* ends the program .*__main__") as caught:
        Swapped(f"{name}.py:build" if as_file else f"{name}:build")(GN, few_digits)
    assert "\n" not in str(caught.value) and capsys.readouterr().err == ""


def test_a_file_that_reads_the_command_line_finds_its_own_defaults(few_digits, tmp_path, monkeypatch, capsys):
    parsed = (
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', type=int, default=6)\n"
    )
    (tmp_path / "parses.py").write_text(
        f"{parsed}import sys\nCHANNELS = parser.parse_args().width\nprint('a warning', file=sys.stderr)\n"
        + SOURCE.replace("from neighbour import CHANNELS", "")
    )
    monkeypatch.setattr(sys, "argv", ["normbench", "compare", "parses.py:build", "--arms", "BN"])
    net = Swapped(f"{tmp_path / 'parses.py'}:build")(GN, few_digits)
    assert net[1].num_channels == 6 and sys.argv[1] == "compare" and capsys.readouterr().err == "a warning\n"


def exits():
    sys.exit(0)


def test_a_function_that_ends_the_program_is_told_in_one_line(few_digits):
    with pytest.raises(ValueError, match="exits cannot make a network: SystemExit"):
        Swapped(exits)(GN, few_digits)


def test_a_vision_transformer_is_told_the_size_of_the_images():
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    data = Dataset("synthetic", ("a", "b"), images, torch.zeros(2).long(), images, torch.zeros(2).long())
    with torch.no_grad():
        assert Swapped("torchvision:vit_b_32").original(data).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_a_grey_image_given_three_times_may_be_changed_in_place(few_digits):
    class InPlace(nn.Sequential):
        def forward(self, x):
            return super().forward(x.sub_(0.5))

    net = Swapped(lambda num_classes: InPlace(*in_colour(num_classes)))(GN, few_digits)
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_weights_depend_on_the_seed_alone(few_digits):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (
        Swapped(in_colour)(Recipe(norm, seed=seed), few_digits)[1][0].weight
        for norm, seed in (("BN", 1), ("GN", 1), ("BN", 2))
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "name, facts",
    (
        ("resnet18", "'resnet18'.*file.py:function"),
        ("torchvision:resnet19", "torchvision.*'resnet19'.*resnet18"),
        ("nowhere/net.py:build", "no file nowhere/net.py"),
        ("no_such_module:build", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("{file}:number", "'number'"),
        ("{file}:other", "'other'"),
        ("{file}:fails", "fails.*KeyError: 'weights'"),
        ("{file}:wrong", "wrong.*returned int"),
        ("{file}:plain", "no normalization layer"),
    ),
)
def test_what_is_no_network(name, facts, few_digits, file):
    with pytest.raises(ValueError, match=facts):
        Swapped(name.format(file=file))(GN, few_digits)


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
MY_NORMS = """
from torch import nn

class MyNorm(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(2, channels)

def wrong(channels):
    return nn.GroupNorm(channels + 1, channels)

number = 7
"""
ELSEWHERE = """
import pickle
from normbench.training import Recipe
from normbench.data import load

for name, norm in (("alone", "GN"), ("mine", "GN"), ("normed", "./my_norms.py:MyNorm")):
    network = pickle.load(open(name, "rb"))
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    try:
        print([type(layer).__name__ for layer in again(Recipe(norm), load("digits"))])
    except ValueError as error:
        print(error)
"""


def test_a_file_is_sent_along_and_its_neighbours_are_not(file, tmp_path, monkeypatch):
    """A process in another folder gets the pickled networks, after their files are gone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone.py").write_text(ALONE)
    there = tmp_path / "there"
    there.mkdir()
    for name in ("alone", "mine"):
        network = Swapped(f"{name}.py:build")
        assert network.name == f"{name}.build"
        assert b"__main__" not in pickle.dumps(network), "engines would take it for the script's own function"
        (there / name).write_bytes(pickle.dumps(network))
    (tmp_path / "my_norms.py").write_text(MY_NORMS)
    norm = "./my_norms.py:MyNorm"
    (there / "normed").write_bytes(pickle.dumps(Swapped("./alone.py:build", {norm: norm})))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=there, env=environment, capture_output=True, text=True
    )
    alone, mine, normed = shown.stdout.splitlines()
    assert alone == "['Conv2d', 'GroupNorm', 'Flatten', 'Linear']" and not shown.stderr
    assert normed == alone.replace("GroupNorm", "MyNorm"), "the text of the layer's file travels, too"
    assert mine.startswith("mine.py") and "No module named 'neighbour'" in mine and "without its neighbours" in mine


def test_a_layer_of_ones_own(few_digits, file):
    """By its name or as a function, beside the norms of the table."""
    file.with_name("my_norms.py").write_text(MY_NORMS)
    norm = f"{file.with_name('my_norms.py')}:MyNorm"
    network = Swapped(f"{file}:build", {norm: norm, "five()": lambda channels: nn.GroupNorm(3, channels)})
    made = {name: network(Recipe(name), few_digits)[1] for name in (norm, "five()", "BN")}
    assert type(made[norm]).__name__ == "MyNorm" and made[norm].num_groups == 2
    assert made["five()"].num_groups == 3 and isinstance(made["BN"], nn.BatchNorm2d)
    assert {*network.priced(("BN", norm, "five()"))} == {"BN", "MyNorm", "five"}


@pytest.mark.parametrize(
    "name, facts",
    (
        ("{folder}/nowhere.py:MyNorm", "no file .*nowhere.py"),
        ("{folder}/my_norms.py:OtherNorm", "'OtherNorm'"),
        ("{folder}/my_norms.py:number", "'number'"),
        ("{folder}/my_norms.py:wrong", "layer '1'.* 6 channels"),
    ),
)
def test_what_is_no_layer(name, facts, few_digits, file):
    file.with_name("my_norms.py").write_text(MY_NORMS)
    norm = name.format(folder=file.parent)
    with pytest.raises(ValueError, match=facts):
        Swapped(f"{file}:build", {norm: norm})(Recipe(norm), few_digits)


def test_inputs_of_other_kinds_than_images(tmp_path, monkeypatch):
    """The function is told their channels and lengths."""
    monkeypatch.syspath_prepend("/nowhere")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def build(in_channels, size, num_classes):\n"
        "    return nn.Linear(in_channels, num_classes + 100 * len(size))\n"
    )
    network = Swapped(f"{tmp_path}/nets.py:build")
    for shape in ((7,), (2, 50), (1, 4, 5, 6)):
        net = network.built({"num_classes": 3, "in_channels": shape[0], "size": shape[1:]})
        assert (net.in_features, net.out_features) == (shape[0], 3 + 100 * (len(shape) - 1))


def test_a_file_is_read_once_and_again_when_it_has_changed(few_digits, file):
    with file.open("a") as added:
        added.write("\nwith open(__file__ + '.log', 'a') as log: log.write('!')\n")
    network, log = Swapped(f"{file}:build"), file.with_name("mine.py.log")
    for _ in range(3):
        network(GN, few_digits)
    assert log.read_text() == "!"
    file.write_text(file.read_text().replace("import CHANNELS", "import CHANNELS as half\nCHANNELS = 2 * half"))
    assert Swapped(f"{file}:build")(GN, few_digits)[1].num_channels == 12 and log.read_text() == "!!"


# Modules of the same name


@pytest.fixture
def restored(monkeypatch):
    """What a test imports, and adds to the path, goes with it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]
    sys.modules.update(before)


@dataclass
class Project:
    """A folder with a network that takes its channels from its own model.py and its own package."""

    folder: object
    channels: int

    def __post_init__(self):
        (self.folder / "parts").mkdir(parents=True)
        (self.folder / "model.py").write_text(f"CHANNELS = {self.channels}")
        (self.folder / "parts" / "layers.py").write_text("from torch.nn import BatchNorm2d as Norm")
        (self.folder / "net.py").write_text(
            "from model import CHANNELS\nfrom parts.layers import Norm\nfrom torch import nn\n"
            "def build():\n"
            "    import model, parts.layers\n"  # as late imports find the same modules
            "    assert model.CHANNELS == CHANNELS and parts.layers.Norm is Norm\n"
            "    return nn.Sequential(nn.Conv2d(1, CHANNELS, 28), Norm(CHANNELS), nn.Flatten())\n"
        )

    @property
    def network(self):
        return Swapped(f"{self.folder / 'net.py'}:build")


def channels(network, data):
    return network(Recipe("BN"), data)[1].num_features


def test_modules_beside_the_network_win_over_others_of_their_names(few_digits, tmp_path, restored, monkeypatch):
    """Over this checkout's model.py, whether it is loaded already or not, and over those of another network."""
    monkeypatch.syspath_prepend(ROOT)
    first, second = Project(tmp_path / "first", 3), Project(tmp_path / "second", 5)
    sys.modules.pop("model", None)
    for project in (first, second, first):
        assert channels(project.network, few_digits) == project.channels
    import model

    assert model.__file__ == str(ROOT / "model.py"), "others still find theirs"
    for project in (second, first):
        assert channels(project.network, few_digits) == project.channels
    assert sys.modules["model"] is model and sys.path[0] == str(ROOT)


def test_a_module_of_the_working_folder_wins(few_digits, tmp_path, restored, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    project = Project(tmp_path / "mine", 3)
    monkeypatch.chdir(project.folder)
    assert channels(Swapped("net:build"), few_digits) == 3


def test_what_the_library_stands_on_is_not_taken_over(few_digits, tmp_path, restored):
    project = Project(tmp_path / "mine", 3)
    for name in ("torch.py", "numpy.py", "json.py"):
        (project.folder / name).write_text("raise SystemExit('this is no library')")
    (project.folder / "normbench").mkdir()
    (project.folder / "normbench" / "__init__.py").write_text("raise SystemExit('an older checkout')")
    with (project.folder / "net.py").open("a") as added:
        added.write("import json, numpy, torch, normbench\n")
    assert channels(project.network, few_digits) == 3
