"""Bundles on a device: one is current, the one before is kept, a new one has to prove itself.

A bundle that is installed is on trial. Each start of it is counted on disk before anything of
it is loaded; after a number of healthy predictions it is marked good. A bundle that was started
three times and never got there has crashed, hung or been ended each time: the shelf returns to
the previous one by itself, says so, and does not take the failed one again unless forced.

Every change is one atomic write of the record (`edge_cl.shelf_folder`): a power cut leaves the
old shelf or the new one, and doing the same again finishes what was begun. No clock is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_cl.bundle import Bundle, open_bundle, read_bundle
from edge_cl.errors import BundleError, InputError, StateError
from edge_cl.shelf_folder import MAX_REMEMBERED, Record, ShelfFolder

__all__ = ["Installed", "Shelf", "ShelfStatus", "Start"]

HEALTHY_AFTER = 100  # predictions
STARTS = 3

_change = msgspec.structs.replace

# Raises BundleError unless the signature (None: there is none) vouches for the bundle.
Check = Callable[[Bundle, bytes | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What came of installing: `switched` is False where the bundle was current already."""

    sha256: str
    name: str
    switched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The bundle to load.

    starts_left : further starts before the shelf returns to the previous bundle; None where
        the bundle is not on trial, or there is none to return to.
    returned_from : sha256 of the bundle that the shelf has just returned from; None else.
    note : the same for people, one line; empty where there is nothing to tell.
    """

    bundle: Bundle
    starts_left: int | None
    returned_from: str | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfStatus:
    """What is on a shelf, as sha256; `starts` of the current one, None when it is marked good."""

    current: str | None
    previous: str | None
    starts: int | None
    bad: tuple[str, ...]
    held: tuple[str, ...]


class Shelf:
    """Bundles in a folder, which is made when the first one is installed.

    Parameters
    ----------
    healthy_after : predictions after which a bundle on trial is marked good.
    starts : of a bundle on trial, without being marked good, before the shelf returns.
    check : called with every bundle and its signature, when installed and when started; raises
        BundleError to refuse it.
    patience_s : how long to wait for another process that is changing the shelf.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        healthy_after: int = HEALTHY_AFTER,
        starts: int = STARTS,
        check: Check | None = None,
        patience_s: float = 30.0,
    ) -> None:
        if healthy_after < 1 or starts < 1:
            raise InputError(
                f"expected healthy_after and starts >= 1, got {healthy_after} and {starts}"
            )
        self.folder = Path(folder)
        self._files = ShelfFolder(self.folder)
        self._healthy_after = healthy_after
        self._starts = starts
        self._check = check
        self._patience_s = patience_s
        self._running: str | None = None
        self._needed = 0  # healthy predictions until the running bundle is marked good; 0: none

    def install(
        self,
        bundle: bytes | str | os.PathLike[str],
        *,
        signature: bytes | None = None,
        force: bool = False,
    ) -> Installed:
        """Verify a bundle, make it current and begin its trial.

        The one that was current becomes the previous one, if it has proved itself or there is
        no other. Installing what is current already changes nothing.

        Parameters
        ----------
        bundle : its bytes, or the path of its file.
        force : also where the shelf has returned from this bundle before.

        Raises
        ------
        BundleError : it is damaged, refused by `check`, or failed here before.
        StorageError : the disk refused; the shelf is the old one or the new one, and installing
            again finishes what was begun.
        StateError : the folder holds what does not belong there.
        """
        new = read_bundle(bundle) if isinstance(bundle, bytes) else open_bundle(bundle)
        self._refuse(new, signature)
        sha256 = new.sha256
        with self._files.locked(patience_s=self._patience_s, create=True):
            before = self._files.record()
            if sha256 in before.bad and not force:
                raise BundleError(
                    f"{new.name} ({sha256[:12]}) failed on {self.folder} before",
                    hint="install another one, or force it",
                )
            self._files.keep(sha256, new.archive(), signature)
            after = installed(before, sha256)
            if after != before:
                self._files.commit(after)
        return Installed(sha256=sha256, name=new.name, switched=before.current != sha256)

    def start(self) -> Start:
        """Return the bundle to load now, verified again; while on trial the start is counted.

        A start that raises counts as well: a bundle that cannot be opened is returned from too.

        Raises
        ------
        StateError : nothing was installed, or the folder holds what does not belong there.
        BundleError : the bundle on the shelf is damaged, or refused by `check`.
        StorageError : the start could not be counted.
        """
        with self._files.locked(patience_s=self._patience_s):
            before = self._files.record()
            if before.current is None:
                raise StateError(f"no bundle on {self.folder}", hint="install one first")
            if before.previous and (before.starts or 0) >= self._starts:
                after = returned(before)
                bundle = self._open(str(after.current))  # before it is decided
                self._files.commit(after)
            else:
                after = started(before, self._starts)
                if after != before:
                    self._files.commit(after)
                bundle = self._open(before.current)
        failed = before.current if after.current != before.current else None
        self._running = after.current
        self._needed = self._healthy_after if after.starts is not None else 0
        on_trial = after.starts is not None and after.previous is not None
        note = (
            f"returned to {bundle.name} ({bundle.sha256[:12]}): {failed[:12]} was started "
            f"{before.starts} times and never marked good"
            if failed
            else ""
        )
        return Start(
            bundle=bundle,
            starts_left=self._starts - (after.starts or 0) if on_trial else None,
            returned_from=failed,
            note=note,
        )

    def healthy(self, n: int = 1) -> bool:
        """Count n healthy predictions of the bundle that `start` returned; True: it is good now.

        Nothing is written before the last one that is needed.

        Raises
        ------
        StorageError : that could not be written; it is tried again after as many more.
        """
        if not self._needed or n < 1:
            return False
        self._needed -= n
        if self._needed > 0:
            return False
        self._needed = self._healthy_after  # until it is written
        marked = self.mark_good(self._running)
        self._needed = 0
        return marked

    def mark_good(self, sha256: str | None = None) -> bool:
        """End the trial of the current bundle; False where it is not on trial.

        Parameters
        ----------
        sha256 : only if this one is current: another may have been installed meanwhile.
        """
        with self._files.locked(patience_s=self._patience_s):
            before = self._files.record()
            if before.starts is None or sha256 not in (None, before.current):
                return False
            self._files.commit(_change(before, starts=None))
        return True

    def go_back(self) -> Bundle:
        """Return to the previous bundle, and remember the current one as failed.

        Raises
        ------
        StateError : there is no previous one.
        BundleError : the previous one is damaged, or refused by `check`; nothing has changed.
        """
        with self._files.locked(patience_s=self._patience_s):
            before = self._files.record()
            if before.previous is None:
                raise StateError(f"no previous bundle on {self.folder}")
            bundle = self._open(before.previous)
            self._files.commit(returned(before))
        return bundle

    def prune(self) -> tuple[str, ...]:
        """Remove all bundles but the current and the previous one; return what was removed."""
        with self._files.locked(patience_s=self._patience_s):
            record = self._files.record()
            keep = {sha for sha in (record.current, record.previous) if sha}
            removed = tuple(sha for sha in self._files.held() if sha not in keep)
            self._files.drop(keep)
        return removed

    @property
    def status(self) -> ShelfStatus:
        """Read the shelf, without changing it or waiting for whoever does."""
        record = self._files.record()
        return ShelfStatus(
            current=record.current,
            previous=record.previous,
            starts=record.starts,
            bad=record.bad,
            held=tuple(self._files.held()),
        )

    def _open(self, sha256: str) -> Bundle:
        data, signature = self._files.read(sha256)
        bundle = read_bundle(data, f"{sha256[:12]}.edgecl on {self.folder}")
        if bundle.sha256 != sha256:
            raise BundleError(
                f"expected bundle {sha256[:12]} on {self.folder}, found {bundle.sha256[:12]}",
                hint="install the bundle again",
            )
        self._refuse(bundle, signature)
        return bundle

    def _refuse(self, bundle: Bundle, signature: bytes | None) -> None:
        if self._check is not None:
            self._check(bundle, signature)


def installed(record: Record, sha256: str) -> Record:
    """Return the record with this bundle current and on trial, and no longer known as bad."""
    bad = tuple(sha for sha in record.bad if sha != sha256)
    if record.current == sha256:
        return _change(record, bad=bad)
    proven = record.starts is None
    previous = record.current if proven or record.previous in (None, sha256) else record.previous
    return _change(record, current=sha256, previous=previous, starts=0, bad=bad)


def started(record: Record, limit: int) -> Record:
    """Return the record with one start more, where a trial is counting them."""
    if record.starts is None or record.starts >= limit:
        return record
    return _change(record, starts=record.starts + 1)


def returned(record: Record) -> Record:
    """Return the record with the previous bundle current, and the current one known as bad."""
    bad = (*(sha for sha in record.bad if sha != record.current), str(record.current))
    return _change(
        record, current=record.previous, previous=None, starts=None, bad=bad[-MAX_REMEMBERED:]
    )
