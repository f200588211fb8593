"""Every error this package raises on purpose.

EdgeCLError
├── InputError (ValueError)            the caller's array, label or option is wrong
├── BundleError (ValueError)           a bundle is damaged, edited, foreign or too new
├── StateError (ValueError)            a saved state is damaged or foreign
│   └── FormatError                        it is of a format that this version does not know
├── StorageError (OSError)             the disk refused: full, read-only, locked by another process
├── ForgetError (ValueError)           the sample was never learned, or cannot be taken back
├── SourceError (OSError)              a camera, video, folder or stream cannot be read
├── UpdateError (RuntimeError)         an update cannot be fetched, or is not to be trusted
├── DeployError (RuntimeError)         a board cannot be reached or taken; it is as it was
├── BackendError (RuntimeError)        an encoder or kernel backend is missing or broken
│   └── MissingExtraError (ImportError)    an optional package is not installed; says what to type
└── ExportError (RuntimeError)         a backbone cannot be exported
    └── FidelityError                  the exported encoder is too far from the float model

Messages are one line: what was expected, what came, where; `hint` says what to do about it.
"""

from __future__ import annotations


class EdgeCLError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message : one line: expected, got, where.
    hint : one line: what the user can do, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(EdgeCLError, ValueError):
    """An argument does not satisfy its documented shape, dtype or range."""


class BundleError(EdgeCLError, ValueError):
    """A bundle is damaged, edited, foreign or too new."""


class StateError(EdgeCLError, ValueError):
    """A saved state is damaged or foreign."""


class FormatError(StateError):
    """A saved state is whole, but of a format that this version does not know."""


class StorageError(EdgeCLError, OSError):
    """The disk refused: full, read-only, or locked by another process."""


class ForgetError(EdgeCLError, ValueError):
    """Taking the sample back would leave no valid state."""


class SourceError(EdgeCLError, OSError):
    """A camera, video, folder or stream cannot be read."""


class UpdateError(EdgeCLError, RuntimeError):
    """An update cannot be fetched, or is not to be trusted; nothing was installed."""


class DeployError(EdgeCLError, RuntimeError):
    """A board cannot be reached, or cannot be deployed to; it is as it was."""


class BackendError(EdgeCLError, RuntimeError):
    """An encoder or kernel backend is missing or broken."""


class MissingExtraError(BackendError, ImportError):
    """An optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs a package that is not installed",
            hint=f"pip install 'edge-cl[{extra}]'",
        )
        self.extra = extra


class ExportError(EdgeCLError, RuntimeError):
    """A backbone cannot be exported."""


class FidelityError(ExportError):
    """The exported encoder is too far from the float model; nothing was written."""
