"""From a workstation to a learning board, over the user's own OpenSSH client.

`deploy` does it; `Address` says whom, `Service` what shall run there. What lies on the board is
told in `release`, how a failure is taken back in `attempt`.
"""

from __future__ import annotations

from edge_cl.deploy.address import Address
from edge_cl.deploy.deployment import deploy
from edge_cl.deploy.results import Deployed, Step
from edge_cl.deploy.unit import Service

__all__ = ["Address", "Deployed", "Service", "Step", "deploy"]
