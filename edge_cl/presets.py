r"""Published methods by name: each is a map, a head, and a strength.

    Learner.open(preset="g-acil")        edge-cl learn photos/ --preset g-acil

What such a paper trains (a backbone in the first session, an adapter) is not repeated: the
encoder is frozen from the beginning. What it does with features is, exactly.

The strength of ridge cannot be copied. A paper gives λ' for m' features relu(x B'), B' with
entries of variance v; ours are m features relu(x B), B of signs, variance 1. The fit depends
on λ only through H Hᵀ + λI, and H Hᵀ = Σ over m features, so it grows as m times the
variance. The same fit, in the mean over B, needs

    λ = λ' · m / (m' v)                                                                (1)

The code of ACIL and of its successors draws B' from U(-1/√d, 1/√d), so 1/v = 3d, d being the
width of the encoder: then λ is given for each feature of the encoder, `ridge_per_feature`.
(G-ACIL's paper says B' is normal; its code, which its results come from, is uniform.) RanPAC
chooses λ from 10⁻⁸ ... 10⁸ on a fifth of every task, so there is nothing to translate: its
preset begins with the default, and `tune` chooses.

KLDA's code inverts a scatter that is never divided by N, in float32, with no ridge; ours is
shrunk. It has no bandwidth of its own either: what the paper calls σ is γ of exp(-γ‖x - y‖²),
set by hand from 5·10⁻⁶ to 5·10⁻² for one encoder or another; ours follows from the bundle.

λ has the unit of a squared feature too. (1) does not help where an encoder's features are
longer than the paper's: a preset's λ is where to start, `Learner.tune_by_group` tells.

References
----------
Zhuang et al. ACIL: Analytic class-incremental learning with absolute memorization and
    privacy protection. NeurIPS 2022. γ = 0.1, 8192 features.
Zhuang et al. GACL: Exemplar-free generalized analytic continual learning. NeurIPS 2024.
    γ = 100, 5000 features.
McDonnell et al. RanPAC: Random projections and pre-trained models for continual learning.
    NeurIPS 2023. 10,000 features.
Momeni, Mazumder, Liu. Continual learning using a kernel-based method over foundation
    models. AAAI 2025. D = 5000, an ensemble of 5.
Janson et al. A simple baseline that questions the use of pretrained-models in continual
    learning. arXiv 2210.04428, 2022.
Panos et al. First session adaptation: A strong replay-free baseline for class-incremental
    learning. ICCV 2023.
Zhou et al. Revisiting class-incremental learning with pre-trained models: Generalizability
    and adaptivity are all you need. arXiv 2303.07338, 2023. (SimpleCIL)
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import InputError
from edge_cl.features import L2, Identity, MapSpec, RandomFourier, RandomReLU
from edge_cl.heads import HeadOptions, LDAOptions, NearestMeanOptions, RidgeOptions

__all__ = ["PRESETS", "Preset", "preset_named"]

_WIDTH = 2048  # of random features: 32 MB of sums; the papers' own take 200 to 800 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One published method.

    map, head : what stands behind the encoder.
    ridge_per_feature : λ of the head, divided by the encoder's d; see (1).
    paper : where it is from.
    note : what is not as printed there.
    """

    map: MapSpec
    head: HeadOptions
    ridge_per_feature: float | None = None
    paper: str
    note: str = ""

    def head_for(self, embedding: EmbeddingSpec) -> HeadOptions:
        """Return the head's options behind an encoder."""
        if self.ridge_per_feature is None:
            return self.head
        return msgspec.structs.replace(self.head, ridge=self.ridge_per_feature * embedding.d)


# name -> preset; a name is what users type
PRESETS: dict[str, Preset] = {
    "acil": Preset(
        map=RandomReLU(m=_WIDTH),
        head=RidgeOptions(),
        ridge_per_feature=3 * 0.1 * _WIDTH / 8192,  # (1)
        paper="Zhuang et al., NeurIPS 2022",
        note="2048 random features for 8192; weak λ",
    ),
    "g-acil": Preset(
        map=RandomReLU(m=_WIDTH),
        head=RidgeOptions(),
        ridge_per_feature=3 * 100 * _WIDTH / 5000,  # (1)
        paper="Zhuang et al., NeurIPS 2024",
        note="2048 random features for 5000",
    ),
    "ranpac": Preset(
        map=RandomReLU(m=_WIDTH),
        head=RidgeOptions(),
        paper="McDonnell et al., NeurIPS 2023",
        note="2048 random features for 10,000; default λ, until tuned",
    ),
    "klda": Preset(
        map=RandomFourier(m=_WIDTH),
        head=LDAOptions(),
        paper="Momeni et al., AAAI 2025",
        note="2048 Fourier features for 5000; OAS for no shrinkage; γ from the bundle",
    ),
    "klda-e": Preset(
        map=RandomFourier(m=5 * 512, members=5),
        head=LDAOptions(members=5),
        paper="Momeni et al., AAAI 2025",
        note="5 members of 512 Fourier features for 5000; OAS; γ from the bundle",
    ),
    "nmc-janson": Preset(
        map=L2(),
        head=NearestMeanOptions(metric="euclidean"),
        paper="Janson et al., arXiv 2210.04428",
        note="means of unit vectors, not made unit again",
    ),
    "fsa": Preset(
        map=Identity(),
        head=LDAOptions(covariance="total", shrinkage=1e-6, absolute=1.0),
        paper="Panos et al., ICCV 2023",
        note="ρ = 1e-6 for none",
    ),
    "simplecil": Preset(
        map=Identity(),
        head=NearestMeanOptions(metric="cosine"),
        paper="Zhou et al., arXiv 2303.07338",
    ),
}


def preset_named(name: str) -> Preset:
    """Return the preset of that name.

    Raises
    ------
    InputError : there is none; all are listed.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise InputError(f"unknown preset {name!r}", hint=f"one of: {known}") from None
