import dataclasses

import numpy as np
import pytest
from conftest import made_up_run
from matplotlib.patches import Rectangle

from normbench import experiments, study_figures, tables
from normbench.config import Config
from normbench.experiments import EXPERIMENTS, GRID, STRENGTHS, STUDY_C, arms, chosen, finished
from normbench.runs import append


def grid_runs():
    """A run of each config of the regularization experiment; the accuracies say which config and seed."""
    made = []
    for i, config in enumerate(EXPERIMENTS["regularization"].configs):
        run = made_up_run("BN", i, accuracies=(80.0, 90.0 + i / 10))
        history = tuple(row | {"l1_norm": 100.0 + i, "zeros": i / 2} for row in run.history)
        made.append(dataclasses.replace(run, config=config, history=history))
    return made


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_distinct_trainings(name):
    experiment = EXPERIMENTS[name]
    assert len(set(experiment.configs)) == len(experiment.configs) == len(experiment.arms) * len(experiment.seeds)
    assert len(experiment.seeds) >= 3, "one seed decides nothing"


def test_the_grid_varies_normalization_and_penalty_alone():
    assert {(c.nm, c.l1 > 0, c.l2 > 0) for c in GRID} == {
        (nm, l1, l2) for nm in ("BN", "GN", "LN", "IN", "none") for l1 in (False, True) for l2 in (False, True)
    }
    assert all(c.weight_decay == 0 for c in GRID)
    with_norm = {dataclasses.replace(c, nm="BN", l1=0.0, l2=0.0) for c in GRID if c.nm != "none"}
    assert len(with_norm) == 1


def test_study_c_s_arms():
    assert [c.label for c in STUDY_C] == ["BN + L1 + L2", "GN + L1", "LN + L2", "IN + L1 + L2"]
    assert set(STUDY_C) <= set(GRID)


def test_arms_put_seeds_together_in_the_order_wanted():
    runs = [made_up_run("GN", 1), made_up_run("BN", 2), made_up_run("GN", 3)]
    runs[2] = dataclasses.replace(runs[2], config=dataclasses.replace(runs[2].config, seed=4))
    groups = arms(runs)
    assert [(c.nm, len(r)) for c, r in groups.items()] == [("GN", 2), ("BN", 1)]
    assert [c.nm for c in arms(runs, [Config("LN"), *reversed(groups)])] == ["BN", "GN"]
    assert [r.errors for r in chosen(runs, list(groups))] == [1, 3, 2]


def test_finished_runs_are_those_of_the_experiment(tmp_path, monkeypatch):
    """In its order, each once, whatever else the file holds."""
    gn, ln, path = made_up_run("GN", 1), made_up_run("LN", 2), tmp_path / "small.jsonl"
    monkeypatch.setitem(EXPERIMENTS, "small", experiments.Experiment("?", "made-up", (gn.config, ln.config), (0,)))
    for run in (made_up_run("BN", 1), ln, ln, dataclasses.replace(gn, dataset="made-up (validation)")):
        with pytest.raises(FileNotFoundError, match=r"small\.jsonl has . of 2 trainings: .* study small goes on"):
            finished("small", tmp_path)
        append(run, path)
    append(gn, path)
    assert [(run.config.nm, run.errors) for run in finished("small", tmp_path)] == [("GN", 1), ("LN", 2)]


def test_heat_map_shows_every_mean_and_frames_study_c():
    runs = grid_runs()
    (axes,) = study_figures.plot_regularization(runs).axes
    texts = [text.get_text() for text in axes.texts]
    for config, of_arm in arms(runs, GRID).items():
        accuracies = [run.history[-1]["test_accuracy"] for run in of_arm]
        assert f"{np.mean(accuracies):.2f} %" in texts and f"{min(accuracies):.2f} to {max(accuracies):.2f}" in texts
        assert len(of_arm) == 3 and config.seed == 0
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(frames) == len(STUDY_C)
    in_frames = [GRID[round(f.get_y() + 0.46) * 4 + round(f.get_x() + 0.47)] for f in frames]
    assert in_frames == list(STUDY_C)


def test_heat_map_of_an_unfinished_experiment():
    (axes,) = study_figures.plot_regularization(grid_runs()[:2]).axes
    assert len(axes.texts) == 4


def test_curves_are_means_of_the_seeds():
    runs = chosen(grid_runs(), STUDY_C)
    figure = study_figures.plot_seeds(runs, "Four")
    accuracy = next(axes for axes in figure.axes if axes.get_title("left") == "Test accuracy")
    for line, of_arm in zip(accuracy.lines, arms(runs).values(), strict=True):
        values = [[row["test_accuracy"] for row in run.history] for run in of_arm]
        assert line.get_ydata() == pytest.approx(np.mean(values, axis=0))
    assert "seeds 1, 2, 3" in figure.get_suptitle()


def test_strengths_in_figure_and_table():
    runs = chosen(grid_runs(), STRENGTHS)
    figure = study_figures.plot_strengths(runs)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["0", "1e-05", "0.0001", "0.001"]
    means = {
        line.get_label(): line.get_ydata() for line in figure.axes[2].lines if not line.get_label().startswith("_")
    }
    assert set(means) == {"subgradient", "proximal step"}
    rows = [row.split(" | ") for row in tables.penalties_table(runs).splitlines()[2:]]
    assert [(row[0].strip("| "), row[1]) for row in rows[:3]] == [
        ("0", "–"),
        ("1e-05", "subgradient"),
        ("1e-05", "proximal"),
    ]
    assert [float(row[6].split()[0]) for row in rows[::2]] == pytest.approx(
        [means["proximal step"][i] for i in range(4)], abs=0.06
    )
