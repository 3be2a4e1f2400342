"""A file from the first of several hosts that is up, quick and right."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

# torchvision's own, which the hosts of its data sets are known to answer; some refuse urllib's.
HEADERS = {"User-Agent": "pytorch/vision"}


def fetch(
    urls: Sequence[str],
    path: str | os.PathLike,
    md5: str,
    floor: float = 200e3,
    patience: float = 15.0,
    timeout: float = 10.0,
) -> None:
    """Download the file with this `md5` (32 hexadecimal digits) to `path`, unless it is there already.

    The `urls` are tried in turn. A host is given up where it cannot be reached, is silent for `timeout`
    seconds, sends less than `floor` bytes a second over `patience` seconds, or delivers another content.
    Where none is quick, the quickest of the slow ones is taken at its own pace. `path` appears when the
    download is complete and right, so a kill leaves nothing there.

    Raises OSError, in one line with each host's reason, where no host delivers, and at once where
    the file cannot be written.
    """
    path = Path(path)
    if path.is_file() and _md5(path) == md5:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    failures: dict[str, _Unusable] = {}

    def delivered(url: str, floor: float) -> bool:
        try:
            _download(url, path, md5, _chunks(url, floor, patience, timeout))
        except _Unusable as failure:
            failures[url] = failure
            print(f"{_host(url)}: {failure}", file=sys.stderr)
        else:
            return True
        return False

    if any(delivered(url, floor) for url in urls):
        return
    slow = [url for url in failures if failures[url].rate is not None]
    if slow and delivered(max(slow, key=lambda url: failures[url].rate), floor=0):
        return
    reasons = "; ".join(f"{_host(url)}: {failure}" for url, failure in failures.items())
    raise OSError(f"no host delivers {path.name}: {reasons}")


class _Unusable(Exception):
    """Why a host is given up; `rate` is its bytes per second where it is only slow."""

    def __init__(self, reason: str, rate: float | None = None):
        super().__init__(reason)
        self.rate = rate


def _download(url: str, path: Path, md5: str, chunks: Iterator[bytes]) -> None:
    # Two processes that download at once must not write into one file.
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(partial, "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != md5:
            raise _Unusable(f"wrong content (md5 {digest.hexdigest()} instead of {md5})")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _chunks(url: str, floor: float, patience: float, timeout: float) -> Iterator[bytes]:
    """The body of `url` as it comes in; only what the host does wrong becomes _Unusable."""
    bar = tqdm(desc=_host(url), unit="B", unit_scale=True, mininterval=1, leave=False)
    try:
        with bar, urlopen(Request(url, headers=HEADERS), timeout=timeout) as response:
            bar.total = response.length
            start, before = time.monotonic(), 0
            # read1 hands over what is there: read would wait for a full chunk, however slow it comes.
            while chunk := response.read1(1 << 20):
                bar.update(len(chunk))
                yield chunk
                seconds = time.monotonic() - start
                if seconds >= patience:
                    rate = (bar.n - before) / seconds
                    if rate < floor:
                        raise _Unusable(f"slow ({rate / 1e3:.0f} kB/s, asked are {floor / 1e3:.0f})", rate)
                    start, before = time.monotonic(), bar.n
            if bar.total is not None and bar.n < bar.total:
                raise _Unusable(f"ended after {bar.n} of {bar.total} bytes")
    except (OSError, HTTPException) as error:
        raise _Unusable(_reason(error)) from error


def _reason(error: Exception) -> str:
    if not isinstance(error, HTTPError):  # whose text has the status code
        error = getattr(error, "reason", error)  # what URLError wraps
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
