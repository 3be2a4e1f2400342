"""The study's command line: train a model, run an experiment, make pages anew, run the notebook, pack it for Colab."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import model
import study
from normbench import runs
from normbench.commands import Where, engine_for
from normbench.data import Dataset
from normbench.device import device_name
from normbench.layers import parse
from normbench.program import output_folder, same_command, stopped
from normbench.program import run as run_command
from normbench.training import Recipe, Run
from normbench.training import train as train_network
from study import colab, experiments
from study.networks import build, usual_recipe


@dataclass(frozen=True)
class Options(Recipe):
    """The recipe of one run. What depends on the data set may be left to it."""

    norm: tyro.conf.Suppress[str] = "BN"  # --nm and --gp say it
    optimizer: str | None = None  # type: ignore[assignment]
    """sgd, adamw, or muon: Muon for the filters of convolutions, SGD for the rest; by default sgd for grey images, muon
    for colour."""
    lr: float | None = None  # type: ignore[assignment]
    """Highest learning rate: the rate rises to it and falls to almost 0 (OneCycle). Muon takes half of it. By default
    0.1, and 0.001 for AdamW."""
    weight_decay: float | None = None  # type: ignore[assignment]
    """Weight decay, by default 5e-4, and 0.05 for AdamW. Muon's filters have one of their own."""
    decay_on: str = "all"
    """What weight decay falls on: all parameters, as in the study; or weights, which leaves out biases and what
    normalizations train, such as γ and β."""
    mirrored: bool | None = None  # type: ignore[assignment]
    """Whether testing shows each image twice, as it is and mirrored, and averages the probabilities, as Krizhevsky et
    al. (2012) do: right where a mirror image is of the same class; by default for colour images."""

    def __post_init__(self) -> None:
        """Leave the checks to the `Recipe` that these options become."""

    def recipe(self, data: Dataset, norm: str) -> Recipe:
        """Return the recipe for `data`. Raises ValueError for options out of range."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "norm"}
        return usual_recipe(data, norm, **{name: value for name, value in given.items() if value is not None})


def train(
    options: Annotated[Options, tyro.conf.arg(name="")],
    nm: str = "BN",
    gp: int = 2,
    dataset: str = "auto",
    data_dir: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None,
    device: str = "auto",
    output: str = "runs/train",
) -> None:
    """Train one model: its summary, progress, curves, ten mistakes, and a result line.

    Stopped with Ctrl-C, the same command goes on from the last finished epoch.

    Args:
        options: the training.
        nm: normalization: BN, GN, LN, IN or none; LN_CHW (layer norm with a weight per element), LN_C (over the
            channels of each pixel), BN:16 (ghost batch norm: 16 images per statistic), WS+BN (standardized weights).
        gp: number of groups, for GN alone. It must divide every channel count; 1 group is LN, a group per channel IN.
        dataset: mnist, digits, fashion_mnist, kmnist, cifar10, the name of a file NAME.npz in the data folder,
            or auto: MNIST, and the small digits where it cannot be had.
        data_dir: where data sets lie or are downloaded to; by default the environment's DATA_DIR, else data.
        device: cpu, cuda, …, or auto: a GPU if there is one.
        output: a folder for each run is made there.
    """
    from torchsummary import summary

    from normbench.figures import plot_misclassified, plot_overview, save
    from study.findings import result_line

    parent = output_folder(output, "")
    data = Where(data_dir=data_dir, device=device).load(dataset)
    recipe = options.recipe(data, norm_of(nm, gp))
    net = build(recipe, data)
    folder = parent / _folder_name(recipe, data)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{recipe.label} on {data.name}, {device_name(data.device)}")
    summary(net, data.image_shape, device="cpu")
    try:
        run = train_network(net, data, recipe, checkpoint=folder / "checkpoint.pt", recorded=True)
    except KeyboardInterrupt:
        message = f"finished epochs are in {folder}; go on with: {same_command('study')}"
        raise KeyboardInterrupt(message) from None
    (folder / "run.jsonl").unlink(missing_ok=True)
    runs.append(run, folder / "run.jsonl")
    save(plot_overview([run]), folder / "curves.png")
    save(plot_misclassified(run, data), folder / "misclassified.png")
    print(f"{result_line(run)}\nCurves, mistakes and result: {folder}/ (delete it to train anew)")


def norm_of(nm: str, gp: int) -> str:
    """Return the norm that --nm and --gp say: "GN:4" for GN in 4 groups. Raises ValueError for an unknown one."""
    name, number, _ = parse(nm)
    return f"{nm}:{gp}" if name == "GN" and number is None else nm


def _folder_name(recipe: Recipe, data: Dataset) -> str:
    number = zlib.crc32(f"{recipe} {data.device} {data.fingerprint}".encode())
    return f"{data.name}-{recipe.norm.replace(':', '')}-seed{recipe.seed}-{number:08x}"


def run(
    name: tyro.conf.Positional[Literal[tuple(experiments.EXPERIMENTS)]],  # type: ignore[valid-type]
    where: Annotated[Where, tyro.conf.arg(name="")],
    validation: bool = False,
    output: str | None = None,
) -> None:
    """Run an experiment: many trainings, of which those already in study/results/ are not repeated.

    Stopped in whatever way, the same command goes on from the last finished run. Several processes may be at
    work on one experiment.

    Args:
        name: which experiment.
        where: where the runs are made.
        validation: score on held-out training images instead of the test set, and put the results under runs/:
            for whoever changes the network or the recipe.
        output: the folder of NAME.jsonl, where finished trainings are stored; by default study/results.
    """
    from study import tables

    folder = output_folder(output, "runs/validation" if validation else str(experiments.RESULTS))
    path = experiments.path(name, folder)
    print(experiments.EXPERIMENTS[name].question)
    finished = experiments.complete(name, folder, validation)
    if finished:
        print(
            f"All {len(finished)} runs are in {path}{_commits(finished)}: nothing is trained. "
            "To train anew, delete that file, or name another folder with --output."
        )
    else:
        data = where.load(experiments.EXPERIMENTS[name].dataset)
        engine = engine_for(where, data, modules=[model, study])
        print(f"On {'Ray' if where.engine == 'ray' else device_name(data.device)}:", flush=True)
        try:
            finished = experiments.run(name, data, folder, engine, validation)
        except KeyboardInterrupt:
            raise stopped(path, same_command("study")) from None
    print(tables.accuracy(runs.arms(finished).values()))


def _commits(finished: Iterable[Run]) -> str:
    """The commits of the code that made the runs, if they are known."""
    commits = sorted({run.commit[:7] + run.commit[40:] for run in finished if run.commit})
    return f" (code of commit {', '.join(commits)})" if commits else ""


def report(data_dir: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None) -> None:
    """Make README, docs and the figures of images/ anew from study/results/.

    Args:
        data_dir: where data sets lie or are downloaded to; figures of images that cannot be had are left as they are.
    """
    from study import report as pages

    for path in pages.write(data_dir):
        print(path)


def notebook(source: tyro.conf.Positional[Path] = study.CHECKOUT / colab.NOTEBOOK) -> None:
    """Run the notebook, with its settings in the environment: EPOCHS, DATASET, DATA_DIR, SEED, DEVICE, OUTPUT_DIR.

    Stopped in whatever way, the same call goes on from the last finished epoch.

    Args:
        source: the notebook.
    """
    from study.notebook import run as run_notebook

    run_notebook(source)


def pack_for_colab(output: Path = Path("runs") / colab.ZIP) -> None:
    """Write the project as a zip file, to be uploaded to Google Colab beside the notebook.

    Args:
        output: the file.
    """
    path = colab.pack(output)
    print(f"{path} ({path.stat().st_size / 2**20:.1f} MB): upload it in Colab with the folder symbol at the left")


def main() -> int:
    """Run the command that `sys.argv` names; return the exit status."""
    commands: dict[str, Callable[..., Any]] = {
        "train": train,
        "run": run,
        "report": report,
        "notebook": notebook,
        "colab": pack_for_colab,
    }
    return run_command(commands, "study", "The study of one small network: train, run, report, notebook, colab.")
