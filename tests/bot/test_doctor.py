"""The doctor: what it says about what is well and what is not, and that it never tells a secret."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bot.app import main
from bot.doctor import PROBES, diagnose, intents, token, uploads
from pipeline.checkup import Finding, examine
from pipeline.settings import ROOT, Settings
from pipeline.store import Store, migrate
from playground import Playground
from tests.loopback_a1111 import LoopbackA1111
from tests.loopback_openai import KEY, LoopbackOpenAI, fails

LOOKS_RIGHT = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GhIjKl.abcdefghijklmnopqrstuvwxyz0123456789AB"


def settings(tmp_path: Path, **changes: Any) -> Settings:
    """Settings with which looking is quick."""
    values: dict[str, Any] = {
        "database_url": f"sqlite+aiosqlite:///{tmp_path / 'bot.sqlite'}",
        "executor_url": "thread:",
        "llm_model": "template",
    }
    return Settings(_env_file=None, **{**values, **changes})  # type: ignore[call-arg]


async def said_by(made: Settings, *, timeout: float = 30) -> tuple[int, str]:
    """Run the doctor as the command does, on a wide terminal; return its status and its words."""
    written = io.StringIO()
    console = Console(file=written, width=300, highlight=False)
    status = await asyncio.to_thread(diagnose, made, timeout=timeout, console=console)
    return status, written.getvalue()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def line_of(text: str, what: str) -> str:
    """Return a table's row, with its advice."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if re.match(rf"\s*(ok|warn|fail)\s+{what}", line))
    after = lines[at + 1] if at + 1 < len(lines) and "→" in lines[at + 1] else ""
    return " ".join((lines[at] + after).split())


async def test_without_a_token_and_without_a_network_all_else_is_looked_at(tmp_path: Path) -> None:
    status, text = await said_by(settings(tmp_path))
    assert status == 0
    assert line_of(text, "token").startswith("warn token there is none → Put DISCORD_TOKEN into .env")
    assert "nothing there yet, the first start makes it" in line_of(text, "database")
    assert re.match(r"ok picture backend embedded, weights/ldm.npz \(as shipped, ", line_of(text, "picture"))
    assert "10 classes, Sky, " in line_of(text, "Mask R-CNN, depth 0")
    assert "7 classes, Hat, " in line_of(text, "Mask R-CNN, depth 1")
    assert line_of(text, "executor").startswith("ok")
    assert line_of(text, "uploads").startswith("ok")
    assert "no things to mend, 1 warning." in text
    assert _names(tmp_path) == []  # nothing was made by looking


async def test_a_whole_and_running_house_is_well(tmp_path: Path, discord: Playground, database: str) -> None:
    made = settings(tmp_path, discord_token=discord.token, database_url=database)
    store = Store(database)
    async with store.alone("discord"):
        status, text = await said_by(made)
    await store.aclose()
    assert status == 0
    assert re.search(r"Discord accepts it: .*, in 1 servers", line_of(text, "token"))
    assert "none of them privileged" in line_of(text, "intents")
    assert re.search(
        r"migration \d+, writable, [\d.]+ MiB; a bot is at work on it", line_of(text, "database")
    )
    assert discord.token not in text


async def test_a_token_that_discord_refuses(tmp_path: Path, discord: Playground) -> None:
    (found,) = await token(settings(tmp_path, discord_token=LOOKS_RIGHT), 5)
    assert (found.state, found.said) == ("fail", "Discord does not accept it")
    assert "Reset Token" in found.todo


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (LOOKS_RIGHT, "its form is right; Discord cannot be reached"),
        ("abc", "its form is not that of a token; Discord cannot be reached"),
        (f"Bot {LOOKS_RIGHT}", "the word Bot before"),
    ],
)
async def test_a_token_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, words: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setattr("discord.http.Route.BASE", f"http://127.0.0.1:{port}/api/v10")
        (found,) = await token(settings(tmp_path, discord_token=secret), 5)
    assert found.state == "fail"
    assert words in found.said
    assert secret not in found.said + found.todo


async def test_the_bot_asks_for_no_privileged_intent() -> None:
    assert not intents().message_content
    assert not intents().members
    assert not intents().presences


async def test_what_is_missing_fails_one_by_one_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database " * 1000)
    (tmp_path / "pointer.h5").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    (tmp_path / "half.h5").write_bytes((ROOT / "weights" / "surface.h5").read_bytes()[:100_000])
    made = settings(
        tmp_path,
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'text.sqlite'}",
        diffusion_url=f"embedded:{tmp_path / 'none.npz'}",
        segmenters={0: str(tmp_path / "pointer.h5"), 1: str(tmp_path / "half.h5"), 2: "weights/detail.h5"},
        executor_url="carrier-pigeon:3",
    )
    status, text = await said_by(made)
    assert status == 1
    assert "some other file" in line_of(text, "database")
    assert "there is no file" in line_of(text, "picture backend")
    assert "known are process:N" in line_of(text, "executor")
    assert "Mask R-CNN" in text  # its executor is the same one
    assert line_of(text, "disk").startswith("ok")

    status, text = await said_by(made.model_copy(update={"executor_url": "thread:"}))
    assert "git lfs pull" in line_of(text, "Mask R-CNN, depth 0")
    assert "cannot be loaded as Mask R-CNN weights" in line_of(text, "Mask R-CNN, depth 1")
    assert line_of(text, "Mask R-CNN, depth 2").startswith("ok")


async def test_weights_of_ones_own_are_said_to_be(tmp_path: Path) -> None:
    mine = tmp_path / "mine.npz"
    mine.write_bytes((ROOT / "weights" / "ldm.npz").read_bytes()[:-30])
    (found,) = await PROBES["picture backend"](settings(tmp_path, diffusion_url=f"embedded:{mine}"), 5)
    assert (found.state, found.said) == ("fail", f"{mine}: it is damaged")


async def test_a_database_of_an_older_program_is_to_be_backed_up(tmp_path: Path) -> None:
    made = settings(tmp_path)
    await asyncio.to_thread(migrate, made.database_url)
    store = Store(made.database_url)
    async with store._engine.begin() as db:
        await db.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    await store.aclose()
    (found,) = await PROBES["database"](made, 5)
    assert (found.state, found.todo) == ("warn", "Make a backup before the next start.")


async def test_a_server_that_paints_is_asked_what_it_has(tmp_path: Path) -> None:
    async with LoopbackA1111(auth=("ada", "s3cret/word")) as server:
        address = f"a1111+{server.url}"
        good = settings(tmp_path, diffusion_url=address, diffusion_sampler="DPM++ 2M Karras")
        status, text = await said_by(good)
        assert status == 0
        assert line_of(text, "picture backend").startswith("ok picture backend the Stable Diffusion server")
        odd = good.model_copy(update={"diffusion_checkpoint": "sdxl", "diffusion_sampler": "Heun"})
        found = await PROBES["picture backend"](odd, 5)
        assert [finding.state for finding in found] == ["ok", "warn", "warn"]
        assert found[1].todo.startswith("Choose one that the server has: pastel-streets_v2")
        assert server.painted == []
        wrong = settings(tmp_path, diffusion_url=re.sub("//.*@", "//ada:another-s3cret@", address))
        status, text = await said_by(wrong)
    assert status == 1
    assert "does not accept the user name and password" in line_of(text, "picture backend")
    assert "s3cret" not in text
    gone = await examine(good, {"picture backend": PROBES["picture backend"]}, timeout=5)
    assert "cannot be reached" in gone[0].said
    assert gone[0].todo


async def test_a_language_model_has_to_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with LoopbackOpenAI() as server:
        made = settings(tmp_path, llm_model="gpt-4.1-mini", openai_base_url=server.url, openai_api_key=KEY)
        (found,) = await PROBES["language model"](made, 10)
        assert (found.state, found.todo) == ("ok", "")
        server.answers.extend([fails(404, "no such model")] * 3)
        (found,) = await PROBES["language model"](made, 10)
        assert found.state == "fail"
        assert found.todo.startswith("Set LLM_MODEL to a model of this server")
        status, text = await said_by(
            made.model_copy(update={"openai_api_key": type(made.openai_api_key)("sk-wrong-0123456789abcdef")})  # type: ignore[arg-type,call-arg]
        )
    assert status == 1
    assert "Set OPENAI_API_KEY to a key that this server accepts." in line_of(text, "language model")
    assert "0123456789abcdef" not in text + caplog.text


async def test_a_probe_that_hangs_or_breaks_costs_nothing_but_itself(tmp_path: Path) -> None:
    async def hangs(_: Settings, timeout: float) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks(_: Settings, timeout: float) -> list[Finding]:
        raise RuntimeError("odd")

    probes = {"hangs": hangs, "breaks": breaks, "uploads": uploads}
    found = await examine(settings(tmp_path), probes, timeout=0.05)
    assert [(finding.what, finding.state) for finding in found] == [
        ("hangs", "fail"),
        ("breaks", "fail"),
        ("uploads", "ok"),
    ]
    assert all(finding.todo for finding in found[:2])


async def test_large_pictures_are_warned_of(tmp_path: Path) -> None:
    (found,) = await uploads(settings(tmp_path, picture_width=2048, picture_height=2048), 1)
    assert found.state == "warn"
    assert "WebP" in found.todo


def test_settings_that_are_wrong_are_said_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPS", "many")
    assert main(["doctor"]) == 1
    assert "Setting STEPS: " in capsys.readouterr().err
