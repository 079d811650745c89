"""What Discord answers when it says no."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]


class RefusedError(Exception):
    """Discord's own client would not have let a member do this."""


class ApiError(Exception):
    """An answer of the REST API other than success, in Discord's shape."""

    def __init__(self, status: int, code: int, message: str, errors: JSON | None = None) -> None:
        super().__init__(f"{status} (code {code}): {message}" + (f" {errors}" if errors else ""))
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors

    def body(self) -> JSON:
        """Return the JSON that Discord sends for this error."""
        body: JSON = {"message": self.message, "code": self.code}
        if self.errors:
            body["errors"] = self.errors
        return body


_UNKNOWN = {
    "Application": 10002,
    "Channel": 10003,
    "Guild": 10004,
    "Member": 10007,
    "Message": 10008,
    "Role": 10011,
    "User": 10013,
    "Emoji": 10014,
    "Webhook": 10015,
    "Interaction": 10062,
    "Application Command": 10063,
}


def unknown(what: str) -> ApiError:
    """Return the 404 for a thing that is not there, e.g. `unknown("Message")`."""
    return ApiError(404, _UNKNOWN[what], f"Unknown {what.lower() if what == 'Interaction' else what}")


def unauthorized() -> ApiError:
    """Return the 401 for a missing or wrong bot token."""
    return ApiError(401, 0, "401: Unauthorized")


def missing_access() -> ApiError:
    """Return the 403 for a channel that may not even be seen."""
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    """Return the 403 for something that may be seen but not done."""
    return ApiError(403, 50013, "Missing Permissions")


def too_large() -> ApiError:
    """Return the 413 for an upload over the limit."""
    return ApiError(413, 40005, "Request entity too large")


class FormErrors:
    """Collects the errors of one request body as Discord's tree: `embeds.0.title._errors`."""

    def __init__(self) -> None:
        self._tree: JSON = {}

    def add(self, path: str, code: str, message: str) -> None:
        """Note one error at a dotted path such as `embeds.0.title`."""
        node = self._tree
        for part in path.split("."):
            node = node.setdefault(part, {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def length(self, path: str, value: object, *, low: int = 0, high: int) -> None:
        """Note an error unless the value is a string of `low` to `high` characters."""
        if not isinstance(value, str):
            self.add(path, "STRING_TYPE_CONVERT", "Could not convert to string.")
        elif low and not value:
            self.add(path, "BASE_TYPE_REQUIRED", "This field is required")
        elif len(value) > high and low == 0:
            self.add(path, "BASE_TYPE_MAX_LENGTH", f"Must be {high} or fewer in length.")
        elif not low <= len(value) <= high:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")

    def count(self, path: str, values: list[Any], *, low: int = 0, high: int) -> None:
        """Note an error unless the list has `low` to `high` elements."""
        if not low <= len(values) <= high:
            self.add(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")

    def raise_if_any(self) -> None:
        """Raise the 400 with everything noted so far."""
        if self._tree:
            raise ApiError(400, 50035, "Invalid Form Body", self._tree)
