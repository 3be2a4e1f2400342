"""A file with everything that the next epoch of a run depends on."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """Something that changes from step to step and can be saved, such as a network or an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Checkpoint:
    """A file with everything that the next epoch depends on. Without a path, nothing is saved.

    Args:
        path: the file, or None.
        training: what decides the training, by name: only a checkpoint with the same is taken.
        generator: that of the images' order and random changes.
        stateful: what else changes from step to step, by name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        training: Mapping[str, Any],
        generator: torch.Generator,
        **stateful: Stateful,
    ):
        self.path = Path(path) if path else None
        self.training, self.generator, self.stateful = dict(training), generator, stateful

    def restore(self) -> tuple[list[dict[str, float]], float]:
        """Bring everything to where the file left it; return its history and its seconds, [] and 0 without a file.

        Raises ValueError where the file is broken or belongs to another run, OSError where it cannot be read.
        """
        if not (self.path and self.path.exists()):
            return [], 0.0
        content = io.BytesIO(self.path.read_bytes())
        try:
            state = dict(torch.load(content, map_location="cpu", weights_only=True))
            changed = [name for name, value in self.training.items() if state["training"].get(name) != value]
            if not changed:
                for name, part in self.stateful.items():
                    part.load_state_dict(state[name])
                self.generator.set_state(state["generator"])
                history = [dict(row) for row in state["history"]]
                if not history or [row["epoch"] for row in history] != [*range(1, len(history) + 1)]:
                    raise ValueError("its history is not that of epochs from 1 on")
                return history, float(state["seconds"])
        except Exception as error:  # loading what is no checkpoint can raise almost anything
            raise ValueError(f"{self.path} is broken; delete it to start anew") from error
        raise ValueError(f"{self.path} belongs to a run with another {', '.join(changed)}; delete it to start anew")

    def save(self, history: Sequence[Mapping[str, float]], seconds: float) -> None:
        """Renew the file, in one step: a stop at any moment leaves the one before or the new one.

        Raises OSError, with the file's name and the reason, where it cannot be written.
        """
        if not self.path:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.stateful.items()}
        state |= {"generator": self.generator.get_state(), "training": self.training}
        state |= {"history": [dict(row) for row in history], "seconds": seconds}
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise OSError(f"the training could not be saved to {self.path}: {error}") from error
