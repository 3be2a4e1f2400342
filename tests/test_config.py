import json
from dataclasses import asdict
from pathlib import Path

import pytest

from normbench.config import Config
from normbench.train import build

RESULTS = Path(__file__).parent.parent / "results"


@pytest.mark.parametrize(
    "values, error, message",
    (
        (dict(nm="batch"), ValueError, "unknown normalization 'batch'"),
        (dict(nm="GN", gp=-1), ValueError, "gp must be at least 0, got -1"),
        (dict(epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (dict(width=0), ValueError, "width must be at least 1, got 0"),
        (dict(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (dict(l1=-1e-4), ValueError, "l1 must be at least 0, got -0.0001"),
        (dict(weight_decay=-1), ValueError, "weight_decay must be at least 0, got -1"),
        (dict(lr=0), ValueError, "lr must be finite and above 0, got 0"),
        (dict(lr=float("nan")), ValueError, "lr must be finite and above 0, got nan"),
        (dict(l1=float("inf")), ValueError, "l1 must be finite, got inf"),
        (dict(seed=-1), ValueError, "seed must be at least 0, got -1"),
        (dict(epochs="ten"), TypeError, "epochs must be of type int, got 'ten'"),
        (dict(epochs=2.5), TypeError, r"epochs must be of type int, got 2\.5"),
        (dict(nm=3), TypeError, "nm must be of type str, got 3"),
        (dict(proximal=1), TypeError, "proximal must be of type bool, got 1"),
        (dict(epochs=True), TypeError, "epochs must be of type int, got True"),
        (dict(l2=-1), ValueError, "l2 must be at least 0, got -1"),
        (dict(penalized="bias"), ValueError, "penalized must be one of all, conv, gamma, got 'bias'"),
        (dict(augment="flip"), ValueError, "augment must be one of auto, affine, crop-flip, none, got 'flip'"),
        (dict(l1=float("nan")), ValueError, "l1 must be at least 0, got nan"),
        (dict(weight_decay=float("nan")), ValueError, "weight_decay must be at least 0, got nan"),
        (dict(lr=float("inf")), ValueError, "lr must be finite and above 0, got inf"),
        (dict(seed=2**64), ValueError, f"seed must be at most {2**64 - 1}, got {2**64}"),
        (dict(width=1_000_000), ValueError, "width must be at most 100, got 1000000"),
        (dict(proximal=True), ValueError, "proximal.*set l1 too"),
        (dict(nm="GN", ghost=4), ValueError, "ghost is for BN alone, not for GN"),
        (dict(ghost=-1), ValueError, "ghost must be at least 0, got -1"),
        (dict(optimizer="adam"), ValueError, "optimizer must be one of auto, sgd, muon, got 'adam'"),
        (dict(nm="none", penalized="gamma"), ValueError, "no gamma to penalize; choose all or conv"),
    ),
)
def test_bad_configs(values, error, message):
    with pytest.raises(error, match=message):
        Config(**values)


def test_the_highest_seed_is_one(few_digits):
    build(Config(seed=2**64 - 1), few_digits)


def test_a_config_is_what_its_fields_say():
    config = Config("GN", gp=4, l1=1e-3, proximal=True, seed=7)
    assert Config(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_stored_configs_are_valid(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for config in (line["config"] for line in lines if "config" in line):
        assert asdict(Config(**config)).items() >= config.items()


@pytest.mark.parametrize(
    "config, label",
    (
        (Config("BN", l1=1e-4), "BN + L1"),
        (Config("GN"), "GN"),
        (Config("GN", gp=4, l1=1e-4, l2=1e-4), "GN (4 groups) + L1 + L2"),
        (Config("LN", gp=4, l2=1e-4), "LN + L2"),
        (Config("IN", l1=1e-3, proximal=True), "IN + proximal L1 0.001"),
        (Config("BN", l1=1e-4, penalized="gamma"), "BN + L1 on gamma"),
    ),
)
def test_label(config, label):
    assert config.label == label
