"""Whether a machine sees what the workstation saw: the measure, the heads, the command."""

import json
from pathlib import Path

import model_bytes as mb
import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import save
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from strategies import SEEDS
from test_bundle import MANIFEST

from edge_cl.agreement import SILENCE, agreement, cosines
from edge_cl.board_report import report_path, write_report
from edge_cl.bundle import EmbeddingSpec, load_parity, pack_bundle, read_bundle
from edge_cl.encoders import proven
from edge_cl.encoders.litert_runner import litert_available
from edge_cl.errors import BundleError, InputError, MissingExtraError
from edge_cl.held_out import UNTESTED, answers, two_folds
from edge_cl.verify import verify

INPUTS = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
TURNED = np.eye(3) + 0.3 * np.eye(3)[[1, 2, 0]]  # a little off: cosine 0.98 to the inputs


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(proven, "_here", set())


def bundle(networks, *, features=INPUTS, deployed=None, precisions=None):
    """A bundle for vectors of three; networks: member -> bytes."""
    specs = tuple(
        msgspec.structs.replace(
            MANIFEST.encoders[0],
            member=member,
            runtime="onnx" if member.endswith(".onnx") else "litert",
            precision=(precisions or {}).get(member, "fp32"),
        )
        for member in networks
    )
    known = {"inputs": INPUTS, "features": np.asarray(features, np.float32)}
    for member, x in (deployed or {}).items():
        known[f"deployed:{member}"] = np.asarray(x, np.float32)
    members = {**networks, "parity.safetensors": save(known)}
    return read_bundle(pack_bundle(msgspec.structs.replace(MANIFEST, encoders=specs), members))


ONE = "encoder.onnx"


# -- cosine and SNR ------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 20), st.integers(1, 30), st.floats(-120, 120))
def test_cosines_are_those_of_scikit_learn_at_any_scale(seed, n, d, exponent):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, n, d))
    expected = np.diag(cosine_similarity(x, y))
    np.testing.assert_allclose(cosines(x * 10.0**exponent, y / 10.0**exponent), expected, atol=1e-9)


@given(SEEDS, st.floats(-30, 60))
def test_noise_of_known_power_gives_the_closed_form(seed, level):
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, 9, 16))
    noise *= np.sqrt((x**2).sum() / (noise**2).sum()) * 10.0 ** (-level / 20)
    x = x.astype(np.float32)
    assert agreement(x, x + noise).snr_db == pytest.approx(level, abs=0.01)


@given(st.floats(1.01, 8))
def test_the_cosine_is_blind_to_length_and_the_signal_to_noise_is_not(stretch):
    x = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    found = agreement(x, np.float32(stretch) * x)
    assert found.cosine_worst == pytest.approx(1.0)
    noise = (np.float32(stretch) - 1.0) * x.astype(np.float64)
    expected = -10 * np.log10((noise**2).sum() / (x.astype(np.float64) ** 2).sum())
    assert found.snr_db == pytest.approx(expected, abs=0.01)


def test_equal_and_empty_and_broken_features():
    x = np.array([[3, 4], [0, 0], [1, 0]], np.float32)
    same = agreement(x, x)
    assert (same.cosine_worst, same.snr_db, same.broken) == (1.0, SILENCE, 0)
    y = np.array([[np.nan, 4], [0, 1], [1, 0]], np.float32)
    off = agreement(x, y)
    assert off.broken == 1
    assert (off.cosine_worst, off.cosine_p50) == (0.0, 0.0)
    assert off.cosine_mean == pytest.approx(1 / 3, abs=1e-6)
    assert off.snr_db == 0.0  # 26 of signal, 25 + 1 of noise


# -- heads, held out -----------------------------------------------------------------------------


@st.composite
def grouped(draw):
    """Labels and groups of a few dozen samples; a group holds one class or several."""
    rng = np.random.default_rng(draw(SEEDS))
    n, classes, groups = draw(st.integers(4, 60)), draw(st.integers(2, 5)), draw(st.integers(1, 12))
    group = rng.integers(0, groups, n)
    mixed = draw(st.booleans())
    labels = rng.integers(0, classes, n) if mixed else rng.integers(0, classes, groups)[group]
    return labels, group


@given(grouped())
def test_no_group_lies_on_both_sides_and_who_is_tested_was_learned(data):
    labels, groups = data
    folds = two_folds(labels, groups)
    assume(folds is not None)
    for fold in (0, 1):
        tested = folds.tested & (folds.of == fold)
        assert set(labels[tested]) <= set(labels[folds.of != fold])
        if folds.by == "group":
            assert not set(groups[folds.of == fold]) & set(groups[folds.of != fold])
    assert len(np.unique(labels[folds.tested])) > 1


def test_classes_of_two_groups_each_are_halved_by_group():
    labels = np.repeat([0, 0, 1, 1, 2, 2], 5)
    groups = np.repeat(np.arange(6), 5)
    folds = two_folds(labels, groups)
    assert folds.by == "group"
    assert folds.tested.all()
    for label in range(3):
        assert folds.of[labels == label].sum() == 5


def test_a_class_is_spread_over_both_folds_whatever_the_others_weigh():
    sizes = [(1, 10), (0, 6), (0, 3), (1, 2)]  # by size alone, class 0 would lie in one fold
    labels = np.concatenate([np.full(n, label) for label, n in sizes])
    groups = np.repeat(np.arange(4), [n for _, n in sizes])
    folds = two_folds(labels, groups)
    assert (folds.by, folds.tested.all()) == ("group", True)


def test_without_groups_it_is_by_picture_and_says_so():
    labels = np.arange(8) % 2
    assert two_folds(labels, None).by == "picture"
    assert two_folds(labels, np.zeros(8, np.int64)).by == "picture"  # one group: nothing to learn
    assert two_folds(labels, labels).by == "picture"  # a group a class
    assert two_folds(np.zeros(8, np.int64), None) is None
    assert two_folds(np.arange(8), None) is None
    assert two_folds(np.zeros(0, np.int64), None) is None


class Fixed:
    """A covariance estimator that has found its covariance already."""

    def __init__(self, covariance):
        self.covariance_ = covariance

    def fit(self, x):
        return self


def sklearn_answers(x, y, at, lam):
    classes = np.unique(y)
    means = np.stack([x[y == c].mean(axis=0) for c in classes])
    centred = x - means[np.searchsorted(classes, y)]
    degrees = len(x) - len(classes)
    _, s, axes = np.linalg.svd(centred, full_matrices=False)
    same_scatter = np.zeros((degrees, x.shape[1]))  # as many rows as degrees of freedom
    rank = min(degrees, len(s))
    same_scatter[:rank] = s[:rank, None] * axes[:rank]
    covariance, _ = oas(same_scatter, assume_centered=True)
    lda = LinearDiscriminantAnalysis(
        solver="lsqr",
        covariance_estimator=Fixed(covariance),
        priors=np.full(len(classes), 1 / len(classes)),
    ).fit(x, y)
    ridge = Ridge(alpha=lam, fit_intercept=False).fit(x, (y[:, None] == classes).astype(float))
    return {
        "ncm": classes[cosine_similarity(at, means).argmax(axis=1)],
        "lda": lda.predict(at),
        "ridge": classes[ridge.predict(at).argmax(axis=1)],
    }


@given(SEEDS)
def test_heads_answer_as_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = 3 * rng.permutation(np.arange(60) % 4)
    x = rng.standard_normal((13, 6))[labels] + rng.standard_normal((60, 6))
    scale = 2.0**-8
    x = (np.rint(x / scale) * scale).astype(np.float32)
    spec = EmbeddingSpec(
        d=6, scale=scale, signed=True, mean_square_norm=float((x**2).sum(axis=1).mean())
    )
    folds = two_folds(labels, rng.integers(0, 12, 60))
    assume(folds is not None)
    found = answers(x, labels, folds, spec)
    for fold in (0, 1):
        learn, test = folds.of != fold, (folds.of == fold) & folds.tested
        assume(test.any() and len(np.unique(labels[learn])) > 1)
        expected = sklearn_answers(
            x[learn].astype(float), labels[learn], x[test], 0.3 * spec.mean_square_norm
        )
        for name, classes in expected.items():
            np.testing.assert_array_equal(found[name][test], classes, err_msg=name)
    for given_classes in found.values():
        np.testing.assert_array_equal(given_classes == UNTESTED, ~folds.tested)


# -- on this machine -----------------------------------------------------------------------------


def test_the_same_features_are_seen():
    found = verify(bundle({ONE: mb.IDENTITY}, deployed={ONE: INPUTS}))
    assert found.misses == ()
    assert found.verdict == "this machine sees what the workstation saw"
    (one,) = found.encoders
    assert one.float_model.cosine_worst == one.workstation.cosine_worst == 1.0
    assert 10 <= one.latency.runs <= 200
    assert 0 < one.latency.median_ms <= one.latency.p99_ms


def test_a_bundle_without_the_workstations_features_is_held_to_the_float_model():
    found = verify(bundle({ONE: mb.IDENTITY}))
    assert found.misses == ()
    assert "float model" in found.verdict
    assert found.encoders[0].workstation is None


def test_an_encoder_that_differs_from_the_workstations_is_told():
    there = INPUTS @ TURNED
    found = verify(bundle({ONE: mb.IDENTITY}, deployed={ONE: there}), min_cosine=0.5)
    worst = float(np.diag(cosine_similarity(INPUTS, there)).min())
    assert found.encoders[0].workstation.cosine_worst == pytest.approx(worst, abs=1e-6)
    (miss,) = found.misses
    assert miss.startswith("encoder.onnx: cosine to the workstation's own features 0.9")
    assert "not" in found.verdict


def test_the_mean_over_the_inputs_is_held_to_the_float_model():
    a = bundle({ONE: mb.times(TURNED)}, deployed={ONE: INPUTS @ TURNED})
    mean = verify(a, min_cosine=0.5).encoders[0].float_model.cosine_mean
    assert verify(a, min_cosine=mean - 1e-6).misses == ()
    (miss,) = verify(a, min_cosine=mean + 1e-6).misses
    assert "mean cosine to the float model" in miss


def test_an_encoder_that_does_not_work_here_is_a_failed_check_and_not_the_end():
    both = {ONE: mb.IDENTITY, "encoder-int8.onnx": mb.times(-np.eye(3))}
    found = verify(bundle(both, precisions={"encoder-int8.onnx": "int8"}))
    assert [e.member for e in found.encoders] == [ONE]
    assert "are not those" in found.failed["encoder-int8.onnx"]
    assert found.misses[0].startswith("encoder-int8.onnx: ")


if litert_available():

    def test_encoders_of_two_runtimes_are_compared():
        found = verify(bundle({ONE: mb.times(np.eye(3)), "encoder.tflite": mb.tflite()}))
        (pair,) = found.between
        assert pair.members == (ONE, "encoder.tflite")
        assert pair.agreement.cosine_worst == 1.0
        wanted = verify(bundle({ONE: mb.IDENTITY, "encoder.tflite": mb.tflite()}), runtime="onnx")
        assert [e.member for e in wanted.encoders] == [ONE]


def test_a_missing_library_is_left_out_unless_nothing_is_left(monkeypatch):
    monkeypatch.setattr("edge_cl.encoders.choice.litert_available", lambda: False)
    found = verify(bundle({ONE: mb.IDENTITY, "encoder.tflite": mb.tflite()}))
    assert list(found.skipped) == ["encoder.tflite"]
    assert found.misses == ()
    with pytest.raises(MissingExtraError):
        verify(bundle({"encoder.tflite": mb.tflite()}))


def test_progress_names_what_runs():
    told = []
    samples = [(row, label) for label in "ab" for row in np.eye(3)]
    verify(
        bundle({ONE: mb.IDENTITY}),
        labelled=samples,
        progress=lambda what, share: told.append((what, share)),
    )
    assert [what for what, _ in told] == ["running encoder.onnx", "encoding the labelled inputs"]
    assert all(0 <= share <= 1 for _, share in told)


def test_heads_are_tested_on_labelled_inputs():
    rng = np.random.default_rng(0)
    samples = [(3 * np.eye(3)[c] + rng.normal(0, 0.1, 3), "abc"[c]) for c in range(3)] * 7
    heads = verify(bundle({ONE: mb.IDENTITY}), labelled=samples).encoders[0].heads
    assert heads.accuracy == {"ncm": 1.0, "lda": 1.0, "ridge": 1.0}
    assert (heads.tested, heads.held_out) == (21, "picture")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"threads": 0}, "threads"),
        ({"min_cosine": float("nan")}, "cosines in 0..1"),
        ({"precision": "int8"}, "holds no int8 encoder"),
        ({"labelled": []}, "two classes"),
        ({"labelled": [(np.ones(3), "a")] * 4}, "two classes"),
        ({"labelled": [(np.ones(4), "a")]}, "vector of shape"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, says):
    with pytest.raises(InputError, match=says) as caught:
        verify(bundle({ONE: mb.IDENTITY}), **arguments)
    assert "\n" not in str(caught.value)


def test_features_of_the_workstation_come_back():
    parity = load_parity(bundle({ONE: mb.IDENTITY}, deployed={ONE: 2 * INPUTS}))
    np.testing.assert_array_equal(parity.deployed[ONE], 2 * INPUTS)
    assert load_parity(bundle({ONE: mb.IDENTITY})).deployed == {}


@pytest.mark.parametrize(
    "deployed",
    [
        {"encoder-other.onnx": INPUTS},
        {ONE: INPUTS[:1]},
        {ONE: INPUTS[:, :2]},
        {ONE: np.full((2, 3), np.nan)},
    ],
)
def test_features_of_the_workstation_that_do_not_fit_are_refused(deployed):
    with pytest.raises(BundleError, match=r"parity\.safetensors"):
        load_parity(bundle({ONE: mb.IDENTITY}, deployed=deployed))


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def board(place):
    """A bundle as a file, in the folder that the command runs in."""
    path = Path("net.edgecl")
    path.write_bytes(bundle({ONE: mb.IDENTITY}, deployed={ONE: INPUTS}).archive())
    return path


def reports():
    return sorted(Path().glob("*.board.json"))


def test_the_command_says_it_in_plain_words(call, board):
    code, out, err = call("verify", board)
    assert (code, err) == (0, "")
    assert "encoder.onnx" in out
    assert out.splitlines()[-1] == "verdict: this machine sees what the workstation saw"
    assert reports() == []


def test_a_missed_bar_is_exit_3(call, place):
    Path("off.edgecl").write_bytes(
        bundle({ONE: mb.IDENTITY}, deployed={ONE: INPUTS @ TURNED}).archive()
    )
    code, out, err = call("verify", "off.edgecl", "--json")
    assert code == 3
    assert len(json.loads(out)["misses"]) == 1
    assert err.startswith("error: encoder.onnx: cosine to the workstation's own features")
    assert call("verify", "off.edgecl", "--min-workstation", "0.5")[0] == 0


def test_the_board_keeps_its_own_report(call, board):
    code, out, _ = call("verify", board, "--on-device", "--json")
    assert code == 0
    (path,) = reports()
    assert json.loads(out)["stored"] == str(path)
    assert path.name.startswith("net.")
    kept = json.loads(path.read_text())
    sha = json.loads(out)["bundle_sha256"]
    assert (kept["kind"], kept["format_version"]) == ("edge-cl board", 1)
    assert kept["found"]["bundle_sha256"] == sha
    assert kept["found"]["machine"]["packages"]["numpy"] == np.__version__
    assert call("verify", board, "--on-device")[0] == 0  # its own earlier one is replaced
    assert reports() == [path]


@pytest.mark.parametrize("foreign", ["text", "bundle", "machine", "link", "folder"])
def test_nothing_else_is_overwritten(call, board, foreign):
    call("verify", board, "--on-device")
    (path,) = reports()
    kept = json.loads(path.read_text())
    if foreign == "text":
        path.write_text("notes of mine")
    elif foreign == "bundle":
        kept["found"]["bundle_sha256"] = "0" * 64
        path.write_text(json.dumps(kept))
    elif foreign == "machine":
        kept["found"]["machine"]["board"] = "another"
        path.write_text(json.dumps(kept))
    elif foreign == "link":
        path.rename("elsewhere.json")
        path.symlink_to("elsewhere.json")
    else:
        path.unlink()
        path.mkdir()
    before = None if foreign == "folder" else path.read_bytes()
    code, _, err = call("verify", board, "--on-device")
    assert code == 1
    assert "is not an earlier report" in err
    assert before is None or path.read_bytes() == before


def test_reports_of_versions_lie_side_by_side(board):
    first = verify(bundle({ONE: mb.IDENTITY}))
    second = verify(bundle({ONE: mb.times(np.eye(3))}))
    assert report_path(board, first) != report_path(board, second)
    assert write_report(board, first) == report_path(board, first)


def test_a_full_disk_leaves_no_half_report(call, board, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    code, _, err = call("verify", board, "--on-device")
    assert code == 1
    assert "No space left" in err
    assert reports() == []
    assert not [p for p in Path().iterdir() if "board" in p.name]


def test_heads_on_labelled_rows_and_bad_ones(call, board):
    y = np.repeat(["a", "b"], 10)
    x = np.repeat([[1.0, 0, 0], [0, 1, 0]], 10, axis=0)
    np.savez("rows.npz", x=x + np.random.default_rng(0).normal(0, 0.05, x.shape), y=y)
    code, out, err = call("verify", board, "--pictures", "rows.npz")
    assert (code, err) == (0, "")
    assert "ncm 1.000, lda 1.000, ridge 1.000 (20 inputs tested, held out by picture)" in out
    for source, says in (("none", "cannot read none"), ("one.npz", "no label")):
        code, out, err = call("verify", board, "--pictures", source)
        assert (code, out) == (1, "")
        assert says in err


def test_on_device_needs_a_bundle_of_ones_own(call, place):
    code, out, err = call("verify", "--on-device")
    assert (code, out) == (2, "")
    assert "BUNDLE" in err
