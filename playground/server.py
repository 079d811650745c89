"""The playground: one loopback server with the REST API, the gateway, the files and the members."""

from __future__ import annotations

import asyncio
import io
import secrets
import socket
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from aiohttp import web
from PIL import Image

from playground import admin, page, serialise
from playground.actors import Actor
from playground.errors import JSON, ApiError, too_large, unauthorized, unknown
from playground.faults import Fault, Faults
from playground.feed import Event, Feed
from playground.gateway import Gateway
from playground.hub import Hub
from playground.interactions import Interactions
from playground.keeper import Keeper, rebase
from playground.limits import Limits, RateLimiter, Verdict, Violation, refusal
from playground.messages import Messages
from playground.permissions import MEMBER_DEFAULTS, Permission, named
from playground.rest import application, channels, context, interactions, messages
from playground.state import (
    Application,
    Channel,
    Clock,
    Guild,
    Member,
    Message,
    Role,
    Upload,
    User,
    World,
)
from playground.threads import Threads
from playground.validate import REQUEST_LIMIT

T = TypeVar("T")
_API = "/api/v10"
_SWEEP_SECONDS = 30.0
_BOT_PERMISSIONS = MEMBER_DEFAULTS | Permission.MANAGE_THREADS | Permission.MANAGE_MESSAGES
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Playground:
    """A whole Discord of one guild, on 127.0.0.1, in memory or kept in a directory.

    Use it as `async with Playground() as discord:`; then `discord.rest_url`, `discord.token`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        guild_name: str = "Playground",
        bot_name: str = "Contextual Diffusion",
        message_content: bool = False,
        premium_tier: int = 0,
        upload_limit: int | None = None,
        limits: Limits | None = None,
        directory: Path | None = None,
    ) -> None:
        """Make the guild with a bot, an owner and a text channel `general`, or go on with a kept one.

        `message_content`: whether the bot's application has that privileged intent. `upload_limit`: bytes of
        the greatest attachment; the bot is told of it in interactions, though not in its guild. `directory`:
        where everything is kept from one run to the next; None = only in memory. Raises DirectoryInUse.
        """
        self._port = port
        self.clock = Clock()
        self.world = World(self.clock)
        self.feed = Feed(self.clock)
        self.gateway = Gateway(self.world, self.feed)
        self.hub = Hub(self.world, self.feed, self.gateway)
        self.threads_service = Threads(self.hub)
        self.messages_service = Messages(self.hub, self.threads_service)
        self.interactions = Interactions(self.hub, self.messages_service)
        self.limiter = RateLimiter(self.clock, limits or Limits())
        self.faults = Faults()
        self.admin = admin.Admin(self)
        self.admin_token = secrets.token_urlsafe(24)
        self.unknown_routes: list[str] = []  # "METHOD path" that this server does not have
        self.crashes: list[str] = []  # this server's own mistakes; leaving `async with` raises them
        self._actors: dict[str, Actor] = {}
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._former_url = ""
        self._keeper = Keeper(directory, self.world, self.interactions) if directory else None
        kept = self._keeper.load() if self._keeper else None
        if kept is not None:
            self._go_on(kept)
            return
        self._populate(token, guild_name, bot_name, message_content)
        self.guild.premium_tier = premium_tier
        self.guild.upload_limit_override = upload_limit

    def _go_on(self, kept: JSON) -> None:
        self._former_url, self.admin_token = kept["url"], kept["admin_token"]
        self.bot = self.world.application.bot
        (self.guild,) = self.world.guilds.values()
        self._actors = {u.name: Actor(self, u) for u in self.world.users.values() if not u.bot}
        self.general = next(c for c in self.world.channels.values() if c.guild_id and c.thread is None)

    def _populate(self, token: str | None, guild_name: str, bot_name: str, message_content: bool) -> None:
        world = self.world
        owner = self._user("owner", "Owner", bot=False)
        self.bot = self._user(bot_name, bot_name, bot=True)
        # A bot's token starts with its id in base 64; discord.py does not look, people do.
        secret = token or f"playground.{secrets.token_urlsafe(24)}"
        world.application = Application(world.snowflake(), bot_name, self.bot, owner, secret, message_content)
        self.guild = Guild(world.snowflake(), guild_name, owner.id)
        world.guilds[self.guild.id] = self.guild
        everyone = Role(self.guild.id, "@everyone", int(MEMBER_DEFAULTS), 0)
        bot_role = Role(world.snowflake(), bot_name, int(_BOT_PERMISSIONS), 1, managed=True)
        self.guild.roles = {everyone.id: everyone, bot_role.id: bot_role}
        for user, roles in ((owner, []), (self.bot, [bot_role.id])):
            self.guild.members[user.id] = Member(user, self.guild.id, self.clock.now(), roles)
        self._actors["owner"] = Actor(self, owner)
        self.general = self.threads_service.make_channel(self.guild, "general")

    def _user(self, name: str, display_name: str, *, bot: bool) -> User:
        user = User(self.world.snowflake(), name, display_name, bot)
        self.world.users[user.id] = user
        return user

    # Life

    async def __aenter__(self) -> Playground:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if self.crashes and kind is None:
            raise RuntimeError("the playground itself failed:\n" + "\n".join(self.crashes))

    async def start(self) -> None:
        """Listen on 127.0.0.1. Raises OSError when the port is taken."""
        listening = socket.create_server(("127.0.0.1", self._port))
        self.world.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.gateway.url = self.gateway_url
        if self._keeper is not None:
            rebase(self.world, self._former_url)
            self._keeper.save_all(self.admin_token)
            self.feed.listen(self._keeper.note)
        self._runner = runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """Hang up and stop listening."""
        self.faults.clear()
        self.interactions.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.gateway.close()
        await self.admin.hang_up()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._keeper is not None:
            self._keeper.close()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.threads_service.sweep()

    @property
    def url(self) -> str:
        """Return the server's address."""
        return self.world.base_url

    @property
    def rest_url(self) -> str:
        """Return the REST API's address: what `connect_here` takes."""
        return self.url + _API

    @property
    def gateway_url(self) -> str:
        """Return the gateway's address."""
        return self.url.replace("http", "ws", 1) + "/gateway"

    @property
    def page_url(self) -> str:
        """Return the address of the page, with the right to act as members in its fragment."""
        return f"{self.url}/#{self.admin_token}"

    @property
    def token(self) -> str:
        """Return the bot's token."""
        return self.world.application.token

    # The world

    def member(
        self,
        name: str,
        *,
        permissions: str = "",
        roles: tuple[Role, ...] = (),
        display_name: str | None = None,
    ) -> Actor:
        """Return a member to act as, who joins at the first call.

        `permissions` (names with spaces between) are granted on top of what every member has.
        """
        if name in self._actors:
            return self._actors[name]
        user = self._user(name, display_name or name.capitalize(), bot=False)
        granted = [r.id for r in roles]
        if permissions:
            granted.append(self.role(f"{name}'s role", permissions).id)
        member = Member(user, self.guild.id, self.clock.now(), granted)
        self.guild.members[user.id] = member
        joined = serialise.member(member) | {"guild_id": str(self.guild.id)}
        self.hub.tell("GUILD_MEMBER_ADD", joined)
        self._actors[name] = Actor(self, user)
        return self._actors[name]

    def role(self, name: str, permissions: str = "") -> Role:
        """Add a role."""
        role = Role(self.world.snowflake(), name, int(named(permissions.split())), len(self.guild.roles))
        self.guild.roles[role.id] = role
        self.hub.tell("GUILD_ROLE_CREATE", {"guild_id": str(self.guild.id), "role": serialise.role(role)})
        return role

    def add_channel(self, name: str, *, nsfw: bool = False) -> Channel:
        """Add a text channel."""
        return self.threads_service.make_channel(self.guild, name, nsfw=nsfw)

    def channel(self, which: str | int) -> Channel:
        """Return a channel or thread by name or id; of several names the newest."""
        if isinstance(which, int):
            return self.world.channel(which)
        for channel in reversed(self.world.channels.values()):
            if channel.name == which:
                return channel
        raise unknown("Channel")

    def messages(self, channel: Channel | int, *, system: bool = False) -> list[Message]:
        """Return what a channel shows, oldest first; without Discord's own lines unless `system`."""
        found = self.world.channel(channel if isinstance(channel, int) else channel.id).messages.values()
        return [m for m in found if system or not m.is_system]

    def threads(self, channel: Channel | int | None = None) -> list[Channel]:
        """Return a channel's threads, or all, oldest first, archived ones too."""
        if channel is None:
            return [c for c in self.world.channels.values() if c.thread is not None]
        return self.world.threads_of(channel if isinstance(channel, int) else channel.id)

    def file(self, url: str) -> bytes:
        """Return what an attachment's address leads to."""
        return self.world.attachments[int(url.split("/attachments/")[1].split("/")[1])].data

    def payload(self, message: Message) -> dict[str, object]:
        """Return a message as Discord's API shows it to someone who may read all of it."""
        return serialise.message(self.world, message)

    def deny(self, channel: Channel, who: Actor | User | Role, permissions: str) -> None:
        """Take permissions (names with spaces between) from a member, the bot or a role in a channel."""
        self.threads_service.overwrite(channel, who.id, int(not isinstance(who, Role)), deny=permissions)

    def allow(self, channel: Channel, who: Actor | User | Role, permissions: str) -> None:
        """Give permissions in a channel."""
        self.threads_service.overwrite(channel, who.id, int(not isinstance(who, Role)), allow=permissions)

    def delete_channel(self, channel: Channel) -> None:
        """Delete a channel or thread, as someone with all rights would."""
        self.threads_service.remove(channel)

    def delete_message(self, message: Message) -> None:
        """Delete a message, as someone with all rights would."""
        self.messages_service.remove(message)

    def edit_thread(self, thread: Channel, **changes: object) -> None:
        """Archive (`archived=True`), lock (`locked=True`) or rename a thread, as the owner of the guild."""
        self.threads_service.edit(self.guild.owner_id, thread, dict(changes))

    def advance(self, seconds: float) -> None:
        """Move time on: tokens expire, threads archive themselves, unanswered interactions fail."""
        self.clock.advance(seconds)
        self.interactions.sweep()
        self.threads_service.sweep()

    # Waiting and counting

    async def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Return the condition's first true result; it is asked now and after every event."""
        return await self.feed.wait_for(condition, timeout)

    async def wait_for_message(
        self,
        channel: Channel | int | None = None,
        matching: Callable[[Message], object] = lambda m: not m.loading,
        timeout: float = 10.0,
    ) -> Message:
        """Return the first message, already there or still to come, that matches; None: any channel."""

        def found() -> Message | None:
            everywhere = list(self.world.channels) if channel is None else [channel]
            return next((m for c in everywhere for m in self.messages(c) if matching(m)), None)

        message = await self.wait_for(found, timeout)
        assert message is not None  # noqa: S101 - wait_for returns true results only
        return message

    async def wait_for_event(
        self,
        kind: str,
        matching: Callable[[Event], object] = lambda e: True,
        *,
        after: int = 0,
        timeout: float = 10.0,
    ) -> Event:
        """Return the first event of a kind after a sequence number (`discord.feed.last`: only new ones)."""

        def found() -> Event | None:
            return next((e for e in self.feed.since(after) if e.kind == kind and matching(e)), None)

        event = await self.wait_for(found, timeout)
        assert event is not None  # noqa: S101 - wait_for returns true results only
        return event

    async def wait_until_connected(self, timeout: float = 10.0) -> None:
        """Return when a bot is identified or resumed."""
        await self.wait_for(lambda: self.gateway.connected, timeout)

    async def wait_until_commands(self, timeout: float = 10.0) -> None:
        """Return when the bot has registered commands."""
        await self.wait_for(lambda: any(self.world.application.commands.values()), timeout)

    @property
    def violations(self) -> list[Violation]:
        """Return the requests that came although a rate limit had been reached."""
        return self.limiter.violations

    # HTTP

    def _app(self) -> web.Application:
        # A sub-application's own limit is not looked at. Bigger ones are read too, to answer 413 properly.
        app = web.Application(client_max_size=REQUEST_LIMIT * 4, middlewares=[page.only_from_here])
        app[context.SERVICES] = context.Services(
            self.world,
            self.hub,
            self.threads_service,
            self.messages_service,
            self.interactions,
            self.limiter,
        )
        api = web.Application(middlewares=[self._serve])
        for module in (messages, channels, application, interactions):
            api.add_routes(module.ROUTES)
        app.add_subapp(_API, api)
        app.router.add_get("/gateway", self.gateway.handle)
        app.router.add_get("/attachments/{channel_id}/{attachment_id}/{filename}", self._attachment)
        app.router.add_get("/cdn/{path:.*}", _avatar)
        admin.add_routes(app, self.admin)
        page.add_routes(app)
        return app

    @web.middleware
    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Do what Discord does around every route: failures on demand, limits, token, errors, the record."""
        path = request.path.removeprefix(_API)
        began = self.clock.monotonic()
        early = await self._strike(request, path, after=False)
        response = early or await self._answer(request, path, handler)
        if early is None:
            late = await self._strike(request, path, after=True)
            response = late or response
        if response.status in (401, 403, 429):
            self.limiter.invalid_requests += 1
        self.feed.publish(
            "REQUEST",
            {
                "method": request.method,
                "path": path,
                "status": response.status,
                "seconds": round(self.clock.monotonic() - began, 4),
            },
        )
        return response

    async def _answer(self, request: web.Request, path: str, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        template = resource.canonical.removeprefix(_API) if resource is not None else path
        verdict = self.limiter.take(request.method, template, path, dict(request.match_info))
        if verdict.retry_after is not None:
            await request.read()
            return _too_many(verdict)
        try:
            carries_its_own = template.startswith(("/interactions/", "/webhooks/"))
            if not carries_its_own and request.headers.get("Authorization") != f"Bot {self.token}":
                raise unauthorized()
            response = await handler(request)
        except ApiError as error:
            response = context.refuse(error)
        except web.HTTPRequestEntityTooLarge:
            response = context.refuse(too_large())
        except web.HTTPException as error:
            self.unknown_routes.append(f"{request.method} {path}")
            response = context.refuse(ApiError(error.status, 0, f"{error.status}: {error.reason}"))
        except ConnectionError:
            raise  # who asked is gone, perhaps killed in mid-sentence: nobody's bug
        except Exception as error:
            # discord.py would retry a 500 in silence: keep it, so that nobody looks for the bug in the bot.
            trace = "".join(traceback.format_exception(error))
            self.crashes.append(f"{request.method} {path}\n{trace}")
            response = context.refuse(ApiError(500, 0, "500: Internal Server Error"))
        response.headers.update(verdict.headers)
        return response

    async def _strike(self, request: web.Request, path: str, *, after: bool) -> web.Response | None:
        for fault in self.faults.strike(request.method, path, after=after):
            response = await self._suffer(request, fault)
            if response is not None:
                return response
        return None

    async def _suffer(self, request: web.Request, fault: Fault) -> web.Response | None:
        """Let one failure happen; return the answer if that ends the request."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return None
        if fault.kind == "hold":
            fault.gate.reached.set()
            await fault.gate.opened.wait()
            return _cut(request) if fault.gate.dropping else None
        if fault.kind == "silence":
            await fault.gate.opened.wait()  # until the faults are cleared
            return _cut(request)
        if fault.kind == "disconnect":
            return _cut(request)
        if not fault.after:
            await request.read()
        if fault.kind == "rate_limit":
            return _too_many(refusal(fault.seconds, "global" if fault.is_global else "user", {}))
        return context.refuse(ApiError(fault.status, 0, f"{fault.status}: Injected"))

    async def _attachment(self, request: web.Request) -> web.Response:
        wanted = request.match_info["attachment_id"]
        file = self.world.attachments.get(int(wanted)) if wanted.isdecimal() else None
        if file is None or request.path != file.path:
            return web.Response(status=404, text="This content is no longer available.")
        kind = file.content_type or "application/octet-stream"
        headers = {
            "Content-Type": kind,
            "X-Content-Type-Options": "nosniff",
            # A member's file opened by itself must not act in the page's name.
            "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        return web.Response(body=file.data, headers=headers)

    def upload(self, channel: Channel, name: str, data: bytes) -> str:
        """Put a file on the CDN and return its address."""
        return self.url + self.messages_service.store(channel.id, Upload(name, data)).path


def _too_many(verdict: Verdict) -> web.Response:
    body = {
        "message": "You are being rate limited.",
        "retry_after": verdict.retry_after,
        "global": verdict.scope == "global",
    }
    response = context.answer(body, 429)
    response.headers.update(verdict.headers)
    return response


def _cut(request: web.Request) -> web.Response:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
    return web.Response(status=499)  # noted in the feed; the line is dead


async def _avatar(request: web.Request) -> web.Response:
    """Draw a plain avatar whose colour depends on the address."""
    hue = sum(request.path.encode()) * 47 % 256
    out = io.BytesIO()
    Image.new("HSV", (64, 64), (hue, 90, 230)).convert("RGB").save(out, "PNG")
    return web.Response(body=out.getvalue(), headers={"Content-Type": "image/png"})
