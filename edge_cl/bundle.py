"""The `.edgecl` bundle: everything a device needs to know an encoder, in one verified file.

A bundle is a *stored* ZIP (nothing is compressed, so nothing can explode):

    manifest.json         what goes in, what comes out, a sha256 for every other member
    encoder*.onnx|.tflite one or more encoders (none: the features come ready-made)
    parity.safetensors    a few inputs and the float model's features for them
    report.json           how faithful and how fast the exporter found the encoders
    MODEL_CARD.md         for people

The archive's comment is the sha256 of the manifest, and the manifest holds the sha256 and
size of every member, so that one edited byte anywhere is found by `open_bundle` before any
parser of a model sees it. This proves that the file is whole, not who made it: a forger can
recompute hashes; only a signature answers that.

Sizes are bounded before anything is read, member names are a closed list, and no path
from the archive is ever used on the file system.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_cl import files
from edge_cl.arrays import F32
from edge_cl.errors import BundleError, InputError
from edge_cl.manifest import (
    MEMBER,
    SCHEMA_VERSION,
    EmbeddingSpec,
    EncoderSpec,
    InputSpec,
    Manifest,
    Member,
    inconsistency,
)

__all__ = [
    "SCHEMA_VERSION",
    "Bundle",
    "EmbeddingSpec",
    "EncoderSpec",
    "InputSpec",
    "Manifest",
    "Member",
    "Parity",
    "load_parity",
    "open_bundle",
    "pack_bundle",
    "read_bundle",
    "write_bundle",
]

MAX_BUNDLE_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1 << 18

_MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same members give the same bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Inputs (m, *shape) and the features (m, d) that the float model gives for them."""

    inputs: np.ndarray
    features: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle, held in memory.

    manifest : the description.
    head : the manifest as it was written.
    files : member name -> verified bytes.
    """

    manifest: Manifest
    head: bytes
    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Digest of the manifest, hence of everything: the bundle's identity."""
        return _sha256(self.head)

    @property
    def name(self) -> str:
        """Name and version, as people write it."""
        return f"{self.manifest.name} {self.manifest.version}"

    def archive(self) -> bytes:
        """Return the bundle's file again."""
        return _pack(self.head, self.files)


def pack_bundle(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a bundle; the same arguments give the same bytes.

    Raises
    ------
    InputError : a member name outside the format, or a manifest that does not fit the files.
    """
    entries = {
        name: Member(sha256=_sha256(data), size=len(data)) for name, data in sorted(members.items())
    }
    manifest = msgspec.structs.replace(manifest, members=entries)
    problem = inconsistency(manifest)
    if problem:
        raise InputError(problem)
    return _pack(msgspec.json.format(msgspec.json.encode(manifest), indent=2), members)


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, members: Mapping[str, bytes]
) -> None:
    """Write one bundle, whole or not at all. See `pack_bundle`.

    Raises
    ------
    StorageError : the disk refused; what was at `path` before is still there.
    """
    files.write_atomically(Path(path), pack_bundle(manifest, members))


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and verify all of it.

    Raises
    ------
    BundleError : not a bundle, damaged, edited, or of a schema this version does not know.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise BundleError(f"{path} has {size} bytes, a bundle has at most {MAX_BUNDLE_BYTES}")
        return read_bundle(path.read_bytes(), str(path))
    except OSError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error


def read_bundle(data: bytes, where: str = "bundle") -> Bundle:
    """Verify the bytes of a bundle; `where` names them in errors. See `open_bundle`."""
    members = _unpack(data, where)
    head = members.pop(_MANIFEST)
    manifest = _decode_manifest(head, where)
    if set(members) != set(manifest.members):
        odd = sorted(set(members) ^ set(manifest.members))
        raise BundleError(f"{where}: members differ from the manifest: {', '.join(odd)}")
    for name, blob in members.items():
        want = manifest.members[name]
        if len(blob) != want.size or _sha256(blob) != want.sha256:
            raise BundleError(
                f"{where}: {name} is not the file the manifest describes",
                hint="the bundle was damaged or edited; fetch or export it again",
            )
    problem = inconsistency(manifest)
    if problem:
        raise BundleError(f"{where}: {problem}")
    return Bundle(manifest=manifest, head=head, files=members)


def load_parity(bundle: Bundle) -> Parity | None:
    """Return the parity vectors of a bundle, or None where it has none.

    Raises
    ------
    BundleError : they do not fit the manifest.
    """
    blob = bundle.files.get("parity.safetensors")
    if blob is None:
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(blob)
        inputs, features = tensors["inputs"], tensors["features"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"parity.safetensors cannot be read: {error}") from error
    spec = bundle.manifest
    m = len(inputs) if inputs.ndim else 0
    if (
        inputs.shape != (m, *spec.input.shape)
        or inputs.dtype.name != spec.input.dtype
        or features.shape != (m, spec.embedding.d)
        or features.dtype != np.float32
        or not np.isfinite(features).all()
    ):
        raise BundleError("parity.safetensors does not fit the manifest's input and embedding")
    return Parity(inputs=inputs, features=features)


def _pack(head: bytes, members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(_MANIFEST, head), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # as on any other system
            archive.writestr(info, data)
        archive.comment = _sha256(head).encode()
    return buffer.getvalue()


def _unpack(data: bytes, where: str) -> dict[str, bytes]:
    """Return the members of a stored ZIP, refusing everything our writer never makes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if len(set(names)) != len(names):
                raise BundleError(f"{where}: a member occurs twice")
            if not names or names[0] != _MANIFEST:
                raise BundleError(f"{where} is not an edge-cl bundle: no manifest comes first")
            for info in infos:
                if info.filename != _MANIFEST and not MEMBER.fullmatch(info.filename):
                    raise BundleError(f"{where}: unknown member {info.filename!r}")
                if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
                    raise BundleError(f"{where}: {info.filename} is compressed or encrypted")
            if infos[0].file_size > MAX_MANIFEST_BYTES:
                raise BundleError(
                    f"{where}: the manifest is larger than {MAX_MANIFEST_BYTES} bytes"
                )
            if len(data) != _archive_size(infos):
                raise BundleError(f"{where}: the archive has gaps, or bytes that no member owns")
            members = {info.filename: archive.read(info) for info in infos}
            comment = archive.comment
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{where} is not an edge-cl bundle, or damaged: {error}",
            hint="the file may be cut short; fetch or export it again",
        ) from error
    if comment != _sha256(members[_MANIFEST]).encode():
        raise BundleError(
            f"{where}: the manifest is not the one that was written",
            hint="the bundle was damaged or edited; fetch or export it again",
        )
    return members


def _archive_size(infos: list[zipfile.ZipInfo]) -> int:
    """Bytes of an archive that holds these members, our comment, and nothing else."""
    local, central, end = 30, 46, 22  # fixed parts of the three ZIP records
    names = sum(2 * len(info.filename) for info in infos)
    bodies = sum(local + central + info.file_size for info in infos)
    return names + bodies + end + 64


def _decode_manifest(head: bytes, where: str) -> Manifest:
    class Version(msgspec.Struct):
        schema_version: int

    try:
        version = msgspec.json.decode(head, type=Version).schema_version
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{where} has schema version {version}, this edge-cl reads {SCHEMA_VERSION}",
                hint="update edge-cl, or export the bundle again",
            )
        return msgspec.json.decode(head, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: the manifest does not fit the schema: {error}") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
