"""What python-tuf raises, as one line that says what is wrong and what can be done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edge_cl.errors import MissingExtraError, UpdateError

try:
    from tuf.api import exceptions as tuf_errors
except ImportError as error:
    raise MissingExtraError("updating over the air", "update") from error

EXPIRED = (
    "either nobody looks after the repository (edge-cl publish signs again), or someone hands out "
    "an old copy of it"
)
_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (tuf_errors.ExpiredMetadataError, "is out of date", EXPIRED),
    (
        tuf_errors.BadVersionNumberError,
        "was turned back, or its parts do not belong together",
        "someone hands out an old copy; if that is you, publish again",
    ),
    (
        tuf_errors.UnsignedMetadataError,
        "is not signed by the keys that this device trusts",
        "is it the right repository, and the right root?",
    ),
    (
        tuf_errors.LengthOrHashMismatchError,
        "holds a file that is not the one that was signed",
        "it was damaged or edited; publish again",
    ),
    (
        tuf_errors.DownloadLengthMismatchError,
        "sends more than was signed, or more than is taken",
        "it was damaged or edited; publish again",
    ),
    (tuf_errors.DownloadError, "cannot be fetched", "try again later"),
    (tuf_errors.RepositoryError, "cannot be read", "it was damaged or edited; publish again"),
)


@contextlib.contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn what python-tuf raises into one line."""
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        for kind, reason, hint in _REASONS:
            if isinstance(error, kind):
                detail = " ".join(str(error).split()).rstrip(".")
                raise UpdateError(f"{what} {reason}: {detail}", hint=hint) from error
        raise
