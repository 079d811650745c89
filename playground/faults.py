"""Failures on demand: which requests fail, how, and before or after they took effect."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["status", "rate_limit", "silence", "disconnect", "delay", "hold"]


@dataclass(slots=True, eq=False)
class Gate:
    """Stops requests until a test lets them go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    dropping: bool = False

    def release(self) -> None:
        """Let the requests go on, those at the gate and those to come."""
        self.opened.set()

    def drop(self) -> None:
        """Cut the connections instead; what was to come after the gate never happens."""
        self.dropping = True
        self.opened.set()


@dataclass(slots=True, eq=False)
class Fault:
    """One kind of failure for the next `times` matching requests."""

    method: str
    pattern: str
    kind: Kind
    after: bool = False
    times: int | None = 1  # None: always
    status: int = 500
    seconds: float = 0.0
    is_global: bool = False
    gate: Gate = field(default_factory=Gate)
    hits: list[str] = field(default_factory=list)  # "METHOD path" of the requests it struck

    def matches(self, method: str, path: str, after: bool) -> bool:
        """Tell whether it strikes this request at this moment."""
        return (
            self.after == after
            and (self.times is None or self.times > 0)
            and self.method in ("*", method)
            and re.search(self.pattern, path) is not None
        )


class Faults:
    """The failures that are set. Patterns are searched in the path after `/api/v10`."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def fail(
        self, method: str, pattern: str, *, status: int = 500, times: int | None = 1, after: bool = False
    ) -> Fault:
        """Answer with a 5xx (or any status), before or after the request took effect."""
        return self._add(Fault(method, pattern, "status", after, times, status=status))

    def rate_limit(
        self, method: str, pattern: str, *, seconds: float, times: int | None = 1, is_global: bool = False
    ) -> Fault:
        """Answer 429 with this retry_after, without noting a violation."""
        return self._add(
            Fault(method, pattern, "rate_limit", False, times, seconds=seconds, is_global=is_global)
        )

    def silence(self, method: str, pattern: str, *, times: int | None = 1, after: bool = False) -> Fault:
        """Never answer."""
        return self._add(Fault(method, pattern, "silence", after, times))

    def disconnect(self, method: str, pattern: str, *, times: int | None = 1, after: bool = False) -> Fault:
        """Cut the connection instead of answering."""
        return self._add(Fault(method, pattern, "disconnect", after, times))

    def delay(
        self, method: str, pattern: str, *, seconds: float, times: int | None = None, after: bool = False
    ) -> Fault:
        """Be slow."""
        return self._add(Fault(method, pattern, "delay", after, times, seconds=seconds))

    def hold(self, method: str, pattern: str, *, times: int | None = 1, after: bool = False) -> Gate:
        """Stop the request at a gate; its `reached` tells when."""
        return self._add(Fault(method, pattern, "hold", after, times)).gate

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all failures and open all gates."""
        for fault in self._faults:
            fault.gate.release()
        self._faults.clear()

    def strike(self, method: str, path: str, *, after: bool) -> list[Fault]:
        """Return the failures for this request, at most one that ends it, and count them down."""
        struck: list[Fault] = []
        for fault in self._faults:
            if not fault.matches(method, path, after):
                continue
            if fault.times is not None:
                fault.times -= 1
            fault.hits.append(f"{method} {path}")
            struck.append(fault)
            if fault.kind not in ("delay", "hold"):
                break
        return struck
