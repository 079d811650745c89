"""Starting: what a newcomer without a token, with a bad one or with bad settings is told."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from bot.app import main, serve, sync
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from playground import Playground, connect_here
from tests.bot.conftest import House, MakeHouse


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing set by whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_without_a_token_there_are_no_commands_to_register(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["sync"]) == 1
    assert "There is no token" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_bad_settings_get_a_sentence_each(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.setenv("STEPS", "many")
    clean.setenv("ITERATE_BY", "nobody")
    assert main([]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert {line.split(":")[0] for line in lines} == {"Setting STEPS", "Setting ITERATE_BY"}


async def test_a_bad_token_is_one_sentence(make_house: MakeHouse) -> None:
    house = make_house()
    house.discord.world.application.token = "another"
    with pytest.raises(ConfigurationError, match="does not accept the token in DISCORD_TOKEN"):
        await with_token(house, "wrong")


async def with_token(house: House, token: str) -> None:
    pipeline = house.make_pipeline()
    try:
        await serve(pipeline, house.make_settings(), token)
    finally:
        await pipeline.store.aclose()


async def test_no_discord_there_is_one_sentence(make_house: MakeHouse) -> None:
    house = make_house()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        connect_here(f"http://127.0.0.1:{unused.getsockname()[1]}/api/v10")
        with pytest.raises(ConfigurationError, match="Discord cannot be reached"):
            await with_token(house, "any")


async def test_sync_registers_the_commands_and_stops(make_house: MakeHouse) -> None:
    house = make_house()
    pipeline = house.make_pipeline()
    try:
        registered = await sync(pipeline, house.make_settings(), house.discord.token)
        assert {"imagine", "Tweak object"} <= set(registered)
    finally:
        await pipeline.store.aclose()
    commands = house.discord.world.application.commands[None].values()
    command = next(one for one in commands if one["name"] == "imagine")
    assert [option["name"] for option in command["options"]] == [
        "prompt",
        "depth",
        "seed",
        "negative",
        "width",
        "height",
        "image",
        "strength",
        "style",
        "model",
        "sampler",
        "spoiler",
    ]
    assert command["contexts"] == [0, 1]
    depth = command["options"][1]
    assert (depth["min_value"], depth["max_value"]) == (0, 8)
    assert not house.discord.gateway.connected


async def test_no_token_of_any_kind_is_logged(
    house: House, caplog: pytest.LogCaptureFixture, discord: Playground
) -> None:
    caplog.set_level(logging.INFO)
    asked = await discord.member("ada").slash(discord.general, "imagine", prompt="a hat", depth=0)
    await house.delivered(1)
    assert caplog.records
    assert discord.token not in caplog.text
    assert "ready as" in caplog.text
    # It has a server already, and it never speaks.
    assert "invite me" not in caplog.text
    assert "voice" not in caplog.text
    assert asked.token not in caplog.text
