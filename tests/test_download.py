"""CIFAR-10 from several hosts, most of which fail."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from normbench.data import downloads, load


@pytest.fixture
def tiny_cifar10(monkeypatch):
    """CIFAR-10's archive with 5 x 4 training and 6 test images: its bytes and the training pixels (20, 3, 32, 32)."""
    pixels = np.random.default_rng(0).integers(0, 256, (26, 3072), dtype=np.uint8)
    batches = {f"data_batch_{i + 1}": slice(4 * i, 4 * i + 4) for i in range(5)} | {"test_batch": slice(20, 26)}
    labels = [i % 10 for i in range(26)]
    files: dict[str, dict] = {name: {"data": pixels[s], "labels": labels[s]} for name, s in batches.items()}
    files["batches.meta"] = {"label_names": ["of", "no", "account"]}
    archive, md5 = io.BytesIO(), {}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            content = pickle.dumps(content)
            md5[name] = hashlib.md5(content).hexdigest()
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in batches if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    return archive.getvalue(), pixels[:20].reshape(20, 3, 32, 32)


@pytest.fixture
def host(monkeypatch, tiny_cifar10):
    """Urls: host.url + /right, /wrong, /cut, or /anything that is missing; host.down; host.silent.

    host.asked counts the requests by path.
    """
    archive, _ = tiny_cifar10
    host = SimpleNamespace(asked=Counter())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            host.asked[self.path] += 1
            contents = {"/right": archive, "/wrong": archive[::-1], "/cut": archive[:1000]}
            if self.path not in contents:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "TIMEOUT", 1.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections and never answers
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            host.down = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        host.silent = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        host.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield host
        server.shutdown()


def test_cifar10_comes_from_the_first_host_that_has_it(tmp_path, host, tiny_cifar10, monkeypatch, capsys):
    failing = [host.down, host.silent, *(f"{host.url}/{path}" for path in ("missing", "wrong", "cut"))]
    monkeypatch.setattr(downloads, "CIFAR10_URLS", (*failing, f"{host.url}/right", f"{host.url}/later"))
    (tmp_path / CIFAR10.filename).write_bytes(tiny_cifar10[0][:1000])  # as a stopped download leaves it
    loaded = load("cifar10", tmp_path)
    assert torch.equal(loaded.x_train, torch.from_numpy(tiny_cifar10[1])) and loaded.x_train.is_contiguous()
    assert loaded.y_train.tolist() == [*range(10), *range(10)] and loaded.y_test.tolist() == [*range(6)]
    assert (loaded.x_test.shape, loaded.classes[6]) == ((6, 3, 32, 32), "frog")
    told = [line for line in capsys.readouterr().err.splitlines() if "127.0.0.1" in line]
    assert len(told) == len(failing), "each failure is told"
    assert host.asked["/right"] and not host.asked["/later"]
    assert socket.getdefaulttimeout() is None, "the time limit is for downloads alone"

    host.asked.clear()
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-9])
    assert load("cifar10", tmp_path).fingerprint == loaded.fingerprint
    assert not host.asked, "a broken file comes from the archive"


def test_cifar10_from_nowhere(tmp_path, host, monkeypatch):
    monkeypatch.setattr(downloads, "CIFAR10_URLS", (host.down, f"{host.url}/missing", f"{host.url}/wrong"))
    message = r"^cifar10.*refused.*; .*404.*; .*corrupted.*DATA_DIR"
    with pytest.raises(FileNotFoundError, match=message) as error:
        load("cifar10", tmp_path)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_the_hosts_are_of_the_same_archive_and_the_official_one_is_last():
    urls = downloads.CIFAR10_URLS
    assert len({url.split("/")[2] for url in urls}) == len(urls) > 2
    assert all(url.startswith("https://") and url.endswith(CIFAR10.filename) for url in urls)
    assert urls[-1] == CIFAR10.url
