"""What an emulated board is made of, fetched and unpacked into one folder.

QEMU 7.2 and an aarch64 CPython 3.11 come from Debian bookworm, through a package state of their
own, checked by Debian's signatures; the aarch64 wheels from PyPI, each by its SHA-256
(`guest-packages.txt`). The host's own packages are not touched.

Debian's static build of QEMU takes no plugins, and later versions are slower and take none
either, so it is the dynamic build of this one. The guest reads `/proc/cpuinfo` from its own root,
because ONNX Runtime and Numba choose their code by it: with the host's, ONNX Runtime crashes, and
with that of a newer CPU it meets illegal instructions.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGES = Path(__file__).with_name("guest-packages.txt")

# Of the boards' own /proc/cpuinfo: what their kernel tells programs, variant, part, revision.
CPUS = {
    "cortex-a72": ("fp asimd evtstrm crc32 cpuid", 0x0, 0xD08, 3),  # Raspberry Pi 4
    "cortex-a76": (  # Raspberry Pi 5
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
        0x4,
        0xD0B,
        1,
    ),
}
_QEMU = ("qemu-user", "libcapstone4", "liburing2")  # dynamic: the static build takes no plugins
_GUEST = ("python3.11", "libstdc++6", "libgomp1", "zlib1g", "libatomic1")
_GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17")  # of a wheel; bookworm has 2.36
_NEVER_IMPORTED = r"/(tests?|testing|idlelib|lib2to3|cuda|tools|distutils|ensurepip)/"
_PYTHON = "usr/bin/python3.11"

_WRAPPER = """#!/bin/sh
# An aarch64 Python on an emulated {cpu}. PLUGIN: a TCG plugin to load.
LD_LIBRARY_PATH={qemu}/usr/lib/x86_64-linux-gnu exec {qemu}/usr/bin/qemu-aarch64 \\
    -U LD_LIBRARY_PATH -U PLUGIN -cpu {cpu} ${{PLUGIN:+-plugin "$PLUGIN"}} -L {home}/root \\
    -E EDGE_CL_BOARD_PYTHON={home}/python -E PYTHONPYCACHEPREFIX={pycache} \\
    {root}/{python} "$@"
"""
_AS_EXECUTABLE = "import os, sys; sys.executable = os.environ['EDGE_CL_BOARD_PYTHON']\n"


class UnavailableError(Exception):
    """The boards cannot be had here; the message says why."""


def unsuitable() -> str | None:
    """Return why boards cannot be had here, or None."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"no emulated boards: the host is {sys.platform} {platform.machine()}, not x86-64"
    missing = [name for name in ("apt-get", "dpkg-deb") if not shutil.which(name)]
    if missing:
        return f"no emulated boards: there is no {' and no '.join(missing)} here"
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    if "VERSION_CODENAME=bookworm" not in release:
        return "no emulated boards: their packages are those of Debian bookworm"
    return None


def set_up(folder: Path) -> None:
    """Fetch and unpack everything; what an attempt before left there is replaced."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with ThreadPoolExecutor(3) as pool:
        parts = [
            pool.submit(_qemu, folder),
            pool.submit(_root, folder),
            pool.submit(_wheels, folder),
        ]
        for part in parts:
            part.result()
    (folder / "site" / "executable.pth").write_text(_AS_EXECUTABLE)
    if sys.version_info[:2] == (3, 11):  # bytecode made here is the guest's: compiled at once
        _compile(folder)
    for cpu in CPUS:
        _own_root(folder, cpu)


def _qemu(folder: Path) -> None:
    debs = _debs(folder / "apt-amd64", "amd64", ["download", *_QEMU])
    for deb in debs:
        _must(["dpkg-deb", "-x", deb, folder / "qemu"])


def _root(folder: Path) -> None:
    debs = _debs(folder / "apt-arm64", "arm64", ["-y", "--download-only", "install", *_GUEST])
    root = folder / "root"
    for deb in debs:
        _must(["dpkg-deb", "-x", deb, root])
    # where Debian's Python looks for what was not packaged
    site = root / "usr/local/lib/python3.11/dist-packages"
    site.mkdir(parents=True)
    (site / "site.pth").write_text(f"import site; site.addsitedir({str(folder / 'site')!r})\n")


def _debs(state: Path, architecture: str, command: list[str]) -> list[Path]:
    """Fetch packages of Debian with a package state of their own; the host's is not touched."""
    for name in ("lists/partial", "cache/archives/partial", "etc"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    config = state / "apt.conf"
    config.write_text(
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
        'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
        f'Dir::State "{state}";\nDir::State::Lists "{state}/lists";\n'
        f'Dir::State::status "{state}/status";\nDir::Cache "{state}/cache";\n'
        f'Dir::Etc::preferencesparts "{state}/etc";\n'
        "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
        "#clear DPkg::Post-Invoke;\n"
        + ('APT::Sandbox::User "root";\n' if os.geteuid() == 0 else "")
    )
    own = {**os.environ, "APT_CONFIG": str(config)}
    archives = state / "cache" / "archives"
    _must(["apt-get", "-qq", "update"], env=own, cwd=archives)
    _must(["apt-get", "-qq", *command], env=own, cwd=archives)
    return sorted(archives.glob("*.deb"))


def _wheels(folder: Path) -> None:
    """Install wheels for another machine: pip checks each by its hash, and unpacks it."""
    platforms = [f"--platform=manylinux_{v}_aarch64" for v in _GLIBC]
    _must(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
            *("--require-hashes", "--only-binary=:all:", f"--target={folder / 'site'}"),
            *("--implementation=cp", "--python-version=3.11"),
            *("--abi=cp311", "--abi=abi3", "--abi=none"),
            *platforms,
            "--platform=manylinux2014_aarch64",
            *("--requirement", PACKAGES),
        ],
    )


def _compile(folder: Path) -> None:
    """Write the bytecode of what a guest imports; what does not compile is never imported."""
    flags = ["-X", f"pycache_prefix={folder / 'pycache'}", "-m", "compileall", "-qq"]
    trees = [folder / "root/usr/lib/python3.11", folder / "site"]
    subprocess.run(
        [sys.executable, *flags, "-x", _NEVER_IMPORTED, *trees], capture_output=True, check=False
    )


def _own_root(folder: Path, cpu: str) -> None:
    """Give a CPU a root of its own: the common one, but for /proc/cpuinfo."""
    home = folder / cpu
    proc = home / "root" / "proc"
    proc.mkdir(parents=True)
    for entry in (folder / "root").iterdir():
        (home / "root" / entry.name).symlink_to(entry)
    features, variant, part, revision = CPUS[cpu]
    (proc / "cpuinfo").write_text(
        "".join(
            f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
            f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: {variant:#x}\n"
            f"CPU part\t: {part:#05x}\nCPU revision\t: {revision}\n\n"
            for i in range(4)
        )
    )
    wrapper = home / "python"
    wrapper.write_text(
        _WRAPPER.format(
            cpu=cpu,
            home=home,
            qemu=folder / "qemu",
            root=folder / "root",
            python=_PYTHON,
            pycache=folder / "pycache",
        )
    )
    wrapper.chmod(0o755)


def _must(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if "DO NOT MATCH THE HASHES" in done.stderr:  # no reason to skip anything
        raise RuntimeError(done.stderr)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        what = " ".join(map(str, command[:3]))
        raise UnavailableError(
            f"no emulated boards: {what} ended with {done.returncode}: {lines[-1]}"
        )
