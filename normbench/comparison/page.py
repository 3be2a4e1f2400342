"""A comparison as a page in HTML, with all figures inside."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader

from normbench import words
from normbench.checking import price_table
from normbench.comparison import cells
from normbench.comparison.answer import headline
from normbench.comparison.next_step import next_step
from normbench.comparison.pictures import folded, picture_rows, race_in_words
from normbench.data import title
from normbench.layers import NORMALIZATIONS, parse
from normbench.runs import Arm
from normbench.stats import superiority
from normbench.training.provenance import commit, versions

if TYPE_CHECKING:
    from normbench.comparison.result import Comparison, Result


def page(comparison: "Comparison", command: str = "") -> str:
    """Return the page; `command` is what made the comparison."""
    return _environment().get_template("page.html").render(comparison=comparison, body=body(comparison, command))


def body(comparison: "Comparison", command: str = "") -> str:
    """Return what stands on the page, for notebooks too."""
    from normbench.figures import svg

    devices = dict.fromkeys(run.device for arm in comparison.arms.values() for run in arm.runs)
    return (
        _environment()
        .get_template("comparison.html")
        .render(
            comparison=comparison,
            title=title(comparison.data),
            parts=[_part(comparison, batches, result, command) for batches, result in comparison.titled.items()],
            price=price_table(comparison.price) if comparison.price else None,
            figures={name: svg(figure, name) for name, figure in folded(comparison).items()},
            methods=_methods(comparison),
            tuned=any(result.has_decays for result in comparison.results),
            made_by={
                "Command": command,
                "Device": ", ".join(filter(None, devices)),
                "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
                "Commit": commit(),
            },
        )
    )


def _part(comparison: "Comparison", batches: str, result: "Result", command: str) -> dict[str, Any]:
    """What the page says of one batch size."""
    from normbench.figures import MARKS, ROUNDS, legend, plot_race, plot_verdict, svg

    head, rows = headline(result), picture_rows(result)
    raced = race_in_words(result)
    return {
        "batches": batches,
        "kind": result.verdict.kind.value,
        "headline": head,
        "more": result.answer.removeprefix(head).strip(),
        "figure": svg(plot_verdict(rows, result.measure.title), head) if rows else "",
        "race": svg(plot_race(rows, result.rules.seeds), raced) if result.rules and raced else "",
        "race_said": raced,
        "marks": legend(rows, MARKS),
        "rounds": legend(rows, ROUNDS),
        "next": next_step(result, command),
        "head": _head(comparison, result),
        "rows": [_cells(comparison, result, arm) for arm in result.ranked],
        "failures": {result.labels[recipe]: reason for recipe, reason in result.failures.items()},
        "pairs": result.pairs().to_dict("records"),
        "digits": result.measure.digits,
    }


def _head(comparison: "Comparison", result: "Result") -> list[str]:
    rates = (["learning rate"] if comparison.has_rates else []) + ["weight decay"] * result.has_decays
    trained = ["parameters", "time per run"] if comparison.trained_here else []
    loss = ["test loss"] if result.has_losses else []
    return [f"test {result.measure.title}", *loss, "learned", "behind the first", "wins a single run", *rates, *trained]


def _cells(comparison: "Comparison", result: "Result", arm: Arm) -> list[str]:
    """A row of the table: the name, then a cell per entry of `_head`."""
    first = result.ranked[0]
    scores, best = (result.measure.sign * result.learned(each) for each in (arm, first))
    wins = f"{superiority(scores, best):.0%}" if arm is not first and min(len(scores), len(best)) > 1 else "–"
    loss = [cells.loss(result, arm)] if result.has_losses else []
    rates = [f"{arm.recipe.lr:g}"] if comparison.has_rates else []
    rates += [f"{arm.recipe.weight_decay:g}"] * result.has_decays
    seconds = float(np.mean([run.seconds for run in arm.runs]))
    trained = [f"{arm.runs[0].parameters:,}", words.duration(seconds)] if comparison.trained_here else []
    said = [
        cells.mean(result, arm),
        *loss,
        cells.learned(result, arm),
        cells.behind(result, arm),
        wins.replace("%", " %"),
        *rates,
        *trained,
    ]
    return [result.named(arm.recipe), *said]


def _methods(comparison: "Comparison") -> Mapping[str, str]:
    """What the normalizations are that were compared, by their short names."""
    specs = [parse(recipe.norm) for recipe in comparison.arms]
    known = {spec.name: NORMALIZATIONS[spec.name] for spec in specs if spec.is_known}
    return {name: f"{norm.name}; what shares a mean: {norm.shares}" for name, norm in known.items() if name != "none"}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("normbench.comparison"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fixed": words.fixed, "percent": words.percent, "signed": words.signed}
    return environment
