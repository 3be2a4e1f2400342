"""At which level a difference counts, where one looks again after every seed and between several arms.

Looked at after each of ten seeds, a plain 95 % interval leaves out the truth in a fifth of all comparisons. With a
lower level, the same at every look, it is right again (Pocock 1977). These levels are simulated, by
`python -m study.benchmarks.levels`.
"""

import math
from bisect import bisect_left

SEEDS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
# In %, by number of arms: for each of these numbers of seeds and, at the end, for a single look
TABLE = {
    2: (2.49, 1.43, 1.06, 0.866, 0.75, 0.615, 0.529, 0.472, 0.419, 0.368, 0.33, 0.304, 2.47),
    3: (2.49, 1.44, 1.07, 0.872, 0.76, 0.619, 0.538, 0.485, 0.429, 0.373, 0.332, 0.305, 2.45),
    4: (2.25, 1.26, 0.935, 0.747, 0.642, 0.518, 0.447, 0.401, 0.352, 0.299, 0.264, 0.241, 1.93),
    5: (1.78, 1.01, 0.74, 0.59, 0.498, 0.4, 0.341, 0.3, 0.265, 0.226, 0.202, 0.185, 1.51),
    6: (1.49, 0.832, 0.592, 0.483, 0.411, 0.324, 0.276, 0.245, 0.214, 0.182, 0.162, 0.148, 1.26),
    7: (1.28, 0.697, 0.506, 0.406, 0.347, 0.279, 0.241, 0.211, 0.184, 0.155, 0.139, 0.126, 1.1),
    8: (1.13, 0.627, 0.459, 0.362, 0.307, 0.245, 0.21, 0.184, 0.16, 0.136, 0.119, 0.109, 0.965),
    9: (1.02, 0.557, 0.403, 0.324, 0.275, 0.215, 0.183, 0.159, 0.14, 0.118, 0.104, 0.096, 0.85),
    10: (0.924, 0.509, 0.365, 0.298, 0.25, 0.198, 0.169, 0.15, 0.13, 0.11, 0.0973, 0.0882, 0.78),
    11: (0.838, 0.465, 0.34, 0.273, 0.227, 0.179, 0.153, 0.137, 0.118, 0.0988, 0.0871, 0.0786, 0.705),
    12: (0.766, 0.428, 0.308, 0.241, 0.206, 0.162, 0.137, 0.121, 0.105, 0.0893, 0.0788, 0.0715, 0.665),
}
LEVELS = {arms: [level / 100 for level in row[:-1]] for arms, row in TABLE.items()}
ONE_LOOK = {arms: row[-1] / 100 for arms, row in TABLE.items()}


def level(arms: int, seeds: int | None) -> float:
    """Return the one-sided level of each comparison with the leader, so that a race is wrong in 5 % at most.

    There is a look after each of `seeds` seeds from the second on; None is for a single look, after whichever seed.
    Between the simulated numbers of seeds, its logarithm is interpolated along that of the number. Beyond twelve arms,
    it falls with the number of comparisons (Bonferroni).

    Raises ValueError for fewer than two arms and fewer than one seed.
    """
    if arms < 2 or (seeds is not None and seeds < 1):
        raise ValueError(f"a race has two or more arms and one or more seeds, got {arms} and {seeds}")
    known = min(arms, max(LEVELS))
    share = (known - 1) / (arms - 1)
    if seeds is None:
        return share * ONE_LOOK[known]
    if seeds <= SEEDS[0]:
        return share * LEVELS[known][0]
    right = min(bisect_left(SEEDS, seeds), len(SEEDS) - 1)
    (x, y), (x_right, y_right) = ((SEEDS[i], math.log(LEVELS[known][i])) for i in (right - 1, right))
    way = math.log(seeds / x) / math.log(x_right / x)
    return share * math.exp(y + way * (y_right - y))
