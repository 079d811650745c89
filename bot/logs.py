"""What is logged, and how: as text or as JSON, with the work it belongs to, and never with a secret in it."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from pipeline.settings import Settings

# What the task is about: ("interaction", "123"), ("step", "7"), … Handed on to what it starts.
_about: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("about", default=())

# Bot tokens and interaction tokens as they stand in addresses and headers, and keys of OpenAI's kind.
_LOOKS_SECRET = re.compile(
    r"[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}|(?<=/callback/)[\w-]{20,}|aW50ZXJhY3Rpb24[\w=-]+|\bsk-[\w-]{16,}"
)
_HIDDEN = "[hidden]"


@contextmanager
def about(**what: object) -> Iterator[None]:
    """Have everything that is logged inside say what it is about: `about(step=7, session=3)`."""
    token = _about.set(_with(what))
    try:
        yield
    finally:
        _about.reset(token)


def begin(**what: object) -> None:
    """Have everything that this task logs from here on say what it is about."""
    _about.set(_with(what))


def _with(what: dict[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple({**dict(_about.get()), **{name: str(value) for name, value in what.items()}}.items())


class Secrets:
    """Knows the secrets of some settings, and hides them in texts, with whatever else looks like one."""

    def __init__(self, settings: Settings) -> None:
        found: set[str] = set()
        for value in dict(settings).values():
            if isinstance(value, SecretStr):
                found.add(value.get_secret_value())
            elif isinstance(value, str) and "://" in value:
                found |= set(_passwords(value))
        # Longer ones first: one may be a part of another.
        known = sorted((re.escape(text) for text in found if len(text) > 3), key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def hide(self, text: str) -> str:
        """Return a text without secrets."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _LOOKS_SECRET.sub(_HIDDEN, text)


def _passwords(addresses: str) -> Iterable[str]:
    """Yield the passwords of URLs in a setting, as they are written and as they are meant."""
    for address in addresses.split(","):
        try:
            password = urlsplit(address.strip()).password
        except ValueError:  # what is no address has perhaps a password all the same
            password = re.sub(r".*://[^:]*:|@[^@]*$", "", address)
        if password:
            yield from {password, unquote(password)}


class TextFormatter(logging.Formatter):
    """One line a record, with what it is about at the end; tracebacks below."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        said = " ".join(f"{name}={value}" for name, value in _about.get())
        return super().formatMessage(record) + (f"  [{said}]" if said else "")

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.hide(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, what it is about, error."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._secrets.hide(record.getMessage()),
            **dict(_about.get()),
        }
        if record.exc_info:
            line["error"] = self._secrets.hide(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self._secrets.hide(self.formatStack(record.stack_info))
        return json.dumps(line, ensure_ascii=False)


def formatter(kind: Literal["text", "json"], secrets: Secrets) -> logging.Formatter:
    """Make the formatter of `LOG_FORMAT`."""
    return JsonFormatter(secrets) if kind == "json" else TextFormatter(secrets)


def set_up(settings: Settings) -> None:
    """Log to standard error as the settings say, in place of what was set up before."""
    level = getattr(logging, settings.log_level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format, Secrets(settings)))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # In detail, these log what they send and receive, tokens and members' words among it.
    for name in (
        "discord",
        "openai",
        "httpx",
        "httpcore",
        "aiosqlite",
        "sqlalchemy.engine",
        "alembic.runtime.plugins",
    ):
        logging.getLogger(name).setLevel(max(logging.INFO if name == "discord" else logging.WARNING, level))
