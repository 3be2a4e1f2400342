import dataclasses

import numpy as np
import pytest
from conftest import noise, run_of, write_results

from normbench import parts
from normbench.claims import claims
from normbench.experiments import MAIN, SHORT, arms
from normbench.verdicts import compared, pairwise

PARTS_OF_RUNS = set(parts.PARTS) - {"results", "parameters", "slips", "speed"}


def made_up(means, seeds=16):
    """Runs of each of MAIN with those means."""
    return arms(
        run_of(config, mean + noise(config))
        for arm, mean in zip(MAIN, means)
        for config in (dataclasses.replace(arm, seed=seed) for seed in range(seeds))
    )


@pytest.mark.parametrize(
    "means, sign, verdict",
    (
        ((99.5, 99.0, 99.0), +1, "confirmed"),
        ((99.5, 99.0, 99.7), +1, "refuted"),  # another is better
        ((99.5, 99.5, 99.0), +1, "refuted"),  # another is as good
        ((99.5, 99.47, 99.0), +1, "undecided"),  # neither surely better nor surely as good
        ((99.0, 99.5, 99.5), -1, "confirmed"),
        ((99.5, 99.0, 99.0), -1, "refuted"),
    ),
)
def test_best_and_worse(means, sign, verdict):
    first, *others = MAIN
    pairs = [(first, other)[::sign] for other in others]
    assert compared(made_up(means), pairs) == verdict


def test_p_values_are_corrected_for_their_number():
    found, (first, *others) = made_up((99.5, 99.46, 99.46)), MAIN
    alone = [pairwise(found, [(first, other)])[first, other].p for other in others]
    together = [each.p for each in pairwise(found, [(first, other) for other in others]).values()]
    assert min(together) == pytest.approx(2 * min(alone)) and max(together) >= max(alone)


def decided(folder, accuracy, deviation=0.02):
    write_results(folder, accuracy, deviation)
    return {claim.says: claim for claim in claims(folder)}


BEST, ORDER, IN_IS_WORSE = "BN + L1 is best", "GN is best, then BN, then LN", "instance norm underperforms"
CONFOUNDED = "its arms, which differ in their penalties too, differ by their normalization"
NO_EFFECT, NO_COST = "L1 is not effective in a CNN", "λ = 1e-4 costs BN nothing (99.26 against 99.28 %)"
ONE_SEED, SMALL_BATCHES = (
    "one training of each shows which is best",
    "from 32 images a batch to 2, BN loses more than GN",
)
D_SPREAD = "on CIFAR-10, GN is 1.15 points above LN (though D's code builds BN in all three)"
BEST_EPOCH = "the best epoch's test accuracy is the model's (within 0.05 points)"


def test_claims_that_hold(tmp_path):
    def accuracy(config):
        small_batch = 3 * (config.nm == "BN" and config.batch_size == 2)
        strong = dict(none=95.0, IN=97.0, BN=99.4, GN=99.2, LN=98.0)[config.nm]
        return strong + 0.3 * (config.nm == "BN" and config.epochs == 20) - small_batch

    found = decided(tmp_path, accuracy)
    for says in (BEST, IN_IS_WORSE, CONFOUNDED, NO_EFFECT, NO_COST, ONE_SEED, SMALL_BATCHES, D_SPREAD, BEST_EPOCH):
        assert found[says].verdict == "confirmed", says
    assert found[ORDER].verdict == "refuted"
    assert "BN + L1 − GN, the best of the others: +0.5" in found[BEST].number
    assert found[BEST].runs == "MNIST, 20 epochs, 16 seeds an arm"
    assert found[D_SPREAD].runs == "10,000 images of CIFAR-10, 2 epochs, 5 seeds an arm"
    assert found[ONE_SEED].number.startswith("BN + L1, the most frequent winner, wins in 100 %")
    assert "difference +3.0" in found[SMALL_BATCHES].number


def test_claims_that_do_not_hold(tmp_path):
    """All arms alike, but for instance norm, which is better, and L1, which helps."""
    found = decided(tmp_path, lambda config: 98.0 + 0.5 * (config.nm == "IN") + 0.5 * (config.l1 > 0))
    for says in (ORDER, IN_IS_WORSE, NO_EFFECT, D_SPREAD, "the training loss of BN + L1 is quite high"):
        assert found[says].verdict == "refuted", says
    assert found[NO_COST].verdict == "confirmed", "L1 helps, and so it costs nothing"
    assert found[CONFOUNDED].verdict == "undecided", "both differ"
    loss = found["the training loss of BN + L1 is quite high"]
    assert loss.number == "loss on the images − the others': +0.0000; the penalty plotted with it: 0.0300"


def test_claims_about_penalties_that_do_not_hold(tmp_path):
    found = decided(
        tmp_path, lambda config: 98.0 - 0.5 * (config.l1 > 0) + (config.nm == "BN") * (config.batch_size == 2)
    )
    assert found[NO_COST].verdict == found[CONFOUNDED].verdict == found[SMALL_BATCHES].verdict == "refuted"
    assert found[NO_EFFECT].verdict == "confirmed", "it harms"


def test_noise_leaves_claims_undecided(tmp_path):
    found = decided(tmp_path, lambda config: 98.0, deviation=0.4)
    for says in (BEST, IN_IS_WORSE, CONFOUNDED, NO_EFFECT, NO_COST, SMALL_BATCHES, "BN is the most consistent"):
        assert found[says].verdict == "undecided", says
    assert found[ONE_SEED].verdict == "refuted", "each wins a part of the time"


def test_the_best_epoch_is_compared_with_the_last(tmp_path, monkeypatch):
    write_results(tmp_path, lambda config: 99.0)
    monkeypatch.setattr(
        "normbench.claims.best_epochs", lambda runs: [run.history[-1]["test_accuracy"] + 0.2 for run in runs]
    )
    (claim,) = (claim for claim in claims(tmp_path) if claim.says == BEST_EPOCH)
    assert claim.verdict == "refuted" and claim.number == "best − last epoch: +0.200"


def test_every_part_of_runs_is_made_from_them(tmp_path):
    write_results(tmp_path, lambda config: 98.0)
    before = {name: parts.part(name, tmp_path) for name in PARTS_OF_RUNS}
    write_results(tmp_path, lambda config: 97.0 + 0.2 * (config.nm == "BN"))
    for name, text in before.items():
        assert parts.part(name, tmp_path) != text, name


def test_the_answer_s_table(tmp_path):
    write_results(tmp_path, lambda config: 98.0 + (config.nm == "LN"))
    short, table, *_ = parts.part("answer", tmp_path).split("\n\n")
    head, _, *rows = table.splitlines()
    assert "| MNIST, 20 epochs |" in head and "| 10,000 images of MNIST, 2 epochs, 2 a batch |" in head
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells[0] == "**LN**" and all(float(cell.split(" ± ")[0]) == pytest.approx(99, abs=0.1) for cell in cells[1:])
    of_short = [99.0 + noise(dataclasses.replace(SHORT["LN"], seed=seed)) for seed in range(40, 48)]
    assert cells[2].startswith(f"{np.mean(of_short):.2f} ± ")
    assert "- **MNIST, 20 epochs**: LN is significantly above " in parts.part("answer", tmp_path)
    assert short.startswith("**In short**: use one (LN is 1.0")
    assert "significantly above all others is LN (MNIST, 20 epochs), LN (MNIST, 4 epochs)" in short
