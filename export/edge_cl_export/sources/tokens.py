"""From the tokens of a transformer (n, t, c) to one row a picture (n, c)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from edge_cl.errors import ExportError

__all__ = ["TOKENS", "PooledTokens", "TokenPooling"]

TokenPooling = Literal["class", "mean"]

TOKENS: dict[TokenPooling, str] = {
    "class": "the features are the class token",
    "mean": "the features are the mean over the tokens of the picture's patches",
}


class PooledTokens(nn.Module):
    """`network` gives (n, t, c); of that the class token, which stands first, or the mean.

    Parameters
    ----------
    others : tokens in front that stand for no patch (class token, registers); not in the mean.
    """

    def __init__(self, network: nn.Module, pooling: TokenPooling, *, others: int = 0) -> None:
        super().__init__()
        if pooling == "class" and others < 1:
            raise ExportError("the network has no class token", hint="take the mean of its tokens")
        self.network = network
        self.pooling = pooling
        self.others = others

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c)."""
        tokens: Tensor = self.network(x)
        if tokens.ndim != 3:
            raise ExportError(
                f"expected tokens (n, t, c) of the network, got shape {tuple(tokens.shape)}"
            )
        return tokens[:, 0] if self.pooling == "class" else tokens[:, self.others :].mean(1)
