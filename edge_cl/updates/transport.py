"""Fetching the files of a repository, from a web server or from a folder.

Both are taken to be hostile: files are bounded before they are read, a transfer may neither
stand still nor take for ever, and nothing is unpacked on the way.
"""

from __future__ import annotations

import http.client
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from edge_cl.errors import InputError, MissingExtraError

try:
    import urllib3
    from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
    from tuf.ngclient import FetcherInterface
except ImportError as error:
    raise MissingExtraError("updating over the air", "update") from error

MAX_METADATA_BYTES = 1 << 20

_CHUNK = 1 << 16
_NOT_FOUND = 404


def repository_url(place: str) -> str:
    """Return the URL of a repository, ending in a slash, for a URL or the path of a folder.

    Raises
    ------
    InputError : neither http, https, file nor a folder that is there.
    """
    scheme = urlsplit(place).scheme
    if scheme in ("http", "https"):
        if not urlsplit(place).hostname or "?" in place or "#" in place:
            raise InputError(f"expected the plain URL of a repository, got {place!r}")
        return place.rstrip("/") + "/"
    folder = Path(unquote(urlsplit(place).path) if scheme == "file" else place)
    if not folder.is_dir():
        raise InputError(f"expected a folder, or a URL with http or https, got {place!r}")
    return f"file://{quote(str(folder.resolve()))}/"


class RepositoryFetcher(FetcherInterface):
    """How files of a repository come.

    Parameters
    ----------
    version : of edge-cl, told to servers.
    idle_s : how long a server may keep silent.
    total_s : how long one file may take in all; a server that sends a byte now and then is
        otherwise never silent for too long, and never done.
    """

    def __init__(self, version: str, *, idle_s: float = 30.0, total_s: float = 3600.0) -> None:
        self._total_s = total_s
        self._pool = urllib3.PoolManager(
            # identity: what is unpacked on the way could be larger than any limit
            headers={"User-Agent": f"edge-cl/{version}", "Accept-Encoding": "identity"},
            timeout=urllib3.Timeout(idle_s),
            retries=urllib3.Retry(total=3, redirect=3, connect=0, read=0),
        )

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a metadata file; a length that metadata claims does not lift our own limit."""
        return super().download_bytes(url, min(max_length, MAX_METADATA_BYTES))

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield a file in pieces."""
        if urlsplit(url).scheme == "file":
            return _from_folder(Path(unquote(urlsplit(url).path)))
        return self._from_server(url)

    def _from_server(self, url: str) -> Iterator[bytes]:
        until = time.monotonic() + self._total_s
        try:
            response = self._pool.request("GET", url, preload_content=False)
            try:
                if response.status != 200:
                    raise DownloadHTTPError(
                        f"{url}: the server answered {response.status}", response.status
                    )
                while piece := response.read1(_CHUNK, decode_content=False):
                    if time.monotonic() > until:
                        raise SlowRetrievalError(f"{url} took more than {self._total_s:g} s")
                    yield piece
            finally:
                response.close()
        except urllib3.exceptions.MaxRetryError as error:
            raise DownloadError(f"{url}: {_reason(error.reason or error)}") from error
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise DownloadError(f"{url}: {_reason(error)}") from error


def _from_folder(path: Path) -> Iterator[bytes]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise DownloadError(f"{path} is no plain file")
            while piece := stream.read(_CHUNK):
                yield piece
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"{path}: there is no such file", _NOT_FOUND) from error
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    """Return what went wrong, without the name of the object that it happened to."""
    return re.sub(r"^.*?[)>]: ", "", " ".join(str(error).split())) or type(error).__name__
