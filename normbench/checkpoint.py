"""The state of a training between two epochs, in a file."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from normbench.config import Config
from normbench.data import Dataset
from normbench.device import device_name


class Checkpoint:
    """Everything that the next epoch depends on. Without a path, it keeps nothing."""

    def __init__(
        self, path: str | os.PathLike | None, config: Config, data: Dataset, net, optimizer, schedule, generator
    ):
        self.path = Path(path) if path else None
        self.training = {"config": asdict(config), "dataset": data.name, "train images": len(data.y_train)}
        self.training |= {"shape": list(data.image_shape), "classes": list(data.classes), "test set": data.test_set}
        self.training |= {"device": device_name(data.device)}
        self.parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
        self.generator = generator

    def restore(self) -> tuple[list[dict[str, float]], float]:
        """Bring all parts to where the file left them; returns its history and its seconds, [] and 0 without one.

        Raises ValueError where the file is broken or is that of another training.
        """
        if not (self.path and self.path.exists()):
            return [], 0.0
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            training = state["training"]
        except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{self.path} is broken; delete it to start anew") from error
        if training != self.training:
            changed = ", ".join(key for key in self.training if training.get(key) != self.training[key])
            raise ValueError(f"{self.path} is of another training ({changed}); delete it to start anew")
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.generator.set_state(state["generator"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise ValueError(f"{self.path} is of another network; delete it to start anew") from error
        return state["history"], state["seconds"]

    def save(self, history: Sequence[dict[str, float]], seconds: float) -> None:
        """Renew the file, in one step: a stop at any moment leaves the one before or the new one.

        Raises OSError, with the file's name and the reason, where it cannot be written.
        """
        if not self.path:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"generator": self.generator.get_state(), "training": self.training}
        state |= {"history": list(history), "seconds": seconds}
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise OSError(f"the training could not be saved to {self.path}: {error}") from error
