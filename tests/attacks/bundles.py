"""Bundles that must be refused, built from one good bundle's members."""

import hashlib
import io
import json
import struct
import zipfile

import model_bytes as mb

EPOCH = (1980, 1, 1, 0, 0, 0)


def members_of(bundle):
    return {"manifest.json": bundle.head, **bundle.files}


def zipped(members, *, comment=None, method=zipfile.ZIP_STORED, extra=b""):
    """An archive of (name, data) pairs as they stand, or of a dict in the right order.

    It has the comment that makes it look right.
    """
    pairs = members
    if isinstance(members, dict):
        pairs = sorted(members.items(), key=lambda pair: (pair[0] != "manifest.json", pair[0]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in pairs:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.create_system, info.extra = method, 3, extra
            archive.writestr(info, data)
        heads = [data for name, data in pairs if name == "manifest.json"]
        digest = hashlib.sha256(heads[0] if heads else b"").hexdigest()
        archive.comment = digest.encode() if comment is None else comment
    return buffer.getvalue()


def with_manifest(members, change):
    """The archive whose manifest was edited by `change(dict)`, digest and all made right."""
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    return zipped({**members, "manifest.json": json.dumps(manifest).encode()})


def honest(members, **files):
    """The archive with members replaced or added, and a manifest that describes them."""
    members = {**members, **{name.replace("__", "."): data for name, data in files.items()}}
    return with_manifest(
        members,
        lambda m: m.update(
            members={
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                for name, data in members.items()
                if name != "manifest.json"
            }
        ),
    )


def archives(members):
    """Yield (what is wrong, bytes) for everything that is wrong with the archive."""
    good, names = zipped(members), [n for n in members if n != "manifest.json"]
    pairs = [(name, members[name]) for name in names]
    for name in members:
        data = members[name]
        yield f"{name} edited", zipped({**members, name: data[:-1] + bytes([data[-1] ^ 1])})
        yield f"{name} cut", zipped({**members, name: data[:-1]})
        yield f"{name} longer", zipped({**members, name: data + b"\0"})
        yield f"{name} empty", zipped({**members, name: b""})
        yield f"{name} missing", zipped({n: d for n, d in members.items() if n != name})
        yield f"{name} twice", good_with_duplicate(members, name)
    for name in ("../x", "/etc/passwd", "a/../b", "encoder.onnx/../x", "C:\\x", "x\0y", "x.pkl"):
        yield f"extra member {name!r}", zipped({**members, name: b"x"})
        yield f"described member {name!r}", honest(members, **{name: b"x"})
    yield "an undescribed encoder", zipped({**members, "encoder-b.onnx": b"x"})
    swapped = {**members, names[0]: members[names[1]], names[1]: members[names[0]]}
    yield "two members swapped", zipped(swapped)
    yield "manifest last", zipped(list(members.items())[1:] + list(members.items())[:1])
    yield "compressed", zipped(members, method=zipfile.ZIP_DEFLATED)
    yield "bzip2", zipped(members, method=zipfile.ZIP_BZIP2)
    yield "encrypted flag", flagged(good, 0x1)
    yield "patched-data flag", flagged(good, 0x20)
    yield "bytes before", b"#!/bin/sh\n" + good
    yield "bytes after", good + b"\0"
    yield "bytes between", zipped(members, extra=struct.pack("<HH4s", 0xCAFE, 4, b"gaps"))
    yield "no comment", zipped(members, comment=b"")
    yield "upper-case comment", zipped(members, comment=comment_of(good).upper())
    yield "foreign comment", zipped(members, comment=b"0" * 64)
    yield "nothing", b""
    yield "an empty archive", zipped({}, comment=b"0" * 64)
    yield "a text file", b"hello world" * 100
    for size in (len(good) + 1, 1 << 31, (1 << 32) - 2):
        yield f"claims {size} bytes", claiming(good, size)
    for what, attributes in {
        "a symbolic link": 0o120777 << 16,
        "a device": 0o060600 << 16,
        "a folder": 0o040755 << 16 | 0x10,
        "set-user-id": 0o104755 << 16,
        "a hidden DOS file": 0o600 << 16 | 0x02,
    }.items():
        yield f"{what}", directory_changed(good, 38, "<I", attributes)
        yield f"{what}, not the manifest", directory_changed(good, 38, "<I", attributes, at=2)
    yield "written on Windows", directory_changed(good, 5, "<B", 0)
    yield "another date", directory_changed(good, 14, "<H", 34)
    yield "another offset", directory_changed(good, 42, "<I", 7, at=1)
    yield "another disk", directory_changed(good, 34, "<H", 1)
    yield "a wrong checksum in the directory", directory_changed(good, 16, "<I", 0)
    yield "a wrong checksum in both places", checksum_changed(good)
    yield "members backwards", zipped([("manifest.json", members["manifest.json"]), *pairs[::-1]])
    yield "a folder entry", zipped({**members, "encoder/": b""})
    yield "an upper-case member", zipped({**members, "ENCODER.ONNX": b"x"})
    yield "a data descriptor", streamed(members)
    yield "a hidden member", hiding(members)
    yield (
        "too many members",
        honest(members, **{f"encoder-{i}__onnx": mb.IDENTITY for i in range(31)}),
    )
    for name, size in {"MODEL_CARD__md": 1 << 20, "report__json": 1 << 20}.items():
        yield f"{name} above its limit", honest(members, **{name: b" " * (size + 1)})


def encoders(members, name="encoder.onnx"):
    """Yield (what is wrong, bytes) for honest archives of networks that want more than a file."""
    external = mb.graph([mb.node("Identity")], initializers=[mb.external_tensor()])
    for what, blob in {
        "is text": b"no network",
        "is empty": b"",
        "is another runtime's": mb.tflite(),
        "is cut": members[name][:-1],
        "keeps weights elsewhere": mb.onnx(external),
        "has a custom operator": mb.onnx(mb.graph([mb.node("Run", domain="com.evil")])),
    }.items():
        yield f"an encoder that {what}", honest(members, **{name.replace(".", "__"): blob})
    for what, blob in {
        "is text": b"no network",
        "is another runtime's": members[name],
        "keeps weights elsewhere": mb.tflite(groups=1, buffers=1),
        "has a custom operator": mb.tflite(code=32, custom="FlexErf"),
    }.items():
        yield f"a tflite encoder that {what}", honest(members, encoder__tflite=blob)


def manifests(members):
    """Yield (what is wrong, bytes) for manifests that contradict the schema or themselves."""

    def edits():
        for key in json.loads(members["manifest.json"]):
            if key != "schema_version" and key != "members":
                yield f"{key} is null", lambda m, key=key: m.update({key: None})
        for version in (0, 2, -1, "1", None, True, 1e30):
            yield f"schema {version!r}", lambda m, v=version: m.update(schema_version=v)
        yield "no schema", lambda m: m.pop("schema_version")
        yield "unknown field", lambda m: m.update(surprise=1)
        yield "unknown field inside", lambda m: m["embedding"].update(surprise=1)
        yield "no embedding", lambda m: m.pop("embedding")
        for d in (0, -1, 1.5, "3", 1 << 40, None):
            yield f"d = {d!r}", lambda m, d=d: m["embedding"].update(d=d)
        for key in ("scale", "mean_square_norm"):
            for value in (0.0, -1.0, "1", None):
                yield f"{key} = {value!r}", lambda m, k=key, v=value: m["embedding"].update({k: v})
        for shape in ([], [0], [3, 3], [-3], "3", [1 << 30], [2.5]):
            yield f"shape {shape!r}", lambda m, s=shape: m["input"].update(shape=s)
        yield "an audio input", lambda m: m["input"].update(kind="audio")
        yield "a vector of uint8", lambda m: m["input"].update(dtype="uint8")
        yield "members as a list", lambda m: m.update(members=[])
        yield (
            "upper-case hash",
            lambda m: [e.update(sha256=e["sha256"].upper()) for e in m["members"].values()],
        )
        yield (
            "another size",
            lambda m: [e.update(size=e["size"] + 1) for e in m["members"].values()],
        )
        yield (
            "a member that is not there",
            lambda m: m["members"].update({"encoder-c.onnx": {"sha256": "0" * 64, "size": 1}}),
        )
        yield "an encoder that is not there", lambda m: m["encoders"][0].update(member="x.onnx")
        yield "an encoder of another runtime", lambda m: m["encoders"][0].update(runtime="litert")
        yield (
            "no encoder, other d",
            lambda m: (
                m.update(encoders=[]),
                m["embedding"].update(d=m["embedding"]["d"] + 1),
            ),
        )

    for what, change in edits():
        yield what, with_manifest(members, change)
    head = members["manifest.json"]
    for what, text in {
        "not JSON": b"{",
        "a list": b"[]",
        "not UTF-8": head.replace(b'"name"', b'"na\xffme"'),
        "two objects": head + head,
        "NaN": head.replace(b'"d":', b'"d": NaN, "e":'),
        "deep": head.rstrip()[:-1] + b', "x": ' + b"[" * 99999 + b"]" * 99999 + b"}",
        "huge": head + b" " * (1 << 18),
    }.items():
        yield f"manifest {what}", zipped({**members, "manifest.json": text})


def good_with_duplicate(members, name):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile minds duplicates too
        return zipped([*members.items(), (name, members[name])])


def directory_changed(data, offset, kind, value, at=0):
    """Write a value into the record of member number `at` in the directory."""
    data = bytearray(data)
    position = -1
    for _ in range(at + 1):
        position = data.index(b"PK\x01\x02", position + 1)
    struct.pack_into(kind, data, position + offset, value)
    return bytes(data)


def checksum_changed(data):
    """Let both headers of the first member tell another CRC-32; all digests are right."""
    data = bytearray(directory_changed(data, 16, "<I", 7))
    struct.pack_into("<I", data, 14, 7)
    return bytes(data)


def streamed(members):
    """An archive as it is written to a pipe: sizes follow the bytes."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, chunk):
            self.data += chunk
            return len(chunk)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
        archive.comment = hashlib.sha256(members["manifest.json"]).hexdigest().encode()
    return bytes(pipe.data)


def hiding(members):
    """An archive with a member that the directory does not list: readers that walk find it."""
    data = zipped(members)
    last = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    data = bytearray(data[:last] + data[end:])
    _, _, here, total, size = struct.unpack_from("<HHHHI", data, last + 4)
    struct.pack_into("<HHI", data, last + 8, here - 1, total - 1, size - (end - last))
    return bytes(data)


def comment_of(data):
    return zipfile.ZipFile(io.BytesIO(data)).comment


def flagged(data, bit):
    """Set a flag in the first entry of the central directory."""
    data = bytearray(data)
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= bit
    return bytes(data)


def claiming(data, size, member=0):
    """Let a member claim `size` bytes, in both headers."""
    data = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        position = -1
        for _ in range(member + 1):
            position = data.index(mark, position + 1)
        struct.pack_into("<II", data, position + offset, size, size)
    return bytes(data)
