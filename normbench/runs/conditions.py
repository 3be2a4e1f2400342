"""What runs were made with, as a line of text: data, length, seeds, devices."""

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from normbench.data import title
from normbench.runs.arm import Arm
from normbench.training import Run
from normbench.words import count


def conditions(arms: Collection[Arm]) -> str:
    """Return what a figure's runs were made with: "MNIST, 20 epochs, 24 seeds per variant, CPU (1 thread, AVX2)"."""
    runs = _runs(arms)
    parts = [*_data_and_length(runs), _number_of_seeds(arms), _kinds_of_devices(runs), *_failures(runs)]
    return ", ".join(parts)


def details(arms: Collection[Arm]) -> str:
    """Return what a page's runs were made with: as `conditions`, with batch size, which seeds, each device, speed."""
    runs = _runs(arms)
    batch_sizes = sorted({run.recipe.batch_size for run in runs})
    batch = f"batch {batch_sizes[0]}" if len(batch_sizes) == 1 else f"batches of {_from_to(batch_sizes)}"
    how = [batch, "last epoch"] if all(run.is_built_in for run in runs) else []
    training = ", ".join([*_data_and_length(runs), *how, _which_seeds(runs), *_failures(runs)])
    return "; ".join([training, _number_of_devices(runs), *_pace(runs)]) + "."


def lengths(runs: Iterable[Run]) -> str:
    """Return how long the runs are: "1 epoch", "20 epochs", "1 to 32 epochs"."""
    epochs = sorted({run.recipe.epochs for run in runs})
    return count(epochs[0], "epoch") if len(epochs) == 1 else f"{_from_to(epochs)} epochs"


def _runs(arms: Iterable[Arm]) -> list[Run]:
    return [run for arm in arms for run in arm.runs]


def _data_and_length(runs: Collection[Run]) -> list[str]:
    """The data set, how many of its training images if not all, and the epochs, where they are known."""
    data = list(dict.fromkeys(title(run.dataset) for run in runs))
    images = sorted({run.recipe.images for run in runs if run.recipe.images is not None})
    images_text = [f"first {_from_to(images)} training images"] if images else []
    known = [lengths(runs)] if all(run.is_built_in for run in runs) else []
    return [" and ".join(data), *images_text, *known]


def _number_of_seeds(arms: Collection[Arm]) -> str:
    seeds = {seed for arm in arms for seed in arm.seeds}
    if len(seeds) == 1:
        return f"seed {seeds.pop()}"
    numbers = sorted({len(arm.runs) for arm in arms})
    return f"{_from_to(numbers)} seeds" + (" per variant" if len(arms) > 1 else "")


def _which_seeds(runs: Iterable[Run]) -> str:
    seeds = sorted({run.recipe.seed for run in runs})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _failures(runs: Iterable[Run]) -> list[str]:
    """How many runs failed and why: ["2 diverged"]; nothing if none did."""
    return [f"{n:,} {reason}" for reason, n in sorted(Counter(run.failure for run in runs if run.failure).items())]


def _kinds_of_devices(runs: Iterable[Run]) -> str:
    """The only device's name, or how many kinds there are: "2 kinds of CPU", "CPU and GPU"."""
    names = sorted({run.device for run in runs})
    if len(names) == 1:
        return names[0]
    kinds = Counter("CPU" if name.startswith("CPU") else "GPU" for name in names)
    return " and ".join(f"{n} kinds of {kind}" if n > 1 else kind for kind, n in sorted(kinds.items()))


def _number_of_devices(runs: Iterable[Run]) -> str:
    """The only device's name, or how many runs were made on each."""
    numbers = Counter(run.device for run in runs)
    if len(numbers) == 1:
        return next(iter(numbers))
    return ", ".join(f"{n:,} on {device}" for device, n in numbers.items())


def _pace(runs: Iterable[Run]) -> list[str]:
    """The median time per epoch of the runs that did not fail."""
    seconds = [run.seconds / run.recipe.epochs for run in runs if run.is_built_in and not run.failure]
    return [f"{np.median(seconds):.1f} s per epoch"] if seconds else []


def _from_to(numbers: Collection[int]) -> str:
    """The lowest and the highest number: "1 to 32"; a single one by itself."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
