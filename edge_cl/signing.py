"""Signatures of bundles: who made it, where a digest only says that it is whole.

Ed25519, in a file of its own beside the bundle (`NAME.edgecl.sig`): JSON in one form, any other
byte is refused. Signed is not the file but its identity, `Bundle.sha256`: the digest of the
manifest, which holds the digest of everything else. What is verified is therefore exactly what
was read into memory, and stays so whatever happens to the file afterwards. The signed message
begins with words that only this format uses, so that a signature made for anything else is none.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_cl import files
from edge_cl.bounded_read import read_bounded
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.errors import BundleError, InputError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = [
    "MAX_SIGNATURE_BYTES",
    "new_key",
    "open_signed_bundle",
    "read_public_key",
    "read_signature",
    "sign_bundle",
    "signature_path",
    "verify_signature",
]

FORMAT_VERSION = 1
MAX_SIGNATURE_BYTES = 1 << 12
_MAX_KEY_BYTES = 1 << 14
_UNSIGNED = "a signature is required: edge-cl sign makes one, with the right private key"
_WORDS = b"edge-cl bundle signature, version 1\0"


class _Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of the file; key_id: sha256 of the raw public key; both in hex."""

    format_version: int
    key_id: str
    signature: str


def signature_path(bundle: str | os.PathLike[str]) -> Path:
    """Return where the signature of a bundle's file is."""
    return Path(f"{os.fspath(bundle)}.sig")


def open_signed_bundle(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> Bundle:
    """Read a bundle, verify all of it, and that the owner of `key` signed it.

    Parameters
    ----------
    key : path of the public key (PEM).

    Raises
    ------
    BundleError : see `open_bundle`; no signature, another key's, or another bundle's.
    InputError : `key` is not the path of a public Ed25519 key.
    MissingExtraError : `cryptography` is not installed.
    """
    pem = read_public_key(key)
    signature = read_signature(path)
    bundle = open_bundle(path)
    verify_signature(bundle, signature, pem)
    return bundle


def verify_signature(bundle: Bundle, signature: bytes | None, public_key_pem: bytes) -> None:
    """Return if `signature`, the content of a signature's file, is of this bundle by this key.

    Parameters
    ----------
    signature : None where there is none, which is refused like a wrong one.

    Raises
    ------
    BundleError, InputError, MissingExtraError : see `open_signed_bundle`.
    """
    key = _public_key(public_key_pem)
    if signature is None:
        raise BundleError(f"{bundle.name} is not signed", hint=_UNSIGNED)
    told = _decoded(signature, bundle.name)
    if told.key_id != _key_id(key):
        raise BundleError(
            f"{bundle.name} is signed by key {told.key_id[:16]}, not by {_key_id(key)[:16]}",
            hint="fetch a bundle that the owner of the required key signed",
        )
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(bytes.fromhex(told.signature), _message(bundle))
    except InvalidSignature as error:
        raise BundleError(
            f"the signature of {bundle.name} does not belong to this bundle",
            hint="the bundle or its signature was replaced or altered; fetch both again",
        ) from error


def sign_bundle(path: str | os.PathLike[str], private_key: str | os.PathLike[str]) -> Path:
    """Verify a bundle, sign it, and return the path of its signature.

    Raises
    ------
    BundleError : see `open_bundle`.
    InputError : not the path of a private Ed25519 key without a password.
    StorageError : the disk refused.
    """
    key = _private_key(_read_key(private_key))
    bundle = open_bundle(path)
    told = _Signature(
        format_version=FORMAT_VERSION,
        key_id=_key_id(key.public_key()),
        signature=key.sign(_message(bundle)).hex(),
    )
    place = signature_path(path)
    files.write_atomically(place, _encoded(told))
    return place


def new_key(name: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Make NAME.private.pem, readable by its owner only, and NAME.public.pem; return the paths.

    Raises
    ------
    StorageError : one of them is there already, or the disk refused; nothing was written.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    paths = Path(f"{os.fspath(name)}.private.pem"), Path(f"{os.fspath(name)}.public.pem")
    _write_new(paths[0], private, 0o600)
    try:
        _write_new(paths[1], public, 0o644)
    except StorageError:
        paths[0].unlink(missing_ok=True)
        raise
    return paths


def read_public_key(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a public key's file.

    Raises
    ------
    InputError : it cannot be read, or holds something else.
    """
    pem = _read_key(path)
    _public_key(pem, str(path))
    return pem


def read_signature(bundle: str | os.PathLike[str]) -> bytes:
    """Return the content of the signature beside a bundle's file.

    Raises
    ------
    BundleError : there is none, or nothing that could be one.
    """
    return read_bounded(
        signature_path(bundle),
        MAX_SIGNATURE_BYTES,
        error=BundleError,
        hint=_UNSIGNED,
    )


def _message(bundle: Bundle) -> bytes:
    return _WORDS + bytes.fromhex(bundle.sha256)


def _encoded(told: _Signature) -> bytes:
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def _decoded(data: bytes, name: str) -> _Signature:
    """Return what a signature's file says, if it is in the one form that `sign_bundle` writes."""
    try:
        told = msgspec.json.decode(data[: MAX_SIGNATURE_BYTES + 1], type=_Signature)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"the signature of {name} cannot be read: {error}") from error
    if told.format_version != FORMAT_VERSION:
        raise BundleError(
            f"the signature of {name} has format {told.format_version}, this edge-cl reads "
            f"{FORMAT_VERSION}",
            hint="update edge-cl, or sign the bundle again",
        )
    if _encoded(told) != data or not (_is_hex(told.key_id, 32) and _is_hex(told.signature, 64)):
        raise BundleError(f"the signature of {name} is not in the form that edge-cl sign writes")
    return told


def _is_hex(text: str, size: int) -> bool:
    return len(text) == 2 * size and not set(text) - set("0123456789abcdef")


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _public_key(pem: bytes, where: str = "the public key") -> Ed25519PublicKey:
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise InputError(
            f"{where} is a private key, a public one is expected",
            hint="give NAME.public.pem; the private one stays where bundles are signed",
        )
    key = _loaded(load_pem_public_key, pem, where)
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{where} is not an Ed25519 key", hint="edge-cl sign --new-key NAME")
    return key


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where = "the private key"
    key = _loaded(lambda data: load_pem_private_key(data, password=None), pem, where)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{where} is not an Ed25519 key", hint="edge-cl sign --new-key NAME")
    return key


def _loaded(load: Any, pem: bytes, where: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise InputError(
            f"{where} is not a PEM key without a password",
            hint="edge-cl sign --new-key NAME makes a pair of keys",
        ) from error


def _read_key(path: str | os.PathLike[str]) -> bytes:
    return read_bounded(Path(path), _MAX_KEY_BYTES, error=InputError)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise StorageError(
            f"{path} is there already", hint="take another name; keys are never overwritten"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _need_cryptography() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise MissingExtraError("a signature", "sign")
