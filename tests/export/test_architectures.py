"""Networks of five families become every kind of file: random weights, the layers are real."""

import numpy as np
import pytest
import torch
from export_samples import blobs
from torch import nn
from torchvision_operators import declare_missing_operators

from edge_cl.bundle import open_bundle
from edge_cl.encoders import open_encoder
from edge_cl_export.command import Asked, export_command
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.proof.fidelity import Gate
from edge_cl_export.recipe import USUAL
from edge_cl_export.sources import open_source

declare_missing_operators()

# The least size that the graph takes: operators are the same, and there are fewer pixels
ARCHITECTURES = {
    "mobilenetv2_035": 32,
    "mobilenetv3_small_050": 32,  # hard swish, squeeze and excitation
    "resnet18": 32,
    "convnext_atto": 32,  # layer norms, GELU
    "vit_tiny_patch16_224": 32,  # attention
}
# With random weights the class token alone does not survive 8 bits (mean cosine 0.32). The mean
# of the tokens goes through the same graph.
TOKENS = {"vit_tiny_patch16_224": "mean"}
# The converters' time goes by the number of layers, what they can do by the kinds of them
SHALLOW = """
from torch import nn
from edge_cl_export.sources import open_source

ALIKE = {"InvertedResidual", "BasicBlock", "ConvNeXtBlock", "Block"}

def shallow():
    network = open_source(%r, weights=False, size=(%d, %d), tokens=%r).module
    kept = 2  # of the first stage; of each later one
    for stage in network.modules():
        if isinstance(stage, nn.Sequential) and {type(block).__name__ for block in stage} <= ALIKE:
            if len(stage) > 1:
                del stage[kept:]
                kept = 1
    return network
"""
OPEN = Gate(cosine_mean=-1.0, cosine_worst=-1.0, head_loss=1.0)  # random weights are no features
# Least cosine to torch: what a file of this precision keeps of features without structure
LEAST = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.8}


@pytest.fixture(scope="module")
def few_pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("few") / "blobs.npz"
    images, labels = blobs(16)
    np.savez(path, images=images, labels=labels)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), ARCHITECTURES.items())
def test_an_architecture_gives_a_working_bundle_in_every_precision(
    name, side, few_pictures, tmp_path
):
    file = tmp_path / "shallow.py"
    file.write_text(SHALLOW % (f"timm/{name}", side, side, TOKENS.get(name)))
    asked = Asked(source=f"{file}:shallow", size=(side, side), calibration=few_pictures)
    result = export_command(
        asked, tmp_path / "x.edgecl", formats=list(USUAL), recipe="plain", gate=OPEN
    )
    assert not result.skipped
    bundle = open_bundle(result.path)
    assert {f"{e.runtime}-{e.precision}" for e in bundle.manifest.encoders} == set(USUAL)
    backbone = open_source(asked.source, weights=asked.weights, size=(side, side))
    pictures = blobs(6, seed=8, size=side)[0]
    expected = embed(Embedding(backbone.module, backbone.preparation).eval(), pictures)
    for spec in bundle.manifest.encoders:
        encoder = open_encoder(bundle, runtime=spec.runtime, precision=spec.precision, threads=1)
        got = encoder.encode(pictures)
        lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = (got * expected).sum(1) / lengths
        assert cosine.min() > LEAST[spec.precision], spec.member


class Pooling(nn.Module):
    """A padded max pooling behind what may, or may not, be negative."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.activation = activation

    def forward(self, x):
        return nn.functional.max_pool2d(self.activation(self.conv(x)), 3, 2, padding=1)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Identity()], ids=repr)
def test_max_pooling_is_the_same_however_it_is_padded(activation):
    from edge_cl_export.graph.to_litert import _padded_with_zeros
    from edge_cl_export.graph.trace import trace

    pixels = Preparation(size=(32, 32), mean=(127.0,) * 3, std=(128.0,) * 3)
    graph = trace(Embedding(Pooling(activation), pixels).eval(), (32, 32)).graph
    changed = _padded_with_zeros(graph)
    x = torch.from_numpy(blobs(2, size=32)[0])
    torch.testing.assert_close(changed(x), graph(x), rtol=0, atol=0)
    pads = [n for n in changed.graph.nodes if n.target is torch.ops.aten.constant_pad_nd.default]
    assert len(pads) == (not isinstance(activation, nn.Identity))
