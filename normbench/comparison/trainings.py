"""The runs of a comparison: how they are carried out, and where they are kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normbench.data import Task
from normbench.runs import Arms, Engine, Measure, measure_of, run_all, stored
from normbench.training import Recipe, Run, Trainer


@dataclass(frozen=True)
class Trainings:
    """What the runs of a comparison have in common.

    Attributes:
        trainer: builds and trains the networks.
        path: the file of finished runs.
        networks: what a run's fingerprint must say of each norm's network.
        engine: carries the runs out.
        progress: whether to print how far it is.
        higher_is_better: whether the best run is the one with the highest score.
    """

    trainer: Trainer
    path: Path
    networks: Mapping[str, Mapping[str, str]]
    engine: Engine
    progress: bool
    higher_is_better: bool = True

    def measure(self, of: Arms) -> Measure:
        """Return what arms are judged by."""
        return measure_of(of.values(), self.higher_is_better)

    def run(self, planned: Sequence[Recipe], data: Task) -> list[Run]:
        """Return the run of each recipe: the stored one, or else it is trained."""
        return run_all(
            planned,
            data,
            self.path,
            self.trainer,
            engine=self.engine,
            progress=self.progress,
            networks=self.networks,
        )

    def tell(self, line: str) -> None:
        """Print a line, if progress is to be shown."""
        if self.progress:
            print(line, flush=True)

    def done(self, recipes: Iterable[Recipe], data: Task) -> dict[Recipe, Run]:
        """Return the stored runs of those of the recipes that have one."""
        found = stored(recipes, data, self.path, self.trainer, self.networks)
        return {run.recipe: run for run in found}
