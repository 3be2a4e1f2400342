"""The pictures of a comparison, and the words that go with them."""

from collections import Counter
from typing import TYPE_CHECKING

from normbench.comparison import cells
from normbench.comparison.answer import headline
from normbench.comparison.race import Ending
from normbench.runs import Arm, Arms
from normbench.words import count, fixed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from normbench.comparison.result import Comparison, Result
    from normbench.figures import Row


def pictures(comparison: "Comparison") -> "dict[str, Figure]":
    """Draw all pictures, by title: the verdict and the race of each batch size, then what a page folds away."""
    from normbench.figures import plot_race, plot_verdict

    drawn = {}
    for batches, result in comparison.titled.items():
        if rows := picture_rows(result):
            name = result.measure.name.capitalize() + batches
            drawn[name] = plot_verdict(rows, result.measure.title, headline(result))
        if result.rules and (said := race_in_words(result)):
            drawn[f"The race{batches}"] = plot_race(rows, result.rules.seeds, said)
    return drawn | folded(comparison)


def folded(comparison: "Comparison") -> "dict[str, Figure]":
    """Draw scores by batch size, curves, and the rates tried, by title."""
    from normbench import figures  # drawing is loaded when something is drawn

    everywhere = {recipe: arm for result in comparison.results for recipe, arm in result.of_learned.items()}
    several_sizes = len({recipe.batch_size for recipe in everywhere}) > 1
    drawn = {"Accuracy by batch size": figures.plot_by_batch_size(everywhere)} if several_sizes else {}
    for batches, result in comparison.titled.items():
        learned = result.of_learned
        if learned and all("train_accuracy" in run.last for arm in learned.values() for run in arm.runs):
            drawn[f"Curves{batches}"] = figures.plot_seeds(learned)
        if rates := _without_decays(result.tried):
            drawn[f"Learning rates tried{batches}"] = figures.plot_rates(rates, result.arms)
    return drawn


def _without_decays(tried: Arms) -> Arms:
    """The trials of rates alone: those with the weight decay that most have."""
    decays = Counter(recipe.weight_decay for recipe in tried)
    return {recipe: arm for recipe, arm in tried.items() if recipe.weight_decay == decays.most_common(1)[0][0]}


def picture_rows(result: "Result") -> "list[Row]":
    """Return the rows of the pictures of a batch size, the best arm first."""
    return [_row(result, arm) for arm in result.ranked]


def _row(result: "Result", arm: Arm) -> "Row":
    from normbench.figures import Row

    standing, mean = result.standing, result.mean(arm)
    out, lead = standing.out.get(arm.recipe), standing.leads.get(arm.recipe)
    said = "" if out is None else "its runs fail" if out.fails else "behind"
    if lead is not None and said == "behind":
        said += f" by {fixed(lead.estimate, result.measure.digits)}"
    scores = result.judged(arm)
    return Row(result.named(arm.recipe), arm.recipe.norm, scores.tolist(), mean, said, cells.mean(result, arm))


def race_in_words(result: "Result") -> str:
    """Say how many runs the race took and saved, and why it ended; "" if there was none."""
    standing, rules = result.standing, result.rules
    if rules is None or len(result.standings) < 2:
        return ""
    taken, fixed_design = sum(runs for _, runs in standing.learned.values()), rules.seeds * len(result.arms)
    saved = f"; a fixed design would have taken {fixed_design}" if taken < fixed_design else ""
    why = {
        Ending.WON: "one arm is left",
        Ending.EQUAL: "those left are equal within the margin",
        Ending.HOPELESS: "the seeds that were planned would hardly have told more",
        Ending.SEEDS: "all planned seeds were done",
        Ending.FAILED: "no arm learns reliably",
    }
    ended = "time was over" if result.stopped else why[standing.ending] if standing.ending else "it was stopped"
    gone = [f"{result.named(arm)} after {count(out.round, 'seed')}" for arm, out in standing.out.items()]
    left = f" Out: {', '.join(gone)}." if gone else ""
    return f"The race took {count(taken, 'run')}{saved}. It ended because {ended}.{left}"
