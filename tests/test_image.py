"""The container fits the code: what the bot imports is in the image, and what compose sets is known."""

import re
import tomllib
from pathlib import Path

from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def test_everything_that_runs_gets_into_the_image_and_secrets_do_not():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines  # all is left out but what is named
    taken = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert {
        *packages["root_packages"],
        "bot.py",
        "migrations",
        "weights",
        "pyproject.toml",
        "uv.lock",
    } <= taken
    assert all((ROOT / name).exists() for name in taken)
    assert not {".env", ".git", "data"} & taken


def test_compose_and_dockerfile_set_only_what_there_is():
    names = {name.upper() for name in Settings.model_fields}
    bot, rest = (ROOT / "compose.yaml").read_text("utf-8").split("\n  database:\n", 1)
    assert set(re.findall(r"^      ([A-Z_]+):", bot, re.M)) <= names
    assert "DIFFUSION_URL" in names
    assert "stable-diffusion:" in rest
    assert "METRICS_PORT=" in (ROOT / "Dockerfile").read_text("utf-8")


def test_operations_names_only_settings_that_there_are():
    names = {name.upper() for name in Settings.model_fields} | {"POSTGRES_PASSWORD"}
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert set(re.findall(r"\b([A-Z]{3,}_[A-Z_]+)=", text)) <= names
