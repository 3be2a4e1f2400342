"""The command line as its users call it; training itself is tested elsewhere."""

import re
import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import interrupted, run_of

from normbench import __main__ as cli
from normbench import commands, experiments, runs
from normbench.config import Config
from normbench.experiments import Experiment

TINY = ["--dataset", "digits", "--epochs", "1", "--batch-size", "500"]


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run `normbench …` in this process, in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["normbench", *arguments])
        try:
            status = cli.main()
        except SystemExit as end:  # tyro ends the process itself for --help and for what it cannot parse
            status = end.code
        return status, *capsys.readouterr()

    return called


def test_train_shows_summary_and_result_and_keeps_figures(call, tmp_path):
    status, shown, _ = call("train", "--nm", "GN", "--gp", "4", "--l1", "1e-4", "--seed", "3", *TINY)
    assert status == 0
    assert "GroupNorm-3" in shown and "Total params: 7,410" in shown
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    assert {"curves.png", "misclassified.png", "run.jsonl", "checkpoint.pt"} == {p.name for p in folder.iterdir()}
    (run,) = runs.read(folder / "run.jsonl")
    assert run.config == Config("GN", gp=4, l1=1e-4, epochs=1, batch_size=500, seed=3)
    line = shown.splitlines()[-2]
    assert (
        line.startswith("GN (4 groups) + L1 on ") and f": {run.last['test_accuracy']:.2f} % of 297 test images" in line
    )
    assert f"{run.errors} wrong" in line and str(folder.relative_to(tmp_path)) in shown.splitlines()[-1]


def test_the_same_training_again_is_not_repeated_and_another_has_its_own_folder(call, tmp_path, monkeypatch):
    first = call("train", *TINY)[1]
    call("train", "--seed", "1", *TINY)
    assert len(list((tmp_path / "runs" / "train").iterdir())) == 2
    monkeypatch.setattr("normbench.train.train_epoch", None)
    again = call("train", *TINY)[1]
    accuracies = [re.search(r": (\S+ %) of 297 test images right", shown)[1] for shown in (first, again)]
    assert accuracies[0] == accuracies[1]


def test_train_on_other_data_of_the_same_name_trains_anew(call, tmp_path, few_digits):
    images, labels = few_digits.x_train[:, 0].numpy(), few_digits.y_train.numpy()
    for x in (images, images[:, ::-1]):
        np.savez(tmp_path / "mine.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
        arguments = ["--dataset", "mine", "--data-dir", str(tmp_path), "--epochs", "1", "--images", "200"]
        assert call("train", *arguments)[0] == 0
    (first,), (second,) = (runs.read(file) for file in tmp_path.glob("runs/train/*/run.jsonl"))
    assert first.config == second.config and first.dataset == second.dataset == "mine"
    assert first.history[0]["test_loss"] != second.history[0]["test_loss"]


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["--nm", "XX"], "unknown normalization 'XX'; choose one of BN, GN, LN, IN, LN_CHW, LN_C, none"),
        (["--nm", "GN", "--gp", "3"], "group norm with 3 groups cannot split 8 channels evenly"),
        (["--l1", "-1"], "l1 must be at least 0, got -1.0"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--batch-size", "5000"], "batch_size 5000 is above the 1500 training images of digits"),
        (["--penalized", "bias"], "penalized must be one of all, conv, gamma, got 'bias'"),
        (["--augment", "rotate"], "augment must be one of auto, affine, crop-flip, none, got 'rotate'"),
        (["--nm", "none", "--lr", "1e20"], "none: the loss is not finite in epoch 1"),
        (["--device", "tpu"], "DEVICE 'tpu' cannot be used here"),
        (["--dataset", "imagenet"], "unknown data set 'imagenet'"),
        (["--output", "/proc/1/x"], "/proc/1/x"),
        (["--output", ""], "--output '' names no folder"),
    ),
)
def test_bad_input_to_train_gets_one_clear_line(call, arguments, message):
    status, _, said = call("train", "--dataset", "digits", "--epochs", "1", *arguments)
    assert status == 2 and message in said.splitlines()[-1] and "Traceback" not in said


@pytest.mark.parametrize(
    "error",
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried\nmore"),
        RuntimeError("Storage size calculation overflowed with sizes=[8000000000, 8000000000, 3, 3]"),
        MemoryError(),
    ),
)
def test_want_of_memory_gets_one_line(call, monkeypatch, error):
    def build(*_):
        raise error

    monkeypatch.setattr(commands, "build", build)
    status, _, said = call("train", *TINY)
    (line,) = said.splitlines()
    assert status == 2 and line.startswith("there is not enough memory for this training: ") and not line.endswith(" ")


def test_a_mistake_in_the_program_is_not_taken_for_want_of_memory(call, monkeypatch):
    def build(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(commands, "build", build)
    with pytest.raises(RuntimeError, match="mat1"):
        call("train", *TINY)


def test_an_unknown_study(call):
    status, shown, said = call("study", "everything")
    assert status == 2 and "head_to_head" in shown + said and "Traceback" not in shown + said


def test_what_cannot_be_parsed(call):
    status, shown, said = call("train", "--epochs", "ten")
    assert status == 2 and "--epochs" in shown + said and "Traceback" not in shown + said


def test_help_teaches(call):
    status, shown, _ = call("train", "--help")
    for part in ("--nm", "--gp", "must divide every", "--l1", "--proximal", "exact zeros", "--dataset", "cifar10"):
        assert part in " ".join(shown.replace("│", " ").split()), part
    assert "usage: normbench train" in shown and status in (0, None)


# Studies

made = []


def make(config, data, progress):
    """A trainer that trains nothing, and is stopped at the seed 9."""
    if config.seed == 9:
        raise KeyboardInterrupt
    made.append(config)
    return run_of(config, 90.0 + config.seed, data.name, images=len(data.y_test))


def refuse(*_, **__):
    raise AssertionError("this is not needed")


@pytest.fixture
def small_study(monkeypatch):
    arms = Config("GN", epochs=1), Config("LN", epochs=1)
    small = Experiment("Is it run?", "digits", lambda _: arms, (1, 2), trainer=make)
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", small)
    made.clear()
    return small


def test_study_runs_what_is_missing(call, small_study, tmp_path):
    status, shown, said = call("study", "luck", "--output", "out", "--workers", "1")
    assert status == 0 and said == "" and "Is it run?" in shown and "| GN | " in shown and "| LN | " in shown
    assert "4 of 4 trainings are to be done" in shown and "(1 of 4, about " in shown and "(4 of 4)" in shown
    path = tmp_path / "out" / "luck.jsonl"
    assert [run.config for run in runs.read(path)] == made == small_study.plan(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert "1 of 4 trainings are to be done" in call("study", "luck", "--output", "out", "--workers", "1")[1]
    assert [run.config for run in runs.read(path)] == small_study.plan(tmp_path)


def test_a_complete_study_needs_neither_data_nor_a_file_to_write_to(call, small_study, tmp_path, monkeypatch):
    path = tmp_path / "out" / "luck.jsonl"
    for config in small_study.plan(tmp_path):
        commit = "0123456789" * 4 if config.nm == "GN" else ""
        runs.append(replace(run_of(config, 90.0 + config.seed, "digits"), commit=commit), path)
    with monkeypatch.context() as patch:
        patch.setattr(commands, "load", refuse)
        patch.setattr(runs, "_add", refuse)
        status, shown, _ = call("study", "luck", "--output", "out")
    assert status == 0 and "| GN | " in shown and "91.50" in shown
    assert "All 4 trainings are in out/luck.jsonl (code of commit 0123456): nothing is trained." in shown
    assert "delete that file" in shown and "--output" in shown and not made


def test_runs_on_another_data_set_do_not_complete_a_study(call, small_study, tmp_path, monkeypatch):
    for config in small_study.plan(tmp_path):
        runs.append(run_of(config, 90.0, "digits"), tmp_path / "out" / "luck.jsonl")
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", replace(small_study, dataset="fashion"))
    status, _, said = call("study", "luck", "--output", "out")
    assert status == 2 and said.startswith("unknown data set 'fashion'")


def test_study_on_held_out_images_leaves_results_alone(call, small_study, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "HELD_OUT", 300)
    assert call("study", "luck", "--validation", "--workers", "1")[0] == 0
    stored = runs.read(tmp_path / "runs" / "validation" / "luck.jsonl")
    assert {run.dataset for run in stored} == {"digits (validation)"} and {len(run.correct) for run in stored} == {300}
    assert "All 4 trainings are in runs/validation/luck.jsonl" in call("study", "luck", "--validation")[1]


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["--gpus", "0.5"], "--address and --gpus are for a Ray cluster: give --engine ray too"),
        (["--address", "auto"], "--address and --gpus are for a Ray cluster: give --engine ray too"),
        (["--output", ""], "--output '' names no folder: . is this one"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
    ),
)
def test_bad_input_to_study_gets_one_clear_line(call, small_study, arguments, message):
    status, _, said = call("study", "luck", "--output", "out", *arguments)
    assert status == 2 and said.splitlines() == [message]


# Compare

QUICK = ["--arms", "BN", "none", "--seeds", "2", "--epochs", "1", "--rates", "0.1", "--workers", "1", "--device", "cpu"]


def test_compare_ends_with_an_answer_and_a_page(call, tmp_path):
    status, shown, _ = call("compare", *QUICK, "--verbose")
    assert status == 0
    assert "features.2: BatchNorm2d(8" in shown and "(4 of 4)" in shown
    *_, answer, _, where = shown.splitlines()
    assert re.match("Take|BN and|No normalization and", answer) and where == (
        "Tables and figures: runs/compare/study_network-digits/report.html"
    )
    page = (tmp_path / "runs" / "compare" / "study_network-digits" / "report.html").read_text()
    assert f"normbench compare {' '.join(QUICK)}" in page and answer.split(".")[0] in page
    again = call("compare", *QUICK)[1]
    assert answer in again and "are to be done" not in again


def test_compare_with_fewer_images(call, tmp_path):
    shown = call("compare", *QUICK, "--images", "300")[1]
    assert ": 10 classes, 300 training and 297 test images" in shown
    assert "Trained on 300 images" in next(tmp_path.rglob("report.html")).read_text()


def test_a_stopped_comparison_tells_the_command_that_goes_on(call, monkeypatch):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("normbench.compare.runs.run_all", stop)
    status, _, said = call("compare", *QUICK)
    assert status == 130
    assert said.endswith(f"in runs/compare/study_network-digits; go on with: normbench compare {' '.join(QUICK)}.\n")


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["my_net.py:build"], "there is no file my_net.py"),
        (["torchvision:alexnet"], "AlexNet has no normalization layer that could be swapped"),
        (["--arms", "BN"], "give two or more arms, each once, such as BN GN none"),
        (["--dataset", "photos/"], "there is no folder photos/"),
        (["--size", "64"], "a size is for folders of images; the images of digits have theirs"),
        (["--gpus", "1"], "--address and --gpus are for a Ray cluster: give --engine ray too"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--images", "2000"], "images 2000 is above the 1500 training images of digits"),
    ),
)
def test_bad_input_to_compare_gets_one_clear_line(call, arguments, message):
    status, _, said = call("compare", *arguments)
    assert status == 2 and said.splitlines() == [message]


def test_a_model_of_the_users_own_is_named(call, monkeypatch, tmp_path):
    (tmp_path / "model.py").write_text("")
    monkeypatch.delitem(sys.modules, "model")
    monkeypatch.syspath_prepend(tmp_path)
    status, _, said = call("compare")
    assert status == 2 and said.splitlines() == [
        f"{tmp_path / 'model.py'} hides this project's model.py: start the command normbench instead"
    ]


# Ctrl-C


def test_a_stopped_study_tells_the_command_that_goes_on(call, small_study, tmp_path, monkeypatch):
    monkeypatch.setitem(experiments.EXPERIMENTS, "luck", replace(small_study, seeds=(1, 9)))
    arguments = ["study", "luck", "--output", "a folder", "--workers", "1", "--device", "cpu"]
    status, _, said = call(*arguments)
    assert status == 130 and [run.config.seed for run in runs.read(tmp_path / "a folder" / "luck.jsonl")] == [1, 1]
    told = re.fullmatch(r"\nStopped; finished trainings are in (a folder/luck\.jsonl); go on with: (.*)\.\n", said)
    assert shlex.split(told[2]) == ["normbench", *arguments]


def test_ctrl_c_keeps_finished_epochs(tmp_path):
    command = ["-m", "normbench", "train", "--dataset", "digits", "--epochs", "10000"]
    status, said = interrupted(command, tmp_path, "checkpoint.pt")
    assert status == 130 and said.startswith("Stopped; finished epochs are in runs/train/digits-BN-seed0")
    assert said.endswith("go on with: python -m normbench train --dataset digits --epochs 10000.")


A_TRAINER = """
import threading
import normbench.train

def train(config, data, progress):
    if config.seed == 2:
        threading.Event().wait()
    return normbench.train.train(config, data, progress)
"""
A_STUDY_WITHOUT_END = """
import sys
import trainer
from normbench.__main__ import main
from normbench.experiments import EXPERIMENTS, Config, Experiment

arms = [Config(epochs=1, images=200)]
EXPERIMENTS["luck"] = Experiment("Does it end?", "digits", lambda _: arms, (1, 2, 3), trainer=trainer.train)
sys.exit(main())
"""


def test_ctrl_c_ends_workers_and_keeps_finished_trainings(tmp_path):
    (tmp_path / "trainer.py").write_text(A_TRAINER)
    (tmp_path / "script.py").write_text(A_STUDY_WITHOUT_END)
    command = ["script.py", "study", "luck", "--workers", "2", "--output", "out"]
    status, said = interrupted(command, tmp_path, "luck.jsonl")
    assert status == 130 and said.startswith("Stopped; finished trainings are in out/luck.jsonl; go on with: ")
    assert runs.read(tmp_path / "out" / "luck.jsonl")[0].config.seed == 1


def test_ctrl_c_while_libraries_are_imported(tmp_path):
    """A library of that name, found before the real one, says when it is imported and then takes its time."""
    (tmp_path / "torch.py").write_text("import threading\nopen('begun', 'w').write('!')\nthreading.Event().wait()")
    status, said = interrupted(["-m", "normbench", "report"], tmp_path, "begun")
    assert status == 130 and said == "Stopped; nothing was being trained."
