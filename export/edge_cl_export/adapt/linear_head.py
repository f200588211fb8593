"""The linear head that the body is trained through, and that is thrown away afterwards.

    p(c | f) = softmax_c(W D(z) + b),   z = (f - m) / s                                   (1)

m is the mean of each feature before adapting, s one number for all: the root of their mean
variance. D drops half of the features in training. W and b begin as the regression that suits
the features as they are: a head that begins anywhere sends random gradients through the body,
which then unlearns more than it gains (Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LinearHead"]

DROPOUT = 0.5
DECAY = 1e-2  # of ‖W‖² in the regression: pictures are few, features many
ITERATIONS = 100


class LinearHead(nn.Module):
    """(1), with W and b fitted to `features` (n, d) and class indices `labels` (n,)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        super().__init__()
        mean = features.mean(0)
        scale = (features - mean).square().mean().sqrt().clamp_min(1e-6)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.linear = nn.Linear(features.shape[1], int(labels.max()) + 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._fit(features, labels)

    def forward(self, features: Tensor) -> Tensor:
        """Return log p(c | f) but for a constant, (n, classes)."""
        z = (features - self.mean) / self.scale
        logits: Tensor = self.linear(F.dropout(z, DROPOUT, self.training))
        return logits  # (1)

    def _fit(self, features: Tensor, labels: Tensor) -> None:
        optimiser = torch.optim.LBFGS(
            self.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = F.cross_entropy(self(features), labels)
            value = value + DECAY * self.linear.weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        self.eval()
        optimiser.step(loss)  # type: ignore[no-untyped-call]
        self.train()
