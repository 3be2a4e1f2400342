"""A training function of the user's own, in the place of the built-in training and its data."""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from normbench.data import HELD_OUT
from normbench.device import device_name, seeded
from normbench.networks import Named
from normbench.runs import ACCURACY
from normbench.source import known_or_unique
from normbench.training import Recipe, Run
from normbench.training.provenance import commit, versions

RATES_TRIED = " (rates)"  # ends the name of runs that choose a rate, where the function takes no `split`
TAKEN = ("lr", "seed", "batch_size", "epochs", "weight_decay", "norm", "device", "split")
Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class OwnTraining:
    """Runs by a function of the user's own, which knows its data: `run_all` takes it in the place of a data set.

    The function is called as `function(net, lr=…, seed=…)`: the network on the device, in training mode, then whichever
    of `TAKEN` it names. What has a default there is handed over only where it was asked for. It returns a score, an
    array of one score per test example (bool: right or wrong), or a dict of several scores, of which the first decides.

    Args:
        function: the function, or its name: "file.py:function" or "package.module:function".
        asked: the options that were asked for, by name.
        version: stands for the function's source in what runs are known by.
        chooses: whether these runs choose a learning rate.
        inputs: some inputs of the network, (n, …); None where none were given.
        at: the device.
    """

    function: Named
    asked: frozenset[str] = frozenset()
    version: str = ""
    chooses: bool = False
    inputs: Tensor | None = None
    at: str = "cpu"

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError(f"{self.function.text} takes no network: it is called as train(net, lr=…, seed=…)")
        if unknown := [name for name in self._needed if name not in TAKEN]:
            raise ValueError(
                f"{self.function.text} asks for {unknown[0]!r}, which it is not given: give that a default. After the "
                f"network it is given whichever of these it names: {', '.join(TAKEN)}"
            )

    def __getstate__(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters."""
        with self.function.found() as function:
            return inspect.signature(function).parameters

    @property
    def _needed(self) -> list[str]:
        """The names after the network that have no default."""
        named = [p for p in list(self.parameters.values())[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        return [p.name for p in named if p.default is p.empty]

    @property
    def _takes_more(self) -> bool:
        return any(p.kind is p.VAR_KEYWORD for p in self.parameters.values())

    def takes(self, name: str) -> bool:
        """Tell whether the function is handed this option: it needs it, or takes it and it was asked for."""
        if name in ("split", "device", "seed", "norm"):
            return name in self.parameters
        return name in self._needed or (name in self.asked and (name in self.parameters or self._takes_more))

    @property
    def name(self) -> str:
        """What runs remember: the function, and whether they choose a rate, on which data."""
        suffix = (HELD_OUT if self.takes("split") else RATES_TRIED) if self.chooses else ""
        return self.function.name + suffix

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of the function's source, or the version; of its own for each object where neither is known."""
        if self.version:
            return f"version {self.version}"
        return known_or_unique(self.function.source())

    @property
    def device(self) -> torch.device:
        """Where networks are trained."""
        return torch.device(self.at)

    @property
    def test_set(self) -> str:
        """Nothing is known of the test examples."""
        return ""

    @property
    def tests(self) -> int:
        """Nothing is known of the test examples before a training."""
        return 0

    @property
    def offers(self) -> dict[str, object]:
        """A function that makes a network is offered nothing but what the given inputs say."""
        if self.inputs is None or self.inputs.dim() < 2:
            return {}
        return {"in_channels": self.inputs.shape[1], "size": tuple(self.inputs.shape[2:])}

    def example(self, n: int) -> Tensor | None:
        """Return up to `n` of the given inputs."""
        return None if self.inputs is None else self.inputs[:n]

    def to(self, device: torch.device | str) -> "OwnTraining":
        """Return the training on a device."""
        return replace(self, at=str(device))

    def choosing(self) -> "OwnTraining":
        """Return the runs that choose a learning rate."""
        return replace(self, chooses=True)


def own_training(
    train: str | Callable[..., Any],
    data: object,
    asked: Mapping[str, object],
    images: int | None,
    version: str,
    inputs: Tensor | None,
    device: torch.device,
) -> OwnTraining:
    """Return what trains by a function of the user's own; `asked` are the options that were given, or None.

    Raises ValueError for what the function cannot be asked.
    """
    if data is not None or images is not None:
        raise ValueError("a training function has its own data: leave data and images out")
    named = frozenset(name for name, value in asked.items() if value is not None)
    own = OwnTraining(Named(train), named, version, inputs=inputs, at=str(device))
    for name in sorted(named):
        if not own.takes(name):
            option = "rates" if name == "lr" else name
            raise ValueError(f"{own.function.text} takes no {name}: leave {option} out, or let it take {name}")
    return own


def rates_of(own: OwnTraining, rates: Sequence[float] | None) -> Sequence[float]:
    """Return the rates to try; ValueError if the function needs some and none are given."""
    if rates is None and own.takes("lr"):
        raise ValueError(f"give rates to try: {own.function.text} takes lr, and only you know those of its optimizer")
    return (Recipe().lr,) if rates is None else rates


def train_by_function(net: nn.Module, task: OwnTraining, recipe: Recipe, **_: object) -> Run:
    """Train a network by the function of a task, and make a run of what it returns.

    The random numbers of PyTorch, NumPy and Python are seeded with the recipe's seed.

    Raises as the function does, ValueError if it returns no score, FloatingPointError if the score that decides is
    not finite.
    """
    offered: dict[str, object] = {name: getattr(recipe, name) for name in TAKEN if hasattr(recipe, name)}
    offered |= {"device": task.at, "split": "validation" if task.chooses else "test"}
    net = net.to(task.device).train()
    parameters = sum(p.numel() for p in net.parameters())
    started = time.perf_counter()
    with task.function.found() as function, seeded(recipe.seed, task.device):
        returned = function(net, **{name: value for name, value in offered.items() if task.takes(name)})
    seconds = time.perf_counter() - started
    scores, first = _scores(returned, task.function.text)
    values = {name: _mean(score) for name, score in scores.items()}
    if not math.isfinite(values[first]):
        raise FloatingPointError(f"{first} is {values[first]}")
    decides = scores[first]
    examples = decides if isinstance(decides, np.ndarray) else np.zeros(0)
    is_right = examples.dtype == bool
    return Run(
        recipe=recipe,
        dataset=task.name,
        history=({"seconds": seconds} | {f"test_{name}": value for name, value in values.items()},),
        correct=torch.from_numpy(examples if is_right else np.zeros(0, dtype=bool)),
        parameters=parameters,
        seconds=seconds,
        device=device_name(task.device),
        fingerprint={"data": task.fingerprint},
        versions=versions(),
        commit=commit(),
        measure=first,
        unit="%" if is_right else "",
        scores=torch.empty(0) if is_right else torch.from_numpy(examples.astype(np.float32)),
    )


Score = float | np.ndarray


def _scores(returned: object, function: str) -> tuple[dict[str, Score], str]:
    """Return the scores by name, and the name of the one that decides."""
    named = returned if isinstance(returned, Mapping) else {"": returned}
    if not named:
        raise ValueError(f"{function} returned an empty dict; return a score, an array, or {{name: score}}")
    scores = {str(name): _score(value, function) for name, value in named.items()}
    if "" in scores:
        only = scores.pop("")
        scores = {ACCURACY if isinstance(only, np.ndarray) and only.dtype == bool else "score": only}
    return scores, next(iter(scores))


def _score(value: object, function: str) -> Score:
    """A number, or an array (N,) of one per test example."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray("" if value is None else value)
        array = array if array.dtype == bool else array.astype(float)
    except (TypeError, ValueError):
        array = np.zeros((0, 0))
    if array.ndim == 0:
        return float(array)
    if array.ndim > 1 or not len(array):
        raise ValueError(
            f"{function} returned {type(value).__name__} {str(value)[:60]!r}; return a score, an array of one score "
            "per test example, or a dict of such"
        )
    return array


def _mean(score: Score) -> float:
    if isinstance(score, float):
        return score
    return float(100 * score.mean() if score.dtype == bool else score.mean())
