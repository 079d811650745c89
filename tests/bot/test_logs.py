"""Logs: one line a record, with the work it belongs to, and no secrets."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from bot import logs
from pipeline.settings import Settings

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GhIjKl.abcdefghijklmnopqrstuvwxyz0123456789AB"


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("bot.test", logging.WARNING, __file__, 1, message, args, more.get("exc_info"))


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def test_json_is_one_object_a_line_with_what_it_is_about() -> None:
    made = logs.formatter("json", logs.Secrets(settings()))
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        with logs.about(step=7, session=3), logs.about(step=8):
            line = made.format(record("it %s", "broke\n", exc_info=(type(error), error, None)))
    assert "\n" not in line
    read = json.loads(line)
    assert read["message"] == "it broke\n"
    assert (read["level"], read["logger"], read["step"], read["session"]) == ("WARNING", "bot.test", "8", "3")
    assert read["time"].endswith("+00:00")
    assert "ValueError: first\nsecond" in read["error"]
    assert "step" not in json.loads(made.format(record("after")))


async def test_text_says_what_it_is_about_also_in_tasks_that_were_started() -> None:
    made = logs.formatter("text", logs.Secrets(settings()))

    async def inner() -> str:
        return made.format(record("hello"))

    with logs.about(interaction=5):
        task = asyncio.create_task(inner())
    assert (await task).endswith("WARNING bot.test: hello  [interaction=5]")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_secrets_are_hidden_wherever_they_are(kind: Any) -> None:
    made = logs.formatter(
        kind,
        logs.Secrets(
            settings(
                discord_token="short",
                openai_api_key="my-own-key",
                database_url="postgresql+asyncpg://bot:p%40ss-word@db/x",
                diffusion_url="a1111+http://u:pass1@a:1,a1111+http://u:pass2@b:1",
            )
        ),
    )
    try:
        raise ValueError("p@ss-word in an error")
    except ValueError as error:
        line = made.format(
            record(
                "short my-own-key p%%40ss-word pass1 pass2 %s sk-0123456789abcdefgh",
                TOKEN,
                exc_info=(type(error), error, error.__traceback__),
            )
        )
    secrets = ("short", "my-own-key", "p%40ss-word", "p@ss-word", "pass1", "pass2", TOKEN, "sk-0123")
    for secret in secrets:
        assert secret not in line, secret
    assert "[hidden]" in line


def test_details_of_what_is_sent_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    names = ("discord", "openai", "httpx", "httpcore", "aiosqlite", "sqlalchemy.engine")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        logs.set_up(settings(log_level="DEBUG", log_format="json"))
        assert logging.getLogger("discord.http").getEffectiveLevel() == logging.INFO
        assert logging.getLogger("openai").getEffectiveLevel() == logging.WARNING
        assert logging.getLogger("bot").getEffectiveLevel() == logging.DEBUG
    finally:
        root.handlers[:], root.level = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
