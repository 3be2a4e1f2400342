"""A look at a network's normalizations without training it: facts, hazards, price."""

from collections.abc import Iterable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normbench import defaults
from normbench.checking.facts import facts
from normbench.checking.hazards import hazards
from normbench.checking.measuring import shares_of_time
from normbench.checking.page import Check
from normbench.checking.price import Price
from normbench.checking.price import price as price_of
from normbench.device import seeded
from normbench.layers import OWN, label, parse
from normbench.swapping import Example, Make, Watched, copied, recognized, watch
from normbench.words import reason

Norms = Iterable[str | Make] | Mapping[str, str | Make]


def check(net: nn.Module, example: Example, *, arms: Norms = defaults.ARMS, price: bool = True) -> Check:
    """Look at the normalizations of a network: what they are, what is dangerous, what others would cost.

    Takes seconds and trains nothing. `net` is left as it is; a copy of it is run on the example.

    Args:
        net: the network.
        example: a batch of inputs of the size that training takes, on which the numbers per statistic depend; a tuple
            for a network that takes several.
        arms: the normalizations whose price is asked for, as `swap` takes them; or by a name of your own,
            {"BN": "BN", "mine": lambda channels: MyNorm(channels)}.
        price: whether to measure times and memory.

    Raises ValueError if the example is no batch, the network cannot be run on it, or an arm is not known.
    """
    named = _named(arms)
    given = _batch(net, example)
    with seeded(0):
        copy, why_not = _copied(net)
        if any(is_lazy(values) for values in chain(net.parameters(), net.buffers())):
            _watched(copy, given)  # gives weights their shapes
            net, (copy, _) = copy, _copied(copy)
        seen = _watched(copy, given)
        shares: dict[str, float] = {}
        priced: Price | None = None
        if copy is not net:
            shares = shares_of_time(copy, given, list(recognized(copy, seen)))
            priced = price_of(copy, given, seen, named) if price else None
        found = facts(net, seen, len(given[0]), shares)
    parameters = sum(values.numel() for values in net.parameters())
    return Check(type(net).__name__, tuple(given[0].shape), parameters, found.rows, hazards(found), priced, why_not)


def _batch(net: nn.Module, example: Example) -> tuple[Tensor, ...]:
    """Return the inputs on the network's device. Raises ValueError for what is no batch."""
    given = example if isinstance(example, tuple) else (example,)
    for x in given or (None,):
        if not isinstance(x, Tensor) or x.ndim < 1 or not len(x):
            what = f"one of the shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(f"the example must be a tensor, a batch of inputs with at least one, got {what}")
    weights = (t for t in chain(net.parameters(), net.buffers()) if t.is_floating_point() and not is_lazy(t))
    if (like := next(weights, None)) is None:
        return tuple(x.detach() for x in given)
    return tuple(x.detach().to(like.device, like.dtype if x.is_floating_point() else x.dtype) for x in given)


def _copied(net: nn.Module) -> tuple[nn.Module, str]:
    """Return a copy of the network and ""; or, where it cannot be copied, the network and the reason."""
    try:
        return copied(net), ""
    except ValueError as error:
        return net, f"Times and memory were not measured: {error}."


def _named(arms: Norms) -> dict[str, str | Make]:
    """Return the norms by the name of their arm, without the network as it is, which always comes first."""
    if isinstance(arms, str):
        raise ValueError(f"give several arms, as in arms=({arms!r},), got the text {arms!r}")
    if isinstance(arms, Mapping):
        named = dict(arms)
    else:
        named = {norm if isinstance(norm, str) else getattr(norm, "__name__", "mine"): norm for norm in arms}
    for norm in named.values():
        if isinstance(norm, str):
            parse(norm)  # raises for what is not known
    labelled = {label(name) if name == norm else name: norm for name, norm in named.items()}
    return {name: norm for name, norm in labelled.items() if norm != OWN}


def _watched(net: nn.Module, given: tuple[Tensor, ...]) -> Watched:
    try:
        return watch(net, *given)
    except (Exception, SystemExit) as error:  # a network of the user's own can raise anything
        shapes = ", ".join(str(tuple(x.shape)) for x in given)
        raise ValueError(f"the network cannot be run on the example {shapes}: {reason(error)}") from error


def inputs(shape: tuple[int, ...], batch_size: int, device: torch.device) -> Tensor:
    """Return a batch of random numbers of a size, (C, H, W), as an example; the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, *shape, generator=generator).to(device)


def size(text: str) -> tuple[int, ...]:
    """Read a size: "3x224x224" → (3, 224, 224). Raises ValueError for anything else than lengths from 1 on."""
    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise ValueError(f"size {text!r} is not understood; give channels and lengths of an input, as in 3x224x224")
    return tuple(int(part) for part in parts)
