"""Why OpenSSH could not connect, in one line, and what to do about it."""

from __future__ import annotations

from edge_cl.deploy.address import Address
from edge_cl.errors import DeployError

__all__ = ["refusal"]

# What ssh says (LC_ALL=C) -> what it means, and what helps; the first that fits
_KNOWN = (
    ("could not resolve hostname", "there is no host of that name", "is it spelled right, and on?"),
    ("connection refused", "nothing answers on that port", "is the ssh server running there?"),
    ("connection timed out", "it does not answer", "is it on, and in this network?"),
    ("no route to host", "it does not answer", "is it on, and in this network?"),
    ("network is unreachable", "there is no way to its network", ""),
    (
        "remote host identification has changed",
        "it has another host key than it had",
        "if it was set up anew: ssh-keygen -R HOST, then connect once by hand and compare",
    ),
    (
        "host key verification failed",
        "its host key is not known here",
        "connect once by hand, and compare the fingerprint: ssh {name}",
    ),
    (
        "permission denied",
        "it does not let this user in with a key",
        "ssh-copy-id {name}, or name the key with --identity; passwords are not asked for",
    ),
    (
        "too many authentication failures",
        "it was offered too many keys",
        "name the right one with --identity",
    ),
    ("bad configuration option", "ssh does not know an option", "see man ssh_config"),
)


def refusal(address: Address, told: str) -> DeployError:
    """Return the error for what ssh wrote when it ended before it was connected."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    for sign, means, hint in _KNOWN:
        if sign in told.lower():
            return DeployError(
                f"cannot connect to {address.name}: {means}", hint=hint.format(name=address.name)
            )
    return DeployError(f"cannot connect to {address.name}: {lines[-1] if lines else 'ssh ended'}")
