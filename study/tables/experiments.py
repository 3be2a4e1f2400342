"""Tables of the experiments: arms, pairs, claims, rates and runs."""

from collections.abc import Iterable, Sequence

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
from study.tables.text import markdown

NO_BREAK = "\N{NO-BREAK SPACE}"


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
    return _by_number(arms, "lr", "variant")


def lengths(arms: Iterable[Arm]) -> str:
    """Show the mean accuracy by the number of epochs: a row per normalization."""
    return _by_number(arms, "epochs", "epochs")


def _by_number(arms: Iterable[Arm], name: str, head: str) -> str:
    """Show the mean accuracy by a number of the recipe, with `head` above the normalizations."""
    of_norms = readings.by_norm(arms).values()
    tried = sorted({getattr(arm.recipe, name) for of_norm in of_norms for arm in of_norm})
    rows = []
    for of_norm in of_norms:
        cells = {getattr(arm.recipe, name): _mean(arm) for arm in of_norm}
        rows.append([of_norm[0].label, *(cells.get(number, "") for number in tried)])
    return markdown([head, *(f"{number:g}>" for number in tried)], rows)


def _mean(arm: Arm) -> str:
    """Write the mean of the runs that did not fail, and how many failed."""
    failed = sum(arm.failures.values())
    said = [fixed(arm.accuracy.mean)] if arm.accuracy.n else []
    said += [f"({failed} of {len(arm.runs)} failed)"] if failed else []
    return " ".join(said)


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
        cells = [f"**{_mean(other)}**" if other.recipe.lr == arm.recipe.lr else _mean(other) for other in tried]
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
