"""The `.edgecl` bundle: everything a device needs to know an encoder, in one verified file.

A bundle is a *stored* ZIP (nothing is compressed, so nothing can explode):

    manifest.json         what goes in, what comes out, a sha256 for every other member
    encoder*.onnx|.tflite one or more encoders (none: the features come ready-made); for NPUs
                          encoder*.rknn and encoder*.hef
    parity.safetensors    a few inputs and the float model's features for them
    report.json           how faithful and how fast the exporter found the encoders
    MODEL_CARD.md         for people

The archive's comment is the sha256 of the manifest, and the manifest holds the sha256 and
size of every member, so that one edited byte anywhere is found by `open_bundle` before any
parser of a model sees it. This proves that the file is whole, not who made it: a forger can
recompute hashes; only a signature (`signing`) answers that.

The archive has one form only (`archive`), its sizes are bounded before anything is read, and an
encoder that needs another file or somebody's operators is refused (`onnx_file`, `tflite_file`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_cl import archive, files
from edge_cl.arrays import F32
from edge_cl.bounded_read import read_bounded
from edge_cl.errors import BundleError, InputError
from edge_cl.manifest import (
    MAX_BUNDLE_BYTES,
    SCHEMA_VERSION,
    EmbeddingSpec,
    EncoderSpec,
    InputSpec,
    Manifest,
    Member,
    inconsistency,
)
from edge_cl.npu_file import check_npu_file
from edge_cl.onnx_file import check_onnx
from edge_cl.tflite_file import check_tflite

__all__ = [
    "MAX_BUNDLE_BYTES",
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

_MAX_PARITY_HEADER = 1 << 16  # bytes of JSON about a few tensors
_DEPLOYED = "deployed:"  # and the member, as a tensor's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Inputs (m, *shape), and the features (m, d) that the float model gives for them.

    deployed : member -> features (m, d) that this encoder file gave where it was made; empty
        in bundles that do not hold them.
    """

    inputs: np.ndarray
    features: F32
    deployed: Mapping[str, F32]


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
        return archive.pack(self.head, self.files)


def pack_bundle(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a bundle; the same arguments give the same bytes.

    Raises
    ------
    InputError : a member name outside the format, or a manifest that does not fit the files.
    BundleError : an encoder that is not one self-contained model; see `read_bundle`.
    """
    entries = {
        name: Member(sha256=_sha256(data), size=len(data)) for name, data in sorted(members.items())
    }
    manifest = msgspec.structs.replace(manifest, members=entries)
    problem = inconsistency(manifest)
    if problem:
        raise InputError(problem)
    _check_models(manifest, members, f"{manifest.name} {manifest.version}")
    return archive.pack(msgspec.json.format(msgspec.json.encode(manifest), indent=2), members)


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
    data = read_bounded(Path(path), MAX_BUNDLE_BYTES, error=BundleError)
    return read_bundle(data, str(path))


def read_bundle(data: bytes, where: str = "bundle") -> Bundle:
    """Verify the bytes of a bundle; `where` names them in errors. See `open_bundle`."""
    members = archive.unpack(data, where)
    head = members.pop(archive.MANIFEST)
    manifest = _decode_manifest(head, where)
    if set(members) != set(manifest.members):
        odd = ascii(min(set(members) ^ set(manifest.members)))[:80]
        raise BundleError(f"{where}: members differ from the manifest: {odd}")
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
    _check_models(manifest, members, where)
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

    if int.from_bytes(blob[:8], "little") > _MAX_PARITY_HEADER:
        raise BundleError("parity.safetensors has a header that is too large")
    try:
        tensors = load(blob)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"parity.safetensors cannot be read: {error}") from error
    spec = bundle.manifest
    members = {_DEPLOYED + e.member: e.member for e in spec.encoders}
    if not {"inputs", "features"} <= set(tensors) <= {"inputs", "features", *members}:
        raise BundleError(
            "parity.safetensors must hold the tensors inputs and features, "
            "and may hold deployed:MEMBER of its encoders"
        )
    inputs = tensors.pop("inputs")
    m = len(inputs) if inputs.ndim else 0
    if (
        inputs.shape != (m, *spec.input.shape)
        or inputs.dtype.name != spec.input.dtype
        or not np.isfinite(inputs).all()
        or not all(_are_features(x, m, spec.embedding.d) for x in tensors.values())
    ):
        raise BundleError("parity.safetensors does not fit the manifest's input and embedding")
    return Parity(
        inputs=inputs,
        features=tensors.pop("features"),
        deployed={members[name]: x for name, x in tensors.items()},
    )


def _are_features(x: np.ndarray, m: int, d: int) -> bool:
    return x.shape == (m, d) and x.dtype == np.float32 and bool(np.isfinite(x).all())


def _check_models(manifest: Manifest, members: Mapping[str, bytes], where: str) -> None:
    compiled = {spec.member: spec.accelerator for spec in manifest.encoders}
    for name, data in members.items():
        suffix = Path(name).suffix
        if suffix == ".onnx":
            check_onnx(data, f"{where}: {name}")
        elif suffix == ".tflite":
            check_tflite(data, f"{where}: {name}", custom=compiled.get(name, ""))
        elif suffix in (".rknn", ".hef"):
            check_npu_file(data, suffix, f"{where}: {name}")


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
