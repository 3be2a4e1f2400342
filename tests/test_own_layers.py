"""Comparing layers of one's own: by function, by file, in other processes, and where they fail."""

import re

import pytest
from small_comparison import FEW, MyNorm, network
from torch import nn

from normbench.comparison import compare
from normbench.training import Recipe


def test_layers_of_ones_own_by_function(few_digits, tmp_path, engine):
    arms = {"BN": "BN", "mine": lambda channels: MyNorm(channels), "eight": "GN:8"}
    found = compare(network, few_digits, arms, folder=tmp_path, engine=engine, **FEW)
    assert [recipe.norm for recipe in found.arms] == ["BN", "mine()", "GN:8"]
    assert set(found.results[0].labels.values()) == {"BN", "mine", "GN (8 groups)"} and "mine" in found.answer
    assert {run.parameters for arm in found.arms.values() for run in arm.runs} == {5354, 5346}
    compare(network, few_digits, ("BN", MyNorm), folder=tmp_path, engine=engine, **FEW)
    assert [recipe.norm for recipe in engine.trained[6:]] == ["MyNorm()"] * 2, "by the name of its class; BN is stored"


MY_NORMS = """
from beside import EPS
from torch import nn

class MyNorm(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(2, channels, EPS)
"""


def test_a_layer_of_ones_own_in_a_file(few_digits, tmp_path, monkeypatch, engine):
    monkeypatch.syspath_prepend("/nowhere")  # what is added to the path goes with the test
    (tmp_path / "beside.py").write_text("EPS = 1e-3")
    (tmp_path / "my_norms.py").write_text(MY_NORMS)
    norm, options = f"{tmp_path}/my_norms.py:MyNorm", FEW | {"seeds": 1, "engine": engine}
    found = compare(network, few_digits, ("BN", norm), folder=tmp_path, **options)
    assert [recipe.norm for recipe in found.arms] == ["BN", norm] and not found.results[0].failures
    assert set(found.results[0].labels.values()) == {"BN", "MyNorm"}


def test_a_function_that_other_processes_cannot_have_is_refused(few_digits, tmp_path):
    arms = {"BN": "BN", "mine": lambda channels: MyNorm(channels)}
    with pytest.raises(ValueError, match=r"into a \.py file.*one worker"):
        compare(network, few_digits, arms, folder=tmp_path, workers=2, **FEW)


class Halving(nn.Module):
    """Leaves out half of the columns."""

    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x[..., ::2]


class Raising(Halving):
    def forward(self, x):
        raise KeyError("no such statistic")


def refusing(channels):
    raise RuntimeError("not on Sundays\nnor at night")


@pytest.mark.parametrize(
    "maker, why",
    (
        (Halving, r"layer '1'.*shape.*\(2, 8, 8, 8\).*\(2, 8, 8, 4\)"),
        (Raising, "no such statistic"),
        (refusing, "8 channels.*Sundays$"),
        (lambda channels: channels, "torch.nn.Module.*int"),
        (lambda: nn.Identity(), "8 channels.*argument"),
    ),
)
def test_a_layer_of_ones_own_that_fails_fails_alone(maker, why, few_digits, tmp_path, engine):
    def pooled(num_classes):  # runs with any number of columns
        layers = nn.Conv2d(1, 8, 5, stride=3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(8, num_classes))

    options = FEW | {"folder": tmp_path, "engine": engine, "price": True}
    found = compare(pooled, few_digits, {"BN": "BN", "mine": maker}, **options)
    ((recipe, reason),) = found.results[0].failures.items()
    assert recipe.norm == "mine()" and re.search(why, reason)
    assert [run.recipe.norm for run in found.arms[Recipe("BN", epochs=1, batch_size=64)].runs] == ["BN", "BN"]
    assert "ine has no result" in found.answer
