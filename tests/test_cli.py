"""The command line as its users call it; training itself is tested elsewhere."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normbench import __main__ as cli
from normbench import experiments, runs
from normbench.config import Config
from normbench.experiments import Experiment, seeded

ROOT = Path(__file__).parent.parent
TINY = ["--dataset", "digits", "--epochs", "1", "--batch-size", "500"]


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run `python -m normbench …` in this process, in an empty folder: exit status, output, errors."""
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
    line = f"GN (4 groups) + L1 on digits: {run.history[-1]['test_accuracy']:.2f} % of 297 test images right after 1 "
    assert line in shown and f"{run.errors} wrong" in shown


def test_the_same_training_again_is_not_repeated_and_another_has_its_own_folder(call, tmp_path, monkeypatch):
    first = call("train", *TINY)[1]
    call("train", "--seed", "1", *TINY)
    assert len(list((tmp_path / "runs" / "train").iterdir())) == 2
    monkeypatch.setattr("normbench.train.train_epoch", None)
    again = call("train", *TINY)[1]
    assert re.findall(r"on digits: \S+ %", first) == re.findall(r"on digits: \S+ %", again)


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["--nm", "XX"], "unknown normalization 'XX'; choose one of BN, GN, LN, IN, LN_CHW, none"),
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
    ),
)
def test_bad_input_gets_one_clear_line(call, arguments, message):
    defaults = ["--dataset", "digits"] * ("--dataset" not in arguments) + ["--epochs", "1"] * (
        "--epochs" not in arguments
    )
    status, _, said = call("train", *defaults, *arguments)
    assert status == 2 and message in said.splitlines()[-1] and "Traceback" not in said


def test_an_unknown_study(call):
    status, shown, said = call("study", "everything")
    assert status == 2 and "accuracy" in shown + said and "Traceback" not in shown + said


def test_what_cannot_be_parsed(call):
    status, shown, said = call("train", "--epochs", "ten")
    assert status == 2 and "--epochs" in shown + said and "Traceback" not in shown + said


def test_help_teaches(call):
    status, shown, _ = call("train", "--help")
    for part in ("--nm", "--gp", "must divide every", "--l1", "--proximal", "exact zeros", "--dataset", "cifar10"):
        assert part in " ".join(shown.replace("│", " ").split()), part
    assert status in (0, None)


@pytest.fixture
def small_study(monkeypatch):
    arms = Config("GN", epochs=1), Config("LN", epochs=1)
    small = Experiment("It is run", "digits", lambda _: seeded(arms, (1, 2)))
    monkeypatch.setitem(experiments.EXPERIMENTS, "accuracy", small)
    return small


def test_study_runs_what_is_missing(call, small_study, tmp_path, monkeypatch):
    status, shown, _ = call("study", "accuracy", "--output", "out", "--workers", "1")
    assert status == 0 and "| GN | " in shown and "| LN | " in shown
    lines = (tmp_path / "out" / "accuracy.jsonl").read_text().splitlines(keepends=True)
    assert [run.config for run in runs.read(tmp_path / "out" / "accuracy.jsonl")] == small_study.plan(tmp_path)
    (tmp_path / "out" / "accuracy.jsonl").write_text("".join(lines[:3]))
    call("study", "accuracy", "--output", "out", "--workers", "1")
    assert [run.config for run in runs.read(tmp_path / "out" / "accuracy.jsonl")] == small_study.plan(tmp_path)
    monkeypatch.setattr("normbench.runs.train", None)
    assert call("study", "accuracy", "--output", "out", "--workers", "1")[0] == 0


def test_study_on_held_out_images_leaves_results_alone(call, small_study, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "HELD_OUT", 300)
    assert call("study", "accuracy", "--validation")[0] == 0
    found = runs.read(tmp_path / "runs" / "validation" / "accuracy.jsonl")
    assert {run.dataset for run in found} == {"digits (validation)"}


def interrupted(command, folder, marker):
    """Start the command, send it Ctrl-C as soon as the file `marker` is there: exit status and its last words."""
    options = dict(cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True, text=True)
    # Tests that a shell runs in the background would hand on to the command that Ctrl-C is to be ignored.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    try:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in Path(folder).rglob(marker)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its workers
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert "Traceback" not in said, said
    return process.returncode, said.splitlines()[-1]


def test_ctrl_c_keeps_finished_epochs(tmp_path):
    command = ["-m", "normbench", "train", "--dataset", "digits", "--epochs", "200"]
    status, said = interrupted(command, tmp_path, "checkpoint.pt")
    assert status == 130 and said.startswith("Stopped; finished epochs are kept in runs/train/digits-BN-seed0")


A_STUDY_WITHOUT_END = """
import sys
from normbench.__main__ import main
from normbench.experiments import EXPERIMENTS, Config, Experiment, seeded

if __name__ == "__main__":
    arms = Config("GN", epochs=1), Config("GN", epochs=5000)
    EXPERIMENTS["accuracy"] = Experiment("It does not end", "digits", lambda _: seeded(arms, (1, 2)))
    sys.exit(main())
"""


@pytest.mark.parametrize("workers", ("1", "2"))
def test_ctrl_c_keeps_finished_trainings(tmp_path, workers):
    (tmp_path / "script.py").write_text(A_STUDY_WITHOUT_END)
    command = ["script.py", "study", "accuracy", "--workers", workers, "--output", "out"]
    status, said = interrupted(command, tmp_path, "accuracy.jsonl")
    assert status == 130 and said.startswith("Stopped; finished trainings are kept in out/accuracy.jsonl")
    assert runs.read(tmp_path / "out" / "accuracy.jsonl")[0].config.epochs == 1
