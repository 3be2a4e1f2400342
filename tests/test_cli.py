"""The command line of normbench as its users call it."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import ROOT, interrupted

from normbench import __main__ as cli
from normbench import __version__, commands
from normbench.data import DATASETS
from normbench.layers import NORMALIZATIONS

QUICK = [
    *("--arms", "BN", "none", "--seeds", "2", "--epochs", "1", "--rates", "0.1"),
    *("--images", "200", "--workers", "1", "--device", "cpu"),
]
USUAL_FOLDER = "runs/compare/small_network-digits"


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


def test_compare_ends_with_an_answer_and_a_page(call, tmp_path):
    learning = [*QUICK, "--images", "1000", "--epochs", "4"]
    status, shown, said = call("compare", *learning, "--verbose", "--no-price")
    assert status == 0 and said == ""
    assert "1: BatchNorm2d(8" in shown and "(4 of 4)" in shown and "10 classes, 1,000 training and 297 test" in shown
    *_, answer, _, where = shown.splitlines()
    assert re.search(r"\d\d\.\d\d % of the test images", answer) and where.endswith(f"{USUAL_FOLDER}/report.html")
    page = (tmp_path / USUAL_FOLDER / "report.html").read_text()
    assert f"normbench compare {' '.join(learning)}" in page and answer.split(".")[0] in page
    again = call("compare", *learning)[1]
    assert "of 4)" not in again, "nothing is trained twice"
    price = again.partition(answer.split(". ")[0])[2]
    assert "own (as it is)" in price and "Measured on" in price, "what each costs stands behind the answer"
    assert "What each costs" in (tmp_path / USUAL_FOLDER / "report.html").read_text()


def test_a_network_of_ones_own_beside_a_model_of_ones_own(call, tmp_path):
    """`model.py` is the commonest file name in this field: theirs is theirs, also in the worker processes."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text(
        "from torch import nn\n"
        "class MyNet(nn.Sequential):\n"
        "    def __init__(self, n):\n"
        "        super().__init__(nn.Conv2d(1, 3, 28), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, n))\n"
    )
    (folder / "my_net.py").write_text(
        "from model import MyNet\ndef build(num_classes):\n    return MyNet(num_classes)\n"
    )
    (folder / "my_norms.py").write_text(
        "import model\nfrom torch import nn\nclass MyNorm(nn.GroupNorm):\n"
        "    def __init__(self, channels):\n        super().__init__(1, channels)\n"
    )
    quick = " ".join(QUICK).replace("--workers 1", "--workers 2").replace("none", "IN GN:3 project/my_norms.py:MyNorm")
    options = quick.replace("--seeds 2", "--seeds 1").split()
    status, shown, said = call("compare", "project/my_net.py:build", *options, "--output", ".", "--no-price")
    assert (status, said) == (0, "") and "my_net.build" in shown and "3 of 3" in shown and "MyNorm, seed 1" in shown
    assert "IN has no result" in shown, "its feature maps have one element"
    assert (tmp_path / "report.html").exists()


def test_a_stopped_comparison_tells_the_command_that_resumes(call, monkeypatch):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("normbench.comparison.trainings.run_all", stop)
    arguments = ["compare", *QUICK, "--output", "a folder"]
    status, _, said = call(*arguments)
    assert status == 130 and "Traceback" not in said
    assert shlex.split(said.rpartition(": ")[2].strip().removesuffix(".")) == ["normbench", *arguments]


@pytest.mark.parametrize(
    "arguments, facts",
    (
        (["my_net.py:build"], "my_net.py"),
        (["torchvision:alexnet"], "alexnet.*no normalization layer"),
        (["--arms", "BN"], "two or more arms.*BN GN"),
        (["--arms", "BN", "XX"], "'XX'.*BN, GN"),
        (["--arms", "own", "BN"], "same network"),
        (["--arms", "BN", "my_norms.py:MyNorm"], "no file my_norms.py"),
        (["--dataset", "photos/"], "photos/"),
        (["--dataset", "imagenet"], "'imagenet'"),
        (["--size", "64"], "digits"),
        (["--device", "tpu"], "'tpu'.*cpu"),
        (["--gpus", "1"], "--gpus.*--engine ray"),
        (["--address", "auto"], "--address.*--engine ray"),
        (["--workers", "0"], "workers.*at least 1.*0"),
        (["--images", "2000"], "1500.*2000"),
        (["--seeds", "0"], "seeds.*at least 1.*0"),
        (["--batch-size", "0"], "batch sizes.*0"),
        (["--augment", "rotate"], "affine.*'rotate'"),
        (["--output", ""], r"--output.* \. "),
        (["--output", "/proc/1/x", *QUICK], "/proc/1/x"),
    ),
)
def test_bad_input_gets_one_clear_line(call, arguments, facts):
    status, _, said = call("compare", *arguments)
    (line,) = said.splitlines()
    assert status == 2 and re.search(facts, line)


# check

NETS = """
from torch import nn

def signals(in_channels, num_classes):
    return nn.Sequential(nn.Conv1d(in_channels, 6, 5), nn.BatchNorm1d(6), nn.Flatten(), nn.LazyLinear(num_classes))

def images(in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 6, 5), nn.BatchNorm2d(6))

def volumes(in_channels):
    return nn.Sequential(nn.Conv3d(in_channels, 6, 3), nn.BatchNorm3d(6))

class MyNorm(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(2, channels)
"""


@pytest.fixture
def nets(call, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    return call


@pytest.mark.parametrize(
    "kind, size, numbers", (("signals", "2x24", 80), ("images", "3x8x9", 80), ("volumes", "1x4x4x4", 32))
)
def test_check_tells_facts_and_hazards_of_inputs_of_any_kind(nets, kind, size, numbers):
    status, shown, said = nets("check", f"nets.py:{kind}", "--size", size, "--batch-size", "4", "--no-price")
    assert (status, said) == (0, "")
    (row,) = (line.split() for line in shown.splitlines() if line.startswith("1 "))
    assert row[1:5] == ["BN", "6", "–", str(numbers)]
    assert f"over only {numbers} numbers" in shown and "Measured" not in shown


def test_check_tells_the_price_of_a_layer_of_ones_own_too(nets):
    arms = ["--arms", "GN", "nets.py:MyNorm", "FrozenBN"]
    status, shown, said = nets("check", "nets.py:images", "--size", "3x8x8", "--batch-size", "2", *arms)
    assert (status, said) == (0, "") and "cannot be used" not in shown
    table = shown.partition("\nPrice\n")[2].partition("Measured on")[0]
    rows = [line.split(" ms")[0].split() for line in table.splitlines() if " ms" in line]
    assert [row[0] for row in rows] == ["own", "GN", "MyNorm", "FrozenBN"]


@pytest.mark.parametrize(
    "network, changes, facts",
    (
        ("nets.py:images", {"--size": "3x8"}, r"cannot be run on the example \(4, 3, 8\)"),
        ("nets.py:images", {"--size": "3xx8"}, "'3xx8'.*3x224x224"),
        ("nets.py:images", {"--size": "3x0x8"}, "'3x0x8'.*3x224x224"),
        ("nets.py:images", {"--batch-size": "0"}, "--batch-size.*at least 1.*0"),
        ("nets.py:images", {"--arms": "XX"}, "'XX'.*BN, GN"),
        ("nets.py:images", {"--arms": "nets.py:YourNorm"}, "nets.py has no function 'YourNorm'"),
        ("nets.py:images", {"--device": "tpu"}, "'tpu'.*cpu"),
        ("nets.py:pictures", {}, "nets.py has no function 'pictures'"),
        ("my_net.py:build", {}, "no file my_net.py"),
        ("torchvision:resnet19", {}, "'resnet19'"),
    ),
)
def test_bad_input_of_check_gets_one_clear_line(nets, network, changes, facts):
    options = {"--size": "3x8x8", "--batch-size": "4"} | changes
    status, shown, said = nets("check", network, *(word for option in options.items() for word in option))
    (line,) = said.splitlines()
    assert status == 2 and re.search(facts, line) and shown == ""


# All commands


@pytest.mark.parametrize(
    "arguments, fact",
    (
        (["compare", "--epochs", "ten"], "--epochs"),
        (["check", "net.py:build", "--batch-size", "4"], "--size"),
        (["check", "net.py:build", "--size", "3x8x8"], "--batch-size"),
        (["everything"], "compare"),
    ),
)
def test_what_cannot_be_parsed(call, arguments, fact):
    status, shown, said = call(*arguments)
    assert status == 2 and fact in shown + said and "Traceback" not in shown + said


@pytest.mark.parametrize(
    "error",
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried\nmore"),
        RuntimeError("Storage size calculation overflowed with sizes=[8000000000, 8000000000, 3, 3]"),
        MemoryError(),
    ),
)
def test_want_of_memory_gets_one_line(call, monkeypatch, error):
    def load(*_):
        raise error

    monkeypatch.setattr(commands.Where, "load", load)
    status, _, said = call("compare")
    (line,) = said.splitlines()
    assert status == 2 and "memory" in line and not line.endswith(" ")


def test_a_mistake_in_the_program_is_not_taken_for_want_of_memory(call, monkeypatch):
    def load(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(commands.Where, "load", load)
    with pytest.raises(RuntimeError, match="mat1"):
        call("compare")


def test_help_teaches_what_there_is(call):
    status, shown, _ = call("compare", "--help")
    words = set(re.findall(r"[\w+]+", shown))
    assert status in (0, None) and "normbench compare" in shown
    assert {*NORMALIZATIONS, *DATASETS, "DATA_DIR", "resnet18", "WS+GN"} <= words | {"auto"}
    assert {"workers", "engine", "address", "gpus", "data", "device", "seeds", "rates"} <= words
    assert {"compare", "check"} <= set(call("--help")[1].split())
    status, shown, _ = call("check", "--help")
    assert status in (0, None) and {"size", "3x224x224", "statistic", "resnet18"} <= set(re.findall(r"[\w+]+", shown))


def test_version(call):
    assert call("--version")[:2] == (0, f"normbench {__version__}\n")


def test_ctrl_c_while_libraries_are_imported(tmp_path):
    """A library of that name, found before the real one, says when it is imported and then takes its time."""
    begun = "with open('begun', 'w') as file:\n    file.write('!')"  # closed by its collection, a file swallows Ctrl-C
    (tmp_path / "torch.py").write_text(f"import threading\n{begun}\nthreading.Event().wait()")
    status, said = interrupted(["-m", "normbench", "compare"], tmp_path, "begun")
    assert status == 130 and said.startswith("Stopped")


MARKS_ITS_BEGINNING = """
import threading
from multiprocessing import parent_process
from torch import nn

class Waits(nn.Module):
    def forward(self, x):
        if self.training and len(x) > 2 and parent_process():
            open("begun", "a").write("!")
            threading.Event().wait()
        return x

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, 3, 28), nn.BatchNorm2d(3), Waits(), nn.Flatten(), nn.Linear(3, num_classes))
"""


@pytest.mark.parametrize("kill", (os.kill, os.killpg), ids=("the command", "its workers too"))
def test_sigterm_ends_it_as_ctrl_c_does(tmp_path, kill):
    """As SLURM and docker stop send it."""
    (tmp_path / "net.py").write_text(MARKS_ITS_BEGINNING)
    command = ["-m", "normbench", "compare", "net.py:build", "--no-price", *QUICK]
    command[command.index("--workers") + 1] = "2"
    # The estimate trains a few steps in the command's own process, before there are workers: it has none without them.
    status, said = interrupted(command, tmp_path, "begun", signal.SIGTERM, kill)
    assert (status == 130 and "go on with" in said) or "nothing was being trained" in said


def test_a_terminal_that_cannot_show_a_letter_gets_its_answer(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "normbench", "compare", *QUICK], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode == 0 and b"learn" in done.stdout and done.stderr == b""


def test_a_full_disk_costs_the_page_and_not_the_answer(call, tmp_path, monkeypatch):
    call("compare", *QUICK, "--no-price")
    page = tmp_path / USUAL_FOLDER / "report.html"
    before = page.read_text()

    def full(path, text, **_):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    status, shown, said = call("compare", *QUICK, "--no-price")
    assert status == 2 and "learn" in shown
    assert said.count("\n") == 1 and "report.html" in said and "No space left" in said
    assert page.read_text() == before and {file.name for file in page.parent.iterdir()} <= {
        "answer.json",
        "report.html",
        "runs.jsonl",
        "runs.jsonl.lock",
    }
