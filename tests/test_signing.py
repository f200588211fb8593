"""A signature says who made a bundle; nothing else is taken for one."""

import hashlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from test_bundle import FILES, GOOD, MANIFEST

from edge_cl.bundle import pack_bundle, read_bundle
from edge_cl.cli.sign_command import sign
from edge_cl.cli.usage import UsageError
from edge_cl.errors import BundleError, InputError, MissingExtraError, StorageError
from edge_cl.sensor import features_bundle
from edge_cl.signing import (
    new_key,
    open_signed_bundle,
    read_public_key,
    read_signature,
    sign_bundle,
    signature_path,
    verify_signature,
)

BUNDLE = read_bundle(GOOD)


@pytest.fixture
def signed(tmp_path):
    """A signed bundle: its path, the private and the public key."""
    path = tmp_path / "tiny.edgecl"
    path.write_bytes(GOOD)
    private, public = new_key(tmp_path / "garden")
    assert sign_bundle(path, private) == signature_path(path) == tmp_path / "tiny.edgecl.sig"
    return path, private, public


def refused(bundle, signature, pem, error=BundleError):
    signature = None if signature is None else bytes(signature)
    try:
        verify_signature(bundle, signature, pem)
    except error as caught:
        assert "\n" not in str(caught) and "\n" not in caught.hint
        return True
    return False


def test_what_was_signed_opens(signed):
    path, _, public = signed
    assert open_signed_bundle(path, public).sha256 == BUNDLE.sha256
    verify_signature(BUNDLE, read_signature(path), public.read_bytes())


def test_the_file_says_which_key_and_is_the_same_each_time(signed):
    path, private, public = signed
    first = read_signature(path)
    told = json.loads(first)
    key = form.load_pem_public_key(public.read_bytes())
    assert told["key_id"] == hashlib.sha256(key.public_bytes_raw()).hexdigest()
    sign_bundle(path, private)
    assert read_signature(path) == first
    # the message, by hand: words of its own, then the bundle's identity
    message = b"edge-cl bundle signature, version 1\0" + bytes.fromhex(BUNDLE.sha256)
    key.verify(bytes.fromhex(told["signature"]), message)


def test_every_bit_of_the_file_counts(signed, capsys):
    path, _, public = signed
    signature, pem = read_signature(path), public.read_bytes()
    taken = 0
    for position in range(len(signature)):
        for bit in range(8):
            edited = bytearray(signature)
            edited[position] ^= 1 << bit
            taken += not refused(BUNDLE, edited, pem)
    cuts = [*(signature[:n] for n in range(len(signature))), signature + b" ", b" " + signature]
    taken += sum(not refused(BUNDLE, edited, pem) for edited in cuts)
    with capsys.disabled():
        edits = 8 * len(signature) + len(cuts)
        sys.stdout.write(f"\nsignature: {edits} edits of its file, taken for right: {taken}\n")
    assert taken == 0


@pytest.mark.parametrize("field", ["signature", "key_id"])
def test_every_bit_of_signature_and_key_counts_in_a_file_in_form(signed, field):
    path, _, public = signed
    told, pem = json.loads(read_signature(path)), public.read_bytes()
    raw = bytes.fromhex(told[field])
    for bit in range(8 * len(raw)):
        edited = bytearray(raw)
        edited[bit // 8] ^= 1 << bit % 8
        assert refused(BUNDLE, in_form({**told, field: edited.hex()}), pem)


def in_form(told):
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def test_every_byte_of_a_signed_bundle_counts(signed):
    """Also where a forger makes all digests right, which a digest alone cannot see."""
    path, _, public = signed
    for position in range(0, len(GOOD), 7):
        edited = bytearray(GOOD)
        edited[position] ^= 1
        path.write_bytes(edited)
        with pytest.raises(BundleError):
            open_signed_bundle(path, public)
    forgeries = [
        pack_bundle(msgspec.structs.replace(MANIFEST, description="improved"), FILES),
        pack_bundle(MANIFEST, {**FILES, "MODEL_CARD.md": b"# tinz"}),
        pack_bundle(MANIFEST, {n: d for n, d in FILES.items() if n != "report.json"}),
    ]
    for forged in forgeries:
        path.write_bytes(forged)
        assert read_bundle(forged)  # whole, as far as digests tell
        with pytest.raises(BundleError, match="does not belong"):
            open_signed_bundle(path, public)


def test_another_bundles_signature_is_refused(signed, tmp_path):
    _, private, public = signed
    other = tmp_path / "other.edgecl"
    other.write_bytes(features_bundle(np.ones((1, 3))).archive())
    sign_bundle(other, private)
    assert not refused(read_bundle(other.read_bytes()), read_signature(other), public.read_bytes())
    assert refused(BUNDLE, read_signature(other), public.read_bytes())


def test_another_keys_signature_is_refused_also_under_the_right_name(signed, tmp_path):
    path, _, public = signed
    private, foreign = new_key(tmp_path / "stranger")
    with pytest.raises(BundleError, match="is signed by key") as caught:
        open_signed_bundle(path, foreign)
    assert caught.value.hint
    right = json.loads(read_signature(path))["key_id"]
    sign_bundle(path, private)
    with pytest.raises(BundleError, match="is signed by key"):
        open_signed_bundle(path, public)
    forged = in_form({**json.loads(read_signature(path)), "key_id": right})
    assert refused(BUNDLE, forged, public.read_bytes())


def test_a_signature_for_another_purpose_is_refused(signed):
    """The same key over the same digest, without the words of this format."""
    path, private, public = signed
    key = form.load_pem_private_key(private.read_bytes(), None)
    told = json.loads(read_signature(path))
    digest = bytes.fromhex(BUNDLE.sha256)
    for message in (digest, BUNDLE.head, b"edge-cl bundle signature, version 2\0" + digest, b""):
        edited = in_form({**told, "signature": key.sign(message).hex()})
        assert refused(BUNDLE, edited, public.read_bytes())


def test_no_signature_a_huge_one_and_no_file_are_refused(signed, tmp_path):
    path, _, public = signed
    place = signature_path(path)
    assert refused(BUNDLE, None, public.read_bytes())
    place.unlink()
    with pytest.raises(BundleError, match="No such file") as caught:
        open_signed_bundle(path, public)
    assert "a signature is required" in caught.value.hint
    with place.open("wb") as stream:
        stream.truncate(1 << 40)  # sparse
    with pytest.raises(BundleError, match="at most 4096"):
        open_signed_bundle(path, public)
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(BundleError, match="not a file"):
        open_signed_bundle(path, public)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"format_version": "1"},
        {"format_version": True},
        {"key_id": None},
        {"key_id": ""},
        {"signature": ""},
        {"signature": "zz" * 64},
        {"signature": 1},
        {"surprise": 1},
    ],
)
def test_json_of_another_kind_is_refused(signed, change):
    path, _, public = signed
    told = json.loads(read_signature(path))
    assert not refused(BUNDLE, in_form(told), public.read_bytes())
    assert refused(BUNDLE, in_form({**told, **change}), public.read_bytes())


def test_json_in_another_form_is_refused(signed):
    path, _, public = signed
    pem, signature = public.read_bytes(), read_signature(path)
    told = json.loads(signature)
    for text in (
        json.dumps(told).encode(),
        in_form(dict(reversed(told.items()))),
        in_form({**told, "signature": told["signature"].upper()}),
        signature.replace(b"{", b'{"format_version": 1,', 1),
        b"\xef\xbb\xbf" + signature,
        b"[" * 3000,
        b"{}",
        b"[]",
        b"null",
        b"",
        b"\xff",
        b"{" + b" " * 5000 + signature[1:],
    ):
        assert refused(BUNDLE, text, pem)


# -- keys ----------------------------------------------------------------------------------------


def private_pem(key, password=None):
    scheme = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, scheme)


def public_pem(key, encoding=form.Encoding.PEM):
    return key.public_key().public_bytes(encoding, form.PublicFormat.SubjectPublicKeyInfo)


OWN = ed25519.Ed25519PrivateKey.generate()
FOREIGN_KINDS = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "EC": ec.generate_private_key(ec.SECP256R1()),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "X25519": x25519.X25519PrivateKey.generate(),
}
NO_KEYS = {
    "empty": b"",
    "text": b"hello",
    "DER": public_pem(OWN, form.Encoding.DER),
    "cut": public_pem(OWN)[:-40],
    "a certificate's head": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("what", [*FOREIGN_KINDS, *NO_KEYS, "private"])
def test_only_a_public_ed25519_key_verifies(signed, tmp_path, what):
    path, private, _ = signed
    kinds = {name: public_pem(key) for name, key in FOREIGN_KINDS.items()}
    pem = {**kinds, **NO_KEYS, "private": private.read_bytes()}[what]
    place = tmp_path / "key.pem"
    place.write_bytes(pem)
    with pytest.raises(InputError) as caught:
        open_signed_bundle(path, place)
    assert caught.value.hint and "\n" not in str(caught.value)
    assert refused(BUNDLE, read_signature(path), pem, InputError)
    if what == "private":
        assert "PRIVATE" not in str(caught.value) and "stays" in caught.value.hint


@pytest.mark.parametrize("what", [*FOREIGN_KINDS, *NO_KEYS, "public", "password"])
def test_only_a_private_ed25519_key_signs(signed, tmp_path, what):
    path, _, public = signed
    kinds = {name: private_pem(key) for name, key in FOREIGN_KINDS.items()}
    more = {"public": public.read_bytes(), "password": private_pem(OWN, b"secret")}
    place = tmp_path / "key.pem"
    place.write_bytes({**kinds, **NO_KEYS, **more}[what])
    before = read_signature(path)
    with pytest.raises(InputError):
        sign_bundle(path, place)
    assert read_signature(path) == before


def test_keys_that_cannot_be_read_say_why(signed, tmp_path):
    path, _, _ = signed
    with (tmp_path / "huge.pem").open("wb") as stream:
        stream.truncate(1 << 30)
    for place in (tmp_path / "missing.pem", tmp_path / "huge.pem", tmp_path):
        with pytest.raises(InputError):
            open_signed_bundle(path, place)
        with pytest.raises(InputError):
            sign_bundle(path, place)
        with pytest.raises(InputError):
            read_public_key(place)


def test_a_damaged_bundle_is_not_signed(signed):
    path, private, _ = signed
    signature_path(path).unlink()
    path.write_bytes(GOOD[:-1])
    with pytest.raises(BundleError):
        sign_bundle(path, private)
    assert not signature_path(path).exists()


def test_a_private_key_is_for_its_owner_and_never_overwritten(tmp_path):
    mask = os.umask(0)
    try:
        private, public = new_key(tmp_path / "k")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(StorageError, match="already"):
        new_key(tmp_path / "k")
    assert before == (private.read_bytes(), public.read_bytes())
    private.unlink()
    with pytest.raises(StorageError, match="already"):
        new_key(tmp_path / "k")
    assert sorted(os.listdir(tmp_path)) == ["k.public.pem"]
    with pytest.raises(StorageError, match="cannot write"):
        new_key(tmp_path / "no" / "k")
    (tmp_path / "link.private.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="already"):
        new_key(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


# -- the command ---------------------------------------------------------------------------------


def test_the_command_makes_keys_and_signs(place, capsys):
    sign(bundle=None, key=None, new_key="garden")
    out, err = capsys.readouterr()
    assert out.split() == ["garden.private.pem", "garden.public.pem"] and "secret" in err
    sign(bundle=Path("sensor.edgecl"), key=Path("garden.private.pem"), new_key=None)
    assert capsys.readouterr().out == "sensor.edgecl.sig\n"
    assert open_signed_bundle("sensor.edgecl", "garden.public.pem").manifest.encoders == ()
    for arguments in (
        {"bundle": None, "key": None, "new_key": None},
        {"bundle": Path("sensor.edgecl"), "key": None, "new_key": None},
        {"bundle": None, "key": Path("garden.private.pem"), "new_key": None},
        {"bundle": Path("sensor.edgecl"), "key": None, "new_key": "other"},
    ):
        with pytest.raises(UsageError):
            sign(**arguments)


def test_without_the_library_it_says_what_to_install(signed, monkeypatch):
    path, private, public = signed
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "cryptography" else find(n, *a)
    )
    for call in (
        lambda: open_signed_bundle(path, public),
        lambda: sign_bundle(path, private),
        lambda: new_key(path.parent / "other"),
    ):
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert "edge-cl[sign]" in caught.value.hint


def test_signatures_are_imported_only_where_they_are_used():
    code = "import edge_cl.signing, sys; print('cryptography' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
