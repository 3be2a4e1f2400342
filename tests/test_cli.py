"""The command line of normbench as its users call it."""

import re
import shlex
import sys

import pytest
from made_up import interrupted

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
    status, shown, said = call("compare", *QUICK, "--verbose")
    assert status == 0 and said == ""
    assert "1: BatchNorm2d(8" in shown and "(4 of 4)" in shown and "10 classes, 200 training and 297 test" in shown
    *_, answer, _, where = shown.splitlines()
    assert re.search(r"\d\d\.\d\d % of the test images", answer) and where.endswith(f"{USUAL_FOLDER}/report.html")
    page = (tmp_path / USUAL_FOLDER / "report.html").read_text()
    assert f"normbench compare {' '.join(QUICK)}" in page and answer.split(".")[0] in page
    again = call("compare", *QUICK)[1]
    assert answer in again and "of 4)" not in again, "nothing is trained twice"


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
    quick = " ".join(QUICK).replace("--workers 1", "--workers 2").replace("none", "IN GN:3")
    status, shown, said = call("compare", "project/my_net.py:build", *quick.split(), "--output", ".")
    assert (status, said) == (0, "") and "my_net.build" in shown and "4 of 4" in shown
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


@pytest.mark.parametrize("arguments, fact", ((["compare", "--epochs", "ten"], "--epochs"), (["everything"], "compare")))
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
    assert "compare" in call("--help")[1]


def test_version(call):
    assert call("--version")[:2] == (0, f"normbench {__version__}\n")


def test_ctrl_c_while_libraries_are_imported(tmp_path):
    """A library of that name, found before the real one, says when it is imported and then takes its time."""
    (tmp_path / "torch.py").write_text("import threading\nopen('begun', 'w').write('!')\nthreading.Event().wait()")
    status, said = interrupted(["-m", "normbench", "compare"], tmp_path, "begun")
    assert status == 130 and said.startswith("Stopped")
