"""Take the finished runs from the file, have the missing ones trained, and say how far it is."""

import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from normbench.data import Task, shape_of_inputs
from normbench.runs.claims import Claims
from normbench.runs.engines import Engine, local, opened
from normbench.runs.file import RunFile, append, cannot_save, check_writable
from normbench.training import Recipe, Run, Trainer, labels, network_fingerprint
from normbench.words import count, duration


def run_all(
    recipes: Iterable[Recipe],
    data: Task,
    path: str | os.PathLike,
    trainer: Trainer,
    *,
    workers: int = 1,
    engine: Engine | None = None,
    progress: bool = True,
    networks: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Run]:
    """Return the run of each recipe on `data`, in their order: the one stored in the file, or else a new one.

    A new run is stored as soon as it is finished, so that the same call goes on after a stop. Several processes may
    work on one file: each training is done by one of them, and all return the same runs. A stored run that was made
    with other data, another network or another trainer, as its fingerprint says, is not taken; a line says so. Nor is
    one that an error of the user's code ended: that is trained anew, once per call.

    Args:
        recipes: what to train.
        data: what to train and test on.
        path: the file of finished runs, one JSON object per line.
        trainer: builds and trains a network; its name is part of a run's identity.
        workers: how many trainings run side by side on this machine.
        engine: carries the trainings out in another way than side by side here, as `on_ray` does.
        progress: whether a line is printed for each finished training, and its epochs are shown in a terminal.
        networks: what a run's fingerprint must say of the network of each norm; the trainer builds the network of any
            other norm once, for its `network_fingerprint`, which old runs may lack.

    Raises as the trainer, `append`, `read` and the engine do, and ValueError where the trainer returns another run than
    was asked for. Whether the file can be written is known before anything is trained.
    """
    recipes, engine = list(recipes), engine or local(workers)
    wanted = _Wanted(recipes, data, path, trainer, networks)
    wanted.tell_of_others()
    if to_do := len(wanted.missing()):
        report = _Progress(wanted, to_do) if progress else None
        bars = progress and sys.stderr.isatty()  # in a log they would be a line per refresh
        with closing(_train_missing(wanted, engine, bars)) as finished:
            for run in finished:
                if report:
                    report.tell(run)
    runs = wanted.stored()
    return [runs[recipe] for recipe in recipes]


def stored(
    recipes: Iterable[Recipe],
    data: Task,
    path: str | os.PathLike,
    trainer: Trainer,
    networks: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Run]:
    """Return the runs of the recipes that `run_all` would take from the file."""
    return list(_Wanted(recipes, data, path, trainer, networks).stored().values())


class _Wanted:
    """What `run_all` is asked for, and which of the file's runs are that.

    A stored run may have the right recipe and data set name and still be another run: then its fingerprint disagrees.
    What a fingerprint does not say counts as the same.
    """

    def __init__(
        self,
        recipes: Iterable[Recipe],
        data: Task,
        path: str | os.PathLike,
        trainer: Trainer,
        networks: Mapping[str, Mapping[str, str]] | None,
    ):
        self.recipes, self.data, self.path, self.trainer = dict.fromkeys(recipes), data, Path(path), trainer
        self._identity = {"data": data.fingerprint, "trainer": trainer.name}
        self._networks, self._file = dict(networks or {}), RunFile(path)
        self._built: dict[str, str] = {}
        self._before = len(self._read())

    def stored(self) -> dict[Recipe, Run]:
        """The runs that the file holds by now; of several with one recipe, the last."""
        return {run.recipe: run for run in self._namesakes() if not self._differences(run)}

    def missing(self) -> list[Recipe]:
        stored = self.stored()
        return [recipe for recipe in self.recipes if recipe not in stored]

    def tell_of_others(self) -> None:
        """Say in a line how many stored runs have the right names and are not taken, and what differs."""
        others = [differences for run in self._namesakes() if (differences := self._differences(run))]
        if others:
            numbers = ", ".join(f"{key} of {n}" for key, n in sorted(Counter(chain(*others)).items()))
            print(f"{self.path}: {len(others)} stored runs are not taken, for they differ ({numbers})", file=sys.stderr)

    def stamped(self, run: Run, claimed: Collection[Recipe]) -> Run:
        """Record in the run which data, network and trainer were asked for.

        Raises ValueError for a run that nobody asked for: once stored, it would never be found again, and would be
        trained again without end.
        """
        known = run.fingerprint | self._identity
        if run.recipe in claimed:
            known |= self._networks.get(run.recipe.norm, {})
            known.setdefault("network", self._network(run.recipe))
        run = replace(run, fingerprint=known)
        if run.recipe not in claimed or run.dataset != self.data.name or self._differences(run):
            raise ValueError(
                f"the trainer {self.trainer.name} was not asked for the run that it returned: {run.recipe}, "
                f"{run.dataset}, {run.fingerprint}"
            )
        return run

    def _read(self) -> list[Run]:
        try:
            return self._file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _namesakes(self) -> list[Run]:
        """The runs of the file that have a recipe and the data set name asked for; no old ones that an error ended."""
        runs = [run for i, run in enumerate(self._read()) if not (run.raised and i < self._before)]
        return [run for run in runs if run.recipe in self.recipes and run.dataset == self.data.name]

    def _differences(self, run: Run) -> list[str]:
        """Which of data, network, trainer and number of test images are others than those asked for.

        Of what is not demanded of the network of each norm, what a fingerprint does not say counts as the same.
        """
        asked = {key: value for key, value in self._identity.items() if key in run.fingerprint}
        if "network" in run.fingerprint and run.recipe.norm not in self._networks:
            asked["network"] = self._network(run.recipe)
        asked |= self._networks.get(run.recipe.norm, {})
        differing = [key for key in sorted(asked) if run.fingerprint.get(key) != asked[key]]
        if len(run.correct) and self.data.tests and len(run.correct) != self.data.tests:
            differing.append("number of test images")
        return differing

    def _network(self, recipe: Recipe) -> str:
        """The fingerprint of the network that the recipe's norm gives, whatever the rest of the recipe is."""
        if recipe.norm in self._networks:
            return self._networks[recipe.norm].get("network", "")
        if recipe.norm not in self._built:
            net = self.trainer.build(recipe, self.data)
            self._built[recipe.norm] = network_fingerprint(net, shape_of_inputs(self.data))
        return self._built[recipe.norm]


def _train_missing(wanted: _Wanted, engine: Engine, bars: bool) -> Generator[Run]:
    """Yield each run as it is finished and stored, until none is missing."""
    check_writable(wanted.path)
    purpose = f"{wanted.data.name} {wanted.data.fingerprint} {wanted.trainer.name}"
    with closing(Claims(wanted.path, purpose)) as claims, opened(engine) as kept:
        while missing := wanted.missing():
            claimed = _claimed(missing, wanted, claims)
            if (first := next(claimed, None)) is None:
                time.sleep(1)  # other processes are training them
                continue
            with ExitStack() as stack:
                finished = kept(wanted.trainer, chain([first], claimed), wanted.data, bars)
                if isinstance(finished, Generator):  # it ends its workers when it is closed, as after an error here
                    stack.enter_context(closing(finished))
                for run in finished:
                    append(wanted.stamped(run, claims.held), wanted.path)
                    claims.give_back(run.recipe)
                    yield run


def _claimed(missing: Iterable[Recipe], wanted: _Wanted, claims: Claims) -> Iterator[Recipe]:
    """Yield those of the `missing` that no other process trains, or has finished by now."""
    for recipe in missing:
        try:
            taken = claims.take(recipe)
        except OSError as error:
            raise cannot_save(wanted.path, error) from error
        if taken and recipe in wanted.stored():
            claims.give_back(recipe)
        elif taken:
            yield recipe


class _Progress:
    """The lines that say how far it is: how many runs were finished before, and one for each that is finished now."""

    def __init__(self, wanted: _Wanted, to_do: int):
        self._wanted, self._to_do, self._started = wanted, to_do, time.monotonic()
        self._labels = labels(replace(recipe, seed=0) for recipe in wanted.recipes)
        if finished := len(wanted.recipes) - to_do:
            print(f"{finished} of {count(len(wanted.recipes), 'run')} finished before", flush=True)

    def tell(self, run: Run) -> None:
        """Print the run's arm, seed and score, how many trainings are done, and about how long the rest will take."""
        total, left = len(self._wanted.recipes), len(self._wanted.missing())
        pace = (time.monotonic() - self._started) / max(1, self._to_do - left)  # seconds per run
        rest = f", about {duration(pace * left)} left" if left else ""
        score = run.failure or (f"{run.score:.2f} %" if run.unit else f"{run.measure} {run.score:.4g}")
        label = self._labels[replace(run.recipe, seed=0)]
        print(f"{label}, seed {run.recipe.seed}: {score}  ({total - left} of {total}{rest})", flush=True)
