"""A real OpenSSH server on the loopback interface, and another user with another home.

Where the server is not installed, its package is fetched and unpacked into a cache folder; nothing
is installed. It needs root, to let another user in, and removes the user afterwards. Where that
cannot be had, tests that need it are skipped, and say why.
"""

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CACHE = Path(tempfile.gettempdir()) / "edge-cl-tests-sshd"
PACKAGES = ("openssh-server", "libwrap0")
PRIVATE = Path("/run/sshd")  # compiled into it
OURS = "of edge-cl tests"


@dataclass(frozen=True)
class Server:
    user: str
    home: Path
    port: int
    key: Path
    known_hosts: Path
    programs: Path  # first on the user's PATH
    python: str  # one that the user can run
    quick: str  # the same, but its environments are copies of one: pip is unpacked once

    @property
    def name(self):
        return f"{self.user}@127.0.0.1"

    @property
    def options(self):
        return (f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null")

    def snapshot(self):
        """Everything below the home: kind, mode, time and contents."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            state = path.lstat()
            link = os.readlink(path) if path.is_symlink() else ""
            data = path.read_bytes() if path.is_file() and not link else b""
            time_ns = state.st_mtime_ns if not path.is_dir() else 0
            found[str(path.relative_to(self.home))] = (state.st_mode, time_ns, link, hash(data))
        return found

    def program(self, name, script):
        """Put a program on the user's PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def own(self, path, text):
        """Write a file of the user."""
        path.write_text(text)
        user = pwd.getpwnam(self.user)
        os.chown(path, user.pw_uid, user.pw_gid)

    def behave(self, how):
        """Tell the payload (`deploy_payload`) how."""
        self.own(self.home / "behave.json", json.dumps(how))

    def clean(self):
        """Leave the home as it was made."""
        for path in self.home.iterdir():
            if path.name != ".ssh":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in self.programs.iterdir():
            path.unlink()


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options)


def sshd():
    """The server and where its libraries lie, from the system or from its package."""
    installed = Path("/usr/sbin/sshd")
    if installed.exists():
        return installed, ""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want it
        if not (CACHE / "whole").exists():
            try:
                fetch()
            except (OSError, subprocess.SubprocessError) as error:
                told = (getattr(error, "stderr", "") or str(error)).strip()[-200:]
                pytest.skip(f"no OpenSSH server here, and its package cannot be fetched: {told}")
            for file in CACHE.glob("*.deb"):
                run("dpkg-deb", "-x", str(file), str(CACHE / "root"))
            (CACHE / "whole").touch()
    libraries = sorted({str(p.parent) for p in (CACHE / "root").rglob("*.so*")})
    return CACHE / "root/usr/sbin/sshd", ":".join(libraries)


def fetch():
    """Download the packages, by the system's package lists or, where they are old, by own ones."""
    try:
        run("apt-get", "-qq", "download", *PACKAGES, cwd=CACHE, timeout=60)
    except subprocess.CalledProcessError:
        (CACHE / "lists/partial").mkdir(parents=True, exist_ok=True)
        own = ("-qq", "-o", f"Dir::State::Lists={CACHE}/lists", "-o", f"Dir::Cache={CACHE}")
        run("apt-get", *own, "-o", "Acquire::Languages=none", "update", timeout=120)
        run("apt-get", *own, "download", *PACKAGES, cwd=CACHE, timeout=60)


@contextmanager
def locked(name, how=fcntl.LOCK_EX):
    """Hold a lock that other workers hold too."""
    with Path(tempfile.gettempdir(), f"edge-cl-tests-{name}").open("w") as lock:
        fcntl.flock(lock, how)
        yield


@contextmanager
def accounts(home):
    """The user, and the one that the server itself asks for; both are removed afterwards."""
    name = f"edgecl{os.getpid()}"
    with locked("sshd-in-use", fcntl.LOCK_SH):
        with locked("users"):
            PRIVATE.mkdir(mode=0o755, exist_ok=True)
            try:
                pwd.getpwnam("sshd")
            except KeyError:
                nobody = ("-d", str(PRIVATE), "-s", "/usr/sbin/nologin", "-c", OURS)
                run("useradd", "-r", *nobody, "sshd")
            run("useradd", "-m", "-d", str(home), "-s", "/bin/sh", "-p", "*", name)
        try:
            yield name
        finally:
            end_all(name)
            with locked("users"):
                run("userdel", name)
    last = fcntl.LOCK_EX | fcntl.LOCK_NB
    with (
        contextlib.suppress(BlockingIOError),
        locked("sshd-in-use", last),
        locked("users"),
    ):
        if pwd.getpwnam("sshd").pw_gecos == OURS:
            run("userdel", "sshd")


def end_all(user):
    """End what is left of the user's processes, and of nobody else's."""
    number = pwd.getpwnam(user).pw_uid
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == number:
                os.kill(int(entry.name), 9)
        except (FileNotFoundError, ProcessLookupError):
            continue


def python_for(user):
    """A Python that the user can run and make environments with."""
    for candidate in ("/usr/bin/python3", "/usr/local/bin/python3", sys._base_executable):
        code = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
        command = ["runuser", "-u", user, "--", candidate, "-c", code]
        try:
            if subprocess.run(command, capture_output=True, cwd="/").returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python >= 3.10 with venv here that another user can run")


@pytest.fixture(scope="session")
def server():
    if os.getuid() != 0:
        pytest.skip("an ssh server that lets another user in needs root")
    program, libraries = sshd()
    top = Path(tempfile.mkdtemp(prefix="edge-cl-sshd-"))
    top.chmod(0o755)
    with accounts(top / "home") as user:
        try:
            yield from serve(program, libraries, top, user)
        finally:
            shutil.rmtree(top, ignore_errors=True)


def serve(program, libraries, top, user):
    home = top / "home"
    keys = top / "keys"
    keys.mkdir(mode=0o700)
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(keys / key))
    allowed = home / ".ssh/authorized_keys"
    allowed.parent.mkdir(mode=0o700)
    allowed.write_text((keys / "user.pub").read_text())
    record = pwd.getpwnam(user)
    for path in (home, allowed.parent, allowed):
        os.chown(path, record.pw_uid, record.pw_gid)
    programs = top / "programs"
    programs.mkdir(mode=0o755)
    port = free_port()
    configuration = top / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nPidFile none\nUsePAM no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowUsers {user}\n"
        f"StrictModes no\nMaxStartups 100\nSetEnv PATH={programs}:/usr/local/bin:/usr/bin:/bin\n"
    )
    known = keys / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    log = top / "log"
    process = subprocess.Popen(
        [str(program), "-D", "-E", str(log), "-f", str(configuration)],
        env=os.environ | {"LD_LIBRARY_PATH": libraries},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process, log)
        python = python_for(user)
        made = top / "environment"
        run(python, "-m", "venv", str(made))
        quick = top / "python"
        quick.write_text(
            f'#!/bin/sh\n[ "$1 $2 $#" = "-m venv 3" ] && exec cp -r {made} "$3"\n'
            f'exec {python} "$@"\n'
        )
        quick.chmod(0o755)
        yield Server(user, home, port, keys / "user", known, programs, python, str(quick))
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, log):
    for _ in range(200):
        if process.poll() is not None:
            pytest.fail(f"the ssh server ended: {log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"the ssh server does not answer: {log.read_text()}")
