"""Metrics: what a scrape tells after a session, a failure and Discord's own errors."""

from __future__ import annotations

import asyncio
import re
import socket
import sys

import aiohttp
import pytest

from bot.metrics import make_metrics
from pipeline.errors import ConfigurationError, GeneratorError
from pipeline.settings import Settings
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_app import with_token

pytest.importorskip("prometheus_client")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


async def scrape(port: int, path: str = "metrics") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as answer,
    ):
        return answer.status, await answer.text()


def number(text: str, name: str, **labels: str) -> float:
    """Return a sample's value; 0 where there is none."""
    wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    line = re.escape(f"contextual_diffusion_{name}" + (f"{{{wanted}}}" if wanted else ""))
    found = re.search(rf"^{line} (\S+)$", text, re.M)
    return float(found[1]) if found else 0.0


async def test_a_scrape_tells_of_steps_stages_queue_and_errors(make_house: MakeHouse) -> None:
    port = free_port()
    house = make_house(settings={"metrics_port": port})
    await house.start()
    discord = house.discord
    async with asyncio.timeout(15):
        while (health := await scrape(port, "health")) != (200, "connected\n"):
            assert health == (503, "not connected\n")  # between the gateway's answer and its last server
    held = asyncio.Event()
    house.generator.turns.add(None, held.wait)
    await discord.member("ada").slash(discord.general, "imagine", prompt="a hat", depth=2)
    await discord.wait_for(lambda: house.generator.inpainted)
    _, text = await scrape(port)
    assert number(text, "queue_length") == 1
    assert number(text, "steps", kind="recurse", state="running") == 1
    discord.faults.fail("POST", r"/channels/\d+/messages$", status=500)
    held.set()
    await house.delivered(1, 2, 3)
    house.generator.turns.add(GeneratorError("no"))
    await discord.member("bob").slash(discord.general, "imagine", prompt="a bag", depth=0)
    await house.delivered(4)
    _, text = await scrape(port)
    assert number(text, "queue_length") == 0
    assert number(text, "steps", kind="recurse", state="done") == 2
    assert number(text, "steps", kind="recurse", state="running") == 0
    assert number(text, "steps_ended_total", kind="recurse", outcome="done") == 2
    assert number(text, "steps_ended_total", kind="generate", outcome="failed") == 1
    assert number(text, "backend_errors_total", stage="paint") == 1
    assert number(text, "step_seconds_count", kind="recurse") == 2
    for stage, times in {"paint": 2, "find": 2, "describe": 2, "repaint": 2}.items():
        assert number(text, "stage_seconds_count", stage=stage) == times, stage
    assert number(text, "discord_errors_total", status="500") == 1
    assert "contextual_diffusion_event_loop_lag_seconds_count" in text
    await house.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await scrape(port)


async def test_a_port_that_is_taken_is_one_sentence(make_house: MakeHouse) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        house = make_house(settings={"metrics_port": taken.getsockname()[1]})
        with pytest.raises(ConfigurationError, match="METRICS_PORT cannot be listened on"):
            await with_token(house, house.discord.token)


def test_without_the_library_the_setting_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert make_metrics(Settings(_env_file=None)) is None  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="uv sync --extra metrics"):
        make_metrics(Settings(_env_file=None, metrics_port=1))  # type: ignore[call-arg]


async def test_a_second_bot_on_the_same_database_is_refused_and_the_first_goes_on(
    house: House, make_house: MakeHouse
) -> None:
    second = make_house()
    with pytest.raises(ConfigurationError, match="Another process works on this database already"):
        await with_token(second, house.discord.token)
    await house.discord.member("ada").slash(house.discord.general, "imagine", prompt="a hat", depth=0)
    await house.delivered(1)
