"""Deployment to another user in another home, through a real ssh server."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import deploy_payload
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sensor_rows import CENTRES
from ssh_server import server  # noqa: F401

from edge_cl import features_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.cli import exit_code
from edge_cl.deploy import Address, Service, deploy, unit
from edge_cl.deploy.attempt import Attempt
from edge_cl.deploy.board import Board, look, refuse_python, refuse_unfit
from edge_cl.deploy.connection import Connection
from edge_cl.deploy.release import Release, install
from edge_cl.deploy.wheels import Payload, keep_wheels, platforms
from edge_cl.errors import DeployError, InputError, StorageError

STEPS = ["look", "wheels", "environment", "bundle", "doctor", "verify", "current"]
SYSTEMCTL = """
# A systemctl that keeps its word in files: what is enabled and active, and every call
echo "$@" >> "$HOME/../systemctl.log"
[ "$1" = --user ] && shift
verb=$1; shift
[ "$1" = --quiet ] && shift
case $verb in
is-active) test -e "$HOME/../active" ;;
is-enabled) test -e "$HOME/../enabled" ;;
enable) touch "$HOME/../enabled" ;;
disable) rm -f "$HOME/../enabled" ;;
stop) rm -f "$HOME/../active" ;;
restart)
  if grep -qs fails "$HOME/../start"; then
    rm -f "$HOME/../active"; echo "Job failed." >&2; exit 1
  fi
  readlink "$HOME/edge-cl/current" > "$HOME/../active" ;;
esac
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return deploy_payload.wheel(tmp_path_factory.mktemp("wheels")).parent


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    for i, name in enumerate("abcd", start=1):
        (folder / f"{name}.edgecl").write_bytes(features_bundle(i * CENTRES).archive())
    return folder


@pytest.fixture
def board(server):  # noqa: F811
    """The other home, empty but for the key that lets us in."""
    server.clean()
    shared = server.home.parent
    for name in ("systemctl.log", "active", "enabled", "start"):
        (shared / name).unlink(missing_ok=True)
    shared.chmod(0o777)  # where the systemctl of these tests keeps its word
    yield server
    server.clean()


@pytest.fixture
def reached(board):
    return Address(name=board.name, port=board.port, identity=board.key, options=board.options)


@pytest.fixture
def to(board, reached, wheels, bundles, tmp_path):
    """Deploy a bundle by its name, with the small payload."""

    def run(bundle, **options):
        chosen = {"wheels": wheels, "offline": True, "reports": tmp_path, "python": board.quick}
        return deploy(reached, bundles / f"{bundle}.edgecl", **(chosen | options))

    return run


def arguments(board, *more):
    options = [part for option in board.options for part in ("--ssh-option", option)]
    where = ["--port", board.port, "--identity", board.key, "--python", board.quick]
    return [str(a) for a in ("deploy", board.name, *where, *options, *more)]


def changed(deployed):
    return [step.name for step in deployed.steps if step.changed]


def names(printed):
    return [step["name"] for step in printed["steps"] if step["changed"]]


def releases(board):
    return {path.name for path in (board.home / "edge-cl/releases").iterdir()}


def test_a_board_is_deployed_to_and_then_nothing_is_left_to_do(
    board, to, wheels, bundles, tmp_path, capsys
):
    bundle = shutil.copy(bundles / "a.edgecl", tmp_path)
    command = arguments(board, "--bundle", bundle, "--wheels", wheels, "--offline", "--json")
    empty = board.snapshot()

    assert exit_code([*command, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert board.snapshot() == empty
    assert [step["name"] for step in planned["steps"]] == STEPS
    assert planned["reports"] == []

    assert exit_code(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["release"] == planned["release"]
    assert names(planned) == ["environment", "bundle", "current"]
    assert names(done) == ["environment", "bundle", "verify", "current"]
    folder = board.home / "edge-cl"
    current = folder / "current"
    assert os.readlink(current) == f"releases/{done['release']}"
    assert (current / "bundle.edgecl").read_bytes() == (tmp_path / "a.edgecl").read_bytes()
    assert (current / "venv/bin/edge-cl").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["current", "releases", "venvs"]
    assert all(path.owner() == board.user for path in folder.rglob("*") if not path.is_symlink())
    doctor, verify = (json.loads(Path(path).read_text()) for path in done["reports"])
    assert doctor == {"command": "doctor"}
    assert verify["bytes"] == (tmp_path / "a.edgecl").stat().st_size
    assert {os.path.dirname(path) for path in done["reports"]} == {str(tmp_path)}

    before = board.snapshot()
    assert exit_code(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert names(again) == []
    assert again["reports"] == done["reports"]
    assert board.snapshot() == before


def test_another_bundle_shares_the_environment_and_the_release_before_stays(board, to):
    first, second = to("a"), to("b")
    assert changed(second) == ["bundle", "verify", "current"]
    third = to("c")
    assert changed(third) == ["bundle", "verify", "current", "tidy"]
    assert releases(board) == {second.release, third.release}
    assert first.release not in releases(board)
    assert changed(to("c")) == []  # what is kept to return to is not tidied away
    back = to("b")
    assert changed(back) == ["current"]
    assert back.release == second.release


def test_what_was_left_by_an_attempt_that_was_cut_off_is_removed(board, to):
    for name in ("venvs/0123", "releases/4567"):
        path = board.home / "edge-cl" / name
        path.mkdir(parents=True)
        for folder in (path, *path.parents):
            if folder != board.home and board.home in folder.parents:
                shutil.chown(folder, board.user)
    done = to("a")
    assert releases(board) == {done.release}
    assert len(list((board.home / "edge-cl/venvs").iterdir())) == 1


def test_a_bundle_that_was_damaged_on_the_board_is_noticed(board, to):
    done = to("a")
    (board.home / "edge-cl/current/bundle.edgecl").write_bytes(b"not it")
    with pytest.raises(DeployError, match="not the bundle that was copied"):
        to("a")
    assert releases(board) == {done.release}


@pytest.mark.parametrize("command", ["doctor", "verify"])
def test_a_check_that_refuses_is_exit_code_3_and_leaves_the_board_as_it_was(
    board, to, wheels, bundles, tmp_path, command, capsys
):
    if command == "verify":  # the one at first, the other where something is there
        to("b")
    board.behave({command: {"status": 3, "told": f"error: {command} says no"}})
    before = board.snapshot()
    bundle = shutil.copy(bundles / "a.edgecl", tmp_path)
    line = arguments(board, "--bundle", bundle, "--wheels", wheels, "--offline", "--json")
    assert exit_code(line) == 3
    out, err = capsys.readouterr()
    assert f"error: {command}: error: {command} says no" in err
    assert board.snapshot() == before
    reports = json.loads(out)["reports"]
    assert [path.split(".")[-2] for path in reports] == ["doctor", "board"][: len(reports)]
    assert len(reports) == (1 if command == "doctor" else 2)
    assert all(Path(path).exists() for path in reports)


@pytest.mark.parametrize(
    ("behave", "says"),
    [
        ({"warmup": {"status": 4, "told": "an illegal instruction"}}, "an illegal instruction"),
        ({"doctor": {"status": 1, "told": "error: broken"}}, "doctor failed on the board"),
        ({"verify": {"status": 139}}, "verify failed on the board"),
    ],
)
def test_a_program_that_fails_leaves_the_board_as_it_was(board, to, behave, says):
    board.behave(behave)
    before = board.snapshot()
    with pytest.raises(DeployError, match=says):
        to("a")
    assert board.snapshot() == before


def test_an_installation_that_fails_leaves_the_board_as_it_was(board, reached, bundles, tmp_path):
    wheel = deploy_payload.wheel(tmp_path, requires=["nothing-of-that-name"])  # not for pip here
    requirement = f"edge-cl=={deploy_payload.VERSION}"
    payload = Payload(requirement=requirement, wheels=(wheel,), index=False)
    before = board.snapshot()

    def try_it():
        with Connection(reached, board.quick) as connection, Attempt(connection) as attempt:
            there = look(connection, board.quick, folder="edge-cl", unit="", state="")
            target = Release(there, payload, bundles / "a.edgecl", site_packages=False)
            install(attempt, target, there, payload, board.quick)

    with pytest.raises(DeployError, match="installing edge-cl failed on the board"):
        try_it()
    assert board.snapshot() == before


def test_ctrl_c_takes_everything_back(board, wheels, bundles, tmp_path):
    board.behave({"doctor": {"seconds": 60}})
    command = arguments(board, "--wheels", wheels, "--offline")
    bundle = shutil.copy(bundles / "a.edgecl", tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "edge_cl", *command, "--bundle", bundle],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        wait_until(lambda: processes(board, "edge-cl doctor"))
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: all of it
        assert child.wait(30) == 130
    assert not (board.home / "edge-cl").exists()
    wait_until(lambda: not processes(board, "edge-cl doctor"))


def test_a_connection_that_is_cut_leaves_nothing_running(board, reached):
    with Connection(reached, board.python) as connection:

        def cut():
            wait_until(lambda: processes(board, "sleep"))
            connection._master.kill()

        threading.Thread(target=cut).start()
        with pytest.raises(DeployError, match=r"was lost|did not answer"):
            connection.call("sleep", "600")
    wait_until(lambda: not processes(board, "sleep"))


def test_a_file_that_arrives_otherwise_is_noticed(board, reached, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 5000)
    with Connection(reached, board.python) as connection:
        connection.send(file, f"{board.home}/file")
        assert (board.home / "file").read_bytes() == file.read_bytes()
        with pytest.raises(DeployError, match="could not take file"):
            connection.send(file, "/nowhere/file")
        board.program("cat", "exec tr a b")  # a card that keeps something else
        board.program("sha256sum", f"exec /usr/bin/sha256sum {board.home}/file")
        with pytest.raises(DeployError, match="did not arrive"):
            connection.send(file, f"{board.home}/file")


def processes(board, word):
    """Processes of the board's user whose command line has a word."""
    command = ["pgrep", "-u", board.user, "-f", word]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def wait_until(true, seconds=20):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- the service


@pytest.fixture
def systemd(board):
    board.program("systemctl", SYSTEMCTL)
    board.program("loginctl", '[ "$1" = show-user ] && echo Linger=no; [ "$1" != enable-linger ]')

    def calls():
        log = board.home.parent / "systemctl.log"
        text = log.read_text() if log.exists() else ""
        log.write_text("")
        log.chmod(0o666)
        verbs = [line.removeprefix("--user ").split()[0] for line in text.splitlines()]
        return [verb for verb in verbs if not verb.startswith("is-")]

    return calls


def test_a_service_is_installed_started_and_then_left_alone(board, to, systemd):
    learns = Service(source="/data/things", mode="learn", label="mug")
    done = to("a", service=learns)
    text = (board.home / ".config/systemd/user/edge-cl.service").read_text()
    assert text == unit.unit_text(learns, folder=f"{board.home}/edge-cl", user=board.user)
    assert systemd() == ["daemon-reload", "enable", "restart"]
    assert f"sudo loginctl enable-linger {board.user}" in done.steps[-1].did

    before = board.snapshot()
    assert changed(to("a", service=learns)) == []
    assert board.snapshot() == before
    assert systemd() == []

    planned = to("b", service=learns, dry_run=True)
    assert changed(planned) == ["bundle", "current", "service"]
    assert board.snapshot() == before

    assert changed(to("b", service=learns)) == ["bundle", "verify", "current", "service"]
    assert systemd() == ["restart"]


def test_a_service_that_does_not_start_leaves_the_one_before_running(board, to, systemd):
    learns = Service(source="/data/things", mode="learn", label="mug")
    start = board.home.parent / "start"
    start.write_text("fails")
    empty = board.snapshot()
    with pytest.raises(
        DeployError, match=r"restart edge-cl\.service failed on the board: Job failed"
    ):
        to("a", service=learns)
    assert board.snapshot() == empty
    assert systemd() == ["daemon-reload", "enable", "restart", "disable", "daemon-reload", "stop"]

    start.write_text("")
    to("a", service=learns)
    before, running = board.snapshot(), (board.home.parent / "active").read_text()
    systemd()
    # what starts plates fails; what goes back to things does not
    board.program(
        "systemctl",
        SYSTEMCTL.replace(
            'grep -qs fails "$HOME/../start"',
            'grep -q plates "$HOME/.config/systemd/user/edge-cl.service"',
        ),
    )
    with pytest.raises(DeployError, match="Job failed"):
        to("b", service=replace(learns, source="/data/plates"))
    assert {k: v[2:] for k, v in board.snapshot().items()} == {k: v[2:] for k, v in before.items()}
    assert systemd() == ["daemon-reload", "restart", "daemon-reload", "restart"]
    assert (board.home.parent / "active").read_text() == running

    # and where that one does not start either, it is told
    board.program("systemctl", SYSTEMCTL)
    start.write_text("fails")
    with pytest.raises(DeployError, match="Job failed") as caught:
        to("b", service=learns)
    assert "the service was not taken back: systemctl --user restart" in caught.value.hint


def test_a_unit_of_the_system_goes_through_sudo_or_is_refused(board, to, systemd):
    learns = Service(kind="system", source="/data/things", mode="learn", label="mug")
    board.program("sudo", "exit 1")
    with pytest.raises(DeployError, match="sudo asks for a password"):
        to("a", service=learns)
    assert not (board.home / "edge-cl").exists()
    # A sudo that gives no rights, and an install that says what it would have put in place
    board.program("sudo", '[ "$1" = -n ] && shift; exec "$@"')
    board.program("install", 'cp "$3" "$HOME/../placed"; echo "$4" >> "$HOME/../placed"')
    done = to("a", service=learns)
    placed = (board.home.parent / "placed").read_text()
    assert placed == (
        unit.unit_text(learns, folder=f"{board.home}/edge-cl", user=board.user)
        + "/etc/systemd/system/edge-cl.service\n"
    )
    assert done.steps[-1].changed
    assert sorted(p.name for p in (board.home / "edge-cl").iterdir()) == [
        "current",
        "releases",
        "venvs",
    ]


def test_a_service_that_could_not_do_anything_is_refused_before_anything_is_done(
    board, to, systemd
):
    with pytest.raises(DeployError, match="nothing was taught yet"):
        to("a", service=Service(source="/data/things"))
    foreign = board.home / ".config/systemd/user"
    foreign.mkdir(parents=True)
    (foreign / "edge-cl.service").write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(DeployError, match="not written by edge-cl deploy"):
        to("a", service=Service(source="/data/things", mode="learn", label="mug"))
    assert not (board.home / "edge-cl").exists()
    assert systemd() == []


ANY_UNIT = [
    Service(kind=kind, source=source, mode="learn", label="a mug")
    for kind in ("user", "system")
    for source in ("camera:0", "/data/my things")
]


@pytest.mark.parametrize("service", ANY_UNIT, ids=lambda s: f"{s.kind} {s.source}")
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_takes_the_unit(service, tmp_path):
    folder = tmp_path / "my edge-cl"
    program = folder / "current/venv/bin/edge-cl"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / unit.NAME
    path.write_text(unit.unit_text(service, folder=str(folder), user="daemon"))
    scope = ["--user"] if service.kind == "user" else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    if service.kind == "system":
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert float(re.search(r"exposure level.*: ([\d.]+)", done.stdout)[1]) <= 1.5


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_the_unit_allows_what_a_learner_calls():
    def calls(name):
        text = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        ).stdout
        words = [w for line in text.splitlines()[1:] if (w := line.strip()) and w[0] != "#"]
        found = set()
        for word in words:
            found |= calls(word) if word.startswith("@") else {word}
        return found

    text = unit.unit_text(Service(mode="learn", label="x"), folder="/x", user="pi")
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", text, re.MULTILINE):
        named = set().union(*(calls(name) for name in line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    needed = {
        "prlimit64", "memfd_create", "kill", "clone", "execve", "wait4",  # an encoder's trial
        "mprotect", "mmap", "madvise",  # Numba
        "sched_setaffinity", "sched_getaffinity",  # cores
        "fsync", "fdatasync", "rename", "flock", "fcntl",  # the state
        "ioctl", "poll", "socket", "sendto",  # a camera; word to systemd
    }  # fmt: skip
    assert needed <= allowed
    assert not {"mount", "reboot", "init_module", "ptrace", "chroot"} & allowed
    assert "MemoryDenyWriteExecute" not in text


@pytest.mark.parametrize(
    "options",
    [
        {"source": "-"},
        {"source": "camera:0\nExecStartPre=/bin/sh"},
        {"source": "%h/things"},
        {"source": 'a" "b'},
        {"source": "$HOME"},
        {"source": " x"},
        {"mode": "learn", "label": "mug; rm"},
        {"mode": "predict", "label": "mug"},
        {"memory": "lots"},
        {"silence_s": 0},
    ],
)
def test_what_cannot_stand_in_a_unit_is_refused(options):
    with pytest.raises(InputError):
        Service(**options)


# --- reaching the board


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-oProxyCommand=x",
        "pi@-h",
        "-l@h",
        "pi@",
        "@h",
        "a b",
        "pi@h;id",
        "pi@h\n",
        "p$i@h",
        "é@h",
    ],
)
def test_what_is_no_address_is_refused(name):
    with pytest.raises(InputError, match="expected user@host"):
        Address(name=name)


@pytest.mark.parametrize(
    "name", ["pi@kitchen", "kitchen", "pi@10.0.0.7", "pi@fe80::1%eth0", "a_b@c-d"]
)
def test_what_ssh_takes_is_an_address(name):
    assert Address(name=name).name == name


def test_other_options_are_checked(tmp_path):
    for options in ({"port": 0}, {"identity": tmp_path / "none"}, {"options": ("-v",)}):
        with pytest.raises(InputError):
            Address(name="h", **options)


def test_a_command_called_wrongly_is_exit_code_2(capsys):
    assert exit_code(["deploy", "pi@h", "--mode", "learn"]) == 2
    assert exit_code(["deploy", "pi@h", "--source", "door.mp4"]) == 2
    assert exit_code(["deploy", "pi@h", "--memory", "300M"]) == 2
    assert exit_code(["deploy", "pi@h", "--offline"]) == 2
    assert exit_code(["deploy"]) == 2
    assert exit_code(["deploy", "--", "-oProxyCommand=id"]) == 1


def test_each_reason_why_nobody_is_let_in_has_its_line(board, reached, tmp_path):
    stranger, empty = tmp_path / "stranger", tmp_path / "empty"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    empty.touch()
    other = tmp_path / "other"
    changed_key = (
        board.known_hosts.read_text().split()[:1]
        + stranger.with_suffix(".pub").read_text().split()[:2]
    )
    other.write_text(" ".join(changed_key) + "\n")
    hosts = "GlobalKnownHostsFile=/dev/null"
    for address, says in (
        (replace(reached, name="pi@no-such-host.invalid"), "no host of that name"),
        (replace(reached, port=1), "nothing answers on that port"),
        (replace(reached, identity=stranger), "does not let this user in with a key"),
        (replace(reached, options=(f"UserKnownHostsFile={empty}", hosts)), "is not known here"),
        (replace(reached, options=(f"UserKnownHostsFile={other}", hosts)), "another host key"),
        (replace(reached, options=("NoSuchOption=1",)), "ssh does not know an option"),
    ):
        with pytest.raises(DeployError, match=says), Connection(address):
            pass


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1))
def test_words_arrive_as_they_were_sent_whatever_is_in_them(board, reached, words):
    with Connection(reached, board.python) as connection:
        program = "import sys; print(ascii(sys.argv[1:]))"
        done = connection.call(board.python, "-c", program, *words)
        assert done.out == ascii(words) + "\n"
        # and where only the remote shell stands between
        assert connection.shell('printf "%s" "$1"', words[0]).out.replace("\r\n", "\n") == words[
            0
        ].replace("\r\n", "\n")


def test_a_folder_may_have_spaces_and_nothing_that_a_shell_reads(board, to):
    to("a", folder="my things/edge-cl")
    assert (board.home / "my things/edge-cl/current/bundle.edgecl").exists()
    before = board.snapshot()
    for wrong in ("", "~/edge-cl", "-x", "it's", "$(touch pwned)", "`touch pwned`", "a;b", "a\nb"):
        with pytest.raises(InputError, match="folder"):
            to("a", folder=wrong)
    assert board.snapshot() == before


# --- boards that cannot be taken


def test_a_board_with_an_old_or_no_python_is_refused(board, reached, to):
    board.program("old", 'echo "edge-cl-python 3.7.3"')
    for python, says in (("old", "3.10 or newer on the board, got 3.7.3"), ("none", "no none on")):
        with pytest.raises(DeployError, match=says):
            to("a", python=python)


@pytest.mark.parametrize(
    ("system", "says"),
    [("Linux armv7l", "got armv7l"), ("Darwin arm64", "runs Linux"), ("Linux riscv64", "riscv64")],
)
def test_a_board_that_has_no_wheels_is_refused(board, to, system, says):
    board.program("uname", f"echo {system}")
    with pytest.raises(DeployError, match=says):
        to("a")


THIS = Board(
    machine="aarch64",
    python="3.11.2",
    bits=64,
    libc="glibc",
    libc_version="2.36",
    board="Raspberry Pi 4 Model B Rev 1.4",
    venv=True,
    home="/home/pi",
    folder="/home/pi/edge-cl",
    free_bytes=1 << 30,
    writable=True,
    venvs=(),
    releases={},
    left_over=(),
    current="",
    systemd=True,
    unit="",
    taught=False,
    user="pi",
    uid=1000,
)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"bits": 32}, "aarch64 with a 32-bit system"),
        ({"libc": ""}, "expected a system with glibc"),
        ({"libc": "musl"}, "got musl"),
        ({"venv": False}, "cannot make a virtual environment"),
        ({"free_bytes": 10}, "expected 1 MB free on the board, got 0 MB"),
        ({"writable": False}, "cannot be written"),
    ],
)
def test_a_board_that_is_unfit_is_refused(other, says):
    refuse_unfit(THIS, 1_000_000)
    with pytest.raises(DeployError, match=says):
        refuse_unfit(replace(THIS, **other), 1_000_000)


def test_every_python_since_3_10_is_taken():
    for version in ("3.10.0", "3.14.1", "4.0.0"):
        refuse_python(version, "python3")


@given(minor=st.integers(17, 60))
def test_wheels_are_for_no_newer_system_than_the_board(minor):
    tags = platforms(replace(THIS, libc_version=f"2.{minor}"))
    found = [int(m[1]) for tag in tags if (m := re.fullmatch(r"manylinux_2_(\d+)_aarch64", tag))]
    assert found == list(range(minor, 16, -1))
    assert "manylinux2014_aarch64" in tags


def test_wheels_are_kept_in_a_folder_that_is_made_for_them(tmp_path):
    wheel = tmp_path / "numpy-2.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    payload = Payload(requirement="edge-cl", wheels=(wheel,), index=False)
    assert [keep_wheels(payload, tmp_path / "new" / "one") for _ in range(2)] == [1, 0]
    with pytest.raises(StorageError, match="cannot write to"):
        keep_wheels(payload, wheel)


# --- and all of it for real


@pytest.mark.slow
def test_a_board_without_internet_learns_after_one_command(
    board, reached, tmp_path, capsys, figure
):
    """The real edge-cl, with all that it depends on, fetched here and copied."""
    bundle = shutil.copy(shipped_bundle(), tmp_path)
    wheels = tmp_path / "wheels"
    command = arguments(board, "--bundle", bundle, "--wheels", wheels, "--json")
    command[command.index(board.quick)] = board.python
    board.program("pip", "exit 1")  # nothing but what is copied, and the environment's own
    start = time.monotonic()
    code = exit_code(command)
    out, err = capsys.readouterr()
    assert code == 0, err
    figure(
        f"deployment with {len(list(wheels.iterdir()))} wheels: {time.monotonic() - start:.0f} s"
    )
    doctor, verify = (json.loads(Path(path).read_text()) for path in json.loads(out)["reports"])
    assert doctor["sound"] is True
    assert doctor["board"]
    assert verify["misses"] == []
    assert verify["machine"]["packages"]["edge-cl"] == deploy_payload.VERSION
    before = board.snapshot()
    program = str(board.home / "edge-cl/current/venv/bin/edge-cl")
    picture = board.home / "mug.png"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(picture)
    with Connection(reached, board.python) as connection:
        there = {"EDGE_CL_STATE": str(board.home / "edge-cl/state")}
        for words in (("learn", str(picture), "mug"), ("predict", str(picture))):
            done = connection.call(program, *words, environment=there)
            assert done.status == 0, done.err
    assert f"{picture}: mug" in done.out
    assert {*before} <= {*board.snapshot()}
