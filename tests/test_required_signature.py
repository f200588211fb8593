"""With a public key required, only what its owner signed is opened: given, kept or shipped."""

import shutil

import numpy as np
import pytest

from edge_cl import BundleError, InputError, Learner, Regressor, features_bundle
from edge_cl.signing import new_key, sign_bundle

BUNDLE = features_bundle([[1.0, -1.0, 1.0]])
X = np.array([1.0, 2.0, -1.0], np.float32)


@pytest.fixture
def garden(tmp_path):
    """A signed bundle, and keys of its owner and of somebody else."""
    path = tmp_path / "sensor.edgecl"
    path.write_bytes(BUNDLE.archive())
    private, public = new_key(tmp_path / "garden")
    sign_bundle(path, private)
    return path, public, new_key(tmp_path / "stranger")


def test_a_signed_bundle_opens_and_its_signature_is_kept_with_the_state(garden, tmp_path):
    path, public, _ = garden
    with Learner.open(tmp_path / "state", bundle=path, require_signature=public) as learner:
        learner.learn(X, "a")
    path.unlink()
    with Learner.open(tmp_path / "state", require_signature=public) as learner:
        assert learner.predict(X).label == "a"
    kept = tmp_path / "state" / "encoder.edgecl"
    assert Regressor.open(bundle=kept, require_signature=public).samples == 0


@pytest.mark.parametrize("opens", [Learner.open, Regressor.open])
def test_unsigned_foreign_and_altered_ones_are_refused(garden, opens):
    path, public, (private, foreign) = garden
    with pytest.raises(BundleError, match="signed by key"):
        opens(bundle=path, require_signature=foreign)
    other = path.with_name("other.edgecl")
    other.write_bytes(features_bundle([[2.0, 1.0]]).archive())
    with pytest.raises(BundleError, match="sig"):
        opens(bundle=other, require_signature=public)
    shutil.copy(f"{path}.sig", f"{other}.sig")  # of another bundle
    with pytest.raises(BundleError, match="does not belong"):
        opens(bundle=other, require_signature=public)
    with pytest.raises(InputError):
        opens(bundle=path, require_signature=private)


def test_a_kept_bundle_without_signature_is_refused_and_nothing_changes(garden, tmp_path):
    path, public, _ = garden
    with Learner.open(tmp_path / "state", bundle=path) as learner:  # nothing was required then
        learner.learn(X, "a")
    with pytest.raises(BundleError):
        Learner.open(tmp_path / "state", require_signature=public)
    with Learner.open(tmp_path / "state") as learner:
        assert learner.status.samples == 1


def test_an_open_bundle_and_the_shipped_one_have_no_signature(garden):
    _, public, _ = garden
    with pytest.raises(InputError, match="path of a bundle"):
        Learner.open(bundle=BUNDLE, require_signature=public)
    with pytest.raises(BundleError):
        Learner.open(require_signature=public)
