"""Networks and recipes tried for accuracy: a call tries one and stores what it gave.

    python -m benchmarks.search "LAYERS" [--dataset cifar10] [--nm BN GN] [--seeds 0] [--epochs 4] [--lr 0.1]
                                [--weight-decay 5e-4] [--batch-size 128] [--gp 2] [--standardized]
                                [--silu] [--optimizer muon]

trains on all but the last 10,000 training images, scores on those, and appends to results/search.jsonl, from which
docs/recipe.md is made. The test set plays no part. A network is written as its convolutions, in order, as in
"8k5v P 12 16 P 16 16v H"; each is followed by its normalization and ReLU, and at the end stands a linear layer:

    16    a 3x3 convolution with 16 channels, padded       s16   a depthwise one, then 1x1
    16k5  a 5x5 one                                        n16   the same with a normalization between
    16v   without padding                                  P     maximum of 2x2, before the normalization
    16t2  with stride 2                                    M     maximum of the last maps, not their average
    16r   with its input added to its output               H     their average with trainable weights
    16g4  in 4 groups
"""

import argparse
import json
import re
from pathlib import Path

import torch
from torch import nn

from model import StandardizedConv2d, normalization
from normbench.data import load
from normbench.train import Config, train

SAVED = Path("results/search.jsonl")
HEADS = "MH"
RECIPE = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "batch_size": "batch",
    "gp": "groups of GN:",
    "optimizer": "optimizer",
}
EPOCHS = {"mnist": 20, "cifar10": 4}  # of the rows of each data set


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def network(
    layers: str,
    nm: str,
    shape: tuple[int, int, int] = (1, 28, 28),
    group: int = 2,
    standardized: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """The network written as `layers`, for images of `shape` (C, H, W)."""
    body, channels, tokens = nn.Sequential(), shape[0], layers.split()
    for token, following in zip(tokens, [*tokens[1:], ""]):
        if token in ("P", *HEADS):
            continue
        width, pool = int(re.search(r"\d+", token)[0]), [nn.MaxPool2d(2)] if following == "P" else []
        convolution = _convolution(token, channels, width, (nm, group), standardized)
        last = [normalization(nm, width, group), activation()]
        block = [Residual(*convolution, *last), *pool] if "r" in token else [*convolution, *pool, *last]
        body.extend(block)
        channels = width
    return nn.Sequential(body, *_head(tokens[-1], channels, body(torch.zeros(2, *shape)).shape[2:]))


def _convolution(
    token: str, channels: int, width: int, between: tuple[str, int], standardized: bool
) -> list[nn.Module]:
    kernel, stride, groups = (
        int((re.search(f"{letter}(.)", token) or f"_{default}")[1]) for letter, default in ("k3", "t1", "g1")
    )
    shape = dict(kernel_size=kernel, stride=stride, padding=0 if "v" in token else kernel // 2, bias=False)
    if token[0] in "sn":
        depthwise = nn.Conv2d(channels, channels, groups=channels, **shape)
        middle = [normalization(between[0], channels, between[1])] if token[0] == "n" else []
        convolutions = [depthwise, *middle, nn.Conv2d(channels, width, 1, bias=False)]
    else:
        kind = StandardizedConv2d if standardized else nn.Conv2d
        convolutions = [kind(channels, width, groups=groups, **shape)]
    for layer in convolutions:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return convolutions


def _head(token: str, channels: int, size: torch.Size) -> list[nn.Module]:
    pool = {"M": nn.AdaptiveMaxPool2d(1), "H": nn.Conv2d(channels, channels, size, groups=channels, bias=False)}
    if token == "H":
        nn.init.constant_(pool["H"].weight, 1 / size.numel())
    return [pool.get(token, nn.AdaptiveAvgPool2d(1)), nn.Flatten(), nn.Linear(channels, 10), nn.LogSoftmax(dim=1)]


def tried(
    layers: str,
    config: Config,
    dataset: str = "mnist",
    standardized: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> dict:
    """One network trained and scored, as a line of the log."""
    data = load(dataset).hold_out(10_000)
    torch.manual_seed(config.seed)
    net = network(layers, config.nm, data.image_shape, config.gp, standardized, activation)
    run = train(config, data, progress=False, net=net)
    changed = [key for key in RECIPE if getattr(config, key) != getattr(Config(), key)]
    values = {key: getattr(config, key) for key in changed}
    changes = [f"{RECIPE[key]} {value if isinstance(value, str) else f'{value:g}'}" for key, value in values.items()]
    if standardized:
        changes.append("standardized filters")
    if activation is not nn.ReLU:
        changes.append(activation.__name__)
    if config.epochs != EPOCHS[dataset]:
        changes.append(f"{config.epochs} epochs")
    return {
        "dataset": dataset,
        "layers": layers,
        "change": ", ".join(changes),
        "nm": config.nm,
        "seed": config.seed,
        "epochs": config.epochs,
        "parameters": run.parameters,
        "accuracy": round(run.last["test_accuracy"], 2),
        "loss": round(run.last["test_loss"], 4),
        "train_loss": round(run.last["train_loss"], 4),
        "train_accuracy": round(run.last["train_accuracy"], 2),
        "seconds": round(run.seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers")
    parser.add_argument("--dataset", default="mnist", choices=EPOCHS)
    parser.add_argument("--nm", nargs="+", default=["BN", "GN"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--standardized", action="store_true", help="filters with mean 0, as model.COLOUR has them")
    parser.add_argument("--silu", action="store_true", help="SiLU instead of ReLU, as model.COLOUR has it")
    parser.add_argument("--epochs", type=int, help="by default as many as the others of its table have")
    for key in RECIPE:
        default = getattr(Config(), key)
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    recipe = {key: getattr(arguments, key) for key in RECIPE}
    recipe["epochs"] = arguments.epochs or EPOCHS[arguments.dataset]
    variant = arguments.dataset, arguments.standardized, nn.SiLU if arguments.silu else nn.ReLU
    for seed in arguments.seeds:
        for nm in arguments.nm:
            row = tried(arguments.layers, Config(nm, seed=seed, **recipe), *variant)
            print(row, flush=True)
            with SAVED.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
