"""The private keys of a repository: Ed25519, a PEM file each, in a folder of their own.

    KEYS/root-1.private.pem
    KEYS/targets-1.private.pem
    KEYS/snapshot-1.private.pem
    KEYS/timestamp-1.private.pem

What a key signs for stands in root.json, not in its name. A key that is not needed can be
elsewhere: publishing uses those that are there.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from edge_cl import files
from edge_cl.errors import InputError, MissingExtraError, StorageError

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner
except ImportError as error:
    raise MissingExtraError("publishing updates", "update") from error

_MAX_KEY_BYTES = 16 << 10
_SUFFIX = ".private.pem"


class RoleKeys:
    """The keys in one folder.

    Attributes
    ----------
    made : files of new keys, which `save` writes.

    Raises
    ------
    InputError : a file is no Ed25519 private key.
    StorageError : the folder cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Path] = []
        try:
            found = sorted(folder.glob(f"*{_SUFFIX}")) if folder.exists() else []
            self._signers = {path.name: _load(path) for path in found}
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"cannot read {folder}: {error.strerror}") from error

    def of(self, keyids: list[str]) -> list[CryptoSigner]:
        """Return the keys with these ids that are here."""
        return [s for s in self._signers.values() if s.public_key.keyid in keyids]

    def first(self, role: str, count: int) -> list[CryptoSigner]:
        """Return the first keys of a role, made where they are not here."""
        return [self._named(f"{role}-{i}{_SUFFIX}") for i in range(1, count + 1)]

    def new(self, role: str, count: int) -> list[CryptoSigner]:
        """Make further keys for a role."""
        numbers = (i for i in range(1, 1 << 16) if f"{role}-{i}{_SUFFIX}" not in self._signers)
        return [self._named(f"{role}-{i}{_SUFFIX}") for i in list(islice(numbers, count))]

    def _named(self, name: str) -> CryptoSigner:
        if name in self._signers:
            return self._signers[name]
        self.made.append(self.folder / name)
        return self._signers.setdefault(name, CryptoSigner.generate_ed25519())

    def save(self) -> None:
        """Write the keys that were made, 0600; to be called before what they have signed.

        Raises
        ------
        StorageError : the disk refused.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {self.folder}: {error.strerror}") from error
        for path in self.made:
            files.write_atomically(path, self._signers[path.name].private_bytes, mode=0o600)


def _load(path: Path) -> CryptoSigner:
    with path.open("rb") as stream:
        data = stream.read(_MAX_KEY_BYTES)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is no private key without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"expected an Ed25519 private key in {path}, got another kind")
    return CryptoSigner(key)
