"""Discord's limits on what is sent to it: messages, components, modals, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playground.errors import JSON, ApiError, FormErrors, too_large
from playground.state import MIB, MessageFlag, Upload

REQUEST_LIMIT = 25 * MIB
_COMMAND_NAME = re.compile(r"^[-_'\w]{1,32}$")
_BUTTON, _SELECTS, _TEXT_INPUT = 2, (3, 5, 6, 7, 8), 4
_ROW, _LABEL, _TEXT_DISPLAY = 1, 18, 10


@dataclass(slots=True)
class Draft:
    """A message on its way in. A field that is None was not given; matters for edits."""

    content: str | None = None
    embeds: list[JSON] | None = None
    components: list[JSON] | None = None
    attachments: list[JSON] | None = None
    uploads: dict[int, Upload] = field(default_factory=dict)  # index in the request -> file
    allowed_mentions: JSON | None = None
    reference: JSON | None = None
    flags: int | None = None
    nonce: str | int | None = None
    enforce_nonce: bool = False
    tts: bool = False

    @classmethod
    def from_request(cls, payload: JSON, uploads: dict[int, Upload]) -> Draft:
        """Read the body of a create or edit; JSON null clears a text or a list."""

        def given(key: str, empty: Any) -> Any:
            return (payload[key] or empty) if key in payload else None

        return cls(
            content=given("content", ""),
            embeds=given("embeds", []),
            components=given("components", []),
            attachments=given("attachments", []),
            uploads=uploads,
            allowed_mentions=payload.get("allowed_mentions"),
            reference=payload.get("message_reference"),
            flags=payload.get("flags"),
            nonce=payload.get("nonce"),
            enforce_nonce=bool(payload.get("enforce_nonce")),
            tts=bool(payload.get("tts")),
        )


def walk(components: list[JSON]) -> Iterator[JSON]:
    """Yield every component of a message or modal, rows and containers included."""
    for component in components:
        yield component
        yield from walk(component.get("components", []))
        for inner in ("component", "accessory"):
            if component.get(inner):
                yield from walk([component[inner]])


def check_draft(draft: Draft, upload_limit: int) -> None:
    """Raise 50035 for what Discord would not take, 40005 for a file over the limit (bytes)."""
    if any(len(u.data) > upload_limit for u in draft.uploads.values()):
        raise too_large()
    errors = FormErrors()
    if draft.content is not None:
        errors.length("content", draft.content, high=2000)
    if draft.nonce is not None and len(str(draft.nonce)) > 25:
        errors.add("nonce", "NONCE_TYPE_TOO_LONG", "Nonce must be between 0 and 25 in length.")
    if len(draft.uploads) > 10 or len(draft.attachments or []) > 10:
        errors.add("attachments", "BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.")
    _check_embeds(errors, draft.embeds or [])
    _check_components(errors, draft.components or [], v2=bool((draft.flags or 0) & MessageFlag.COMPONENTS_V2))
    if (draft.flags or 0) & MessageFlag.COMPONENTS_V2:
        for key in ("content", "embeds"):
            if getattr(draft, key):
                code = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
                errors.add(
                    key, code, f"The '{key}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
                )
    errors.raise_if_any()


def check_not_empty(draft: Draft) -> None:
    """Raise 50006 for a new message with nothing in it."""
    text = (draft.content or "").strip()
    if not (text or draft.embeds or draft.uploads or draft.components):
        raise ApiError(400, 50006, "Cannot send an empty message")


def _check_embeds(errors: FormErrors, embeds: list[JSON]) -> None:
    errors.count("embeds", embeds, high=10)
    total = 0
    for i, embed in enumerate(embeds):
        at = f"embeds.{i}"
        texts = [
            ("title", embed.get("title"), 256),
            ("description", embed.get("description"), 4096),
            ("footer.text", (embed.get("footer") or {}).get("text"), 2048),
            ("author.name", (embed.get("author") or {}).get("name"), 256),
        ]
        for name, value, high in texts:
            if value is not None:
                errors.length(f"{at}.{name}", value, high=high)
                total += len(str(value))
        fields = embed.get("fields") or []
        errors.count(f"{at}.fields", fields, high=25)
        for j, entry in enumerate(fields):
            errors.length(f"{at}.fields.{j}.name", entry.get("name"), low=1, high=256)
            errors.length(f"{at}.fields.{j}.value", entry.get("value"), low=1, high=1024)
            total += len(str(entry.get("name"))) + len(str(entry.get("value")))
        for key in ("image", "thumbnail"):
            url = (embed.get(key) or {}).get("url")
            if url is not None and not str(url).startswith(("http://", "https://", "attachment://")):
                errors.add(
                    f"{at}.{key}.url",
                    "URL_TYPE_INVALID_SCHEME",
                    "Scheme must be one of ('http', 'https', 'attachment').",
                )
    if total > 6000:
        errors.add("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def _check_components(errors: FormErrors, components: list[JSON], *, v2: bool) -> None:
    if not v2:
        errors.count("components", components, high=5)
        for i, row in enumerate(components):
            inner = row.get("components", [])
            if row.get("type") != _ROW:
                errors.add(
                    f"components.{i}.type", "UNION_TYPE_CHOICES", "Value of field must be one of (1,)."
                )
            buttons = sum(c.get("type") == _BUTTON for c in inner)
            if not 1 <= len(inner) <= 5 or (buttons < len(inner) and len(inner) > 1):
                errors.add(
                    f"components.{i}.components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length."
                )
    everything = list(walk(components))
    if len(everything) > 40:
        errors.add("components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 40 in length.")
    seen: set[str] = set()
    for i, component in enumerate(everything):
        _check_component(errors, f"components.{i}", component, seen)


def _check_component(errors: FormErrors, at: str, component: JSON, seen: set[str]) -> None:
    kind = component.get("type")
    custom_id = component.get("custom_id")
    is_link = kind == _BUTTON and component.get("style") in (5, 6)
    if kind in (_BUTTON, _TEXT_INPUT, *_SELECTS) and not is_link:
        errors.length(f"{at}.custom_id", custom_id or "", low=1, high=100)
    if custom_id is not None:
        if custom_id in seen:
            errors.add(
                f"{at}.custom_id",
                "COMPONENT_CUSTOM_ID_DUPLICATED",
                "Component custom id cannot be duplicated",
            )
        seen.add(custom_id)
    if kind == _BUTTON:
        errors.length(f"{at}.label", component.get("label") or "", high=80)
        if not component.get("label") and not component.get("emoji"):
            errors.add(f"{at}.label", "BASE_TYPE_REQUIRED", "This field is required")
    elif kind == 3:
        _check_select(errors, at, component)
    elif kind in _SELECTS:
        errors.length(f"{at}.placeholder", component.get("placeholder") or "", high=150)
    elif kind == _TEXT_DISPLAY:
        errors.length(f"{at}.content", component.get("content") or "", low=1, high=4000)
    elif kind == _TEXT_INPUT:
        errors.length(
            f"{at}.value", component.get("value") or "", high=int(component.get("max_length") or 4000)
        )
        errors.length(f"{at}.placeholder", component.get("placeholder") or "", high=100)
        if component.get("label") is not None:
            errors.length(f"{at}.label", component["label"], low=1, high=45)


def _check_select(errors: FormErrors, at: str, component: JSON) -> None:
    options = component.get("options") or []
    errors.count(f"{at}.options", options, low=1, high=25)
    errors.length(f"{at}.placeholder", component.get("placeholder") or "", high=150)
    values: set[str] = set()
    for j, option in enumerate(options):
        errors.length(f"{at}.options.{j}.label", option.get("label") or "", low=1, high=100)
        errors.length(f"{at}.options.{j}.value", option.get("value") or "", low=1, high=100)
        errors.length(f"{at}.options.{j}.description", option.get("description") or "", high=100)
        if option.get("value") in values:
            errors.add(
                f"{at}.options.{j}.value",
                "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED",
                "The specified option value is already used",
            )
        values.add(str(option.get("value")))
    if int(component.get("max_values", 1)) > len(options):
        errors.add(f"{at}.max_values", "NUMBER_TYPE_MAX", f"Must be {len(options)} or fewer.")


def check_modal(data: JSON) -> None:
    """Raise 50035 unless this is a modal that Discord would open."""
    errors = FormErrors()
    errors.length("data.custom_id", data.get("custom_id") or "", low=1, high=100)
    errors.length("data.title", data.get("title") or "", low=1, high=45)
    components = data.get("components") or []
    errors.count("data.components", components, low=1, high=5)
    seen: set[str] = set()
    for i, component in enumerate(walk(components)):
        at = f"data.components.{i}"
        _check_component(errors, at, component, seen)
        if component.get("type") == _LABEL:
            errors.length(f"{at}.label", component.get("label") or "", low=1, high=45)
            errors.length(f"{at}.description", component.get("description") or "", high=100)
    errors.raise_if_any()


def check_choices(choices: list[JSON]) -> None:
    """Raise 50035 unless these are choices that autocompletion may offer."""
    errors = FormErrors()
    errors.count("data.choices", choices, high=25)
    for i, choice in enumerate(choices):
        _check_choice(errors, f"data.choices.{i}", choice)
    errors.raise_if_any()


def _check_choice(errors: FormErrors, at: str, choice: JSON) -> None:
    errors.length(f"{at}.name", choice.get("name") or "", low=1, high=100)
    if isinstance(choice.get("value"), str):
        errors.length(f"{at}.value", choice["value"], low=1, high=100)


def check_commands(commands: list[JSON]) -> None:
    """Raise 50035 or 30032 unless this whole set of commands can be registered."""
    kinds = [c.get("type", 1) for c in commands]
    for kind, most in ((1, 100), (2, 5), (3, 5)):
        if kinds.count(kind) > most:
            raise ApiError(400, 30032, f"Maximum number of application commands reached ({most})")
    errors = FormErrors()
    seen: set[tuple[Any, Any]] = set()
    for i, command in enumerate(commands):
        name, kind = str(command.get("name", "")), command.get("type", 1)
        if kind == 1:
            _check_command_name(errors, f"{i}.name", name)
            errors.length(f"{i}.description", command.get("description") or "", low=1, high=100)
            _check_options(errors, str(i), command.get("options") or [])
        else:
            errors.length(f"{i}.name", name, low=1, high=32)
        if (name, kind) in seen:
            errors.add(
                f"{i}.name", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique"
            )
        seen.add((name, kind))
    errors.raise_if_any()


def _check_command_name(errors: FormErrors, at: str, name: str) -> None:
    if not _COMMAND_NAME.match(name) or name != name.lower():
        errors.add(at, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_options(errors: FormErrors, at: str, options: list[JSON]) -> None:
    errors.count(f"{at}.options", options, high=25)
    optional_seen = False
    for j, option in enumerate(options):
        here = f"{at}.options.{j}"
        _check_command_name(errors, f"{here}.name", str(option.get("name", "")))
        errors.length(f"{here}.description", option.get("description") or "", low=1, high=100)
        if option.get("type") in (1, 2):
            _check_options(errors, here, option.get("options") or [])
            continue
        choices = option.get("choices") or []
        errors.count(f"{here}.choices", choices, high=25)
        for k, choice in enumerate(choices):
            _check_choice(errors, f"{here}.choices.{k}", choice)
        if choices and option.get("autocomplete"):
            errors.add(
                f"{here}.autocomplete",
                "APPLICATION_COMMAND_OPTIONS_CHOICES_MUTUALLY_EXCLUSIVE",
                "Options can't have choices and autocomplete",
            )
        if option.get("required") and optional_seen:
            errors.add(
                f"{here}.required",
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional_seen = optional_seen or not option.get("required")
