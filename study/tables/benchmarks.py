"""Tables of the benchmarks: the search for networks and recipes, speed, and other libraries' networks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from normbench.data import title
from normbench.words import fixed, interval, signed
from study import readings
from study.readings import Line, Trials, in_words, mean_of
from study.tables.text import markdown


def tries(trials: Trials, dataset: str, epochs: int) -> str:
    """Show the first rounds of the search: networks and changes, with three normalizations each."""
    norms = ("BN", "GN", "LN")
    heads = ["layers", "change of recipe", "parameters>"]
    heads += [head for norm in norms for head in (f"{norm}>", "loss>", "training loss>")]
    rows = []
    for (layers, change, parameters), lines in trials.of(dataset, epochs).items():
        cells = [cell for norm in norms for cell in _tried([line for line in lines if line["nm"] == norm])]
        rows.append([f"`{layers}`", in_words(change) or "–", f"{parameters:,}", *cells])
    return markdown(heads, rows)


def _tried(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return ["", "", ""]
    scores = " ".join(fixed(line["accuracy"]) for line in lines)
    return [scores, fixed(mean_of(lines, "loss"), 4), fixed(mean_of(lines, "train_loss"), 4)]


def round_of(lines: Iterable[Line], columns: Mapping[str, str]) -> str:
    """Show later rounds of the search: a row per line, with these columns by the keys of the lines."""
    heads = ["layers", "change", "parameters>", *columns.values()]
    rows = [
        [
            f"`{line['layers']}`",
            in_words(line["change"]) or "–",
            f"{line['parameters']:,}",
            *(_cell(key, line[key]) for key in columns),
        ]
        for line in lines
    ]
    return markdown(heads, rows)


def _cell(key: str, value: object) -> str:
    return fixed(value, 4 if key == "loss" else 2) if isinstance(value, float) else str(value)


def recipes(trials: readings.Recipes) -> str:
    """Show every recipe for CIFAR-10 that was scored on the test images: its means, and how far BN is ahead."""
    rows = []
    for scored in trials.scored:
        of_arms = [fixed(scored.means[norm]) if norm in scored.means else "–" for norm in ("BN", "GN:2", "LN")]
        leads = [
            f"{signed(gap.estimate)} ({interval(gap)})" if gap else "–" for gap in (scored.over_gn, scored.over_ln)
        ]
        rows.append([scored.letter, *of_arms, *leads, scored.seeds])
    return markdown(
        ["recipe", "BN>", "GN (2 groups)>", "LN>", "BN − GN (points)>", "BN − LN (points)>", "seeds>"], rows
    )


def epochs(speed: readings.Speed) -> str:
    """Show the seconds per epoch of a conventional loop and of this project's."""
    heads = ["normalization", "study A’s loop and network>", "its loop, our network>", "normbench>", "steps alone¹>"]
    heads += ["study A / normbench>", "normbench / steps alone>"]
    rows = []
    for row, gain, over in zip(speed.epochs, speed.gains, speed.over_floor):
        measured = [fixed(row["seconds"][key], 1) for key in ("study A", "our network", "ours", "floor")]
        rows.append([row["nm"], *measured, f"**{fixed(gain, 1)}**", fixed(over)])
    return markdown(heads, rows)


def steps(speed: readings.Speed) -> str:
    """Show where the milliseconds of a step go."""
    kinds = list(speed.steps[0]["milliseconds"])
    heads = ["network", "normalization", *(f"{kind}>".replace("distortion", "augmentation") for kind in kinds), "sum>"]
    rows = [
        [
            f"`{row['layers']}`",
            row["nm"],
            *(fixed(row["milliseconds"][kind]) for kind in kinds),
            f"**{fixed(sum(row['milliseconds'].values()))}**",
        ]
        for row in speed.steps
    ]
    return markdown(heads, rows)


def steps_on_gpu(speed: readings.Speed) -> str:
    """Show the milliseconds of a step on a GPU, recorded and not."""
    heads = [
        "data set",
        "normalization",
        "one by one>",
        "recorded>",
        "one by one / recorded>",
        "recorded, channels last>",
    ]
    last = "recorded, channels last"
    rows = [
        [
            title(row["dataset"]),
            row["nm"],
            fixed(row["milliseconds"]["eager"]),
            f"**{fixed(row['milliseconds']['recorded'])}**",
            fixed(gain, 1),
            fixed(row["milliseconds"][last]) if last in row["milliseconds"] else "–",
        ]
        for row, gain in zip(speed.gpu, speed.gains_of_recording)
    ]
    return markdown(heads, rows)


def networks(s: readings.Networks) -> str:
    """Show for each network whether its normalizations were swapped rightly."""
    heads = ["library", "network", "parameters>", "replaced", "left", "same kind, same outputs", "finite"]
    return markdown([*heads, *NAMES_OF_USES.values()], map(_network, s.rows))


USES = ("script", "trace", "compile", "export", "ONNX", "copy", "state")
NAMES_OF_USES = {use: use for use in USES} | {"state": "state_dict"}


def _network(row: Mapping[str, Any]) -> list[str]:
    replaced = ", ".join(f"{number} {kind}" for kind, number in row["replaced"].items())
    left = "; ".join(f"{number} × {what.partition(', for ')[0]}" for what, number in row["left"].items()) or "–"
    failed = [norm for norm, finite in row["finite"].items() if finite is not True]
    uses = [row["after"].get(use, "–").partition(":")[0] for use in NAMES_OF_USES]
    return [
        row["library"],
        row["network"],
        f"{row['parameters']:,}",
        replaced,
        left,
        "yes" if row["same"] < readings.ROUNDING else f"differs by {row['same']:.1e}",
        f"not {', '.join(failed)}" if failed else "yes",
        *uses,
    ]
