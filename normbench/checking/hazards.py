"""What is dangerous about the normalizations of a network, worst first: each with the reason and the remedy.

A new hazard is a function of the facts and its place in `RULES`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from normbench.checking.facts import Facts, Row
from normbench.swapping import Known
from normbench.words import count, fixed

# Batch norm's mean of n numbers has a standard error of 100/√n percent of their standard deviation. ResNet-50 on
# ImageNet has 392 numbers per set in its last layers with 8 images per GPU: there Wu & He (2018, figure 1) begin to see
# a loss (24.8 % errors instead of 23.6 %), which grows to 27.3 % with 4 images (196 numbers) and 34.7 % with 2.
NOISY = 400
SMALLEST_HALF = 2.0**-24  # the smallest number above 0 in float16

Level = Literal["danger", "warning", "note"]
LEVELS: tuple[Level, ...] = ("danger", "warning", "note")


@dataclass(frozen=True)
class Hazard:
    """Something dangerous, or worth knowing.

    Attributes:
        name: which hazard it is, for programs: "one number", "noisy batch norm", …
        level: "danger" (the network loses information or cannot be trained), "warning" or "note".
        title: what is the matter.
        reason: why that is dangerous.
        remedy: what to do.
        paths: of the layers that it concerns, the worst first.
    """

    name: str
    level: Level
    title: str
    reason: str
    remedy: str
    paths: tuple[str, ...]


def hazards(facts: Facts) -> tuple[Hazard, ...]:
    """Find what is dangerous in a network, worst first."""
    found = [hazard for rule in RULES if (hazard := rule(facts)) is not None]
    return tuple(sorted(found, key=lambda hazard: LEVELS.index(hazard.level)))


def _paths(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.path for row in rows)


def _layers(paths: Iterable[object]) -> str:
    return count(len(list(paths)), "layer")


def _one_number(facts: Facts) -> Hazard | None:
    rows = [row for row in facts.rows if row.numbers == 1]
    if not rows:
        return None
    batch = any(row.is_batch_norm for row in rows)
    stops = " PyTorch refuses to train batch norm on such sets." if batch else ""
    return Hazard(
        "one number",
        "danger",
        f"{_layers(rows)} whose sets have one number",
        "A number minus its own mean is 0 (and divided by its own size it is ±1): of the input nothing is left but its "
        f"sign, or nothing but β.{stops}",
        "Use a normalization with larger sets: swap(net, 'GN', example) fits the groups to the size of the feature "
        f"maps{', or use larger batches' if batch else ''}.",
        _paths(rows),
    )


def _nothing_after_pooling(facts: Facts) -> Hazard | None:
    rows = [row for row in facts.rows if row.is_instance_norm and row.path in facts.seen.pooled and row.numbers != 1]
    if not rows:
        return None
    return Hazard(
        "instance norm before pooling",
        "danger",
        "instance norm straight before global average pooling",
        "Instance norm makes the mean of each channel of each image 0, and pooling takes just that mean: every image "
        "gets the same numbers, β.",
        "Leave the layer out, put an activation between the two, or normalize over several channels (GN, LN).",
        _paths(rows),
    )


def _frozen_from_scratch(facts: Facts) -> Hazard | None:
    paths = [path for path in _frozen(facts) if _is_untouched(facts.known[path])]
    if not paths:
        return None
    return Hazard(
        "frozen from scratch",
        "danger",
        f"{_layers(paths)} of frozen batch norm with averages that never saw an image",
        "The running averages still are 0 and 1, where they start, and are never moved: nothing is normalized.",
        "Load pretrained weights before training, or use another normalization: swap(net, 'GN', example).",
        tuple(paths),
    )


def _two_numbers(facts: Facts) -> Hazard | None:
    rows = [row for row in facts.rows if row.numbers == 2 and row.kind != "RMS"]
    if not rows:
        return None
    return Hazard(
        "two numbers",
        "danger",
        f"{_layers(rows)} whose sets have two numbers",
        "Of two numbers normalization leaves +1 and −1: only which one is larger, not by how much.",
        "Use a normalization with larger sets: swap(net, 'GN', example) fits the groups, and for batch norm larger "
        "batches help.",
        _paths(rows),
    )


def _noisy_batch_norm(facts: Facts) -> Hazard | None:
    few = [
        (row.numbers, row)
        for row in facts.rows
        if row.is_batch_norm and row.kind != "BRN" and row.numbers is not None and 2 < row.numbers < NOISY
    ]
    if not few:
        return None
    few.sort(key=lambda pair: pair[0])
    least, most = few[0][0], few[-1][0]
    numbers = f"{least}" if least == most else f"{least} to {most}"
    error = f"{_error(least)} %" if least == most else f"{_error(least)} to {_error(most)} %"
    # Sets grow with the batch, or with the part of it that ghost batch norm takes
    enough = math.ceil(facts.batch * NOISY / least)
    ghost = any(":" in row.kind for _, row in few)
    larger = "larger parts of the batch" if ghost else f"batches of {enough} or more"
    return Hazard(
        "noisy batch norm",
        "warning",
        f"{_layers(few)} of batch norm over only {numbers} numbers per channel",
        f"The mean of n numbers has a standard error of 100/√n percent of their standard deviation, here {error}; in "
        "truth more, because neighbouring pixels are alike. In training the other images of a batch add this noise; at "
        f"test time it is gone. Below n = {NOISY} (above {_error(NOISY)} %) batch norm is known to lose accuracy, the "
        "more the smaller n (ResNet-50 on ImageNet, Wu & He 2018).",
        f"Use {larger}, a normalization that does not depend on the batch (GN, LN), or batch renorm (BRN).",
        tuple(row.path for _, row in few),
    )


def _error(n: int) -> str:
    """The standard error of the mean of n numbers, in percent of their standard deviation."""
    return fixed(100 / math.sqrt(n), 0 if n < 100 else 1)


def _called_as_functions(facts: Facts) -> Hazard | None:
    inside = {part for path in facts.known for part in facts.net.get_submodule(path).modules()}
    layers = dict(facts.net.named_modules())
    calls = {
        path: functions
        for path, functions in facts.seen.called.items()
        if layers.get(path) not in inside and path not in facts.left
    }
    if not calls:
        return None
    names = sorted({name for functions in calls.values() for name in functions})
    return Hazard(
        "called as functions",
        "warning",
        f"{', '.join(names)} called inside of forward",
        "A swap replaces layers. It does not reach normalizations that a forward calls as functions: they go on "
        "working in every arm, and the arms differ less than they should.",
        "Make layers of them (nn.BatchNorm2d, nn.LayerNorm, …) in __init__ and call those.",
        tuple(calls),
    )


def _written_by_hand(facts: Facts) -> Hazard | None:
    inside = {part for path in facts.known for part in facts.net.get_submodule(path).modules()}
    paths = [
        path for path in facts.seen.by_hand if facts.net.get_submodule(path) not in inside and path not in facts.left
    ]
    if not paths:
        return None
    names = sorted({name for path in paths for name in facts.seen.by_hand[path]})
    return Hazard(
        "written by hand",
        "warning",
        f"{', '.join(names)} computed inside of forward, as a normalization written by hand does",
        "A swap replaces layers. Arithmetic that normalizes goes on working in every arm, and the arms differ less "
        "than they should.",
        "If it is a normalization, make a layer of it (nn.LayerNorm, nn.RMSNorm, …) in __init__ and call that.",
        tuple(paths),
    )


def _cannot_be_replaced(facts: Facts) -> Hazard | None:
    if not facts.left:
        return None
    by_reason: dict[str, list[str]] = {}
    for path, why in facts.left.items():
        by_reason.setdefault(why, []).append(path)
    reasons = "; ".join(f"{_shown(paths[0])}: {why}" for why, paths in list(by_reason.items())[:3])
    more = f"; and {len(by_reason) - 3} more reasons" if len(by_reason) > 3 else ""
    return Hazard(
        "cannot be replaced",
        "warning",
        f"{_layers(facts.left)} called a normalization, of a kind that is not known or cannot be replaced",
        f"They stay as they are in every arm, and are not checked here. {reasons}{more}.",
        "Where a layer of PyTorch does the same, use it; else mind that the arms share these layers.",
        tuple(facts.left),
    )


def _shown(path: str) -> str:
    return path or "the network itself"


def _dropout_before_batch_norm(facts: Facts) -> Hazard | None:
    rows = [row for row in facts.rows if row.is_batch_norm and row.path in facts.seen.dropped]
    if not rows:
        return None
    sources = sorted({source for row in rows for source in facts.seen.dropped[row.path]})
    some = ", ".join(_shown(source) for source in sources[:3]) + (", …" if len(sources) > 3 else "")
    return Hazard(
        "dropout before batch norm",
        "warning",
        f"dropout ({some}) before batch norm",
        "Dropout raises the variance of its output in training and not at test time. Batch norm's running averages are "
        "of the one, and are used on the other (variance shift, Li et al. 2019).",
        "Move dropout behind the last batch norm, or use a normalization without running averages (GN, LN).",
        _paths(rows),
    )


def _frozen(facts: Facts) -> list[str]:
    """The paths of layers that use fixed averages in training."""
    return [
        row.path for row in facts.rows if row.kind == "FrozenBN" or (row.is_batch_norm and _is_stopped(facts, row.path))
    ]


def _is_stopped(facts: Facts, path: str) -> bool:
    """Tell whether a layer of a network that trains is in evaluation mode, and has averages to use there."""
    is_stopped = facts.net.training and not facts.net.get_submodule(path).training
    return is_stopped and facts.known[path].mean is not None


def _is_untouched(known: Known) -> bool:
    """Tell whether running averages are what they start from."""
    if known.mean is None or known.variance is None:
        return False
    return not known.mean.any() and bool((known.variance == 1).all())


def _frozen_and_pretrained(facts: Facts) -> Hazard | None:
    paths = [path for path in _frozen(facts) if not _is_untouched(facts.known[path])]
    if not paths:
        return None
    return Hazard(
        "frozen batch norm",
        "note",
        f"{_layers(paths)} of frozen batch norm",
        "Their averages are fixed: each is a scale and a shift that fit the data which the weights were trained on.",
        "Right for fine-tuning in small batches. For training from scratch take batch norm in training mode, GN or LN.",
        tuple(paths),
    )


def _bias_before(facts: Facts) -> Hazard | None:
    paths, numbers = [], 0
    for row in facts.rows:
        source = facts.seen.sources.get(row.path)
        if source is None or not row.is_per_channel:
            continue
        bias = getattr(facts.net.get_submodule(source), "bias", None)
        if isinstance(bias, nn.Parameter) and bias.shape == (row.channels,):
            paths.append(source)
            numbers += bias.numel()
    if not paths:
        return None
    return Hazard(
        "bias before normalization",
        "note",
        f"{_layers(paths)} with a bias that the next normalization removes",
        f"The mean of each channel is subtracted, and with it the bias: {numbers:,} parameters have no effect.",
        "Make these layers with bias=False; β does the same. (An arm like LN or none would make use of the bias.)",
        tuple(dict.fromkeys(paths)),
    )


def _zero_gamma(facts: Facts) -> Hazard | None:
    paths = [path for path, known in facts.known.items() if known.weight is not None and not known.weight.any()]
    if not paths:
        return None
    return Hazard(
        "gamma starts at 0",
        "note",
        f"{_layers(paths)} whose γ is 0",
        "A residual branch that ends so starts as nothing, which helps deep networks to start. A layer that is put "
        "there by hand starts with γ = 1 and loses that.",
        "swap keeps it: every arm takes over γ, and 'none' has it as a trained scale. A layer of your own keeps it if "
        "its γ is called weight and has a number per channel.",
        tuple(paths),
    )


def _weight_decay(facts: Facts) -> Hazard | None:
    trained = {
        path: sum(v.numel() for v in (known.weight, known.bias) if isinstance(v, nn.Parameter) and v.requires_grad)
        for path, known in facts.known.items()
    }
    paths = [path for path, numbers in trained.items() if numbers]
    if not paths:
        return None
    return Hazard(
        "weight decay",
        "note",
        f"weight decay reaches γ and β ({sum(trained.values()):,} parameters in {_layers(paths)})",
        "An optimizer decays all that it is given. Decay pulls γ to 0, which makes the outputs of a layer smaller; "
        "many recipes leave γ, β and biases out. What is better differs from network to network.",
        "Give two groups: torch.optim.SGD([{'params': [p for p in net.parameters() if p.ndim > 1]}, {'params': [p for "
        "p in net.parameters() if p.ndim < 2], 'weight_decay': 0}], …). Do the same in every arm.",
        tuple(paths),
    )


def _small_eps(facts: Facts) -> Hazard | None:
    small = {path: eps for path, known in facts.known.items() if (eps := _eps(facts, path, known)) < SMALLEST_HALF}
    if not small:
        return None
    least = min(small.values())
    return Hazard(
        "small eps",
        "note",
        f"{_layers(small)} with an eps too small for half precision ({least:g})",
        f"The smallest number above 0 in float16 is {SMALLEST_HALF:.0e}: such an eps is lost there, and a set of equal "
        "numbers can become nan. PyTorch's own layers compute in float32 inside; layers of another make may not.",
        "Use eps=1e-5 (1e-6 at least), or keep these layers in float32.",
        tuple(sorted(small, key=small.__getitem__)),
    )


def _eps(facts: Facts, path: str, known: Known) -> float:
    """ε of a layer; where PyTorch takes that of the number type, the one of float32."""
    layer = facts.net.get_submodule(path)
    eps = getattr(layer, "eps", known.eps)
    return float(torch.finfo(torch.float32).eps if eps is None else eps)


RULES: tuple[Callable[[Facts], Hazard | None], ...] = (  # the worst first, within a level
    _one_number,
    _nothing_after_pooling,
    _frozen_from_scratch,
    _two_numbers,
    _noisy_batch_norm,
    _called_as_functions,
    _written_by_hand,
    _cannot_be_replaced,
    _dropout_before_batch_norm,
    _frozen_and_pretrained,
    _bias_before,
    _zero_gamma,
    _weight_decay,
    _small_eps,
)
