"""The error tree. Every message is one plain sentence, safe to show to a member, with what to do next.

ContextualDiffusionError
├── InvalidRequest            what was asked cannot be done; the asker can change it
│   └── NotUnderstood         a reply that names no object
│       └── UnknownName       its words name none of those at hand: there may be others in the picture
├── NotFound                  a session, step or file that is not there
├── ConfigurationError        a setting or file the operator must mend
└── BackendError              a collaborator failed; `retryable` says whether trying again can help
    ├── GeneratorError        Stable Diffusion
    ├── SegmentationError     Mask R-CNN
    ├── WriterError           the language model
    └── WorkerError           a worker process died or ran out of time
"""

from __future__ import annotations


class ContextualDiffusionError(Exception):
    """Base of everything this project raises on purpose; `str(error)` may be shown to a member."""


class InvalidRequest(ContextualDiffusionError):
    """Say what was asked cannot be done, and what can."""


class NotUnderstood(InvalidRequest):
    """Say that a reply names none of the objects at hand."""


class UnknownName(NotUnderstood):
    """Say that a reply's words name none of the objects at hand."""


class NotFound(ContextualDiffusionError):
    """Say that a session, a step or a file is not there."""


class ConfigurationError(ContextualDiffusionError):
    """Say which setting or file the operator must mend, and how."""


class BackendError(ContextualDiffusionError):
    """Say that a collaborator failed; `retryable` is whether the same request may succeed later."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class GeneratorError(BackendError):
    """Say that the picture backend failed."""


class SegmentationError(BackendError):
    """Say that finding objects failed."""


class WriterError(BackendError):
    """Say that the language model failed."""


class WorkerError(BackendError):
    """Say that a worker process died or ran out of time."""
