"""The doctor looks at a board: on paper, at this one, and at libraries that end the process."""

import json
import os
import random
import subprocess
import sys

import msgspec
import pytest
from boards.unpack import NAMES, board, entries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_cl.device.disk import find_disk
from edge_cl.device.memory import cpu_quota, read_memory
from edge_cl.device.profile import load_profile
from edge_cl.device.software import Software, read_software, version_numbers
from edge_cl.device.system import HERE, System
from edge_cl.doctor import BoardExamination, examine_board
from edge_cl.doctor.board.cameras import camera_findings
from edge_cl.doctor.board.libraries import library_findings
from edge_cl.doctor.board.packages import package_findings
from edge_cl.doctor.board.probe_report import Report
from edge_cl.doctor.board.probes import Outcome, collect, running
from edge_cl.doctor.board.resources import clock_finding, disk_findings, memory_findings

NOON = 1_790_000_000.0  # in September 2026
PI_OS = Software(
    python="3.11.2",
    bits=64,
    architecture="aarch64",
    libc="glibc",
    libc_version="2.36",
    packages={"numpy": "2.4.6", "onnxruntime": "1.31.1"},
)


def look(system, **options):
    return examine_board(
        system, **{"folder": "/home/me/edge-cl-state", "software": PI_OS, "now": NOON} | options
    )


def brief(found):
    return [f"{one.verdict} {one.what}: {one.says}" for one in found.findings]


# -- boards on paper -----------------------------------------------------------------------------

ALIKE = [
    "ok clock: 2026-09-21 14:13 UTC",
    "ok Python: 3.11.2, 64-bit, aarch64, glibc 2.36",
    "ok packages: numpy 2.4.6, onnxruntime 1.31.1",
]
UNTOLD = [f"ok {what}: the system does not tell" for what in ("governor", "temperature")]
COOLING = "/sys/class/thermal/cooling_device*/cur_state"
EXPECTED = {
    "raspberry-pi-4": [
        "ok board: Raspberry Pi 4 Model B Rev 1.4 (profile raspberry-pi-4)",
        "ok processor: 4 x Cortex-A72 up to 1800 MHz; no int8 or fp16 instructions",
        "ok governor: ondemand (cpufreq-dt)",
        "ok temperature: 62.3 °C (vcgencmd measure_temp)",
        "warning throttling: now: under-voltage, throttled (vcgencmd get_throttled)",
        "ok memory: 3.4 GB of 4.0 GB free",
        "ok swap: 537 MB of 537 MB free",
        "note disk: SD card (ext4, /)",
        "ok cameras: /dev/video0 (unicam-image)",
    ],
    "raspberry-pi-5": [
        "ok board: Raspberry Pi 5 Model B Rev 1.0 (profile raspberry-pi-5)",
        "ok processor: 4 x Cortex-A76 up to 2400 MHz; dotprod, fp16",
        "ok governor: ondemand (cpufreq-dt)",
        "ok temperature: 49.4 °C (vcgencmd measure_temp)",
        "ok throttling: none now or since it was started (vcgencmd get_throttled)",
        "ok power: 3.84 W (vcgencmd pmic_read_adc, the sum of its rails, without USB)",
        "ok memory: 7.5 GB of 8.4 GB free",
        "ok swap: 537 MB of 537 MB free",
        "ok disk: NVMe (ext4, /)",
        "ok cameras: /dev/video0 (rp1-cfe-csi2_ch0)",
    ],
    "raspberry-pi-3b-plus": [
        "ok board: Raspberry Pi 3 Model B Plus Rev 1.3 (profile raspberry-pi-3b-plus)",
        "ok processor: 4 x Cortex-A53 up to 1400 MHz; no int8 or fp16 instructions",
        "ok governor: ondemand (raspberrypi-cpufreq)",
        "ok temperature: 63.9 °C (vcgencmd measure_temp)",
        "warning throttling: now: soft temperature limit (vcgencmd get_throttled)",
        "ok memory: 268 MB of 954 MB free",
        "note swap: none, and little memory",
        "note disk: SD card (ext4, /)",
        "warning disk: it is mounted for reading only: edge-cl answers, and learns nothing",
        "ok cameras: none",
    ],
    "jetson-orin-nano": [
        "ok board: NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super "
        "(profile jetson-orin-nano)",
        "ok processor: 6 x Cortex-A78AE up to 1728 MHz; dotprod, fp16",
        "ok governor: schedutil (tegra194-cpufreq)",
        "ok temperature: 51.3 °C (/sys/class/thermal/thermal_zone0 (cpu-thermal))",
        "ok throttling: none now (/sys/class/hwmon/hwmon1/curr*_alarm)",
        "note throttling: since it was started: throttled (soctherm_oc: oc*_event_cnt)",
        "ok power: 6.29 W (/sys/class/hwmon/hwmon1, VDD_IN)",
        "ok power mode: 15W",
        "ok memory: 6.0 GB of 8.0 GB free",
        "ok swap: 4.0 GB of 4.0 GB free",
        "ok disk: NVMe (ext4, /)",
        "ok cameras: none",
    ],
    "rk3588": [
        "ok board: Xunlong Orange Pi 5 (profile orange-pi-5)",
        "note processor: 4 x Cortex-A76 up to 2400 MHz, 4 x Cortex-A55 up to 1800 MHz; "
        "dotprod, fp16",
        "ok governor: ondemand (cpufreq-dt)",
        "note temperature: 83.2 °C (/sys/class/thermal/thermal_zone1 (bigcore0-thermal)): it "
        "slows down at 85 °C",
        f"warning throttling: now: throttled ({COOLING})",
        "ok memory: 1.6 GB of 2.1 GB free",
        "note memory limit: 2.1 GB (/sys/fs/cgroup/system.slice/edge-cl.service/memory.max); what "
        "goes beyond it is killed",
        "ok swap: 4.2 GB of 4.2 GB free",
        "note processor limit: the control group may use 4 of 8 cores' time",
        "ok disk: eMMC (ext4, /)",
        "ok cameras: /dev/video0 (rkisp_mainpath)",
    ],
    "x86-laptop": [
        "ok board: LENOVO 21BSCTO1WW (profile generic-x86-64)",
        "note processor: 2 x 12th Gen Intel(R) Core(TM) i5-1240P up to 4400 MHz, 2 x 12th Gen "
        "Intel(R) Core(TM) i5-1240P up to 3300 MHz; avx2, avx_vnni",
        "ok governor: powersave (intel_pstate)",
        "ok temperature: 54.0 °C (/sys/class/thermal/thermal_zone1 (x86_pkg_temp))",
        f"ok throttling: none now ({COOLING})",
        "note throttling: since it was started: throttled "
        "(/sys/devices/system/cpu/cpu0/thermal_throttle)",
        "ok memory: 10.0 GB of 16.5 GB free",
        "ok swap: 8.6 GB of 8.6 GB free",
        "ok disk: NVMe (ext4, /)",
        "ok cameras: /dev/video0 (Integrated Camera: Integrated C)",
    ],
    "container": [
        "ok board: it does not tell its name (profile generic-x86-64)",
        "ok processor: 2 x AMD EPYC 7B13; avx2",
        *UNTOLD,
        "ok throttling: the system does not tell",
        "warning memory: 220 MB of 419 MB free; a learner takes about 250 MB",
        "note memory limit: 419 MB (/sys/fs/cgroup/memory.max); what goes beyond it is killed",
        "ok swap: none",
        "note processor limit: the control group may use 1.5 of 2 cores' time",
        "warning disk: overlay (overlay, /): what is taught is lost with the container",
        "ok cameras: none",
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_about_each_board(name, tmp_path):
    found = look(board(name, tmp_path))
    assert sorted(brief(found)) == sorted([*EXPECTED[name], *ALIKE])
    assert found.sound
    for one in found.findings:  # whoever is told of something is told what to do
        assert one.do or one.verdict == "ok", one
    assert found.profile
    load_profile(found.profile)
    assert json.loads(msgspec.json.encode(found))["conditions"]["governor"] is not None


def test_a_governor_that_keeps_the_clock_down_is_a_warning(tmp_path):
    file = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    found = look(board("rk3588", tmp_path, {file: "powersave"}))
    told = {one.what: one for one in found.findings}["governor"]
    assert told.verdict == "warning"
    assert "scaling_governor" in told.do


def test_a_firmware_that_does_not_answer_is_a_warning(tmp_path):
    verbs = ("get_throttled", "measure_temp", "measure_clock arm")
    mute = {f"/programs/vcgencmd {verb}": None for verb in verbs}
    found = look(board("raspberry-pi-4", tmp_path, mute))
    assert [one.verdict for one in found.findings if one.what == "firmware"] == ["warning"]


# -- whatever a system tells -----------------------------------------------------------------------

PATHS = sorted({path for name in NAMES for path, _ in entries(name)})
ODD = [
    "",
    "\n",
    "-1",
    "0",
    "9" * 5000,
    "max",
    "NaN",
    "0x",
    "a: b",
    "1 2 3 - 4",
    "\x1b[31m\r\nx",
    "²",
]


def noise(chance, text):
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(ODD).encode()
    if kind == 1:
        return chance.randbytes(chance.choice([1, 30, 5000]))
    data = bytearray(text.encode())
    for _ in range(chance.choice([1, 3, 20])):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    if kind == 2:
        return bytes(data)
    return bytes(data[: chance.randrange(len(data) + 1)])


def spoil(system, path, chance, text):
    file = system.path(path)
    if file.is_dir():
        return
    if chance.random() < 0.1:
        file.unlink(missing_ok=True)
        file.mkdir(parents=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(noise(chance, text))


def mend(system, path, text):
    file = system.path(path)
    if file.is_dir() and not any(file.iterdir()):
        file.rmdir()
    if text is not None:
        file.write_text(text, encoding="utf-8")
    elif file.is_file():
        file.unlink()


def test_whatever_a_system_tells_it_never_raises(tmp_path):
    seen = set()
    files = {name: dict(entries(name)) for name in NAMES}
    systems = {name: board(name, tmp_path / name) for name in NAMES}
    for seed in range(60):
        chance = random.Random(seed)
        name = chance.choice(NAMES)
        spoiled = chance.sample(PATHS, chance.choice([1, 5, 30]))
        for path in spoiled:
            spoil(systems[name], path, chance, files[name].get(path, ""))
        folder = chance.choice(["/", "/data/my state/x", "/dev/video0"])
        found = look(systems[name], folder=folder)
        assert isinstance(found, BoardExamination), seed
        json.dumps(msgspec.to_builtins(found), allow_nan=False)
        for one in found.findings:
            assert one.says, (seed, one)
            assert len((one.says + one.do).splitlines()) == 1, (seed, one)
            seen.add((one.what, one.verdict))
        for path in reversed(spoiled):
            mend(systems[name], path, files[name].get(path))
    assert len(seen) > 25


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.text(max_size=60)), max_size=30))
@settings(suppress_health_check=list(HealthCheck), max_examples=20, deadline=None)
def test_nor_from_files_of_any_text(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("any")
    for path, text in files:
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="replace")
    assert look(System(root)).findings


# -- memory and control groups -------------------------------------------------------------------

GIB = 1 << 30
V2 = "29 22 0:25 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1 = "32 31 0:28 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def grouped(tmp_path, mount, own, limits, *, file="memory.max", root="/"):
    place = "/sys/fs/cgroup" + ("/memory" if file != "memory.max" else "")
    files = {
        "/proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB",
        "/proc/self/mountinfo": mount.format(root=root),
        "/proc/self/cgroup": own,
    }
    for group, limit in limits.items():
        files[f"{place}{group}/{file}"] = str(limit)
    for path, text in files.items():
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return System(tmp_path)


LEVELS = st.lists(st.none() | st.integers(1, 1 << 40), min_size=1, max_size=5)


@given(LEVELS, st.booleans())
@settings(suppress_health_check=list(HealthCheck), max_examples=40, deadline=None)
def test_the_least_limit_on_the_way_up_counts(tmp_path_factory, limits, old):
    folder = tmp_path_factory.mktemp("groups")
    names = ["", *(f"/g{i}" for i in range(1, len(limits)))]
    paths = ["".join(names[: i + 1]) for i in range(len(names))]
    unlimited = 9223372036854771712 if old else "max"
    told = {p: unlimited if n is None else n for p, n in zip(paths, limits, strict=True)}
    told |= {"/other": 1}  # of somebody else
    file = "memory.limit_in_bytes" if old else "memory.max"
    own = f"4:memory:{paths[-1] or '/'}" if old else f"0::{paths[-1] or '/'}"
    found = read_memory(grouped(folder, V1 if old else V2, own, told, file=file))
    numbers = [n for n in limits if n is not None]
    assert found.limit == min(numbers, default=None)
    assert found.total == 8 * GIB
    assert found.free == min([4 * GIB, *numbers])


def test_a_group_that_is_mounted_from_below_is_found(tmp_path):
    """In a container of old, the group has its outer name, and only its part is mounted."""
    limits = {"": 100 << 20, "/docker/abc": 1, "/inner": 50 << 20}
    for own, limit in (("/docker/abc", 100 << 20), ("/docker/abc/inner", 50 << 20)):
        system = grouped(
            *(tmp_path, V1, f"4:memory:{own}", limits),
            file="memory.limit_in_bytes",
            root="/docker/abc",
        )
        assert read_memory(system).limit == limit


@pytest.mark.parametrize(
    ("own", "outer", "cores"),
    [
        ("max 100000", "max 100000", None),
        ("50000 100000", "max 100000", 0.5),
        ("400000 100000", "150000 100000", 1.5),
        ("0 100000", "x", None),
        ("", "100000", None),
    ],
)
def test_the_least_processor_time_counts_too(tmp_path, own, outer, cores):
    limits = {"/a/b": own, "/a": outer}
    grouped(tmp_path, V2, "0::/a/b", {})
    for group, text in limits.items():
        target = tmp_path / f"sys/fs/cgroup{group}/cpu.max"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    assert cpu_quota(System(tmp_path)) == cores


def test_this_machine_s_memory_is_what_it_says():
    found = read_memory(HERE)
    page = os.sysconf("SC_PAGE_SIZE")
    assert found.total == pytest.approx(os.sysconf("SC_PHYS_PAGES") * page, rel=0.01)
    assert 0 < found.free <= found.total
    assert memory_findings(found)


# -- disks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder", "kind", "at"),
    [
        ("raspberry-pi-4", "/home/pi/state", "SD card", "/"),
        ("raspberry-pi-4", "/tmp/state", "memory", "/tmp"),
        ("raspberry-pi-4", "/tmpfile", "SD card", "/"),
        ("raspberry-pi-5", "/home/pi", "NVMe", "/"),  # /dev/root, found by its number
        ("rk3588", "/", "eMMC", "/"),
        ("x86-laptop", "/home", "NVMe", "/"),  # a volume on an encrypted partition
        ("container", "/srv", "overlay", "/"),
        ("container", "/data/my state/robot", "hard disk", "/data/my state"),
    ],
)
def test_what_a_folder_lies_on(tmp_path, name, folder, kind, at):
    found = find_disk(folder, board(name, tmp_path))
    assert (found.kind, found.mounted_at) == (kind, at)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("9 1 0:44 / /s rw - nfs4 server:/x rw", "network"),
        ("9 1 0:44 / /s rw - fuse.sshfs me@there: rw", "network"),
        ("9 1 0:51 /@home /s rw - btrfs /dev/sda1 rw", "hard disk"),  # no number of its own
        ("9 1 8:99 / /s rw - vfat /dev/sdz9 rw", ""),
        ("9 1 0:44 / /s rw - tmpfs tmpfs rw", "memory"),
    ],
)
def test_a_mount_on_top_counts(tmp_path, line, kind):
    name = "/proc/self/mountinfo"
    mounts = dict(entries("container"))[name] + "\n" + line
    found = find_disk("/s/state", board("container", tmp_path, {name: mounts}))
    assert found.kind == kind
    assert (disk_findings(found)[0].verdict == "warning") == (kind in ("network", "memory"))


def test_of_two_mounts_at_one_place_the_later_is_seen(tmp_path):
    name = "/proc/self/mountinfo"
    over = "9 1 0:44 / /data/my\\040state rw - nfs4 server:/x rw"
    mounts = dict(entries("container"))[name] + "\n" + over
    found = find_disk("/data/my state", board("container", tmp_path, {name: mounts}))
    assert found.kind == "network"


def test_little_room_is_a_warning_and_none_a_problem(tmp_path):
    free = {9e9: "ok", 2e8: "warning", 1e7: "problem", 0: "problem"}
    disk = find_disk(str(tmp_path))
    room = os.statvfs(tmp_path)  # others write, too
    assert disk.free_bytes == pytest.approx(room.f_bavail * room.f_frsize, rel=0.2)
    for n, verdict in free.items():
        found = disk_findings(
            type(disk)(
                kind="NVMe",
                filesystem="ext4",
                device="/dev/nvme0n1",
                mounted_at="/",
                read_only=False,
                free_bytes=int(n),
            )
        )
        assert [one.verdict for one in found] == [verdict]


def test_a_folder_that_is_not_there_yet_lies_on_its_parent_s_disk(tmp_path):
    assert find_disk(str(tmp_path / "a" / "b")).free_bytes > 0


@pytest.mark.parametrize(("now", "verdict"), [(NOON, "ok"), (0.0, "warning"), (1e30, "warning")])
def test_a_clock_that_cannot_be_right_is_told(now, verdict):
    assert clock_finding(now).verdict == verdict


# -- cameras and packages --------------------------------------------------------------------------


def test_a_camera_that_may_not_be_opened_names_the_group(tmp_path):
    system = board("x86-laptop", tmp_path)
    system.path("/dev/video0").unlink()
    system.path("/dev/video0").symlink_to("nowhere")
    (found,) = camera_findings(system)
    assert (found.verdict, "Integrated Camera" in found.says) == ("warning", True)
    assert "usermod -aG video" in found.do


@pytest.mark.parametrize(
    ("changes", "isa", "verdict", "says"),
    [
        ({}, (), "ok", "glibc 2.36"),
        ({"bits": 32}, (), "problem", "32-bit"),
        ({"libc": "musl", "libc_version": ""}, (), "problem", "musl"),
        ({"libc_version": "2.27"}, (), "warning", "2.27"),
        ({"packages": {"onnxruntime": "1.21.0"}}, (), "warning", "illegal instruction"),
        ({"packages": {"onnxruntime": "1.21.0"}}, ("dotprod",), "ok", "1.21.0"),
        ({"packages": {"onnxruntime": "1.21.1"}}, (), "ok", "1.21.1"),
        (
            {"packages": {"onnxruntime": "1.21.0"}, "architecture": "x86_64"},
            *((), "ok", "1.21.0"),
        ),
        ({"packages": {"tflite-runtime": "2.14.0", "numpy": "2.4.6"}}, (), "warning", "NumPy 1"),
        ({"packages": {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}}, (), "ok", "2.14.0"),
    ],
)
def test_what_is_known_not_to_run(changes, isa, verdict, says):
    fields = {name: getattr(PI_OS, name) for name in PI_OS.__slots__}
    found = package_findings(Software(**{**fields, **changes}), isa)
    order = ("ok", "note", "warning", "problem")
    worst = max(found, key=lambda one: order.index(one.verdict))
    assert worst.verdict == verdict
    assert any(says in one.says for one in found)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_versions_compare_as_numbers(parts):
    text = ".".join(map(str, parts))
    assert version_numbers(text) == version_numbers(f"{text}rc1") == tuple(parts)


def test_this_python_tells_what_it_is():
    found = read_software()
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.packages["msgspec" if "msgspec" in found.packages else "numpy"]


# -- what runs -----------------------------------------------------------------------------------

RAN = Report(version="1.0")
KERNELS = Outcome(what="kernels", report=Report(version="1", backend="numba", cache="/c"))
DIED = {"died": "was ended by SIGILL", "signal": "SIGILL"}


def verdicts(*outcomes, executions=()):
    found = library_findings(list(outcomes), executions)
    return {one.what: one.verdict for one in found}


@pytest.mark.parametrize(
    ("onnx", "litert", "expected"),
    [
        ("ran", "ran", ("ok", "ok")),
        ("ran", None, ("ok", "note")),
        ("died", "ran", ("warning", "ok")),
        ("ran", "died", ("ok", "warning")),
        ("error", "ran", ("warning", "ok")),
        (None, "ran", ("note", "ok")),
        ("died", None, ("problem", "note")),
        ("died", "died", ("problem", "problem")),
        (None, None, ("problem", "note")),
        (None, "error", ("problem", "problem")),
    ],
)
def test_a_library_is_a_problem_only_where_no_other_runs(onnx, litert, expected):
    kinds = {
        "ran": {"report": RAN},
        "died": {"report": None, **DIED},
        "error": {"report": Report(error="ImportError: no")},
    }
    outcomes = [
        Outcome(what=what, **kinds[how])
        for what, how in (("onnx", onnx), ("litert", litert))
        if how
    ]
    found = verdicts(KERNELS, *outcomes)
    assert (found["ONNX Runtime"], found["LiteRT"]) == expected


def test_kernels_that_end_the_process_are_a_problem_with_a_way_out():
    (found, *_) = library_findings([Outcome(what="kernels", report=None, **DIED)])
    assert (found.verdict, "SIGILL" in found.says) == ("problem", True)
    assert "EDGE_CL_KERNELS=numpy" in found.do
    nowhere = Report(version="1", backend="numba", seconds=2.0)
    assert verdicts(Outcome(what="kernels", report=nowhere))["kernels"] == "warning"
    numpy = Report(version="2", backend="numpy")
    assert verdicts(Outcome(what="kernels", report=numpy))["kernels"] == "note"


def test_an_accelerator_that_does_not_load_is_a_warning():
    def on(report, **died):
        return Outcome(what="onnx:cuda", report=report, **died)

    base = (KERNELS, Outcome(what="onnx", report=RAN))
    name = "cuda of ONNX Runtime"
    assert verdicts(*base, on(RAN))[name] == "ok"
    assert verdicts(*base, on(None, **DIED))[name] == "warning"
    assert verdicts(*base, on(Report(error="no device")))[name] == "warning"
    assert verdicts(*base, on(Report(fallbacks=("1 of 1 nodes on the CPU",))))[name] == "note"
    listed = load_profile("jetson-orin-nano").executions
    missing = verdicts(*base, executions=listed)
    assert {missing[what] for what in missing if " of " in what} == {"note"}


FAKES = {
    "SIGILL": "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
    "SIGSEGV": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "within": "import time; time.sleep(600)",
    "status 0 and no answer": "import os\n"
    "for fd in range(3, 20):\n"
    "    try:\n"
    "        os.write(fd, b'garbage {')\n"
    "    except OSError:\n"
    "        pass\n"
    "os._exit(0)",
    "status 7": "import os, sys; sys.stderr.write('boom\\n'); sys.stderr.flush(); os._exit(7)",
    "ImportError: no such thing": "import os\n"
    "os.write(1, b'babble')\n"
    "raise ImportError('no such\\nthing')",
}


def test_a_library_that_dies_hangs_or_babbles_is_a_finding(tmp_path, monkeypatch):
    """A library of that name stands before the real one; all are tried at the same time."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        children = []
        for i, code in enumerate(FAKES.values()):
            fake = tmp_path / str(i)
            fake.mkdir()
            (fake / "onnxruntime.py").write_text(code)
            with monkeypatch.context() as before:
                before.setattr(sys, "path", [str(fake), *sys.path])
                children += stack.enter_context(running(("onnx",)))
        hanging = list(FAKES).index("within")
        ended = collect([one for i, one in enumerate(children) if i != hanging])
        ended.insert(hanging, *collect([children[hanging]], 0.5))
    for says, one in zip(FAKES, ended, strict=True):
        assert not one.runs
        assert says in (one.died or one.report.error), (says, one)
        found = {f.what: f for f in library_findings([KERNELS, one])}
        assert found["ONNX Runtime"].verdict == "problem"
        assert found["ONNX Runtime"].do
    assert all(child.child.poll() is not None for child in children)


def test_where_no_process_can_be_started_it_is_said(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with running(("onnx", "kernels")) as children:
        ended = collect(children)
    assert all(one.died.startswith("could not be started: ") for one in ended)


def test_an_accelerator_that_a_library_offers_is_tried_by_itself(tmp_path, monkeypatch):
    (tmp_path / "libedgetpu.so.1").write_bytes(b"no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with running(("litert", "litert:edgetpu")) as children:
        cpu, edgetpu = collect(children)
    assert (cpu.runs, cpu.report.offers) == (True, ("edgetpu",))
    assert not edgetpu.runs
    assert "libedgetpu.so.1" in edgetpu.report.error


def edge_cl(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "edge_cl", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | environment,
    )


def test_the_command_survives_what_the_learner_would_not(taught, tmp_path):
    """Numba ends every process that imports it: the board is told, the state is left alone."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "numba.py").write_text(FAKES["SIGILL"])
    environment = {"PYTHONPATH": str(fakes), "EDGE_CL_KERNELS": "numba"}
    done = edge_cl("doctor", "--json", cwd=taught.parent, **environment)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["state"] is None
    assert told["sound"] is told["board"]["sound"] is False
    found = {one["what"]: one for one in told["board"]["findings"]}
    assert "SIGILL" in found["kernels"]["says"]
    assert found["ONNX Runtime"]["verdict"] == "ok"
    assert "edge-cl-state was not looked at" in done.stderr
    assert "1 problem found on this board" in done.stderr


def test_the_command_tells_of_board_and_state(call, taught, figure):
    code, out, err = call("doctor", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert set(told) == {"board", "state", "sound"}
    assert told["sound"] is told["board"]["sound"] is told["state"]["sound"] is True
    found = {one["what"]: one for one in told["board"]["findings"]}
    assert found["kernels"]["says"].startswith(("Numba ", "NumPy's"))
    assert found["ONNX Runtime"]["verdict"] == "ok", found["ONNX Runtime"]
    assert {"what", "verdict", "says", "do"} == set(found["board"])
    figure(f"the board was examined in {told['board']['seconds']} s")


def test_the_command_without_a_state_looks_at_the_board_alone(call):
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert "processor: " in out
    assert "snapshot" not in out
    code, out, err = call("doctor", "--no-board")
    assert (code, out) == (1, "")
    assert "no folder edge-cl-state" in err
