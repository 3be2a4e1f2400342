"""Networks and recipes tried for accuracy: a call tries one, keeps what it gave, and renews the table.

    python -m benchmarks.search "8k5v P 12 16 P 16 16v H" [--nm BN GN] [--seeds 0] [--lr 0.1]
                                [--weight-decay 5e-4] [--batch-size 128]
    python -m benchmarks.search              renews the table in benchmarks/ACCURACY.md alone

trains on 50,000 of MNIST's training images, scores on the other 10,000, and appends to results/search.jsonl.
The test set plays no part. A network is written as its convolutions, in order; each is followed by its
normalization and ReLU, and at the end stands a linear layer:

    16    a 3x3 convolution with 16 channels, padded       s16   a depthwise one, then 1x1
    16k5  a 5x5 one                                        P     maximum of 2x2, before the normalization
    16v   without padding                                  M     maximum of the last maps, not their average
    16t2  with stride 2                                    H     their average with trainable weights
"""

import argparse
import json
import re
from pathlib import Path
from statistics import mean

import torch
from torch import nn

from model import normalization
from normbench.data import load
from normbench.readme import update
from normbench.train import Config, train

SAVED, SHOWN = Path("results/search.jsonl"), Path("benchmarks/ACCURACY.md")
HEADS = "MH"
RECIPE = {"lr": "learning rate", "weight_decay": "weight decay", "batch_size": "batch"}


def network(layers: str, nm: str, size: int = 28) -> nn.Sequential:
    """The network written as `layers`, for images (1, size, size)."""
    body, channels, tokens = nn.Sequential(), 1, layers.split()
    for token, following in zip(tokens, [*tokens[1:], ""]):
        if token in ("P", *HEADS):
            continue
        width = int(re.search(r"\d+", token)[0])
        body.extend(_convolution(token, channels, width))
        body.extend([nn.MaxPool2d(2)] * (following == "P") + [normalization(nm, width), nn.ReLU()])
        channels = width
    return nn.Sequential(body, *_head(tokens[-1], channels, body(torch.zeros(2, 1, size, size)).shape[2:]))


def _convolution(token: str, channels: int, width: int) -> list[nn.Module]:
    kernel, stride = (int((re.search(f"{letter}(.)", token) or f"_{default}")[1]) for letter, default in ("k3", "t1"))
    shape = dict(kernel_size=kernel, stride=stride, padding=0 if "v" in token else kernel // 2, bias=False)
    if token.startswith("s"):
        depthwise = nn.Conv2d(channels, channels, groups=channels, **shape)
        convolutions = [depthwise, nn.Conv2d(channels, width, 1, bias=False)]
    else:
        convolutions = [nn.Conv2d(channels, width, **shape)]
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolutions


def _head(token: str, channels: int, size: torch.Size) -> list[nn.Module]:
    pool = {"M": nn.AdaptiveMaxPool2d(1), "H": nn.Conv2d(channels, channels, size, groups=channels, bias=False)}
    if token == "H":
        nn.init.constant_(pool["H"].weight, 1 / size.numel())
    return [pool.get(token, nn.AdaptiveAvgPool2d(1)), nn.Flatten(), nn.Linear(channels, 10), nn.LogSoftmax(dim=1)]


def tried(layers: str, config: Config) -> dict:
    """One network trained and scored, as a line of the log."""
    torch.manual_seed(config.seed)
    run = train(config, load("mnist").hold_out(10_000), progress=False, net=network(layers, config.nm))
    changed = [key for key in RECIPE if getattr(config, key) != getattr(Config(), key)]
    changes = (f"{RECIPE[key]} {getattr(config, key):g}" for key in changed)
    last = run.history[-1]
    return {
        "layers": layers,
        "change": ", ".join(changes),
        "nm": config.nm,
        "seed": config.seed,
        "parameters": run.parameters,
        "accuracy": round(last["test_accuracy"], 2),
        "loss": round(last["test_loss"], 4),
        "train_loss": round(last["train_loss"], 4),
        "seconds": round(run.seconds, 1),
    }


def table(rows: list[dict]) -> str:
    """A Markdown table: a row a network and recipe, with the scores of its seeds."""
    nms = ("BN", "GN", "LN")
    groups = {}
    for row in rows:
        groups.setdefault((row["layers"], row["change"], row["parameters"]), []).append(row)
    head = "| layers | change of recipe | parameters |" + "".join(f" {nm} | loss | training |" for nm in nms)
    lines = [head, "|---|---|--:|" + "--:|--:|--:|" * len(nms)]
    for (layers, change, parameters), tries in groups.items():
        cells = [f"`{layers}`", change or "–", f"{parameters:,}"]
        for nm in nms:
            of_nm = [row for row in tries if row["nm"] == nm]
            cells += [" ".join(f"{row['accuracy']:.2f}" for row in of_nm)]
            cells += [f"{mean(row[key] for row in of_nm):.4f}" if of_nm else "" for key in ("loss", "train_loss")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read() -> list[dict]:
    return [json.loads(line) for line in SAVED.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="?")
    parser.add_argument("--nm", nargs="+", default=["BN", "GN"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    for key in RECIPE:
        default = getattr(Config(), key)
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    if arguments.layers:
        recipe = {key: getattr(arguments, key) for key in RECIPE}
        for seed in arguments.seeds:
            for nm in arguments.nm:
                row = tried(arguments.layers, Config(nm, seed=seed, **recipe))
                print(row, flush=True)
                with SAVED.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    SHOWN.write_text(update(SHOWN.read_text(), "search", table(read())))


if __name__ == "__main__":
    main()
