"""`normbench check` on the command line: what it prints, and what it says of what is wrong."""

import sys

import pytest

from normbench import __main__ as cli


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run `normbench check …` in this process, in a folder with net.py: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(8, num_classes))\n"
        "def signal(in_channels):\n"
        "    return nn.Sequential(nn.Conv1d(in_channels, 8, 3), nn.BatchNorm1d(8))\n"
    )

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["normbench", "check", *arguments])
        try:
            status = cli.main()
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return called


def test_the_command(call):
    status, shown, said = call("net.py:build", "--size", "3x16x16", "--batch-size", "2", "--arms", "GN", "none")
    assert (status, said) == (0, "")
    assert "392" in shown and "GN" in shown and "none" in shown and "bias" in shown, "2 images with 14 × 14 positions"
    status, shown, said = call("net.py:signal", "--size", "2x52", "--batch-size", "10", "--no-price")
    assert status == 0 and " 500 " in shown and "\nPrice" not in shown


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("net.py:build", "--size", "3*16", "--batch-size", "2"), "3*16"),
        (("net.py:build", "--size", "0x16x16", "--batch-size", "2"), "0x16x16"),
        (("net.py:build", "--size", "3x16x16", "--batch-size", "0"), "--batch-size"),
        (("net.py:build", "--size", "3x2x2", "--batch-size", "2"), "(2, 3, 2, 2)"),
        (("net.py:none", "--size", "3x16x16", "--batch-size", "2"), "'none'"),
        (("net.py:build", "--size", "3x16x16", "--batch-size", "2", "--arms", "XN"), "'XN'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(call, options, part):
    status, shown, said = call(*options)
    assert status == 2 and shown == "" and part in said and said.count("\n") == 1
