"""What becomes of a recipe: a trainer says its name, how networks are made, and how they are trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from normbench.data import Task
from normbench.device import device_name, is_out_of_memory
from normbench.training.loop import identity, train
from normbench.training.recipe import Recipe
from normbench.training.run import DIVERGED, OUT_OF_MEMORY, RAISED, Run

Train = Callable[..., Run]


@dataclass(frozen=True)
class Trainer:
    """How a recipe becomes a run.

    Functions that lie in a module can be handed to other processes; those of a notebook or a script cannot.

    Attributes:
        name: what stored runs remember. It stays the same wherever the code lies.
        build: makes the network for a recipe and a data set, on the CPU, with weights that depend on the seed alone.
        train: trains it: called as `train(net, data, recipe, progress=…, check=False, recorded=…)`.
        recorded: whether a GPU's steps are recorded as a CUDA graph, for networks that do the same at every call.
        is_of_a_user: whether code of a user's own is run, which can raise anything: that is a failed run, too.
    """

    name: str
    build: Callable[[Recipe, Any], nn.Module]
    train: Train = train
    recorded: bool = False
    is_of_a_user: bool = False

    def __call__(self, recipe: Recipe, data: Task, progress: bool = True) -> Run:
        """Build the network and train it; a run that diverges or runs out of memory is a run with a `failure`.

        So one of many runs can fail without ending the others.
        """
        net = self.build(recipe, data)
        try:
            run = self.train(net, data, recipe, progress=progress, check=False, recorded=self.recorded)
        except FloatingPointError:
            run = failed_run(net, data, recipe, DIVERGED)
        except (Exception, SystemExit) as error:
            if isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
                run = failed_run(net, data, recipe, OUT_OF_MEMORY)
            elif self.is_of_a_user:
                run = failed_run(net, data, recipe, f"{RAISED} {type(error).__name__}: {_first_line(error)}")
            else:
                raise
        return replace(run, fingerprint=run.fingerprint | {"trainer": self.name})


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def failed_run(net: nn.Module, data: Task, recipe: Recipe, failure: str) -> Run:
    """Return the run that has no result, with the reason."""
    return Run(
        recipe=recipe,
        dataset=data.name,
        history=(),
        correct=torch.zeros(data.tests, dtype=torch.bool),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=0.0,
        device=device_name(data.device),
        test_set=data.test_set,
        fingerprint=identity(net, data),
        failure=failure,
    )
