"""The real thing: EfficientNet-Lite0 from its package to an int8 bundle, on shipped pictures."""

import numpy as np
import pytest

from edge_cl.bundle import open_bundle
from edge_cl_export import Asked, export_command


@pytest.mark.slow
def test_efficientnet_lite0_reaches_its_numbers(tmp_path):
    result = export_command(
        Asked(source="efficientnet-lite0"),
        tmp_path / "lite0.edgecl",
        formats=["onnx-int8", "litert-int8"],
    )
    found = result.fidelity["encoder-int8.onnx"]
    assert found.cosine_mean > 0.995
    assert found.cosine_worst > 0.97
    assert result.encoder_bytes["encoder-int8.onnx"] < 4_500_000
    assert result.encoder_bytes["encoder-int8.tflite"] < 5_000_000
    assert found.ridge.deployed > found.ridge.float_features - max(0.005, found.ridge.noise)
    assert result.embedding.d == 1280
    assert not result.embedding.signed
    manifest = open_bundle(result.path).manifest
    assert manifest.licence == "Apache-2.0"
    assert np.isclose(np.log2(manifest.embedding.scale) % 1, 0)
