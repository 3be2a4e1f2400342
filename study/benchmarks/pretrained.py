"""Swap the normalizations of a trained network, and measure what is left of its accuracy before any further training.

    python -m study.benchmarks.pretrained

trains the network of examples/resnet8.py on scikit-learn's digits for some epochs, and swaps its seven batch norms for
each normalization, with `pretrained` (on 64 training images) and without. The test accuracies in percent go to
study/results/pretrained.jsonl; the guide shows them.
"""

import runpy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normbench.data import Dataset, load
from normbench.layers import NORMALIZATIONS
from normbench.swapping import swap
from study.benchmarks.rows import RESULTS, STUDY, Row, write

SAVED = RESULTS / "pretrained.jsonl"
NORMS = (*(norm for norm in NORMALIZATIONS if norm != "BN"), "BN:16", "WS+GN")
EPOCHS = 15
FOLLOWED = 64


def trained(data: Dataset) -> nn.Module:
    """Train the network with batch norm; return it in evaluation mode."""
    torch.manual_seed(0)
    build = runpy.run_path(str(STUDY.parent / "examples" / "resnet8.py"))["build"]
    net: nn.Module = build(num_classes=len(data.classes), in_channels=data.x_train.shape[1])
    x, y = data.standardize(data.x_train), data.y_train
    optimizer = torch.optim.SGD(net.parameters(), momentum=0.9, weight_decay=5e-4)
    steps = EPOCHS * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of the images that a network knows, in percent."""
    return 100 * float((net(x).argmax(dim=1) == y).float().mean())


def left(net: nn.Module, norm: str, data: Dataset) -> Row:
    """Return what is left of a trained network's accuracy after a swap, with and without `pretrained`."""
    some, x = data.standardize(data.x_train)[:FOLLOWED], data.standardize(data.x_test)
    with_it, without = (swap(net, norm, some, pretrained=way).eval() for way in (True, False))
    return {"norm": norm, "without": accuracy(without, x, data.y_test), "with": accuracy(with_it, x, data.y_test)}


def main() -> None:
    torch.set_num_threads(1)
    data = load("digits")
    net = trained(data)
    was = accuracy(net, data.standardize(data.x_test), data.y_test)
    rows: list[Row] = [{"norm": "own", "without": was, "with": was}]
    for norm in NORMS:
        rows.append(left(net, norm, data))
        print(rows[-1], flush=True)
    write(rows, SAVED)


if __name__ == "__main__":
    main()
