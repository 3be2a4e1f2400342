"""What a network makes of images: log-probabilities, scores, and the mistakes that it is most sure of."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def log_probabilities(net: nn.Module, x: Tensor, mirrored: bool = False) -> Tensor:
    """Return log-probabilities (N, classes) of standardized images x (N, C, H, W), in the mode that `net` is in.

    `net` may return logits, or log-probabilities. With `mirrored` the network also sees each image in a mirror, and
    both probabilities are averaged. It is given copies: `x` stays as it is, also if the network changes its input.
    """
    seen = net(x.clone()).log_softmax(dim=1)  # which leaves log-probabilities as they are
    if not mirrored:
        return seen
    return torch.stack([seen, net(x.flip(3)).log_softmax(dim=1)]).logsumexp(dim=0) - math.log(2)


@torch.inference_mode()
def predict(net: nn.Module, x: Tensor, mirrored: bool = False) -> Tensor:
    """Return `log_probabilities` (N, classes) of standardized images x (N, C, H, W), in evaluation mode."""
    net.eval()
    return torch.cat([log_probabilities(net, batch, mirrored) for batch in x.split(1000)])


def scores(part: str, outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return {part}_loss, the mean negative log-likelihood in nats, and {part}_accuracy in %.

    outputs (N, classes), logits or log-probabilities; labels (N,).
    """
    loss = F.cross_entropy(outputs, labels)
    accuracy = (outputs.argmax(dim=1) == labels).float().mean() * 100
    loss_and_accuracy = torch.stack([loss, accuracy]).tolist()  # in one transfer
    return dict(zip((f"{part}_loss", f"{part}_accuracy"), loss_and_accuracy))


def worst_mistakes(probabilities: Tensor, labels: Tensor, n: int = 10) -> tuple[tuple[int, int, float], ...]:
    """Return the `n` wrong images that the network was most sure of: (image, prediction, its probability).

    Of equal probabilities, the first image comes first. probabilities (N, classes), labels (N,).
    """
    confidence, predicted = probabilities.max(dim=1)
    wrong = torch.nonzero(predicted != labels).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:n]
    return tuple(zip(worst.tolist(), predicted[worst].tolist(), confidence[worst].tolist()))
