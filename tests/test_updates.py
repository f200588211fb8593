"""Updates over the air: what a device takes from a repository, and every way to be refused."""

import functools
import hashlib
import http.server
import json
import shutil
import stat
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from edge_cl import features_bundle
from edge_cl.errors import BundleError, InputError, StorageError, UpdateError
from edge_cl.manifest import MAX_BUNDLE_BYTES
from edge_cl.shelf import Shelf
from edge_cl.updates.client import fetch_update, update_shelf
from edge_cl.updates.repository import publish
from edge_cl.updates.role_keys import RoleKeys
from edge_cl.updates.transport import repository_url

A, B, C = (
    features_bundle(np.random.default_rng(i).normal(size=(8, 3)), name=f"net-{i}") for i in range(3)
)
DAY = timedelta(days=1)
NOW = datetime.now(timezone.utc)


class Workstation:
    """A repository, its keys, and bundles to publish, all under one name."""

    def __init__(self, place, **options):
        self.place, self.site, self.keys = place, place / "site", place / "keys"
        self.place.mkdir()
        self.publish(A, **options)

    def publish(self, bundle=None, name="net", **options):
        path = self.place / f"{name}.edgecl"
        if bundle is not None:
            path.write_bytes(bundle.archive())
        return publish(self.site, self.keys, path if bundle else None, **options)

    @property
    def root(self):
        return (self.site / "metadata/1.root.json").read_bytes()

    def contents(self):
        places = (self.site, self.keys)
        return {p: p.read_bytes() for a in places for p in a.rglob("*") if p.is_file()}

    def copy(self, name):
        shutil.copytree(self.site, self.place / name)
        return self.place / name

    def newest(self, role):
        """The file that holds the newest metadata of a role, and the metadata."""
        folder = self.site / "metadata"
        if role == "timestamp":
            path = folder / "timestamp.json"
        else:
            path = max(folder.glob(f"*.{role}.json"), key=lambda p: int(p.name.split(".")[0]))
        return path, Metadata.from_file(str(path))

    def forge(self, *signers, targets=None, snapshot=None, timestamp=None, keep=()):
        """Publish as someone with these keys would: change, sign, and make the rest fit."""
        changes = {"targets": targets, "snapshot": snapshot, "timestamp": timestamp}
        metadata = {role: self.newest(role)[1] for role in changes}
        blobs = {}
        for role, change in changes.items():
            signed = metadata[role].signed
            if role == "targets" and change is None:
                blobs[role] = self.newest(role)[0].read_bytes()
                continue
            signed.version += 1
            below = {"snapshot": "targets", "timestamp": "snapshot"}.get(role)
            if below:
                entry = MetaFile.from_data(metadata[below].signed.version, blobs[below], ["sha256"])
                if below == "targets":
                    signed.meta["targets.json"] = entry
                else:
                    signed.snapshot_meta = entry
            if change:
                change(signed)
            metadata[role].signatures.clear()
            for signer in signers:
                metadata[role].sign(signer, append=True)
            blobs[role] = metadata[role].to_bytes()
            name = role if role == "timestamp" else f"{signed.version}.{role}"
            (self.site / f"metadata/{name}.json").write_bytes(blobs[role])

    def signer(self, role, number=1):
        data = (self.keys / f"{role}-{number}.private.pem").read_bytes()
        return CryptoSigner(load_pem_private_key(data, None))

    @property
    def signers(self):
        return [self.signer(role) for role in ("targets", "snapshot", "timestamp")]


class Device:
    """A shelf, and the root metadata that came with it."""

    def __init__(self, place, root):
        self.root, self.shelf = root, Shelf(place)

    def update(self, url, **options):
        return update_shelf(self.shelf, url, root=self.root, **options)

    def refuses(self, url, match, error=UpdateError, **options):
        """The update is refused in one clear line, and the shelf is as it was."""
        before = self.shelf.status
        with pytest.raises(error, match=match) as caught:
            self.update(url, **options)
        assert self.shelf.status == before
        message = str(caught.value)
        assert "\n" not in message
        assert not message.endswith(".")
        assert caught.value.hint or error is not UpdateError

    @property
    def current(self):
        return self.shelf.status.current


@pytest.fixture
def work(tmp_path):
    return Workstation(tmp_path / "work")


@pytest.fixture
def device(tmp_path, work):
    return Device(tmp_path / "shelf", work.root)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A device that hangs up is not worth a word."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def listen():
    """Serve with a handler on the loopback; the URL."""
    servers = []

    def start(handler):
        server = Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["folder", "http"])
def serve(request, listen):
    """Make a folder a repository for devices: its path, or a loopback server's URL."""
    if request.param == "folder":
        return str
    return lambda folder: listen(functools.partial(Quiet, directory=str(folder)))


# -- what is taken ---------------------------------------------------------------------------


def test_the_newest_bundle_comes_onto_the_shelf(work, device, serve):
    url = serve(work.site)
    found, installed = device.update(url)
    assert (found.target, found.sha256, found.notes) == ("net.edgecl", A.sha256, ())
    assert installed.switched
    assert device.shelf.start().bundle.sha256 == A.sha256
    device.shelf.mark_good()
    work.publish(B)
    assert device.update(url)[1].switched
    status = device.shelf.status
    assert (status.current, status.previous, status.starts) == (B.sha256, A.sha256, 0)


def test_what_is_current_is_not_fetched_again(work, device, serve):
    url = serve(work.site)
    device.update(url)
    shutil.rmtree(work.site / "targets")
    found, installed = device.update(url)
    assert (found.data, installed) == (None, None)
    work.publish()  # signed again, nothing new
    assert device.update(url)[1] is None
    device.refuses(url, "cannot be fetched", force=True)


def test_a_bundle_that_failed_here_is_not_fetched_again(work, device, serve):
    url = serve(work.site)
    device.update(url)
    device.shelf.mark_good()
    work.publish(B)
    device.update(url)
    device.shelf.go_back()
    for _ in range(2):
        device.refuses(url, "failed on .* before", error=BundleError)
    work.publish(C)
    assert device.update(url)[1].switched
    device.shelf.mark_good()
    work.publish(B)
    assert device.update(url, force=True)[1].switched


def test_one_of_several_bundles_is_named(work, device, serve):
    work.publish(B, name="other")
    url = serve(work.site)
    device.refuses(url, r"expected one bundle in .*, found net.edgecl, other.edgecl")
    device.refuses(url, "expected a bundle named third", name="third")
    device.refuses(url, "expected a bundle named", name="../net")
    device.update(url, name="other")
    assert device.current == B.sha256


def test_a_signature_travels_with_its_bundle(work, device, serve, tmp_path):
    seen = []
    device.shelf = Shelf(tmp_path / "strict", check=lambda b, s: seen.append((b.sha256, s)))
    (work.place / "net.edgecl.sig").write_bytes(b"signature of B")
    work.publish(B)
    url = serve(work.site)
    device.update(url)
    (work.place / "net.edgecl.sig").unlink()
    work.publish(C)
    device.update(url)
    assert seen == [(B.sha256, b"signature of B"), (C.sha256, None)]


# -- attacks ---------------------------------------------------------------------------------


def test_rollback_is_refused(work, device, serve):
    old = work.copy("old")
    work.publish(B)
    device.update(serve(work.site))
    device.refuses(serve(old), "turned back")


def test_an_older_bundle_can_be_published_anew(work, device, serve):
    work.publish(B)
    url = serve(work.site)
    device.update(url)
    work.publish(A)
    device.update(url)
    assert device.current == A.sha256


def test_freeze_is_refused_when_the_time_is_over(work, device, serve):
    url = serve(work.site)
    device.update(url)
    device.refuses(url, "timestamp.json of .* expired on", now=NOW + 31 * DAY)
    device.update(url, now=NOW + 29 * DAY)


def test_metadata_that_expired_by_the_clock_is_refused(tmp_path, serve):
    work = Workstation(tmp_path / "work", now=NOW - 40 * DAY)
    device = Device(tmp_path / "shelf", work.root)
    url = serve(work.site)
    device.refuses(url, "out of date: timestamp.json is expired")
    work.publish()
    device.update(url)


def test_an_expired_root_is_refused(tmp_path, serve):
    work = Workstation(tmp_path / "work", now=NOW - 3651 * DAY)
    device = Device(tmp_path / "shelf", work.root)
    work.publish()
    url = serve(work.site)
    device.refuses(url, "out of date: Final root.json is expired")
    work.publish(replace=["root"])
    device.update(url)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_parts_of_different_days_are_refused(role, work, device, serve):
    first, _ = work.newest(role)
    earlier = first.read_bytes()
    work.publish(B)
    work.newest(role)[0].write_bytes(earlier)
    device.refuses(serve(work.site), "not the one that was signed")


def test_the_file_of_another_day_is_refused(work, device, serve):
    (earlier,) = (work.site / "targets").iterdir()
    work.publish(B)
    (later,) = set((work.site / "targets").iterdir()) - {earlier}
    shutil.copy(earlier, later)
    device.refuses(serve(work.site), "not the one that was signed|sends more than")


@pytest.mark.parametrize("change", ["longer", "shorter", "edited", "missing"])
def test_a_bundle_that_is_not_the_signed_one_is_refused(change, work, device, serve):
    (path,) = (work.site / "targets").iterdir()
    data = path.read_bytes()
    if change == "missing":
        path.unlink()
    else:
        edited = data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes({"longer": data + b"x", "shorter": data[:-1], "edited": edited}[change])
    reason = {"longer": "sends more than", "missing": "cannot be fetched"}
    device.refuses(serve(work.site), reason.get(change, "not the one that was signed"))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_without_end_is_refused(role, work, device, serve):
    path, _ = work.newest(role)
    with path.open("r+b") as stream:
        stream.truncate(1 << 32)  # a hole: it takes no room
    device.refuses(serve(work.site), "sends more than")


def test_a_root_without_end_is_refused(work, device, serve):
    with (work.site / "metadata/2.root.json").open("wb") as stream:
        stream.truncate(1 << 32)
    device.refuses(serve(work.site), "sends more than")


def test_a_length_that_no_bundle_has_is_refused_though_signed(work, device, serve):
    def change(targets):
        targets.targets["net.edgecl"].length = MAX_BUNDLE_BYTES + 1

    work.forge(*work.signers, targets=change)
    device.refuses(serve(work.site), f"at most {MAX_BUNDLE_BYTES}")


def test_a_length_of_metadata_is_bounded_though_signed(work, device, serve):
    def change(timestamp):
        timestamp.snapshot_meta.length = 1 << 40

    work.forge(*work.signers, timestamp=change)
    with work.newest("snapshot")[0].open("r+b") as stream:
        stream.truncate(1 << 32)
    device.refuses(serve(work.site), "sends more than")


def test_the_keys_of_the_server_alone_change_no_bundle(work, device, serve):
    """Who has snapshot and timestamp keys can sign, and still not put in another bundle."""
    online = [work.signer("snapshot"), work.signer("timestamp")]

    def change(targets):
        targets.targets["net.edgecl"].hashes = {"sha256": "0" * 64}

    work.forge(*online, targets=change)
    device.refuses(serve(work.site), "not signed by the keys")


def test_fast_forward_is_recovered_from_by_new_keys(work, device, serve):
    """Stolen online keys sign a version that nothing can exceed; new keys end that."""
    url = serve(work.site)
    device.update(url)
    honest = work.copy("honest")

    def ahead(signed):
        signed.version = (1 << 53) - 1

    work.forge(work.signer("snapshot"), work.signer("timestamp"), snapshot=ahead, timestamp=ahead)
    device.update(url)
    shutil.rmtree(work.site)
    shutil.copytree(honest, work.site)
    work.publish(B)
    device.refuses(url, "turned back")
    work.publish(replace=["timestamp", "snapshot"])
    found, _ = device.update(url)
    assert device.current == B.sha256
    assert found.notes == ()


def test_a_time_set_too_far_ahead_ends_with_its_key(work, device, serve):
    url = serve(work.site)
    ahead = f"{NOW + 4000 * DAY:%Y-%m-%dT%H:%M:%SZ}"

    def change(timestamp):
        timestamp.unrecognized_fields["x-edge-cl-signed-at"] = ahead

    honest = work.copy("honest")
    work.forge(*work.signers, timestamp=change)
    device.refuses(url, "expired on")
    shutil.rmtree(work.site)
    shutil.copytree(honest, work.site)
    work.publish(B)
    work.publish(B)
    device.refuses(url, "expired on")
    work.publish(replace=["timestamp"])
    device.update(url)


def test_another_ones_repository_is_refused(work, device, serve, tmp_path):
    other = Workstation(tmp_path / "other")
    other.publish(B)
    device.refuses(serve(other.site), "not signed by the keys")
    device.update(serve(work.site))
    device.refuses(serve(other.site), "not signed by the keys")


def test_another_ones_root_is_refused(work, device, serve, tmp_path):
    other = Workstation(tmp_path / "other")
    other.publish(replace=["timestamp"])
    for path in (other.site / "metadata").iterdir():
        shutil.copy(path, work.site / "metadata")
    device.refuses(serve(work.site), "not signed by the keys")


@pytest.mark.parametrize("root", [b"", b"{}", b"[" * 9999, b"\xff", b'{"signed": 1}', "timestamp"])
def test_a_root_of_the_device_that_is_none_is_refused(root, work, device, serve):
    if root == "timestamp":
        root = work.newest("timestamp")[0].read_bytes()
    device.root = root
    device.refuses(serve(work.site), "the root metadata of this device")


def test_keys_rotate_when_enough_of_the_old_ones_agree(tmp_path, serve):
    work = Workstation(tmp_path / "work", root_keys=3, root_threshold=2)
    device = Device(tmp_path / "shelf", work.root)
    url = serve(work.site)
    device.update(url)
    root_1 = Metadata.from_bytes(work.root)
    work.publish(replace=["root", "targets"])
    path = work.site / "metadata/2.root.json"
    good = path.read_bytes()
    rotated = Metadata.from_bytes(good)
    old = root_1.signed.roles["root"].keyids
    for missing in range(1, 4):
        poor = Metadata.from_bytes(good)
        for keyid in old[:missing]:
            del poor.signatures[keyid]
        path.write_bytes(poor.to_bytes())
        if missing >= 2:
            device.refuses(url, "not signed by the keys")
    for keyid in rotated.signed.roles["root"].keyids[:2]:
        del rotated.signatures[keyid]
    path.write_bytes(rotated.to_bytes())  # the new keys must agree as well
    device.refuses(url, "not signed by the keys")
    path.write_bytes(good)
    work.publish(B)
    device.update(url)
    assert device.current == B.sha256


def test_a_device_that_was_off_for_long_walks_all_roots(work, device, serve):
    for i in range(70):
        work.publish(replace=["timestamp" if i % 2 else "root"])
    work.publish(B)
    device.update(serve(work.site))
    assert device.current == B.sha256


def test_what_is_signed_and_no_bundle_is_refused(work, device, serve):
    def change(targets):
        targets.targets["net.edgecl"].hashes = {"sha256": digest}
        targets.targets["net.edgecl"].length = 4

    digest = hashlib.sha256(b"junk").hexdigest()
    (work.site / f"targets/{digest}.net.edgecl").write_bytes(b"junk")
    work.forge(*work.signers, targets=change)
    device.refuses(serve(work.site), "not an edge-cl bundle", error=BundleError)


def test_a_bundle_other_than_announced_is_refused(work, device, serve):
    def change(targets):
        targets.targets["net.edgecl"].unrecognized_fields["custom"] = {"sha256": B.sha256}

    work.forge(*work.signers, targets=change)
    device.refuses(serve(work.site), f"expected bundle {B.sha256[:12]}")


@pytest.mark.parametrize(
    "hashes", [{"sha256": "../../../etc/passwd"}, {"sha512": "0" * 128}, {"md5": "0" * 32}]
)
def test_a_digest_that_is_none_never_becomes_a_path(hashes, work, device, serve):
    def change(targets):
        targets.targets["net.edgecl"].hashes = hashes

    work.forge(*work.signers, targets=change)
    device.refuses(serve(work.site), "expected one digest")


@pytest.mark.slow
def test_each_byte_of_the_metadata_matters(work, tmp_path, capsys):
    """One bit of each byte is flipped. What still verifies says the same in other letters."""
    work.publish(B, replace=["timestamp"])
    good = {p: p.read_bytes() for p in (work.site / "metadata").iterdir()}
    asked = [work.newest(role)[0] for role in ("root", "targets", "snapshot", "timestamp")]
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    flips = accepted = same = 0
    for path in asked:
        for i in range(len(good[path])):
            changed = bytearray(good[path])
            changed[i] ^= 1 << i % 8
            path.write_bytes(changed)
            flips += 1
            try:
                fetch_update(str(work.site), root=work.root, cache=place, have=[B.sha256])
            except UpdateError:
                pass
            else:
                as_signed = json.loads(bytes(changed).lower()) == json.loads(good[path].lower())
                same += as_signed
                accepted += not as_signed
            shutil.rmtree(place)
        path.write_bytes(good[path])
    with capsys.disabled():
        sys.stdout.write(
            f"\nupdate metadata: {flips} bytes flipped, accepted {accepted} "
            f"({same} upper-case digits of a signature, which say the same)\n"
        )
    assert accepted == 0
    assert flips > 2000


# -- time ------------------------------------------------------------------------------------


def test_a_clock_that_was_reset_is_told_and_does_not_stop_updates(work, device, serve):
    url = serve(work.site)
    found, installed = device.update(url, now=datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert installed.switched
    (note,) = found.notes
    assert note.startswith("the clock says 1970-01-01T00:00:00Z, but metadata was signed on 20")


def test_expiry_is_judged_by_the_newest_time_of_signing_that_was_believed(tmp_path, serve):
    """With a clock at 1970 all is fresh; what was signed since says what time it is at least."""
    work = Workstation(tmp_path / "work", now=NOW + 20 * DAY)
    device = Device(tmp_path / "shelf", work.root)
    url = serve(work.site)
    reset = datetime(1970, 1, 1, tzinfo=timezone.utc)
    device.update(url, now=reset)

    def expired(signed):
        signed.expires = (NOW + 10 * DAY).replace(microsecond=0)

    def turned_back(timestamp):
        expired(timestamp)
        timestamp.unrecognized_fields["x-edge-cl-signed-at"] = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"

    work.forge(*work.signers, timestamp=turned_back)
    device.refuses(url, "timestamp.json of .* expired on", now=reset)
    Device(tmp_path / "other", work.root).update(url, now=reset)  # has believed nothing yet
    work.publish(now=NOW + 20 * DAY)
    work.forge(*work.signers, targets=expired)
    device.refuses(url, "targets.json of .* expired on", now=reset)


def test_a_repository_of_another_tool_tells_no_time_and_is_taken(work, device, serve):
    work.forge(*work.signers, timestamp=lambda t: t.unrecognized_fields.clear())
    found, _ = device.update(serve(work.site), now=NOW)
    assert found.notes == ()


# -- what is remembered ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json"])
@pytest.mark.parametrize("damage", [b"", b"{}", "flip"])
def test_damage_to_what_is_remembered_is_told(name, damage, work, device, serve):
    url = serve(work.site)
    device.update(url)
    path = device.shelf.folder / "updates/trusted" / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"version":1', b'"version":9') if damage == "flip" else damage)
    work.publish(B)
    found, _ = device.update(url)
    assert device.current == B.sha256
    (note,) = found.notes
    assert note.startswith(f"the remembered {name} was damaged")
    assert device.update(url)[0].notes == ()


def test_a_link_among_what_is_remembered_is_not_followed(work, device, serve, tmp_path):
    url = serve(work.site)
    device.update(url)
    path = device.shelf.folder / "updates/trusted/timestamp.json"
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    work.publish(B)
    device.update(url)
    assert (tmp_path / "elsewhere").read_bytes() == before
    assert not path.is_symlink()


def test_what_an_interrupted_update_left_is_cleared(work, device, serve):
    url = serve(work.site)
    device.update(url)
    (device.shelf.folder / "updates/work/root_history").mkdir(parents=True)
    (device.shelf.folder / "updates/work/timestamp.json").write_bytes(b"half")
    work.publish(B)
    assert device.update(url)[0].notes == ()
    assert not (device.shelf.folder / "updates/work").exists()


def test_one_update_at_a_time(work, device):
    import fcntl

    device.update(str(work.site))
    with (device.shelf.folder / "updates/lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        device.refuses(str(work.site), "another update is under way", error=StorageError)


def test_a_rollback_is_seen_by_another_process_after_a_refused_update(work, device, serve):
    """What was believed is kept also where the update came to nothing."""
    url = serve(work.site)
    old = work.copy("old")
    work.publish(B)
    shutil.rmtree(work.site / "targets")
    device.refuses(url, "cannot be fetched")
    device.refuses(serve(old), "turned back")


# -- transport -------------------------------------------------------------------------------


def answering(answer):
    """A handler that answers every request with what the function writes."""

    class Handler(Quiet):
        def do_GET(self):
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


def headers(handler, status=200, **fields):
    handler.send_response(status)
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def endless(handler):
    headers(handler)
    while True:
        handler.wfile.write(b" " * 65536)


def drip(handler):
    headers(handler, Content_Length=1000)
    for _ in range(1000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler):
    headers(handler, Content_Length=10)
    time.sleep(1.0)


def cut(handler):
    headers(handler, Content_Length=1000)
    handler.wfile.write(b"{")
    handler.close_connection = True


def refusing(handler):
    headers(handler, 500, Content_Length=0)


def circling(handler):
    headers(handler, 302, Location="/again", Content_Length=0)


def to_a_file(handler):
    headers(handler, 302, Location="file:///etc/passwd", Content_Length=0)


def exploding(handler):
    import gzip

    data = gzip.compress(b" " * (1 << 24))
    headers(handler, Content_Encoding="gzip", Content_Length=len(data))
    handler.wfile.write(data)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (endless, "sends more than"),
        (drip, "took more than 0.5 s"),
        (silent, "cannot be fetched: .*timed out"),
        (cut, "cannot be fetched"),
        (refusing, "the server answered 500"),
        (circling, "cannot be fetched"),
        (to_a_file, "cannot be fetched"),
        (exploding, "cannot be read"),
    ],
)
def test_a_hostile_server_ends_soon_and_clearly(answer, match, work, listen, tmp_path):
    url = listen(answering(answer))
    start = time.monotonic()
    with pytest.raises(UpdateError, match=match) as caught:
        fetch_update(url, root=work.root, cache=tmp_path / "cache", idle_s=0.4, total_s=0.5)
    assert time.monotonic() - start < 5
    assert "object at 0x" not in str(caught.value)


def test_nobody_there(work, device):
    device.refuses("http://127.0.0.1:9", "cannot be fetched: .*Connection refused")


@pytest.mark.parametrize(
    "place", ["ftp://example.org/x", "nowhere", "http://", "http://h/?a", "file:///nowhere", ""]
)
def test_a_place_that_is_none_is_refused(place):
    if place == "":
        assert repository_url(place).startswith("file:///")  # here
        return
    with pytest.raises(InputError, match="expected"):
        repository_url(place)


def test_odd_names_of_folders_are_taken(tmp_path):
    work = Workstation(tmp_path / "a b%20c#d")
    device = Device(tmp_path / "shelf", work.root)
    device.update(str(work.site))
    assert device.update(f"{work.site.as_uri()}")[1] is None


def test_a_pipe_or_a_link_in_a_folder_is_not_opened(work, device, tmp_path):
    import os

    path, _ = work.newest("timestamp")
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    device.refuses(str(work.site), "cannot be fetched")
    path.unlink()
    os.mkfifo(path)
    device.refuses(str(work.site), "no plain file")


# -- publishing ------------------------------------------------------------------------------


def test_private_keys_are_for_their_owner_alone(work):
    assert stat.S_IMODE(work.keys.stat().st_mode) == 0o700
    names = sorted(p.name for p in work.keys.iterdir())
    roles = ("root", "snapshot", "targets", "timestamp")
    assert names == [f"{role}-1.private.pem" for role in roles]
    assert {stat.S_IMODE(p.stat().st_mode) for p in work.keys.iterdir()} == {0o600}
    served = [p.read_bytes() for p in work.site.rglob("*") if p.is_file()]
    assert not any(b"PRIVATE" in data for data in served)


def test_keys_that_are_not_needed_can_be_elsewhere(work, device, tmp_path):
    away = tmp_path / "safe"
    away.mkdir()
    for role in ("root", "targets"):
        shutil.move(work.keys / f"{role}-1.private.pem", away)
    work.publish()
    device.update(str(work.site))
    for call in (
        lambda: work.publish(B),
        lambda: work.publish(replace=["timestamp"]),
        lambda: work.publish(replace=["targets"]),
    ):
        before = work.contents()
        with pytest.raises(InputError, match=r"private keys|root keys"):
            call()
        assert work.contents() == before
    shutil.copy(away / "targets-1.private.pem", work.keys)
    work.publish(B)
    device.update(str(work.site))
    assert device.current == B.sha256


def test_an_interrupted_publication_is_what_was_or_what_comes(work, device, tmp_path, monkeypatch):
    """Whichever file is the last one written: devices update, and the next call finishes."""
    from edge_cl import files

    device.update(str(work.site))
    real, before, n = files.write_atomically, work.copy("before"), 0
    keys_before = tmp_path / "keys"
    shutil.copytree(work.keys, keys_before)
    outcomes = set()
    while True:
        left = n

        def write(path, data, *, mode=0o644):
            nonlocal left
            if left == 0:
                raise StorageError("the disk is full")
            left -= 1
            real(path, data, mode=mode)

        for folder, source in ((work.site, before), (work.keys, keys_before)):
            shutil.rmtree(folder)
            shutil.copytree(source, folder)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(files, "write_atomically", write)
                work.publish(B, replace=["targets"] if n % 2 else [])
            done = True
        except StorageError:
            done = False
        fresh = Device(tmp_path / f"shelf-{n}", work.root)
        try:
            fresh.update(str(work.site))
            outcomes.add(fresh.current)
        except UpdateError:
            assert n % 2  # a new root is there, and what it asks for is not: for a moment
        work.publish(B)
        fresh.update(str(work.site))
        assert fresh.current == B.sha256
        n += 1
        if done and n > 8:
            break
    assert outcomes == {A.sha256, B.sha256}


def test_an_edited_repository_is_not_built_upon(work):
    for role in ("root", "targets", "snapshot", "timestamp"):
        path, _ = work.newest(role)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"version":1', b'"version":7', 1))
        with pytest.raises(UpdateError, match="not what its keys have signed"):
            work.publish(B)
        path.write_bytes(data)
    work.publish(B)
    (work.site / "metadata/timestamp.json").unlink()
    with pytest.raises(UpdateError, match=r"timestamp\.json is missing"):
        work.publish(C)


def test_a_clock_that_runs_behind_signs_nothing(work):
    with pytest.raises(UpdateError, match=r"was signed on .*, it is 1970-01-01"):
        work.publish(now=datetime(1970, 1, 1, tzinfo=timezone.utc))


@pytest.mark.parametrize(
    "options",
    [
        {"days": 0},
        {"root_threshold": 2},
        {"root_keys": 0, "root_threshold": 0},
        {"replace": ["tarjets"]},
        {"name": "../x"},
        {"name": "a" * 200},
        {"name": "x"},  # without a bundle
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_made(options, tmp_path):
    path = tmp_path / "net.edgecl"
    path.write_bytes(A.archive())
    bundle = None if options == {"name": "x"} else path
    with pytest.raises(InputError):
        publish(tmp_path / "site", tmp_path / "keys", bundle, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["net.edgecl"]


def test_a_damaged_bundle_is_not_published(tmp_path):
    path = tmp_path / "net.edgecl"
    path.write_bytes(A.archive()[:-1])
    with pytest.raises(BundleError):
        publish(tmp_path / "site", tmp_path / "keys", path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.edgecl"]


def test_a_key_of_another_kind_is_refused(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    path = folder / "root-1.private.pem"
    rsa = generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for data, match in ((rsa, "Ed25519"), (b"junk", "no private key"), (b"", "no private key")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=match):
            RoleKeys(folder)
