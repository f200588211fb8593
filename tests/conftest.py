"""Seeds and hypothesis profiles for the whole suite."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast",
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("fast"), derandomize=True)
settings.register_profile("patience", settings.get_profile("fast"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "fast"))


@pytest.fixture
def rng(request):
    """Random numbers that differ between tests, and not between runs."""
    return np.random.default_rng(list(request.node.name.encode()))
