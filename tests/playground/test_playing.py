"""`bot.py` without a token, as a process of its own: it says so, serves the page, survives being killed."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from bot.app import main
from pipeline.settings import ROOT, Settings

_LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/#(\S+)")


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Start the bot in a folder; give the process, the page's address and its key."""
    hidden = {name.upper() for name in Settings.model_fields} | {"DISPLAY", "WAYLAND_DISPLAY"}
    environment = {k: v for k, v in os.environ.items() if k.upper() not in hidden}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bot.py"), *arguments],
        cwd=folder,
        env=environment | {"LLM_MODEL": "template", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        match = _find_link(process.stdout)
        yield process, f"http://127.0.0.1:{match[1]}", match[2]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdout.close()


def _find_link(output: IO[str]) -> re.Match[str]:
    said = ""
    for line in output:
        said += line
        if match := _LINK.search(line):
            assert "There is no DISCORD_TOKEN" in said
            return match
    raise AssertionError(f"it ended and said:\n{said}")


async def act(url: str, key: str, do: str, **more: object) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{url}/playground/act", json={"as": "robin", "do": do, **more}) as response,
    ):
        assert response.status == 200, await response.text()


async def texts(url: str, key: str) -> list[str]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{url}/playground/state") as response,
    ):
        state = await response.json()
    return [message["content"] for message in state["channels"][0]["messages"]]


async def test_it_says_so_serves_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    with started(tmp_path, "--no-browser") as (process, url, key):
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            assert "<title>Playground</title>" in await response.text()
        await act(url, key, "send", channel="general", text="before the kill")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with started(tmp_path) as (process, url, again):
        assert again == key  # the open page's key is still good
        assert await texts(url, key) == ["before the kill"]
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.fixture
def _own_log() -> Iterator[None]:
    """Take the handlers away that `main` has added: they write to what the test has captured."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("_own_log")
def test_a_port_that_is_taken_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--no-browser", "--port", str(port)]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err
