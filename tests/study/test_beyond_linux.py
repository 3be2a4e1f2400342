"""Nothing needs a POSIX system to be imported, and no command needs `make`."""

import subprocess
import sys

import pytest
from made_up import ROOT

POSIX = ("fcntl", "termios", "pwd", "grp", "resource", "pty", "syslog")
# As on Windows: modules of POSIX cannot be imported, and signals and functions that it lacks are not there.
WINDOWS = f"""
import os, signal, sys
sys.modules |= dict.fromkeys({POSIX})
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fork", "killpg", "setsid", "sched_getaffinity"):
    delattr(os, name)
"""


@pytest.mark.parametrize(
    "imported",
    (
        "normbench, normbench.commands, normbench.runs.engines, normbench.runs.file, normbench.comparison",
        "study.commands, study.notebook, study.executor, study.html, study.report, study.lesson",
    ),
)
def test_nothing_of_posix_is_needed_to_import(imported):
    done = subprocess.run(
        [sys.executable, "-c", f"{WINDOWS}\nimport {imported}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_notebook_s_command_needs_no_make():
    done = subprocess.run(
        [sys.executable, "-m", "study", "notebook", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "OUTPUT_DIR" in done.stdout
