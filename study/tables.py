"""Markdown tables of the pages: arms, pairs, claims, rates and runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from model import Net
from normbench import stats
from normbench.data import title
from normbench.layers import NORMALIZATIONS
from normbench.runs import Arm, details
from normbench.swapping import normalizations, swap
from normbench.training import USUAL_L1, Run, labels
from normbench.words import count, duration, fixed, in_unit, interval, percent, roughly, signed
from study import by_hand, families, readings
from study.claims import CONFIRMED, MEASURED, REFUTED, WINNERS, Claim
from study.numbers import Numbers, winners
from study.readings import Line, Trials, in_words, mean_of

NO_BREAK = "\N{NO-BREAK SPACE}"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a Markdown table; the numbers of a column stand at the right if its head ends with ">"."""
    lines = ["| " + " | ".join(head.removesuffix(">") for head in heads) + " |"]
    lines.append("|" + "|".join("--:" if head.endswith(">") else "---" for head in heads) + "|")
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def plus_minus(sample: stats.Summary, digits: int = 2) -> str:
    """Write a mean with the half-width of its 95 % interval: "99.50 ± 0.02"; one value alone by itself."""
    half = f" ± {fixed((sample.high - sample.low) / 2, digits)}" if sample.n > 1 else ""
    return fixed(sample.mean, digits) + half


def accuracy(arms: Iterable[Arm]) -> str:
    """Show the accuracy after the last epoch: a row per arm. Failed runs are counted, and in no mean."""
    arms = list(arms)
    names = labels(arm.recipe for arm in arms)
    heads = ["variant", "test accuracy, mean ± 95 % (%)>", "standard deviation>", "lowest>", "highest>"]
    heads += ["test loss, mean ± 95 % (nats)>", "seeds>"]
    return markdown(heads, [[names[arm.recipe], *_accuracy(arm)] for arm in arms])


def _accuracy(arm: Arm) -> list[str]:
    seeds = f"{len(arm.runs)}" + (f" ({sum(arm.failures.values())} failed)" if arm.failures else "")
    if not arm.accuracy.n:
        return ["–"] * 5 + [seeds]
    values = families.last(arm)
    deviation = fixed(arm.accuracy.deviation, 3) if len(values) > 1 else "–"
    return [
        f"**{plus_minus(arm.accuracy, 3)}**",
        deviation,
        fixed(min(values)),
        fixed(max(values)),
        plus_minus(stats.summary(families.last(arm, "test_loss")), 4),
        seeds,
    ]


def pairs(n: Numbers, name: str) -> str:
    """Show every two arms that are compared in an experiment: how far apart they are, and how sure that is."""
    leads, stated = n.compared(name), n.stated(name)
    names = labels(arm.recipe for lead in leads for arm in lead[:2])
    heads = ["pair", "first − second (points)>", "95 % interval¹>", "on these test images²>"]
    heads += ["test loss (nats)>", "95 % interval²>", "the first wins a single run³>", f"seeds for {stated:g}⁴>"]
    table = markdown(heads, [[f"{names[a.recipe]} vs. {names[b.recipe]}", *_pair(n, name, a, b)] for a, b, _ in leads])
    comparisons = len(n.family(name))
    together = f"all {comparisons} intervals of the experiment are simultaneous (Bonferroni)"
    return (
        f"{table}\n\n¹ For new seeds and new test images; "
        f"{together if comparisons > 1 else 'the experiment makes no other comparison'}. ² For new seeds\nalone. "
        "³ Of all pairs of one run each; a tie counts half. ⁴ Seeds per "
        f"variant that would show a difference of {stated:g} points, or that\nthere is none, in four of five studies."
    )


def _pair(n: Numbers, name: str, a: Arm, b: Arm) -> list[str]:
    gap, loss = n.gap(name, a, b), n.loss_gap(name, a, b)
    seeds = n.seeds_to_exclude(name, a, b)
    return [
        fixed(gap.estimate, 3),
        interval(gap, 3),
        interval(n.gap_on_these_images(name, a, b), 3),
        signed(loss.estimate, 4),
        interval(loss, 4),
        percent(stats.superiority(families.last(a), families.last(b))),
        roughly(seeds) if seeds <= stats.MOST_SEEDS else "more images",
    ]


def trained(n: Numbers, name: str) -> str:
    """Say what an experiment's runs were made with, and of how many planned seeds if some are missing."""
    so_far = f" So far {n.seeds(name)} seeds." if "of" in n.seeds(name) else ""
    return details(n.arms(name)) + so_far


# Claims


def claims(claims: Iterable[Claim]) -> str:
    """Show the published claims, their verdicts and what decides them."""
    heads = ["study", "claim", "verdict", "quantity tested", "estimate>", "95 % interval>", "runs"]
    rows = [
        [
            claim.study,
            claim.says,
            f"**{claim.verdict}**" + (f" ({claim.hint})" if claim.hint else ""),
            claim.measured,
            in_unit(claim.interval.estimate, claim.unit),
            f"{in_unit(claim.interval.low, claim.unit)} to {in_unit(claim.interval.high, claim.unit)}",
            claim.trained,
        ]
        for claim in claims
    ]
    arithmetic = (
        "sums, means, standard deviations and counts of parameters; “normalization is used to normalize weights”"
    )
    where = "arithmetic: see *Errors in the published arithmetic*"
    return markdown(heads, [*rows, ["A, C, E", arithmetic, "**refuted**", where, "", "", ""]])


def mark(claim: Claim) -> str:
    """Write a verdict as ✓, ✗, = or ?."""
    return {CONFIRMED: "✓", REFUTED: "✗", MEASURED: "="}.get(claim.verdict, "?")


def single_runs(n: Numbers) -> str:
    """Show how often one run of each model would name which winner, for the studies that name one."""
    bn_l1, bn, gn, ln = (
        n.arm("head_to_head", "BN", l1=USUAL_L1),
        *(n.arm("head_to_head", norm) for norm in ("BN", "GN:2", "LN")),
    )
    rows = []
    for studies, arms in (("A, E", [bn_l1, gn, ln]), ("B", [bn, gn, ln])):
        shares = winners(arms).items()
        rows.append(
            [studies, WINNERS[studies[0]].label, ", ".join(f"{name} {percent(share)}" for name, share in shares)]
        )
    return markdown(["study", "its winner", "how often one run of each names…"], rows)


# Experiments


def rates(arms: Iterable[Arm]) -> str:
    """Show the mean accuracy by learning rate: a row per normalization; runs that did not learn are counted."""
    families = readings.by_norm(arms)
    tried = sorted({arm.recipe.lr for family in families.values() for arm in family})
    rows = []
    for family in families.values():
        by_rate = {arm.recipe.lr: arm for arm in family}
        rows.append([family[0].label, *(mean_cell(by_rate[lr]) if lr in by_rate else "" for lr in tried)])
    return markdown(["variant", *(f"{lr:g}>" for lr in tried)], rows)


def mean_cell(arm: Arm) -> str:
    """Write the mean of the runs that did not fail, and how many failed."""
    failed = sum(arm.failures.values())
    said = [fixed(arm.accuracy.mean)] if arm.accuracy.n else []
    said += [f"({failed} of {len(arm.runs)} failed)"] if failed else []
    return " ".join(said)


def lengths(arms: Iterable[Arm]) -> str:
    """Show the mean accuracy by the number of epochs: a row per normalization."""
    families = readings.by_norm(arms)
    tried = sorted({arm.recipe.epochs for family in families.values() for arm in family})
    rows = []
    for family in families.values():
        by_epochs = {arm.recipe.epochs: arm for arm in family}
        rows.append([family[0].label, *(mean_cell(by_epochs[epochs]) for epochs in tried)])
    return markdown(["epochs", *(f"{epochs}>" for epochs in tried)], rows)


def small_batches(n: Numbers) -> str:
    """Show the accuracy by batch size and normalization, each with its learning rate."""
    heads = ["images per batch>", "variant", "learning rate>", "test accuracy, mean ± 95 % (%)>", "seeds>"]
    return markdown(
        heads,
        [
            [
                arm.recipe.batch_size,
                arm.label,
                f"{arm.recipe.lr:g}",
                f"**{plus_minus(arm.accuracy)}**",
                len(arm.runs),
            ]
            for arm in n.arms("small_batches")
        ],
    )


def small_batches_rates(n: Numbers) -> str:
    """Show every learning rate that was tried for small batches, the chosen one in bold."""
    reading = readings.SmallBatches(n)
    rows = []
    for arm in n.arms("small_batches"):
        tried = sorted(reading.tried(arm), key=lambda other: other.recipe.lr)
        cells = [f"**{mean_cell(other)}**" if other.recipe.lr == arm.recipe.lr else mean_cell(other) for other in tried]
        rows.append([arm.recipe.batch_size, arm.label, *cells])
    return markdown(["images per batch>", "variant", "r/4>", "r/2>", "r>", "2r>", "4r>"], rows)


def l1_strengths(n: Numbers) -> str:
    """Show what L1 does by its strength, and by subgradient or proximal step."""
    heads = ["λ", "by", "test accuracy (%)>", "training accuracy (%)>", "Σ\\|p\\|>", "exact zeros (%)>", "seeds>"]
    rows = []
    for arm in sorted(n.arms("l1_strength"), key=lambda arm: arm.recipe.l1):
        way = "proximal step" if arm.recipe.proximal else "subgradient"
        rows.append(
            [
                f"{arm.recipe.l1:g}",
                way if arm.recipe.l1 else "–",
                fixed(arm.accuracy.mean),
                fixed(arm.last("train_accuracy").mean()),
                fixed(arm.last("l1_norm").mean(), 0),
                fixed(arm.last("zeros").mean(), 1),
                len(arm.runs),
            ]
        )
    return markdown(heads, rows)


# Single runs and layers


def results(runs: Sequence[Run]) -> str:
    """Show runs that came to their end: what the last epoch gave, beside it the best epoch; and the conditions."""
    names = labels(run.recipe for run in runs)
    heads = ["variant", "test accuracy>", "test errors>", "test loss>", "best epoch¹>", "training accuracy²>"]
    heads += ["parameters>", "seconds>"]
    table = markdown(
        heads,
        [
            [
                names[run.recipe].replace(" ", NO_BREAK),
                f"**{fixed(run.last['test_accuracy'])} %**",
                f"{run.errors} of {len(run.correct):,}",
                fixed(run.last["test_loss"], 4),
                f"{fixed(run.best['test_accuracy'])} % (epoch {run.best['epoch']})",
                f"{fixed(run.last['train_accuracy'])} %",
                f"{run.parameters:,}",
                fixed(run.seconds, 0),
            ]
            for run in runs
        ],
    )
    recipe, seconds = runs[0].recipe, sum(run.seconds for run in runs)
    pace = seconds / sum(run.recipe.epochs for run in runs)
    return (
        f"{table}\n\nScores are those of the last epoch. ¹ The best test accuracy of all epochs: selected on the test "
        "set, and so flattering.\n² During the last epoch, on augmented images.\n\n"
        f"{title(runs[0].dataset)}, {count(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, one run each (seed "
        f"{recipe.seed}), on {runs[0].device}: {fixed(pace, 1)} s per epoch, {duration(seconds)} in all."
    )


def parameters() -> str:
    """Show what each normalization adds to the network for grey images, counted from the network itself."""
    rows = []
    for norm in NORMALIZATIONS:
        net = Net(norm) if norm == "none" else swap(Net("BN"), norm, example=torch.zeros(1, 1, 28, 28))
        own = sum(by_hand.trainable(layer) for layer in normalizations(net).values())
        total = by_hand.trainable(net)
        rows.append([norm, f"{own:,}" if own else "–", by_hand.averages(net) or "–", f"{total:,}"])
    heads = ["normalization", "its γ, β, α and s>", "its running averages>", "trainable in the whole network>"]
    note = "Without a normalization, each convolution has a bias per channel, in the place of β."
    return f"{markdown(heads, rows)}\n\n{note}"


def sharing() -> str:
    """Show what shares statistics in each of the four methods."""
    rows = []
    for norm in by_hand.NORMS:
        row, is_bn = NORMALIZATIONS[norm], norm == "BN"
        at_test_time = "running averages from training" if is_bn else "as in training"
        rows.append([f"**{norm}**, {row.name}", row.shares, "yes" if is_bn else "no", at_test_time])
    return markdown(["method", "one mean and one variance for", "sees other images", "at test time"], rows)


# Trials


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


# Speed


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
