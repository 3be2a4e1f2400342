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
    assert compared(made_up(means), first, others, sign) == verdict


def test_p_values_are_corrected_for_their_number():
    found, (first, *others) = made_up((99.5, 99.46, 99.46)), MAIN
    alone = [pairwise(found, [(first, other)])[first, other].p for other in others]
    together = [each.p for each in pairwise(found, [(first, other) for other in others]).values()]
    assert min(together) == pytest.approx(2 * min(alone)) and max(together) >= max(alone)


def verdicts(folder, accuracy):
    write_results(folder, accuracy)
    return {claim.says: claim for claim in claims(folder)}


def test_claims_that_hold(tmp_path):
    def accuracy(config):
        small_batch = 3 * (config.nm == "BN" and config.batch_size == 2)
        strong = dict(none=95.0, IN=97.0, BN=99.4, GN=99.2, LN=99.0)[config.nm]
        return strong + 0.3 * (config.nm == "BN" and config.epochs == 20) - small_batch

    found = verdicts(tmp_path, accuracy)
    held = ("BN + L1 is best", "instance norm underperforms", "from 32 images a batch to 2, BN loses more than GN")
    for says in (*held, "its arms, with different penalties, differ by their normalization"):
        assert found[says].verdict == "confirmed", says
    assert found["GN is best, then BN, then LN"].verdict == "refuted"
    assert "BN + L1 − GN, its closest rival: +0.5" in found["BN + L1 is best"].number
    assert found["BN + L1 is best"].seeds == "16 an arm"
    assert found["one training of each shows which is best"].number.startswith(
        "BN + L1, the most frequent winner, wins in 100%"
    )


def test_claims_that_do_not_hold(tmp_path):
    found = verdicts(tmp_path, lambda config: 98.0 + 0.5 * (config.nm == "IN") + 0.5 * (config.l1 > 0))
    refuted = (
        "instance norm underperforms",
        "L1 is not effective in a CNN",
        "the training loss of BN + L1 is quite high",
    )
    for says in (*refuted, "its arms, with different penalties, differ by their normalization"):
        assert found[says].verdict == ("undecided" if "its arms" in says else "refuted"), says
    loss = found["the training loss of BN + L1 is quite high"]
    assert "(0.0300), 0 % is loss on the images" in loss.number, "made-up data terms are equal, and penalties 0.03"


def test_the_best_epoch_is_compared_with_the_last(tmp_path):
    write_results(tmp_path, lambda config: 99.0)
    (claim,) = (claim for claim in claims(tmp_path) if "best epoch" in claim.says)
    assert claim.verdict == "confirmed" and claim.number == "best − last epoch: +0.000", (
        "made-up curves rise to the end"
    )


def test_every_part_of_runs_is_made_from_them(tmp_path):
    write_results(tmp_path, lambda config: 98.0)
    before = {name: parts.part(name, tmp_path) for name in PARTS_OF_RUNS}
    write_results(tmp_path, lambda config: 97.0 + 0.2 * (config.nm == "BN"))
    for name, text in before.items():
        assert parts.part(name, tmp_path) != text, name


def test_the_answer_s_table(tmp_path):
    write_results(tmp_path, lambda config: 98.0 + (config.nm == "LN"))
    head, _, *rows = parts.part("answer", tmp_path).split("\n\n")[0].splitlines()
    assert "| MNIST, 20 epochs |" in head and "| 10,000 images of MNIST, 2 epochs, 2 a batch |" in head
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells[0] == "**LN**" and all(float(cell.split(" ± ")[0]) == pytest.approx(99, abs=0.1) for cell in cells[1:])
    short = [99.0 + noise(dataclasses.replace(SHORT["LN"], seed=seed)) for seed in range(40, 48)]
    assert cells[2].startswith(f"{np.mean(short):.2f} ± ")
    assert "- **MNIST, 20 epochs**: LN is above " in parts.part("answer", tmp_path)
