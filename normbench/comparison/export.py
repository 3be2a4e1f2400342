"""A comparison for other programs and for pull requests: as a dict of plain values, and as Markdown."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.comparison import cells
from normbench.comparison.answer import headline
from normbench.comparison.race import Rules
from normbench.data import title
from normbench.files import write_whole
from normbench.runs import Arm

if TYPE_CHECKING:
    from normbench.comparison.result import Comparison, Result

ANSWER = "answer.json"  # beside the runs of a comparison


def to_dict(comparison: "Comparison") -> dict[str, Any]:
    """Return the comparison as JSON has it: text, numbers, lists and dicts; None for what is not known."""
    from normbench import __version__

    return {
        "normbench": __version__,
        "network": comparison.network,
        "data": comparison.data,
        "images": comparison.images,
        "answer": comparison.answer,
        "results": [_result(result) for result in comparison.results],
    }


def _result(result: "Result") -> dict[str, Any]:
    found, rules = result.verdict, result.rules
    return {
        "batch_size": result.batch_size,
        "measure": result.measure.name,
        "unit": result.measure.unit or None,
        "higher_is_better": result.higher_is_better,
        "verdict": {
            "kind": found.kind.value,
            "best": [result.labels[arm] for arm in found.best],
            "sentence": headline(result),
            "margin": found.margin,
            "seeds": found.seeds,
            "seeds_needed": found.seeds_needed,
        },
        "race": None
        if rules is None
        else {
            "seeds": rules.seeds,
            "margin": rules.margin,
            "fixed": not rules.early,
            "chance": result.chance,
            "far_behind": [result.labels[arm] for arm in result.far_behind],
            "ending": result.standing.ending.name.lower() if result.standing.ending else None,
            "out_of_time": result.stopped,
        },
        "arms": [_arm(result, arm) for arm in result.ranked],
        "failures": {result.labels[recipe]: reason for recipe, reason in result.failures.items()},
        "twins": dict(result.twins),
    }


def _arm(result: "Result", arm: Arm) -> dict[str, Any]:
    standing, mean = result.standing, result.mean(arm)
    lead, out = standing.leads.get(arm.recipe), standing.out.get(arm.recipe)
    learned, runs = standing.learned.get(arm.recipe, (len(arm.succeeded), len(arm.runs)))
    return {
        "label": result.labels[arm.recipe],
        "parameters": arm.runs[0].parameters or None,
        "test_loss": result.loss(arm),
        "norm": arm.recipe.norm,
        "groups": result.groups.get(arm.recipe.norm),
        "mean": _number(mean.estimate if mean else None),
        "low": _number(mean.low if mean else None),
        "high": _number(mean.high if mean else None),
        "learned": learned,
        "runs": runs,
        "scores": [_number(score) for score in arm.last().tolist()],
        "behind_the_first": None if lead is None else {"by": lead.estimate, "low": lead.low, "high": lead.high},
        "out": None if out is None else {"after_seeds": out.round, "because": "fails" if out.fails else "behind"},
        "learning_rate": arm.recipe.lr if arm.runs[0].is_built_in or result.tried else None,
        "weight_decay": arm.recipe.weight_decay if arm.runs[0].is_built_in or result.has_decays else None,
        "seconds_per_run": _number(sum(run.seconds for run in arm.runs) / len(arm.runs)),
        "step_seconds": result.step_seconds.get(arm.recipe.norm),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def save(comparison: "Comparison", folder: Path) -> None:
    """Write the answer beside the runs, whole or not at all."""
    text = json.dumps(to_dict(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / ANSWER, text + "\n")


def stored(folder: Path) -> Mapping[str, Any]:
    """Read the answer beside the runs of a folder; empty if there is none that can be read."""
    try:
        found = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def settings(answer: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return what a stored answer says of each race and its arms, by batch size; nothing if that is not known."""
    try:
        return {result["batch_size"]: result for result in answer["results"] if result["race"] and result["arms"]}
    except (KeyError, TypeError):
        return {}


def numbers_of_images(answer: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return how many training and test images a stored answer names; None if it does not say."""
    match answer.get("images"):
        case [int(training), int(test)]:
            return training, test
    return None


def held_under(result: "Result", known: Mapping[str, Any] | None) -> "Result":
    """Return the result with what its runs do not say, as `settings` has it: its race, twins, groups and times."""
    if known is None:
        return result
    race, of_arms = known["race"], known["arms"]
    result = replace(
        result,
        rules=Rules(race["seeds"], race["margin"], early=not race["fixed"]),
        chance=race["chance"],
        stopped=race["out_of_time"],
        twins=known.get("twins", {}),
        groups={arm["norm"]: arm["groups"] for arm in of_arms if arm.get("groups")},
        step_seconds={arm["norm"]: arm["step_seconds"] for arm in of_arms if arm.get("step_seconds")},
    )
    far_behind = frozenset(recipe for recipe in result.arms if result.labels[recipe] in race["far_behind"])
    return replace(result, far_behind=far_behind)


def to_markdown(comparison: "Comparison") -> str:
    """Return the answer and a table, to paste into a pull request or an issue."""
    parts = [f"**Which normalization for `{comparison.network}` on {title(comparison.data)}?**"]
    for batches, result in comparison.titled.items():
        size = f"With {batches.removeprefix(', ')}: " if batches else ""
        parts += [f"{size}{result.answer}", _table(comparison, result)]
    return "\n\n".join(parts) + "\n"


def _table(comparison: "Comparison", result: "Result") -> str:
    rates = ["learning rate"] if comparison.has_rates else []
    loss = ["test loss"] if result.has_losses else []
    step = ["ms per step"] if result.step_seconds else []
    rows = [["normalization", f"test {result.measure.title}", "behind the first", "learned", *loss, *rates, *step]]
    for arm in result.ranked:
        more = [cells.loss(result, arm)] if loss else []
        more += [f"{arm.recipe.lr:g}"] if rates else []
        more += [cells.milliseconds(result, arm)] if step else []
        usual = (cells.mean(result, arm), cells.behind(result, arm), cells.learned(result, arm))
        rows.append([result.named(arm.recipe), *usual, *more])
    empty = [""] * len(loss + rates + step)
    rows += [
        [result.named(recipe), cells.UNKNOWN, cells.UNKNOWN, reason, *empty]
        for recipe, reason in result.failures.items()
    ]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---|" + "--:|" * (len(rows[0]) - 1))
    return "\n".join(lines)
