"""Fetching weights over connections that break, from servers that answer something else."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mrcnn.download import DownloadError, Source, fetch

CONTENT = bytes(range(256)) * 3000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """A server of CONTENT that ends after `cut` bytes, knows ranges or not, and remembers what was asked."""

    cut = len(CONTENT)
    ranges = True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/weights.h5":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : max(start, self.server.cut)])

    def log_message(self, *args: object) -> None:  # type: ignore[override]
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def source(server: Server, name: str = "weights.h5", size: int = len(CONTENT)) -> Source:
    return Source(f"http://127.0.0.1:{server.server_port}/{name}", size)


def test_a_file_is_fetched_checked_and_recorded_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights.h5"
    assert fetch(source(server), path, sha256=DIGEST.upper()) == DIGEST
    assert path.read_bytes() == CONTENT
    assert Path(f"{path}.sha256").read_text() == f"{DIGEST}  weights.h5\n"
    assert fetch(source(server), path) == DIGEST
    assert server.asked == [None]
    with pytest.raises(DownloadError, match="--sha256 says 00"):
        fetch(source(server), path, sha256="00")
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(DownloadError, match=r"weights\.h5\.sha256 says"):
        fetch(source(server), path)
    path.write_bytes(CONTENT[:9])
    with pytest.raises(DownloadError, match="has 9 bytes and should have 768,000: delete it"):
        fetch(source(server), path)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    path = tmp_path / "weights.h5"
    server.cut, server.ranges = 300_000, ranges
    with pytest.raises(DownloadError, match=r"300,000 (of|bytes are kept)"):
        fetch(source(server), path)
    assert not path.exists()
    server.cut = len(CONTENT)
    assert fetch(source(server), path) == DIGEST
    assert server.asked == [None, "bytes=300000-"]
    assert path.read_bytes() == CONTENT
    assert not Path(f"{path}.part").exists()


def test_what_is_longer_or_complete_already(server: Server, tmp_path: Path) -> None:
    path, part = tmp_path / "weights.h5", tmp_path / "weights.h5.part"
    part.write_bytes(CONTENT + b"more")
    assert fetch(source(server), path) == DIGEST
    path.replace(part)
    assert fetch(source(server), path) == DIGEST
    assert server.asked == [None]


def test_servers_that_answer_something_else(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with pytest.raises(DownloadError, match=r"(?s)answered 404.*on another machine, put it at"):
        fetch(source(server, "gone.h5"), path)
    with pytest.raises(DownloadError, match="offers 768,000 bytes where 9 are right"):
        fetch(source(server, size=9), path)
    assert not list(tmp_path.iterdir())


def test_no_connection(server: Server, tmp_path: Path) -> None:
    nowhere = source(server)
    server.server_close()
    server.shutdown()
    (tmp_path / "weights.h5.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match=r"(?s)1,000 bytes are kept.*without a connection, fetch http"):
        fetch(nowhere, tmp_path / "weights.h5", timeout=5)


def test_a_publishers_checksum_is_checked(server: Server, tmp_path: Path) -> None:
    right = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    there = source(server)
    assert fetch(Source(there.url, there.size, right), tmp_path / "a.h5") == DIGEST
    with pytest.raises(DownloadError, match="its publisher says"):
        fetch(Source(there.url, there.size, "0" * 32), tmp_path / "b.h5")
