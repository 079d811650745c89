"""Rate limits: buckets a route and major parameter, the global limit, and a record of who broke them."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field

from playground.state import Clock

_MAJOR = ("channel_id", "guild_id", "webhook_id", "webhook_token")


@dataclass(frozen=True, slots=True)
class Rule:
    """So many requests in so many seconds, for routes whose "METHOD /template" matches a pattern."""

    name: str
    pattern: str
    limit: int
    seconds: float


_REACTIONS = r"(PUT|DELETE) /channels/{channel_id}/messages/{message_id}/reactions"
NEAR_THE_REAL_ONES = (
    Rule("message-create", r"POST /channels/{channel_id}/messages$", 5, 5.0),
    Rule("message-edit", r"PATCH /channels/{channel_id}/messages/{message_id}$", 5, 5.0),
    Rule("message-delete", r"DELETE /channels/{channel_id}/messages/{message_id}$", 5, 1.0),
    Rule("reaction", _REACTIONS, 1, 0.25),
    Rule("webhook", r"(POST|PATCH|DELETE|GET) /webhooks/", 5, 2.0),
    Rule("typing", r"POST /channels/{channel_id}/typing$", 5, 5.0),
    Rule("other", r"", 50, 1.0),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed. The first rule that matches counts."""

    rules: tuple[Rule, ...] = NEAR_THE_REAL_ONES
    global_per_second: int = 50
    command_creates_per_day: int = 200

    @classmethod
    def loose(cls) -> Limits:
        """Return limits that nothing reaches, for tests about something else."""
        return cls((Rule("loose", "", 1_000_000, 1.0),), 1_000_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Violation:
    """A request that came although its bucket was empty."""

    at: float  # seconds since 1970
    method: str
    path: str
    scope: str  # "user" for a bucket, "global"


@dataclass(slots=True)
class Verdict:
    """What one request did to its bucket."""

    headers: dict[str, str]
    retry_after: float | None = None  # seconds; None when it may pass
    scope: str = "user"


@dataclass(slots=True)
class _Window:
    ends: float = -math.inf
    used: int = 0

    def take(self, now: float, limit: int, seconds: float) -> bool:
        if now >= self.ends:
            self.ends, self.used = now + seconds, 0
        if self.used >= limit:
            return False
        self.used += 1
        return True


@dataclass(slots=True)
class RateLimiter:
    """Counts requests in fixed windows that begin with their first request."""

    clock: Clock
    limits: Limits
    violations: list[Violation] = field(default_factory=list)
    invalid_requests: int = 0  # answers 401, 403 and 429; ten thousand in ten minutes would ban the address
    _windows: dict[tuple[str, ...], _Window] = field(default_factory=dict)
    _global: _Window = field(default_factory=_Window)
    _creates: dict[int | None, _Window] = field(default_factory=dict)

    def take(self, method: str, template: str, path: str, params: dict[str, str]) -> Verdict:
        """Count one request. `template` is the route such as `/channels/{channel_id}/messages`."""
        if template.startswith("/interactions/"):
            return Verdict({})
        now = self.clock.monotonic()
        # The global limit is the bot token's; webhooks don't carry it.
        with_token = not template.startswith("/webhooks/")
        if with_token and not self._global.take(now, self.limits.global_per_second, 1.0):
            return self._refuse(method, path, "global", self._global.ends - now, {})
        rule = next((r for r in self.limits.rules if re.match(r.pattern, f"{method} {template}")), None)
        if rule is None:
            return Verdict({})
        # "other" is no one bucket: every route has its own.
        route = f"{method} {template}" if rule.pattern == "" else rule.name
        window = self._windows.setdefault((route, *(params.get(m, "") for m in _MAJOR)), _Window())
        passed = window.take(now, rule.limit, rule.seconds)
        # Rounded up: who waits as told must never be early.
        left = math.ceil((window.ends - now) * 1000) / 1000
        headers = {
            "X-RateLimit-Limit": str(rule.limit),
            "X-RateLimit-Remaining": str(rule.limit - window.used),
            "X-RateLimit-Reset": f"{self.clock.time() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(route.encode()).hexdigest()[:32],
        }
        return Verdict(headers) if passed else self._refuse(method, path, "user", left, headers)

    def take_command_creates(self, scope: int | None, count: int) -> bool:
        """Count commands created in a guild (None: globally) today; tell whether they are allowed."""
        window = self._creates.setdefault(scope, _Window())
        if self.clock.monotonic() >= window.ends:
            window.ends, window.used = self.clock.monotonic() + 86_400.0, 0
        if window.used + count > self.limits.command_creates_per_day:
            return False
        window.used += count
        return True

    @property
    def command_creates(self) -> int:
        """Return how many commands were created today, everywhere."""
        return sum(w.used for w in self._creates.values())

    def _refuse(self, method: str, path: str, scope: str, left: float, headers: dict[str, str]) -> Verdict:
        self.violations.append(Violation(self.clock.time(), method, path, scope))
        return refusal(max(left, 0.001), scope, headers)


def refusal(retry_after: float, scope: str, headers: dict[str, str]) -> Verdict:
    """Return a 429 with the headers that discord.py needs to wait and retry."""
    more = {
        "Retry-After": str(math.ceil(retry_after)),
        "X-RateLimit-Scope": scope,
        # Without it discord.py takes the answer for a ban by Cloudflare and gives up.
        "Via": "1.1 google",
    }
    if scope == "global":
        more["X-RateLimit-Global"] = "true"
    return Verdict(headers | more, retry_after, scope)
