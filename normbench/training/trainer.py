"""What becomes of a recipe: a trainer says its name, how networks are made, and how they are trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from normbench.data import Dataset
from normbench.device import device_name, is_out_of_memory
from normbench.training.loop import identity, train
from normbench.training.recipe import Recipe
from normbench.training.run import Run

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
    """

    name: str
    build: Callable[[Recipe, Dataset], nn.Module]
    train: Train = train
    recorded: bool = False

    def __call__(self, recipe: Recipe, data: Dataset, progress: bool = True) -> Run:
        """Build the network and train it; a training that diverges or runs out of memory is a run with a `failure`.

        So one of many trainings can fail without ending the others.
        """
        net = self.build(recipe, data)
        try:
            run = self.train(net, data, recipe, progress=progress, check=False, recorded=self.recorded)
        except FloatingPointError:
            run = failed_run(net, data, recipe, "diverged")
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            run = failed_run(net, data, recipe, "out of memory")
        return replace(run, fingerprint=run.fingerprint | {"trainer": self.name})


def failed_run(net: nn.Module, data: Dataset, recipe: Recipe, failure: str) -> Run:
    """Make the run of a training that has no result, with the reason."""
    return Run(
        recipe=recipe,
        dataset=data.name,
        history=(),
        correct=torch.zeros(len(data.y_test), dtype=torch.bool),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=0.0,
        device=device_name(data.device),
        test_set=data.test_set,
        fingerprint=identity(net, data),
        failure=failure,
    )
