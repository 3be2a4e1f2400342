"""Runs and arms as matplotlib figures: colour, marker and dashes per normalization, and text that a phone can show.

`plot_…` functions return a figure; `save` writes it to a file, `png` gives it as bytes. Figures of one's own are
`styled` and put together from `rows` and `lines_by`.
"""

from normbench.figures.arms import line, lines_by, plot_arms, plot_by_batch_size, plot_rates, rows
from normbench.figures.curves import METRICS, plot_metric, plot_overview, plot_seeds
from normbench.figures.images import plot_misclassified, plot_samples
from normbench.figures.race import MARKS, ROUNDS, Row, legend, plot_race, plot_verdict
from normbench.figures.style import WIDTH, caption, dark, label_ends, log_scale, looks, png, save, styled
from normbench.figures.vector import svg

__all__ = [
    "MARKS",
    "METRICS",
    "ROUNDS",
    "WIDTH",
    "Row",
    "caption",
    "dark",
    "label_ends",
    "legend",
    "line",
    "lines_by",
    "log_scale",
    "looks",
    "plot_arms",
    "plot_by_batch_size",
    "plot_metric",
    "plot_misclassified",
    "plot_overview",
    "plot_race",
    "plot_rates",
    "plot_samples",
    "plot_seeds",
    "plot_verdict",
    "png",
    "rows",
    "save",
    "styled",
    "svg",
]
