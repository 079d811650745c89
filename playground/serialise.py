"""The world in the shapes that Discord's REST answers and gateway events have."""

from __future__ import annotations

from datetime import datetime

from playground import permissions
from playground.errors import JSON
from playground.state import (
    Attachment,
    Cause,
    Channel,
    ChannelType,
    Guild,
    Member,
    Message,
    MessageType,
    Role,
    User,
    World,
)


def stamp(moment: datetime | None) -> str | None:
    """Return a time as Discord writes it."""
    return None if moment is None else moment.isoformat()


def user(who: User) -> JSON:
    """Return a user."""
    return {
        "id": str(who.id),
        "username": who.name,
        "discriminator": "0000" if who.bot else "0",
        "global_name": None if who.bot else who.display_name,
        "avatar": None,
        "bot": who.bot,
        "public_flags": 0,
    }


def member(who: Member, *, with_user: bool = True) -> JSON:
    """Return a member; a message's `member` goes without its user."""
    data: JSON = {
        "roles": [str(r) for r in who.role_ids],
        "nick": who.nick,
        "avatar": None,
        "joined_at": stamp(who.joined_at),
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "pending": False,
        "flags": 0,
        "communication_disabled_until": None,
    }
    if with_user:
        data["user"] = user(who.user)
    return data


def role(which: Role) -> JSON:
    """Return a role."""
    return {
        "id": str(which.id),
        "name": which.name,
        "permissions": str(int(which.permissions)),
        "position": which.position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": which.managed,
        "mentionable": False,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def channel(world: World, which: Channel, *, viewer: int | None = None) -> JSON:
    """Return a channel or thread; for a viewer, with a thread's `member` if that user joined it."""
    data: JSON = {
        "id": str(which.id),
        "type": int(which.type),
        "last_message_id": None if which.last_message_id is None else str(which.last_message_id),
        "flags": 0,
    }
    if which.type is ChannelType.DM:
        others = [r for r in which.recipient_ids if r != viewer]
        return data | {"recipients": [user(world.users[r]) for r in others]}
    data |= {
        "guild_id": str(which.guild_id),
        "name": which.name,
        "parent_id": None if which.parent_id is None else str(which.parent_id),
        "rate_limit_per_user": 0,
        "nsfw": which.nsfw,
    }
    thread = which.thread
    if thread is None:
        overwrites = [
            {"id": str(i), "type": o.kind, "allow": str(o.allow), "deny": str(o.deny)}
            for i, o in which.overwrites.items()
        ]
        return data | {
            "topic": which.topic,
            "position": which.position,
            "permission_overwrites": overwrites,
            "default_auto_archive_duration": which.default_auto_archive_minutes,
        }
    data |= {
        "owner_id": str(thread.owner_id),
        "message_count": thread.message_count,
        "total_message_sent": thread.message_count,
        "member_count": len(thread.joined),
        "thread_metadata": {
            "archived": thread.archived,
            "auto_archive_duration": thread.auto_archive_minutes,
            "archive_timestamp": stamp(thread.archive_changed_at),
            "create_timestamp": stamp(thread.created_at),
            "locked": thread.locked,
            "invitable": thread.invitable,
        },
    }
    if viewer in thread.joined:
        data["member"] = thread_member(which, viewer)
    return data


def thread_member(which: Channel, user_id: int) -> JSON:
    """Return a thread's member."""
    assert which.thread is not None  # noqa: S101 - callers hold a thread
    joined = stamp(which.thread.joined[user_id])
    return {"id": str(which.id), "user_id": str(user_id), "join_timestamp": joined, "flags": 1}


def guild(world: World, which: Guild, *, viewer: int | None = None) -> JSON:
    """Return a guild; for a viewer, the whole GUILD_CREATE with what that user may see."""
    data: JSON = {
        "id": str(which.id),
        "name": which.name,
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "owner_id": str(which.owner_id),
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "roles": [role(r) for r in which.roles.values()],
        "emojis": [],
        "stickers": [],
        "features": which.features,
        "mfa_level": 0,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "vanity_url_code": None,
        "description": None,
        "banner": None,
        "premium_tier": which.premium_tier,
        "premium_subscription_count": 0,
        "preferred_locale": which.locale,
        "nsfw_level": 0,
        "premium_progress_bar_enabled": False,
    }
    if viewer is None:
        return data | {"approximate_member_count": len(which.members), "approximate_presence_count": 0}
    mine = [c for c in world.channels.values() if c.guild_id == which.id]
    me = which.members[viewer]
    return data | {
        "joined_at": stamp(me.joined_at),
        "large": False,
        "unavailable": False,
        "member_count": len(which.members),
        # Without the members intent only the bot itself is told.
        "members": [member(me)],
        "channels": [channel(world, c) for c in mine if c.thread is None],
        "threads": [
            channel(world, c, viewer=viewer)
            for c in mine
            if c.thread and not c.thread.archived and can_view(world, c, viewer)
        ],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def permissions_of(world: World, which: Channel, user_id: int) -> permissions.Permission:
    """Return what a user may do in a channel, thread or DM."""
    if which.guild_id is None:
        return permissions.IN_DM if user_id in which.recipient_ids else permissions.Permission(0)
    parent = which if which.thread is None else world.channels[which.parent_id or 0]
    return permissions.in_channel(world.guilds[which.guild_id], parent, user_id)


def can_view(world: World, which: Channel, user_id: int) -> bool:
    """Tell whether a user sees a channel; a private thread only if in it or a moderator."""
    allowed = permissions_of(world, which, user_id)
    if not allowed & permissions.Permission.VIEW_CHANNEL:
        return False
    if which.type is ChannelType.PRIVATE_THREAD and which.thread is not None:
        return user_id in which.thread.joined or bool(allowed & permissions.Permission.MANAGE_THREADS)
    return True


def attachment(world: World, file: Attachment) -> JSON:
    """Return an attachment with its address on this server, signed as on Discord's CDN."""
    url = f"{world.base_url}{file.path}?ex=7fffffff&is=00000000&hm=0"
    data: JSON = {
        "id": str(file.id),
        "filename": file.filename,
        "size": len(file.data),
        "url": url,
        "proxy_url": url,
    }
    if file.content_type:
        data["content_type"] = file.content_type
    if file.width:
        data |= {"width": file.width, "height": file.height}
    if file.description is not None:
        data["description"] = file.description
    return data


def content_is_open(world: World, which: Message) -> bool:
    """Tell whether the bot is shown a message's content without the privileged intent."""
    bot_id = world.application.bot.id
    return which.guild_id is None or which.author.id == bot_id or bot_id in which.mentions


def message(
    world: World, which: Message, *, whole: bool = True, gateway: bool = False, nested: bool = True
) -> JSON:
    """Return a message.

    `whole` is false for a reader without the message-content intent; `gateway` adds what only events carry.
    """
    open_ = whole or content_is_open(world, which)
    hidden = _used_in_embeds(world, which)
    data: JSON = {
        "id": str(which.id),
        "channel_id": str(which.channel_id),
        "author": user(which.author),
        "type": int(which.type),
        "content": which.content if open_ else "",
        "embeds": which.embeds if open_ else [],
        "components": which.components if open_ else [],
        "attachments": [attachment(world, a) for a in which.attachments if a.id not in hidden]
        if open_
        else [],
        "mentions": [_mention(world, which, i, gateway) for i in which.mentions],
        "mention_roles": [str(r) for r in which.mention_roles],
        "mention_everyone": which.mention_everyone,
        "timestamp": stamp(which.created_at),
        "edited_timestamp": stamp(which.edited_at),
        "flags": which.flags,
        "pinned": False,
        "tts": which.tts,
    }
    if which.reactions:
        data["reactions"] = [reaction(world, which, emoji) for emoji in which.reactions]
    if which.nonce is not None:
        data["nonce"] = which.nonce
    if which.webhook_id is not None:
        data["webhook_id"] = str(which.webhook_id)
        data["application_id"] = str(world.application.id)
    if gateway and which.guild_id is not None:
        data["guild_id"] = str(which.guild_id)
        author = world.guilds[which.guild_id].members.get(which.author.id)
        if author is not None:
            data["member"] = member(author, with_user=False)
    _add_relations(world, which, data, whole=whole, nested=nested)
    return data


def _add_relations(world: World, which: Message, data: JSON, *, whole: bool, nested: bool) -> None:
    if which.reference is not None:
        ref = which.reference
        data["message_reference"] = {
            "type": 0,
            "message_id": str(ref.message_id),
            "channel_id": str(ref.channel_id),
        }
        if ref.guild_id is not None:
            data["message_reference"]["guild_id"] = str(ref.guild_id)
        if nested and which.type in (MessageType.REPLY, MessageType.THREAD_STARTER_MESSAGE):
            channel_ = world.channels.get(ref.channel_id)
            source = channel_.messages.get(ref.message_id) if channel_ else None
            data["referenced_message"] = source and message(world, source, whole=whole, nested=False)
    if which.thread_id is not None and which.thread_id in world.channels:
        data["thread"] = channel(world, world.channels[which.thread_id])
    if which.cause is not None:
        data["interaction_metadata"] = _cause(world, which.cause, which.guild_id)
        if which.cause.command is not None:
            data["interaction"] = {
                "id": str(which.cause.id),
                "type": which.cause.kind,
                "name": which.cause.command,
                "user": user(world.users[which.cause.user_id]),
            }


def _used_in_embeds(world: World, which: Message) -> set[int]:
    # Discord does not list a file again that an embed shows by attachment://.
    shown = [embed.get(key) or {} for embed in which.embeds for key in ("image", "thumbnail")]
    urls = [str(media.get("url")) for media in shown]
    return {a.id for a in which.attachments if any(a.path in url for url in urls)}


def _mention(world: World, which: Message, user_id: int, gateway: bool) -> JSON:
    data = user(world.users[user_id])
    if gateway and which.guild_id is not None:
        there = world.guilds[which.guild_id].members.get(user_id)
        if there is not None:
            data["member"] = member(there, with_user=False)
    return data


def _cause(world: World, cause: Cause, guild_id: int | None) -> JSON:
    owners = {"0": str(guild_id)} if guild_id is not None else {"0": "0"}
    data: JSON = {
        "id": str(cause.id),
        "type": cause.kind,
        "user": user(world.users[cause.user_id]),
        "authorizing_integration_owners": owners,
    }
    if cause.command is not None:
        data["name"] = cause.command
    if cause.original_response_id is not None:
        data["original_response_message_id"] = str(cause.original_response_id)
    if cause.source_message_id is not None:
        data["interacted_message_id"] = str(cause.source_message_id)
    return data


def emoji(name: str) -> JSON:
    """Return an emoji: `name:id` for a custom one, else its characters."""
    if ":" in name:
        short, _, custom_id = name.partition(":")
        return {"id": custom_id, "name": short}
    return {"id": None, "name": name}


def reaction(world: World, which: Message, name: str) -> JSON:
    """Return one emoji's count on a message."""
    users = which.reactions[name]
    return {
        "count": len(users),
        "count_details": {"burst": 0, "normal": len(users)},
        "me": world.application.bot.id in users,
        "me_burst": False,
        "burst_colors": [],
        "emoji": emoji(name),
    }


def application(world: World) -> JSON:
    """Return the bot's application."""
    app = world.application
    content_flag = 1 << 18 if app.message_content else 0
    return {
        "id": str(app.id),
        "name": app.name,
        "icon": None,
        "description": "",
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "owner": user(app.owner),
        "team": None,
        "flags": content_flag,
        "bot": user(app.bot),
        "approximate_guild_count": len(world.guilds),
    }
