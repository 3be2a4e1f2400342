import contextlib
import hashlib
import io
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from normbench import data
from normbench.data import load
from normbench.download import fetch

CONTENT = bytes(range(256)) * 200  # 51 kB
MD5 = hashlib.md5(CONTENT).hexdigest()
IMPATIENT = dict(floor=1e6, patience=0.1, timeout=0.3)


def good(request, content=CONTENT, pieces=1, pause=0.0, promised=None):
    request.send_response(200)
    request.send_header("Content-Length", str(promised or len(content)))
    request.end_headers()
    size = -(-len(content) // pieces)
    for start in range(0, len(content), size):
        request.wfile.write(content[start : start + size])
        time.sleep(pause)


def slow(request):
    good(request, pieces=15, pause=0.03)  # about 100 kB/s


def slower(request):
    good(request, pieces=40, pause=0.03)


def endless(request):
    good(request, pieces=2000, pause=0.03)  # a minute


def wrong(request):
    good(request, CONTENT[::-1])


def cut(request):
    good(request, CONTENT[:1000], promised=len(CONTENT))


def stalled(request):
    good(request, CONTENT[:30_000], promised=len(CONTENT), pause=2)


def missing(request):
    request.send_error(404)


@pytest.fixture
def host(monkeypatch):
    """host(answer) starts a server on this machine and returns a url; host.asked counts requests by url."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                start.asked[url] += 1
                answer(self)

            def log_message(self, *args):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError):  # the host was given up
                    super().handle()

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/file"
        start.asked[url] = 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return url

    start.asked = {}
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def down():
    """The url of a host that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/file"


@pytest.mark.parametrize("first", (wrong, cut, stalled, missing))
def test_the_next_host_is_taken(tmp_path, host, first, capsys):
    urls = host(first), host(good), host(good)
    fetch(urls, tmp_path / "file", MD5, timeout=0.3)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert [host.asked[url] for url in urls] == [1, 1, 0]
    assert urls[0].split("/")[2] in capsys.readouterr().err, "who was given up is said"


def test_a_host_that_is_down(tmp_path, host, down):
    fetch([down, host(good)], tmp_path / "new" / "folder" / "file", MD5)
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == CONTENT


def test_a_slow_host_is_given_up(tmp_path, host, capsys):
    urls = host(endless), host(good)
    start = time.monotonic()
    fetch(urls, tmp_path / "file", MD5, **IMPATIENT)
    assert time.monotonic() - start < 20, "given up while it sends"
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [host.asked[url] for url in urls] == [1, 1]
    assert "slow (" in capsys.readouterr().err


def test_where_all_are_slow_the_quickest_is_used(tmp_path, host):
    urls = host(slower), host(slow), host(missing)
    fetch(urls, tmp_path / "file", MD5, **IMPATIENT)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [host.asked[url] for url in urls] == [1, 2, 1]


def test_one_line_says_what_is_wrong_with_each_host(tmp_path, host, down):
    urls = [down, *map(host, (wrong, cut, stalled, missing))]
    with pytest.raises(OSError) as error:
        fetch(urls, tmp_path / "file", MD5, timeout=0.3)
    line = str(error.value)
    assert line.startswith("no host delivers file: ") and "\n" not in line
    reasons = [part.split(": ", 1)[1] for part in line.removeprefix("no host delivers file: ").split("; ")]
    assert reasons[0] == "Connection refused"
    assert reasons[1].startswith("wrong content (md5 ") and MD5 in reasons[1]
    assert reasons[2] == "ended after 1000 of 51200 bytes"
    assert reasons[3] == "timed out"
    assert reasons[4] == "HTTP Error 404: Not Found"
    assert all(url.split("/")[2] in line for url in urls)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there(tmp_path, host):
    url = host(good)
    (tmp_path / "file").write_bytes(CONTENT)
    fetch([url], tmp_path / "file", MD5)
    assert host.asked[url] == 0
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    fetch([url], tmp_path / "file", MD5)
    assert host.asked[url] == 1 and (tmp_path / "file").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_no_fault_of_a_host(tmp_path, host):
    url = host(good)
    (tmp_path / "plain").touch()
    with pytest.raises(FileExistsError):
        fetch([url], tmp_path / "plain" / "file", MD5)
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        fetch([url, url], tmp_path / "file", MD5)
    assert host.asked[url] == 1


def test_a_kill_leaves_no_file_that_looks_complete(tmp_path, host):
    url = host(stalled)
    code = f"from normbench.download import fetch; fetch([{url!r}], {str(tmp_path / 'file')!r}, {MD5!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    (partial,) = tmp_path.iterdir()
    assert partial.name.endswith(".part")
    fetch([host(good)], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.fixture
def tiny_cifar10(monkeypatch):
    """CIFAR-10's archive with 5 x 4 training and 6 test images: its bytes and the training pixels (20, 3, 32, 32)."""
    pixels = np.random.default_rng(0).integers(0, 256, (26, 3072), dtype=np.uint8)
    parts = {f"data_batch_{i + 1}": slice(4 * i, 4 * i + 4) for i in range(5)} | {"test_batch": slice(20, 26)}
    files = {name: dict(data=pixels[s], labels=[i % 10 for i in range(26)][s]) for name, s in parts.items()}
    files["batches.meta"] = dict(label_names=["of", "no", "account"])
    archive, md5 = io.BytesIO(), {}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            content = pickle.dumps(content)
            md5[name] = hashlib.md5(content).hexdigest()
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    changes = dict(
        tgz_md5=hashlib.md5(archive.getvalue()).hexdigest(),
        train_list=[[name, md5[name]] for name in parts if name != "test_batch"],
        test_list=[["test_batch", md5["test_batch"]]],
        meta=dict(filename="batches.meta", key="label_names", md5=md5["batches.meta"]),
    )
    for name, value in changes.items():
        monkeypatch.setattr(data.CIFAR10, name, value)
    return archive.getvalue(), pixels[:20].reshape(20, 3, 32, 32)


def test_cifar10_from_a_mirror(tmp_path, host, down, tiny_cifar10, monkeypatch):
    archive, pixels = tiny_cifar10
    mirror = host(lambda request: good(request, archive))
    monkeypatch.setattr(data.CIFAR10, "url", down)
    monkeypatch.setattr(data.CIFAR10, "mirrors", (host(wrong), mirror))
    loaded = load("cifar10", tmp_path)
    assert torch.equal(loaded.x_train, torch.from_numpy(pixels)) and loaded.x_train.is_contiguous()
    assert loaded.y_train.tolist() == [*range(10), *range(10)] and loaded.y_test.tolist() == [*range(6)]
    assert (loaded.x_test.shape, loaded.classes[6]) == ((6, 3, 32, 32), "frog")

    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-9])
    again = load("cifar10", tmp_path)  # from the archive, with no host
    assert torch.equal(again.x_train, loaded.x_train) and host.asked[mirror] == 1


def test_cifar10_from_nowhere(tmp_path, host, down, monkeypatch):
    monkeypatch.setattr(data.CIFAR10, "url", down)
    monkeypatch.setattr(data.CIFAR10, "mirrors", (host(missing),))
    message = r"^cifar10 is not in .*could not be downloaded \(.*Connection refused; 127.*404: Not Found\)\. .*DATA_DIR"
    with pytest.raises(FileNotFoundError, match=message) as error:
        load("cifar10", tmp_path)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_mirrors_are_of_the_same_archive():
    hosts = [url.split("/")[2] for url in (data.CIFAR10.url, *data.CIFAR10.mirrors)]
    assert len(set(hosts)) == len(hosts) > 2
    assert all(url.startswith("https://") and url.endswith(data.CIFAR10.filename) for url in data.CIFAR10.mirrors)
