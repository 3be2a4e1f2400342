"""A network's identity: what is trained anew after an edit, and what is not."""

import importlib.util
from functools import partial

import pytest
import torch
from torch import nn

from normbench.comparison import compare
from normbench.runs import read
from normbench.source import source_checksum
from normbench.training import build_checksum

NETWORK = """
import torch
import torch.nn.functional as F
from torch import nn

RATE = 0.0

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 5, stride=4), nn.BatchNorm2d(width), nn.Flatten())
        self.head = nn.Linear(36 * width, 10)

    def forward(self, x):
        return self.head(F.dropout(self.body(x), RATE, self.training))

def build():
    net = Net()
    return net
"""

EDITS = {
    "a rate of functional dropout": ("RATE = 0.0", "RATE = 0.9"),
    "all weights zero": ("    return net", "    torch.nn.init.zeros_(net.head.weight)\n    return net"),
    "frozen": ("    return net", "    net.head.requires_grad_(False)\n    return net"),
    "another start": ("    return net", "    torch.nn.init.orthogonal_(net.head.weight)\n    return net"),
    "the forward pass": ("self.head(F.dropout", "2 * self.head(F.dropout"),
}


def trained(folder, data, source):
    """How many runs a call adds that finds this file."""
    (folder / "net.py").write_text(source)
    kept = folder / "runs.jsonl"
    before = len(read(kept)) if kept.exists() else 0
    options = {"seeds": 1, "epochs": 1, "batch_size": 64, "rates": (0.1,), "price": False, "progress": False}
    compare(f"{folder}/net.py:build", data, ("BN", "none"), folder=folder, **options)
    return len(read(kept)) - before


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_network_is_trained_anew(edit, few_digits, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("/nowhere")  # what is added to the path goes with the test
    assert trained(tmp_path, few_digits, NETWORK) == 2
    assert trained(tmp_path, few_digits, NETWORK + "\n# a remark\n") == 0
    assert NETWORK.count(EDITS[edit][0]) == 1
    assert trained(tmp_path, few_digits, NETWORK.replace(*EDITS[edit])) == 2
    assert trained(tmp_path, few_digits, NETWORK) == 0, "the first ones are kept"


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))


def changed(change):
    net = small()
    change(net)
    return net


CHANGES = (
    lambda net: net[0].weight.data.mul_(1.01),
    lambda net: net[1].running_mean.add_(0.5),
    lambda net: net[0].bias.requires_grad_(False),
    lambda net: setattr(net[2], "p", 0.2),
    lambda net: setattr(net[1], "eps", 1e-3),
    lambda net: net.double(),
    lambda net: net[0].weight.data.copy_(net[0].weight.data.flip(0)),
)


def test_a_checksum_is_that_of_the_build_and_of_no_other():
    checksums = {build_checksum(small(), ["source"]), build_checksum(small().eval(), ["source"])}
    assert len(checksums) == 1 and len(*checksums) == 16
    others = {build_checksum(changed(change), ["source"]) for change in CHANGES} | {build_checksum(small(), ["other"])}
    assert len(others | checksums) == len(CHANGES) + 2
    assert build_checksum(small(), [""]) == "", "a source that is not known"


def test_another_processor_s_rounding_is_no_other_network():
    net = changed(lambda net: net[0].weight.data.mul_(1 + 1e-6))
    assert build_checksum(net) == build_checksum(small())


def module(path, text):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


BASE = "SCALE = {'a': 1}\n\ndef inner(x):\n    return x\n\ndef outer(x, y=2):\n    return inner(x) * SCALE['a']\n"


@pytest.mark.parametrize(
    "old, new, is_other",
    (
        ("return x", "return -x", True),
        ("{'a': 1}", "{'a': 2}", True),
        ("y=2", "y=3", True),
        ("def inner", "# a remark\n\n\ndef inner", False),
        ("def inner", "def unused():\n    pass\n\ndef inner", False),
    ),
)
def test_what_a_function_names_is_part_of_its_source(old, new, is_other, tmp_path):
    first = source_checksum([module(tmp_path / "first.py", BASE).outer])
    second = source_checksum([module(tmp_path / "second.py", BASE.replace(old, new)).outer])
    assert (first != second) == is_other and first and second


def test_closures_partials_and_objects_are_followed():
    def made(n):
        def inner(x):
            return x + n

        return inner

    class Caller:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return x + self.n

    assert source_checksum([made(1)]) != source_checksum([made(2)]) != ""
    assert source_checksum([partial(made, 1)]) != source_checksum([partial(made, 2)])
    assert source_checksum([Caller(1)]) != source_checksum([Caller(2)])
    assert source_checksum([{1, 2, 3}]) == source_checksum([{3, 2, 1}])


def test_what_was_typed_into_a_prompt_is_not_known():
    told: dict = {}
    exec("def f(x):\n    return x", told)
    assert source_checksum([told["f"]]) == "" and source_checksum([nn.Linear, torch.relu]) != ""
