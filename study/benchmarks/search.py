"""Try networks and recipes for accuracy: each call tries one and stores its result.

    python -m study.benchmarks.search "LAYERS" [--dataset cifar10] [--nm BN GN] [--seeds 0] [--epochs 4] [--lr 0.1]
                                      [--weight-decay 5e-4] [--batch-size 128] [--groups 2] [--standardized]
                                      [--silu] [--optimizer muon] [--mirrored]

trains on all but the last 10,000 training images, scores on those, and appends to study/results/search.jsonl, from
which docs/recipe.md is made. The test set plays no part. A network is written as its convolutions, in order, as in
"8k5v P 12 16 P 16 16v H"; each is followed by its normalization and ReLU, and at the end stands a linear layer:

    16    a 3x3 convolution with 16 channels, padded       s16   a depthwise one, then 1x1
    16k5  a 5x5 one                                        n16   the same with a normalization between
    16v   without padding                                  P     maximum of 2x2, before the normalization
    16t2  with stride 2                                    M     maximum of the last maps, not their average
    16r   with its input added to its output               H     their average with trainable weights
    16g4  in 4 groups
"""

import argparse
import re
from dataclasses import replace

import torch
from torch import nn

from model import normalization
from normbench.data import load
from normbench.layers import StandardizedConv2d
from normbench.training import Recipe, train
from study.benchmarks.rows import RESULTS, Row, append
from study.networks import study_recipe

SAVED = RESULTS / "search.jsonl"
HEADS = "MH"
WORDS = {  # how a row says which field of the recipe was changed
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "batch_size": "batch",
    "optimizer": "optimizer",
}
GROUPS = 2
HELD_OUT = 10_000
EPOCHS = {"mnist": 20, "cifar10": 4}  # of the rows of each data set


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def network(
    layers: str,
    nm: str,
    shape: tuple[int, int, int] = (1, 28, 28),
    groups: int = GROUPS,
    standardized: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Make the network written as `layers`, for images of `shape` (C, H, W)."""
    body, channels, tokens = nn.Sequential(), shape[0], layers.split()
    for token, following in zip(tokens, [*tokens[1:], ""]):
        if token in ("P", *HEADS):
            continue
        width = _number(r"(\d+)", token)
        pool = [nn.MaxPool2d(2)] if following == "P" else []
        convolution = _convolution(token, channels, width, (nm, groups), standardized)
        last = [normalization(nm, width, groups), activation()]
        block = [Residual(*convolution, *last), *pool] if "r" in token else [*convolution, *pool, *last]
        body.extend(block)
        channels = width
    return nn.Sequential(body, *_head(tokens[-1], channels, body(torch.zeros(2, *shape)).shape[2:]))


def _number(pattern: str, token: str, default: int = 0) -> int:
    found = re.search(pattern, token)
    return int(found[1]) if found else default


def _convolution(
    token: str, channels: int, width: int, between: tuple[str, int], standardized: bool
) -> list[nn.Module]:
    kernel, stride, groups = (
        _number(f"{letter}(.)", token, default) for letter, default in (("k", 3), ("t", 1), ("g", 1))
    )
    padding = 0 if "v" in token else kernel // 2
    convolutions: list[nn.Module]
    if token[0] in "sn":
        depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)
        middle = [normalization(between[0], channels, between[1])] if token[0] == "n" else []
        convolutions = [depthwise, *middle, nn.Conv2d(channels, width, 1, bias=False)]
    else:
        kind = StandardizedConv2d if standardized else nn.Conv2d
        convolutions = [kind(channels, width, kernel, stride, padding, groups=groups, bias=False)]
    for layer in convolutions:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return convolutions


def _head(token: str, channels: int, size: torch.Size) -> list[nn.Module]:
    pool: nn.Module = nn.AdaptiveMaxPool2d(1) if token == "M" else nn.AdaptiveAvgPool2d(1)
    if token == "H":
        pool = nn.Conv2d(channels, channels, (size[0], size[1]), groups=channels, bias=False)
        nn.init.constant_(pool.weight, 1 / size.numel())
    return [pool, nn.Flatten(), nn.Linear(channels, 10), nn.LogSoftmax(dim=1)]


def tried(
    layers: str,
    recipe: Recipe,
    dataset: str = "mnist",
    standardized: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> Row:
    """Train and score one network, and return the row of the file.

    The recipe's norm is one that `model.normalization` makes: BN, GN:2, LN, IN or none.
    """
    data = load(dataset).hold_out(HELD_OUT)
    nm, _, groups = recipe.norm.partition(":")
    torch.manual_seed(recipe.seed)
    net = network(layers, nm, data.image_shape, int(groups or GROUPS), standardized, activation)
    run = train(net, data, recipe, progress=False)
    return {
        "dataset": dataset,
        "layers": layers,
        "change": ", ".join(changes(recipe, dataset, standardized, activation)),
        "nm": nm,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "parameters": run.parameters,
        "accuracy": round(run.last["test_accuracy"], 2),
        "loss": round(run.last["test_loss"], 4),
        "train_loss": round(run.last["train_loss"], 4),
        "train_accuracy": round(run.last["train_accuracy"], 2),
        "seconds": round(run.seconds, 1),
    }


def changes(recipe: Recipe, dataset: str, standardized: bool, activation: type[nn.Module]) -> list[str]:
    """List, in words, what is not as in the other rows of a data set."""
    usual = study_recipe()
    changed = {key: getattr(recipe, key) for key in WORDS if getattr(recipe, key) != getattr(usual, key)}
    listed = [f"{WORDS[key]} {value if isinstance(value, str) else f'{value:g}'}" for key, value in changed.items()]
    groups = recipe.norm.partition(":")[2]
    listed += [f"groups of GN: {groups}"] if groups not in ("", str(GROUPS)) else []
    listed += ["standardized filters"] if standardized else []
    listed += [activation.__name__] if activation is not nn.ReLU else []
    listed += ["mirrored in testing"] if recipe.mirrored else []
    listed += [f"{recipe.epochs} epochs"] if recipe.epochs != EPOCHS[dataset] else []
    return listed


def main() -> None:
    usual = study_recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("layers")
    parser.add_argument("--dataset", default="mnist", choices=EPOCHS)
    parser.add_argument("--nm", nargs="+", default=["BN", "GN"], choices=("BN", "GN", "LN", "IN", "none"))
    parser.add_argument("--groups", type=int, default=GROUPS, help="of GN")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--standardized", action="store_true", help="convolutions with standardized weights")
    parser.add_argument("--silu", action="store_true", help="SiLU instead of ReLU, as model.COLOUR has it")
    parser.add_argument("--mirrored", action="store_true", help="average over each test image and its mirror image")
    parser.add_argument("--epochs", type=int, help="by default as many as the others of its table have")
    for key in WORDS:
        default = getattr(usual, key)
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    recipe = replace(
        usual,
        epochs=arguments.epochs or EPOCHS[arguments.dataset],
        mirrored=arguments.mirrored,
        **{key: getattr(arguments, key) for key in WORDS},
    )
    activation = nn.SiLU if arguments.silu else nn.ReLU
    for seed in arguments.seeds:
        for nm in arguments.nm:
            norm = f"GN:{arguments.groups}" if nm == "GN" else nm
            row = tried(
                arguments.layers,
                replace(recipe, norm=norm, seed=seed),
                arguments.dataset,
                arguments.standardized,
                activation,
            )
            print(row, flush=True)
            append(row, SAVED)


if __name__ == "__main__":
    main()
