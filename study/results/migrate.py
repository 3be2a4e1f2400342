"""Bring the stored runs of version 1 into the form of version 2: `results/` becomes `study/results/`.

    python study/results/migrate.py OLD_FOLDER NEW_FOLDER

A run's config becomes a recipe, with the normalization as one text; trainers have names of their own; networks are
fingerprinted anew, since mirror images are now shown by the testing function; a failed training has no history.
Trainings without a normalization are left out, unless their convolutions have a bias: they are of another network.
"""

import json
import sys
from functools import cache
from pathlib import Path

from normbench.data import Dataset
from normbench.training import Recipe, network_fingerprint
from study.networks import build

DEFAULTS = {
    "gp": 2,
    "ghost": 0,
    "penalized": "all",
    "width": 1,
    "filters": "auto",
    "optimizer": "auto",
    "images": 0,
}
TRAINERS = {
    "normbench.train.train": "train",
    "normbench.train.train_or_diverge": "train",
    "normbench.batch_statistics.train_and_split": "train and split",
}


def recipe_of(line: dict, foreign: bool) -> dict:
    """The recipe of a line; `foreign` where the network is not the study's."""
    config = DEFAULTS | line["config"]
    photographs = line["dataset"].startswith("cifar10") and not foreign
    assert config.pop("penalized") == "all" and config.pop("width") == 1
    filters, optimizer = config.pop("filters"), config.pop("optimizer")
    standardized = photographs and filters != "plain"
    nm, groups, images = config.pop("nm"), config.pop("gp"), config.pop("ghost")
    number = groups if nm == "GN" else images
    recipe = {"norm": ("WS+" if standardized else "") + nm + (f":{number}" if number else "")}
    recipe |= config | {
        "optimizer": optimizer if optimizer != "auto" else "muon" if standardized else "sgd",
        "mirrored": photographs,
        "images": config["images"] or None,
    }
    checked = Recipe(**recipe)
    return {name: getattr(checked, name) for name in Recipe.__dataclass_fields__}


@cache
def example(dataset: str) -> Dataset:
    """A data set of that one's shape and classes."""
    import torch

    shape = (3, 32, 32) if dataset.startswith("cifar10") else (1, 28, 28)
    x, y = torch.zeros(10, *shape, dtype=torch.uint8), torch.arange(10)
    return Dataset(dataset, tuple(map(str, range(10))), x, y, x, y)


@cache
def fingerprint(norm: str, dataset: str) -> str:
    data = example("cifar10" if dataset.startswith("cifar10") else "mnist")
    return network_fingerprint(build(Recipe(norm), data), data.image_shape)


def migrated(line: dict, foreign: bool) -> dict:
    recipe = recipe_of(line, foreign)
    new = {"recipe": recipe} | {key: value for key, value in line.items() if key != "config"}
    known = new["fingerprint"] = dict(line.get("fingerprint", {}))
    if "trainer" in known:
        known["trainer"] = TRAINERS[known["trainer"]]
    if "network" in known and not foreign:
        was, known["network"] = known["network"], fingerprint(recipe["norm"], line["dataset"])
        if line["dataset"].startswith("mnist") and was != known["network"]:
            print("another network:", recipe["norm"], was, known["network"])
    invented = [row for row in line["history"] if row.keys() == {"epoch", "test_accuracy"}]
    if line.get("failure") or invented:
        new |= {"history": [], "failure": line.get("failure") or "diverged"}
    if "torch" in new:
        new.setdefault("versions", {"torch": new.pop("torch")})
    return new


def main(old: Path, new: Path, kept_none: bool = False) -> None:
    new.mkdir(parents=True, exist_ok=True)
    for path in sorted(old.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if "config" in lines[0]:
            foreign = path.stem == "compare"
            runs = [line for line in lines if line["config"]["nm"] != "none" or foreign or kept_none]
            lines = [migrated(line, foreign) for line in runs]
        (new / path.name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        print(path.name, len(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--keep-none" in sys.argv)
