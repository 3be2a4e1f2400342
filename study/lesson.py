"""What surrounds the notebook's training loop: batches, a test after each epoch, a record, and a file to go on from.

The loop itself stands in the notebook, where a student may change it. As it is, it gives what `training.train` gives.
"""

import inspect
import math
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from normbench.data import Dataset, augmentation, warp
from normbench.device import device_name
from normbench.training import Recipe, Run, placed, predict, scores
from normbench.training.checkpoint import Checkpoint
from normbench.training.loop import identity
from normbench.training.penalty import Penalty
from normbench.training.progress import epochs_bar
from normbench.training.provenance import commit, versions
from normbench.training.testing import worst_mistakes


class Lesson:
    """One run of the notebook. `net` is moved to the device of `data`.

        for epoch in lesson.epochs(optimizer, schedule):
            for images, labels in lesson.batches():
                ...
                lesson.keep(outputs, penalty)
        run = lesson.run()

    Args:
        net: from standardized images (N, C, H, W) to logits or log-probabilities (N, classes).
        data: what to train and test on.
        recipe: says the epochs, the batch size, the seed and the augmentation, and names the run.
        folder: where the run is saved after every epoch. After a stop the same loop goes on from there; another
            loop begins anew.
    """

    def __init__(self, net: nn.Module, data: Dataset, recipe: Recipe, folder: Path):
        self.data, self.recipe = data, recipe
        self.fingerprint = identity(net, data) | {"trainer": "notebook"}
        self.net = placed(net, data.device, data.standardize(data.x_train[:2]))
        self.path = folder / f"{zlib.crc32(repr(recipe).encode()):08x}.pt"
        self.steps = recipe.epochs * math.ceil(len(data.y_train) / recipe.batch_size)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.history: list[dict[str, float]] = []
        self.outputs: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.penalties: list[Tensor] = []
        self.seconds = 0.0

    def epochs(self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> Iterator[int]:
        """Count the epochs that are left, from 1, with a progress bar; test the network and save all after each.

        Raises FloatingPointError where the loss stops being finite, OSError where nothing can be saved.
        """
        saved = self._checkpoint(optimizer, schedule)
        started = time.perf_counter() - self.seconds
        bar = epochs_bar(self.recipe.epochs, self.recipe.label, done=len(self.history))
        for epoch in bar:
            self.outputs, self.labels, self.penalties = [], [], []
            epoch_started = time.perf_counter()
            yield epoch
            row = {"epoch": epoch, **self._of_training(), **scores("test", self._tested(), self.data.y_test)}
            self.history.append(row | {"seconds": time.perf_counter() - epoch_started})
            if not math.isfinite(row["train_loss"] + row["test_loss"]):
                raise FloatingPointError(f"the loss is not finite in epoch {epoch}: try a lower learning rate")
            bar.set_postfix_str(f"test {row['test_accuracy']:.2f} %, loss {row['test_loss']:.4f}", refresh=False)
            self.seconds = time.perf_counter() - started
            saved.save(self.history, self.seconds)
        bar.close()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every training image once, in random order and augmented: images (N, C, H, W) and labels (N,)."""
        self.net.train()
        data, n, size = self.data, len(self.data.y_train), self.recipe.batch_size
        order = torch.randperm(n, generator=self.generator).to(data.device)
        draw = augmentation(self.recipe.augment, data)
        matrices = draw(n, data.image_shape[1:], self.generator).to(data.device)
        for start in range(0, n, size):
            chosen = order[start : start + size]
            images = warp(data.x_train[chosen].float(), matrices[start : start + size], grey=data.is_grey)
            self.labels.append(data.y_train[chosen])
            yield data.standardize(images), self.labels[-1]

    def keep(self, outputs: Tensor, penalty: Tensor | float = 0.0) -> None:
        """Remember what the network said of a batch, and the penalty; nothing waits for the device."""
        self.outputs.append(outputs.detach())
        self.penalties.append(torch.as_tensor(penalty).detach())

    def run(self) -> Run:
        """Return the finished run."""
        probabilities, data = self._tested().exp(), self.data
        return Run(
            recipe=self.recipe,
            dataset=data.name,
            history=tuple(self.history),
            correct=(probabilities.argmax(dim=1) == data.y_test).cpu(),
            parameters=sum(p.numel() for p in self.net.parameters()),
            seconds=self.seconds,
            device=device_name(data.device),
            mistakes=worst_mistakes(probabilities, data.y_test),
            test_set=data.test_set,
            fingerprint=self.fingerprint,
            versions=versions(),
            commit=commit(),
            probabilities=probabilities.cpu(),
        )

    def _checkpoint(
        self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> Checkpoint:
        """Go on from the file if it was left by the same loop, else begin anew."""
        caller = inspect.currentframe().f_back.f_back.f_code  # type: ignore[union-attr]  # the function with the loop
        training = asdict(self.recipe) | self.fingerprint | {"device": device_name(self.data.device)}
        training |= {"loop": zlib.crc32(caller.co_code + repr((caller.co_consts, str(optimizer))).encode())}
        saved = Checkpoint(self.path, training, self.generator, net=self.net, optimizer=optimizer, schedule=schedule)
        try:
            self.history, self.seconds = saved.restore()
        except ValueError:  # another loop's, or broken
            self.path.unlink()
        return saved

    def _of_training(self) -> dict[str, float]:
        """Return the epoch's train_loss, train_accuracy, penalty, l1_norm and zeros, as `Run` has them."""
        penalty = torch.stack([value.to(self.data.device) for value in self.penalties]).mean().item()
        state = Penalty(self.net, 0.0, 0.0).state()
        return scores("train", torch.cat(self.outputs), torch.cat(self.labels)) | {"penalty": penalty} | state

    def _tested(self) -> Tensor:
        return predict(self.net, self.data.standardize(self.data.x_test), self.recipe.mirrored)
