"""The transfer of files, against a real server on the loopback interface."""

import errno
import hashlib
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from full_disk import file_size_limit

from synaug.data.downloads import atomic_write, fetch, full_disk_explained

CONTENT = bytes(range(256)) * 9000  # 2.3 MB: several chunks
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
CUT = 1_500_000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Range"]))
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/silent":
            return time.sleep(1)
        start = 0
        if self.headers["Range"] and self.path != "/no-ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.path == "/cut" and start == 0:
            body = body[:CUT]
        if self.path == "/altered":
            body = body[:-1] + b"?"
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetches_verifies_and_does_not_ask_again(server, tmp_path):
    for algorithm in ("sha256", "md5"):
        path = tmp_path / "new" / algorithm
        digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
        assert fetch(f"{server.address}/file", path, digest) == path
        assert fetch(f"{server.address}/file", path, digest).read_bytes() == CONTENT
    assert server.requests == [("/file", None)] * 2
    assert names(tmp_path / "new") == ["md5", "sha256"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    with pytest.raises(ConnectionError, match=f"stopped after {CUT:,} of {len(CONTENT):,} bytes"):
        fetch(f"{server.address}/cut", tmp_path / "file", DIGEST)
    assert names(tmp_path) == ["file.part"]
    assert fetch(f"{server.address}/cut", tmp_path / "file", DIGEST).read_bytes() == CONTENT
    assert server.requests[-1] == ("/cut", f"bytes={CUT}-")
    assert names(tmp_path) == ["file"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{server.address}/no-ranges", tmp_path / "file", DIGEST).read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_used(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(f"{server.address}/file", tmp_path / "file", DIGEST).read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(ConnectionError, match=f"sent another file: expected {DIGEST}, got sha256:"):
        fetch(f"{server.address}/altered", tmp_path / "file", DIGEST)
    assert names(tmp_path) == []


def test_a_spoilt_part_costs_one_attempt(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"?" * 1000)
    with pytest.raises(ConnectionError, match="sent another file"):
        fetch(f"{server.address}/file", tmp_path / "file", DIGEST)
    assert fetch(f"{server.address}/file", tmp_path / "file", DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("address, message", [("/missing", "answered 404"), ("/silent", "cannot be reached: timed out")])
def test_a_host_that_does_not_deliver(server, tmp_path, address, message):
    with pytest.raises(ConnectionError, match=message):
        fetch(server.address + address, tmp_path / "file", DIGEST, timeout=0.2)
    assert names(tmp_path) == []


def test_a_host_that_is_not_there(server, tmp_path):
    with pytest.raises(ConnectionError, match="cannot be reached"):
        fetch("http://127.0.0.1:1/file", tmp_path / "file", DIGEST)
    assert names(tmp_path) == []


def test_an_altered_file_is_neither_used_nor_overwritten(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ValueError, match="truncated or altered .* delete it"):
        fetch(f"{server.address}/file", tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.requests == []


def test_file_addresses(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert fetch((tmp_path / "source").as_uri(), tmp_path / "file", DIGEST).read_bytes() == CONTENT


class TestAtomicWrite:
    def test_appears_only_when_done(self, tmp_path):
        with atomic_write(tmp_path / "new" / "file") as temporary:
            temporary.write_text("done")
            assert not (tmp_path / "new" / "file").exists()
        assert (tmp_path / "new" / "file").read_text() == "done"
        assert names(tmp_path / "new") == ["file"]

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        (tmp_path / "file").write_text("before")
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
        assert (tmp_path / "file").read_text() == "before"
        assert names(tmp_path) == ["file"]


class TestFullDisk:
    @pytest.fixture
    def small_disk(self, tmp_path):
        """A file system of its own with 256 KiB."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small file system can be mounted by root on Linux only")
        yield disk
        subprocess.run(["umount", str(disk)], check=True)

    def test_fetch(self, server, small_disk):
        with pytest.raises(OSError, match="no space left .* SYNAUG_CACHE") as caught:
            fetch(f"{server.address}/file", small_disk / "file", DIGEST)
        assert caught.value.errno == errno.ENOSPC
        assert names(small_disk) == []

    def test_atomic_write(self, small_disk):
        with pytest.raises(OSError, match="no space left"), atomic_write(small_disk / "file") as temporary:
            temporary.write_bytes(CONTENT)
        assert names(small_disk) == []

    def test_a_limit_on_file_sizes(self, server, tmp_path):
        with file_size_limit(100_000), pytest.raises(OSError, match="no space left"):
            fetch(f"{server.address}/file", tmp_path / "file", DIGEST)
        assert names(tmp_path) == []

    def test_other_errors_are_left_alone(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught, full_disk_explained(tmp_path):
            os.remove(tmp_path / "nothing")
        assert "no space" not in str(caught.value)
