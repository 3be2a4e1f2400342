import dataclasses
from itertools import product

import numpy as np
import pytest
import torch
from conftest import made_up_run, write_results
from matplotlib.patches import Rectangle

from model import WIDTHS
from normbench import experiments, study_figures, tables
from normbench.config import Config
from normbench.experiments import EXPERIMENTS, GRID, GROUPS, STRENGTHS, STUDY_C, arms, chosen, finished
from normbench.penalty import PENALIZED
from normbench.runs import append


def grid_runs():
    """A run of each config of the regularization experiment; the accuracies say which config and seed."""
    made = []
    for i, config in enumerate(EXPERIMENTS["regularization"].plan(experiments.RESULTS)):
        run = made_up_run("BN", i, accuracies=(80.0, 90.0 + i / 10))
        history = tuple(row | {"l1_norm": 100.0 + i, "zeros": i / 2} for row in run.history)
        made.append(dataclasses.replace(run, config=config, history=history))
    return made


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_distinct_trainings_and_several_seeds(name, tmp_path):
    write_results(tmp_path, lambda config: 90.0)
    configs = EXPERIMENTS[name].plan(tmp_path)
    assert len(set(configs)) == len(configs)
    seeds = {config: len(of_arm) for config, of_arm in arms(finished(name, tmp_path)).items()}
    assert min(seeds.values()) >= 3 or name == "rates", "one seed decides nothing but a learning rate"
    assert len(set(seeds.values())) == 1


def test_every_number_of_groups_divides_every_width():
    assert [config.gp for config in GROUPS if config.nm == "GN"] == [
        gp for gp in range(2, max(WIDTHS)) if not any(width % gp for width in WIDTHS)
    ]


def test_the_best_rate_is_chosen_on_held_out_images(tmp_path):
    """For each normalization and batch size by itself; the test set plays no part."""
    wanted = {("BN", 2): 0.1, ("GN", 2): round(0.1 / 64, 6), ("LN", 2): 0.0125}

    def accuracy(config):
        return 95.0 if config.lr == wanted.get((config.nm, config.batch_size)) else 90.0 + 10 * config.lr

    write_results(tmp_path, accuracy)
    found = {(c.nm, c.batch_size): c.lr for c in experiments.with_best_rates(tmp_path)}
    assert {key: found[key] for key in wanted} == wanted and found["BN", 512] == 0.4 and found["GN", 128] == 0.1
    assert EXPERIMENTS["rates"].validation and not EXPERIMENTS["batch_size"].validation
    (tmp_path / "rates.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="study rates goes on"):
        experiments.finished("batch_size", tmp_path)


def test_experiments_that_choose_do_not_see_the_test_images(few_digits, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(experiments, "HELD_OUT", 20)
    monkeypatch.setattr(experiments.runs, "run_all", lambda configs, data, *args, **kwargs: seen.append(data))
    experiments.run("rates", few_digits, tmp_path)
    experiments.run("luck", few_digits, tmp_path)
    held_out, plain = seen
    assert torch.equal(held_out.x_test, few_digits.x_train[-20:]) and len(held_out.y_train) == 280
    assert plain is few_digits


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
    monkeypatch.setitem(EXPERIMENTS, "small", experiments.Experiment("?", "made-up", lambda _: [gn.config, ln.config]))
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
    broken = {"test_accuracy": 11.35, "l1_norm": 0.0}
    for i, run in enumerate(runs):
        if (run.config.l1, run.config.penalized) == (1e-2, "all"):
            runs[i] = dataclasses.replace(run, history=(run.history[-1] | broken,))
    panels = study_figures.plot_strengths(runs).axes
    for axes, (penalized, key) in zip(panels, product(PENALIZED, ("test_accuracy", "l1_norm", "zeros")), strict=True):
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["0", "1e-5", "1e-4", "1e-3", "1e-2"]
        lines = [line for line in axes.lines if not line.get_label().startswith("_")]
        assert [line.get_label() for line in lines] == ["subgradient", "proximal step"]
        for line, proximal in zip(lines, (False, True)):
            usual = key == "test_accuracy" or penalized == "all"
            assert list(line.get_xdata()) == list(range(0 if usual else 1, 5)), "λ = 0 has Σ|p| and zeros of all alone"
            for place, mean in line.get_xydata():
                l1, way = float(ticks[int(place)]), (penalized, proximal) if place else ("all", False)
                of_arm = [r for r in runs if (r.config.l1, r.config.penalized, r.config.proximal) == (l1, *way)]
                assert mean == pytest.approx(np.mean([run.history[-1][key] for run in of_arm])) and len(of_arm) == 3
        below = {"test_accuracy": ["↓ 11.35"] * 2, "l1_norm": ["↓ 0"] * 2}.get(key, [])
        if key != "zeros":
            assert [text.get_text() for text in axes.texts] == (below if penalized == "all" else [])
        assert key != "test_accuracy" or axes.get_ylim()[0] > 80
        assert axes.get_yscale() == ("log" if key == "l1_norm" else "linear")
    of_all = [run for run in runs if run.config.penalized == "all"]
    rows = [row.split(" | ") for row in tables.penalties_table(of_all).splitlines()[2:]]
    assert [(row[0].strip("| "), row[1]) for row in rows[:3]] == [
        ("0", "–"),
        ("1e-05", "subgradient"),
        ("1e-05", "proximal"),
    ]
    by_proximal_step = panels[2].lines[-1].get_ydata()
    assert [float(row[6].split()[0]) for row in rows[::2]] == pytest.approx(by_proximal_step, abs=0.06)
