"""What the published courseworks say, and what is so."""

import math

from normbench.by_hand import DECIMALS, EXAMPLE, count, layers, show, work, work_all

WINNERS = {"A": "BN + L1", "E": "BN + L1", "B": "GN", "C": "GN + L1"}  # the best test accuracy of each study
D_SPREAD = 77.60 - 76.45  # points between the best and the worst of study D's three models


def slips() -> str:
    """A Markdown table: slips in the published arithmetic, and what is so, computed here.

    Published are study C's cells, and of study E's batch norm how many numbers it adds and their sum. Where
    that is not enough, the right column works with `DECIMALS`, and says "our example".
    """
    group, blue = work_all(EXAMPLE, "GN")[0], work_all(EXAMPLE, "BN")[0]
    after = work(blue.normalized)
    sums = [sum(channel) for channel in EXAMPLE[0, :2].flatten(1).tolist()]
    e_numbers, e_sum, e_divisor, e_slip = 13, 5.1, 12, -0.5
    bn, ln = work_all(DECIMALS, "BN")[0], work_all(DECIMALS, "LN")[0]
    counts = {name: count(layer) for name, layer in layers(*DECIMALS.shape[1:]).items()}
    rows = {
        f"C, GN, blue and green of image 1: (({show(sums[0])}) + ({show(sums[1])})) / 16 = 0.25, σ = 2.938": (
            f"{group.n} numbers: μ = {show(group.total)} / {group.n} = **{show(group.mean)}**, "
            f"σ² = {show(group.squares)} / {group.n} = {show(group.variance)}, σ = **{show(group.deviation, 3)}**"
        ),
        f"E, BN: the sum of {e_numbers} numbers, divided by {e_divisor}": (
            f"the sum is {e_sum}: μ = {e_sum} / {e_numbers} = **{show(e_sum / e_numbers)}**, and "
            f"{e_sum} / {e_divisor} = {show(e_sum / e_divisor)} is not their mean. (A channel of 3 images has "
            f"3·H·W numbers: {bn.n} in our example, and never {e_numbers})"
        ),
        f"E, LN: a slip, {show(e_slip)}, in the sum": (
            f"each number of the image is added once. In our example one {show(e_slip)} too many would turn "
            f"μ = {show(ln.total)} / {ln.n} = **{show(ln.mean)}** into {show((ln.total + e_slip) / ln.n)}"
        ),
        "E: deviations with n − 1": (
            f"normalization divides by n. Blue of our example: σ = √({show(bn.squares)} / {bn.n}) = "
            f"**{show(bn.deviation)}**, not √({show(bn.squares)} / {bn.n - 1}) = "
            f"{show(math.sqrt(bn.squares / (bn.n - 1)))}. (Only the running variance that PyTorch's BN keeps for "
            "testing has n − 1)"
        ),
        "E: “LN has 6 trainable parameters, 3 pairs for 3 images”": (
            "the number of images does not matter. With 4 channels of 2×2 pixels: "
            f"**{counts['LN, a pair a channel']}**, a pair a channel, or **{counts['LN, a pair an element']}**, "
            "a pair an element"
        ),
        "E: “GN has 12, a pair per group”": (
            f"neither images nor groups matter. With 4 channels: **{counts['GN']}**, a pair a channel"
        ),
        "A: “normalization is used to normalize weights”": (
            f"it normalizes activations. C's blue cells enter BN with μ = {show(blue.mean)}, σ = "
            f"{show(blue.deviation, 3)} and leave it with {show(after.mean)} and {show(after.deviation)}; "
            "no weight is changed"
        ),
    }
    return "\n".join(["| published | what is so |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows.items())])
