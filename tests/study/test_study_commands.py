"""The study's command line as its users call it; training itself is tested elsewhere."""

import re
import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest
from made_up import interrupted, run_of

from normbench.runs import append, read
from normbench.training import Recipe, Trainer
from study import __main__ as cli
from study import commands, experiments
from study.experiments import Experiment
from study.networks import build, study_recipe

TINY = ["--dataset", "digits", "--epochs", "1", "--batch-size", "500"]


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run `python -m study …` in this process, in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["study/__main__.py", *map(str, arguments)])
        try:
            status = cli.main()
        except SystemExit as end:  # tyro ends the process itself for --help and for what it cannot parse
            status = end.code
        return status, *capsys.readouterr()

    return called


# One model


def test_train_shows_summary_and_result_and_keeps_figures(call, tmp_path, monkeypatch):
    arguments = ["--nm", "GN", "--gp", "4", "--l1", "1e-4", "--seed", "3", *TINY]
    status, shown, _ = call("train", *arguments)
    assert status == 0
    assert "GroupNorm-3" in shown and "Total params: 7,410" in shown
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    assert {"curves.png", "misclassified.png", "run.jsonl", "checkpoint.pt"} <= {p.name for p in folder.iterdir()}
    (run,) = read(folder / "run.jsonl")
    assert run.recipe == study_recipe("GN:4", l1=1e-4, epochs=1, batch_size=500, seed=3)
    line, last = shown.splitlines()[-2:]
    assert line.startswith("GN (4 groups) + L1 on ") and f"{run.last['test_accuracy']:.2f} % of 297 test images" in line
    assert f"{run.errors} wrong" in line and str(folder.relative_to(tmp_path)) in last

    monkeypatch.setattr("normbench.training.loop.train_epoch", None)
    assert accuracy(call("train", *arguments)) == f"{run.last['test_accuracy']:.2f}", "it is not trained again"


def accuracy(called):
    return re.search(r": (\S+) % of \d+ test images", called[1])[1]


@pytest.fixture
def without_figures(monkeypatch):
    """Figures take longer than such trainings."""
    monkeypatch.setattr("normbench.figures.plot_overview", lambda runs: None)
    monkeypatch.setattr("normbench.figures.plot_misclassified", lambda run, data: None)
    monkeypatch.setattr("normbench.figures.save", lambda figure, path: None)


def test_trainings_that_differ_have_folders_of_their_own(call, tmp_path, few_digits, without_figures):
    """Those with another seed, and those on other data of the same name."""
    images, labels = few_digits.x_train[:, 0].numpy(), few_digits.y_train.numpy()
    arguments = ["--dataset", "mine", "--data-dir", tmp_path, "--epochs", "1", "--images", "200"]
    for x in (images, images[:, ::-1]):
        np.savez(tmp_path / "mine.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
        assert call("train", *arguments)[0] == 0
    assert call("train", "--seed", "1", *arguments)[0] == 0
    trained = [read(file)[0] for file in tmp_path.glob("runs/train/*/run.jsonl")]
    assert sorted(run.recipe.seed for run in trained) == [0, 0, 1] and {run.dataset for run in trained} == {"mine"}
    assert len({run.last["test_loss"] for run in trained}) == 3


def test_what_depends_on_the_images_is_left_to_them_unless_it_is_given(call, tmp_path, without_figures):
    x, y = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "photos.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    tiny = ["--dataset", "photos", "--data-dir", tmp_path, "--epochs", "1", "--batch-size", "20"]
    assert call("train", "--nm", "WS+GN", *tiny)[0] == 0
    assert call("train", "--optimizer", "sgd", "--mirrored", "False", *tiny)[0] == 0
    recipes = {run.recipe.norm: run.recipe for file in tmp_path.rglob("run.jsonl") for run in read(file)}
    assert recipes == {
        "WS+GN:2": study_recipe("WS+GN:2", epochs=1, batch_size=20, optimizer="muon", mirrored=True),
        "BN": study_recipe("BN", epochs=1, batch_size=20),
    }


@pytest.mark.parametrize(
    "arguments, facts",
    (
        (["--nm", "XX"], ("'XX'", "BN, GN, LN, IN")),
        (["--nm", "GN", "--gp", "3"], ("3 groups", "8 channels")),
        (["--nm", "GN", "--gp", "0"], ("GN:0", "1 or more")),
        (["--l1", "-1"], ("l1", "at least 0", "-1.0")),
        (["--epochs", "0"], ("epochs", "at least 1", "got 0")),
        (["--batch-size", "5000"], ("5000", "1500 training images")),
        (["--optimizer", "adam"], ("optimizer", "sgd, adamw, muon", "'adam'")),
        (["--augment", "rotate"], ("augment", "affine, crop-flip, crop-turn, none", "'rotate'")),
        (["--nm", "none", "--lr", "1e20"], ("none", "not finite in epoch 1", "lower learning rate")),
        (["--device", "tpu"], ("'tpu'",)),
        (["--dataset", "imagenet"], ("'imagenet'",)),
        (["--output", "/proc/1/x"], ("/proc/1/x",)),
        (["--output", ""], ("--output",)),
    ),
)
def test_bad_input_to_train_gets_one_clear_line(call, arguments, facts):
    status, _, said = call("train", "--dataset", "digits", "--epochs", "1", *arguments)
    *progress, line = said.splitlines()
    assert status == 2 and all(fact in line for fact in facts), line
    assert "Traceback" not in said and all("epochs" in bar for bar in progress if bar)


def test_want_of_memory_gets_one_line_and_a_mistake_of_the_program_none(call, monkeypatch):
    def fail_with(error):
        def build(*_):
            raise error

        monkeypatch.setattr(commands, "build", build)

    fail_with(RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you\nmore"))
    status, _, said = call("train", *TINY)
    (line,) = said.splitlines()
    assert status == 2 and "not enough memory" in line
    fail_with(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        call("train", *TINY)


def test_what_cannot_be_parsed_and_help(call):
    status, shown, said = call("train", "--epochs", "ten")
    assert status == 2 and "--epochs" in shown + said and "Traceback" not in shown + said
    status, shown, said = call("run", "everything")
    assert status == 2 and "head_to_head" in shown + said and "Traceback" not in shown + said
    status, shown, _ = call("train", "--help")
    for part in ("--nm", "--gp", "must divide every", "--l1", "--proximal", "exact zeros", "--dataset", "cifar10"):
        assert part in " ".join(shown.replace("│", " ").split()), part
    assert "--norm" not in shown and "usage: python -m study train" in shown and status in (0, None)


# Experiments

made = []


def make(net, data, recipe, **_):
    """Train nothing, and be stopped at the seed 9."""
    if recipe.seed == 9:
        raise KeyboardInterrupt
    made.append(recipe)
    return run_of(recipe, 90.0 + recipe.seed, data.name, images=len(data.y_test))


def refuse(*_, **__):
    raise AssertionError("this is not needed")


@pytest.fixture
def small_experiment(monkeypatch):
    arms = Recipe("GN:2", epochs=1), Recipe("LN", epochs=1)
    small = Experiment("Is it run?", "digits", arms, (1, 2), trainer=Trainer("make", build, make))
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", small)
    made.clear()
    return small


def test_run_trains_what_is_missing(call, small_experiment, tmp_path):
    status, shown, said = call("run", "luck", "--output", "out", "--workers", "1")
    assert status == 0 and said == "" and "Is it run?" in shown and "GN (2 groups)" in shown and "LN" in shown
    assert "finished before" not in shown and "(1 of 4, about " in shown and "(4 of 4)" in shown
    path = tmp_path / "out" / "luck.jsonl"
    assert [run.recipe for run in read(path)] == made == small_experiment.plan(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert "3 of 4 runs finished before" in call("run", "luck", "--output", "out", "--workers", "1")[1]
    assert [run.recipe for run in read(path)] == small_experiment.plan(tmp_path)


def test_a_complete_experiment_needs_neither_data_nor_a_file_to_write_to(call, small_experiment, tmp_path, monkeypatch):
    for recipe in small_experiment.plan(tmp_path):
        commit = "0123456789" * 4 if recipe.norm == "LN" else ""
        run = replace(run_of(recipe, 90.0 + recipe.seed, "digits"), commit=commit)
        append(run, tmp_path / "out" / "luck.jsonl")
    monkeypatch.setattr(commands.Where, "load", refuse)
    monkeypatch.setattr("normbench.runs.file._add", refuse)
    status, shown, _ = call("run", "luck", "--output", "out")
    assert status == 0 and "GN (2 groups)" in shown and "91.50" in shown and not made
    assert "4 runs are in out/luck.jsonl (code of commit 0123456)" in shown and "--output" in shown


def test_runs_on_another_data_set_do_not_complete_an_experiment(call, small_experiment, tmp_path, monkeypatch):
    for recipe in small_experiment.plan(tmp_path):
        append(run_of(recipe, 90.0, "digits"), tmp_path / "out" / "luck.jsonl")
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", replace(small_experiment, dataset="fashion"))
    status, _, said = call("run", "luck", "--output", "out")
    assert status == 2 and "'fashion'" in said


def test_run_on_held_out_images_leaves_the_results_alone(call, small_experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(experiments, "VALIDATION_IMAGES", 300)
    assert call("run", "luck", "--validation", "--workers", "1")[0] == 0
    stored = read(tmp_path / "runs" / "validation" / "luck.jsonl")
    assert {run.dataset for run in stored} == {"digits (validation)"} and {len(run.correct) for run in stored} == {300}
    assert "4 runs are in runs/validation/luck.jsonl" in call("run", "luck", "--validation")[1]
    assert not (tmp_path / "results").exists()
    assert call("run", "luck", "--workers", "1")[0] == 0 and (tmp_path / "results" / "luck.jsonl").exists()


@pytest.mark.parametrize(
    "arguments, facts",
    (
        (["--gpus", "0.5"], ("--gpus", "--engine ray")),
        (["--address", "auto"], ("--address", "--engine ray")),
        (["--output", ""], ("--output",)),
        (["--workers", "0"], ("workers", "at least 1", "got 0")),
    ),
)
def test_bad_input_to_run_gets_one_clear_line(call, small_experiment, arguments, facts):
    status, _, said = call("run", "luck", *([] if "--output" in arguments else ["--output", "out"]), *arguments)
    (line,) = said.splitlines()
    assert status == 2 and all(fact in line for fact in facts)


def test_a_stopped_experiment_tells_the_command_that_goes_on(call, small_experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", replace(small_experiment, seeds=(1, 9)))
    arguments = ["run", "luck", "--output", "a folder", "--workers", "1", "--device", "cpu"]
    status, _, said = call(*arguments)
    assert status == 130 and [run.recipe.seed for run in read(tmp_path / "a folder" / "luck.jsonl")] == [1, 1]
    told = re.search(r"(a folder/luck\.jsonl).* go on with: (.*)\.\n", said)
    assert shlex.split(told[2]) == ["python", "-m", "study", *arguments]


# Report and notebook


def test_report_names_what_it_writes(call, tmp_path, monkeypatch):
    monkeypatch.setattr("study.report.write", lambda data_dir: iter([tmp_path / "README.md", tmp_path / str(data_dir)]))
    status, shown, _ = call("report", "--data-dir", "data")
    assert status == 0 and shown.splitlines() == [str(tmp_path / "README.md"), str(tmp_path / "data")]


def test_a_notebook_that_is_not_there(call):
    status, _, said = call("notebook", "missing.ipynb")
    assert status == 2 and len(said.splitlines()) == 1 and "missing.ipynb" in said


# Ctrl-C


def test_ctrl_c_keeps_finished_epochs(tmp_path):
    command = ["-m", "study", "train", "--dataset", "digits", "--epochs", "10000"]
    status, said = interrupted(command, tmp_path, "checkpoint.pt")
    assert status == 130 and "runs/train/digits-BN-seed0" in said
    assert "go on with: python -m study train --dataset digits --epochs 10000" in said


def test_ctrl_c_while_libraries_are_imported(tmp_path):
    """A library of that name, found before the real one, says when it is imported and then takes its time."""
    (tmp_path / "torch.py").write_text("import threading\nopen('begun', 'w').write('!')\nthreading.Event().wait()")
    status, said = interrupted(["-m", "study", "report"], tmp_path, "begun")
    assert status == 130 and said.startswith("Stopped; nothing was being trained")
