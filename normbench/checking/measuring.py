"""Time and memory of a piece of work: the least of several times, shares of it, what the backward pass needs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def synchronized(device: torch.device) -> float:
    """Return the time in seconds, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Sizes(dict[int, int]):
    """The bytes of each piece of memory that is kept for the backward pass, by its address."""

    on_pack: Callable[[int], object] = staticmethod(lambda key: None)


@contextmanager
def saved(layer: nn.Module) -> Iterator[Sizes]:
    """Collect what is saved for the backward pass inside of the context, parameters and buffers aside."""
    sizes = Sizes()
    weights = {storage_of(values)[0] for values in (*layer.parameters(), *layer.buffers())}

    def pack(x: Tensor) -> Tensor:
        key, size = storage_of(x)
        if key not in weights:
            sizes[key] = size
            sizes.on_pack(key)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield sizes


def storage_of(x: Tensor) -> tuple[int, int]:
    """The address and the bytes of a tensor's memory, which views of it share."""
    try:
        storage = x.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):  # sparse tensors have none
        return id(x), x.numel() * x.element_size()


def backward(output: Any) -> None:
    """Go backward from the sum of all outputs."""
    losses = [y.float().sum() for y in _outputs(output) if y.requires_grad]
    if not losses:
        raise ValueError("its outputs depend on no parameter that is trained")
    torch.stack(losses).sum().backward()


def _outputs(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, Mapping):
        yield from _outputs(list(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _outputs(value)


def forward(net: nn.Module, *inputs: Tensor) -> Any:
    """Run a network without gradients."""
    with torch.no_grad():
        return net(*inputs)


def copies(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy inputs, for a network that may change what it is given."""
    return tuple(x.clone() for x in inputs)


def least_time(work: Callable[[], object], device: torch.device, budget: float) -> float:
    """Return the least seconds that the work takes, of as many times as a budget of seconds allows, 20 at most.

    Three times at least, because a busy machine makes some of them slow; twice if they take twice the budget, and once
    if it takes five times the budget.
    """
    least, started = float("inf"), time.perf_counter()
    for done in range(1, 21):
        begun = synchronized(device)
        work()
        least = min(least, synchronized(device) - begun)
        spent = time.perf_counter() - started
        if any(spent > times * budget and done >= least_often for times, least_often in ((1, 3), (2, 2), (5, 1))):
            break
    return least


def shares_of_time(
    net: nn.Module, inputs: tuple[Tensor, ...], paths: list[str], budget: float = 0.3
) -> dict[str, float]:
    """Measure the share of the forward time that each of the layers takes, by path: the least of up to three passes.

    The network runs in training mode, or in evaluation mode if it cannot. Its running averages move: give a copy.
    """
    device = inputs[0].device
    spent: dict[str, float] = {}
    best: dict[str, float] = {}
    layers = {path: net.get_submodule(path) for path in paths}
    entered: dict[str, float] = {}
    handles = []
    for path, layer in layers.items():

        def enter(module: nn.Module, inputs: object, path: str = path) -> None:
            entered[path] = synchronized(device)

        def leave(module: nn.Module, inputs: object, output: object, path: str = path) -> None:
            spent[path] = spent.get(path, 0.0) + synchronized(device) - entered[path]

        try:
            handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
        except RuntimeError:  # a scripted layer takes no hooks
            continue
    least, started = float("inf"), time.perf_counter()
    net.train()
    try:
        for _ in range(3):
            spent.clear()
            begun = synchronized(device)
            try:
                forward(net, *copies(inputs))
            except (Exception, SystemExit):
                if not net.training:
                    raise
                net.eval()
                continue
            if (seconds := synchronized(device) - begun) < least:
                least, best = seconds, dict(spent)
            if time.perf_counter() - started > budget:
                break
    finally:
        for handle in handles:
            handle.remove()
    return {path: seconds / least for path, seconds in best.items()}
