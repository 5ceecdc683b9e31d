"""The published methods, each as a Recipe.

Every recipe with a `head` classifies with it: the score of the head is the method's softmax. Where
a default comes from third-party code or from us rather than from the paper, the docstring says so.
`anchors` are old classes (see `references`); `down` maps new embeddings to the old space where the
dimensions differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from hotfill.lab.losses.discriminability import discriminability
from hotfill.lab.losses.head import Head
from hotfill.lab.losses.maps.base import Map
from hotfill.lab.losses.pairs import Pairs
from hotfill.lab.losses.recipe import Part, Recipe, Refresh, Weigher
from hotfill.lab.losses.reference import Reference, References
from hotfill.lab.losses.references.refined import refined
from hotfill.lab.losses.score import Score
from hotfill.lab.losses.terms import (
    Adversarial,
    AnchorAlignment,
    AnchorSoftmax,
    ClassContrast,
    CosineBoundary,
    ElasticBoundary,
    ItemContrast,
    MixedSoftmax,
    Regression,
    StationaryContrast,
)


def independent(head: Head) -> Recipe:
    """No compatibility: classification alone. The model that compatible ones are measured by."""
    return Recipe("independent", [_classify(head)], head=head)


def bct(
    head: Head,
    anchors: Reference,
    *,
    score: Score | None = None,
    down: Map | None = None,
    weight: float = 1.0,
) -> Recipe:
    """BCT (Shen et al., CVPR 2020; first author's code read): the old head must accept new vectors.

    anchors: `from_head`, or `synthesised` where the old head lacks classes, or `from_means`.
    score: how the old anchors score; they must be used on the scale they were trained with. The
        head's own score by default.
    weight: 1 in the code.
    """
    influence = AnchorSoftmax("old", score or head.score)
    return Recipe(
        "bct",
        [_classify(head), Part("influence", influence, weight, "down")],
        head=head,
        anchors=anchors,
        down=down,
    )


def unibct(
    head: Head,
    anchors: Reference,
    *,
    score: Score | None = None,
    down: Map | None = None,
    weight: float = 1.0,
    refresh_at: Sequence[float] = (10 / 35, 20 / 35),
    propagation: float = 0.9,
    temperature: float = 0.05,
) -> Recipe:
    """UniBCT (IJCAI 2022; third-party code read): like BCT, to refined class means.

    anchors: `from_means` over the new training set, every new class included.
    refresh_at: when the anchors are refined with the new model; the compatibility Term starts with
        the first. The schedule (epochs 10 and 20 of 35), propagation and temperature are the
        third-party code's. Its softmax axis makes refinement do nothing; ours is the other one.
    score: the head's own by default; the third-party code has no scale, which makes it flat.
    """
    classes, start = anchors.labels, min(refresh_at, default=0.0)
    build = partial(_refine, classes, propagation, temperature)
    prototypes = AnchorSoftmax("old", score or head.score)
    return Recipe(
        "unibct",
        [_classify(head), Part("prototypes", prototypes, _from(start, weight), "down")],
        head=head,
        anchors=replace(anchors, radius=None, min_cosine=None, count=None),
        down=down,
        refresh=Refresh(tuple(refresh_at), build),
    )


def advbct(
    head: Head,
    anchors: Reference,
    *,
    down: Map | None = None,
    threshold: float = 1.0,
    boundary: float = 1.0,
    critic: float = 1.0,
) -> Recipe:
    """AdvBCT (Pan et al., CVPR 2023; official code read): a critic and an elastic boundary.

    anchors: `from_means` of the *old* training set; classes it lacks have no boundary.
    threshold: of the elastic radius; 1.0 for landmarks in the code, 0.4 in a face port.
    boundary, critic: the weights; 1 in the code, 4 in the face port. The critic's falls with the
        training, from 1 (at its start; the code's (E+1)/E) to 0 (its 2/E). That code starts both
        models from the same ImageNet weights. From random ones a critic of full weight can outweigh
        the classification, and the boundary needs more to be felt next to a scaled cosine softmax.
    """

    def fading(progress: float) -> float:
        return critic * (1.0 - progress)

    return Recipe(
        "advbct",
        [
            _classify(head),
            Part(
                "boundary",
                ElasticBoundary(len(anchors.vectors), threshold=threshold),
                boundary,
                "down",
            ),
            Part("critic", Adversarial(anchors.dimension), fading, "down"),
        ],
        head=head,
        anchors=anchors,
        down=down,
    )


def ract(
    head: Head,
    *,
    down: Map | None = None,
    temperature: float = 0.01,
    hardest: int | None = 10,
    weight: float = 1.0,
) -> Recipe:
    """RACT (Zhang et al., ICLR 2022; official code read): the old self above new items.

    temperature, hardest, weight: the released configuration's.
    """
    contrast = ItemContrast(temperature, hardest=hardest)
    return Recipe(
        "ract", [_classify(head), Part("contrast", contrast, weight, "down")], head=head, down=down
    )


def lce(
    head: Head,
    anchors: Reference,
    *,
    down: Map | None = None,
    alignment: float = 100.0,
    boundary: float = 1.0,
) -> Recipe:
    """LCE (Meng et al., ICCV 2021; code read): head rows at the old anchors, and a boundary.

    anchors: `from_means` of the old model's vectors of the new training set, so that every new
    class has one. alignment, boundary: the code's weights.
    """
    return Recipe(
        "lce",
        [
            _classify(head),
            Part("alignment", AnchorAlignment(), alignment, "down"),
            Part("boundary", CosineBoundary(), boundary, "down"),
        ],
        head=head,
        anchors=anchors,
        down=down,
    )


def cores(head: Head) -> Recipe:
    """CoReS (Biondi et al., TPAMI 2023; code read): a fixed head that all versions share.

    head: `Head(simplex(K).vectors, score, trained=False)`, K an upper bound of the classes ever to
    come. No Term reads the old model, so it must come from this recipe too: an existing model
    cannot be adopted.
    """
    return Recipe("cores", [_classify(head)], head=head)


def hoc(
    head: Head, *, down: Map | None = None, share: float = 0.1, sharpness: float = 10.0
) -> Recipe:
    """d-Simplex-HOC (Biondi et al., CVPR 2024; code read): the shared fixed head and a contrast.

    head: as for `cores`. share: of the classification, the contrast has the rest; 0.1 in the code.
    """
    contrast = StationaryContrast(sharpness)
    return Recipe(
        "hoc",
        [
            Part("classification", AnchorSoftmax("new", head.score), share),
            Part("contrast", contrast, 1.0 - share, "down"),
        ],
        head=head,
        down=down,
    )


def mixbct(head: Head, anchors: Reference, *, up: Map | None = None, share: float = 0.3) -> Recipe:
    """MixBCT (2023; code read): the new head classifies a mixture of new and old vectors.

    head: with a Cosine score. anchors: `from_means(..., radius=nearest_share(0.9))`, which say
    which old vectors are credible. up: to the new dimension, where it differs.
    """
    mixture = MixedSoftmax(head.score, share=share)  # type: ignore[arg-type]  # checked there
    return Recipe(
        "mixbct", [Part("mixture", mixture, 1.0, "up")], head=head, anchors=anchors, up=up
    )


def contrastive(
    head: Head, *, down: Map | None = None, temperature: float = 0.05, weight: float = 1.0
) -> Recipe:
    """The supervised contrast across models that BCT's first author compares with (code read)."""
    contrast = ClassContrast(temperature)
    return Recipe(
        "contrastive",
        [_classify(head), Part("contrast", contrast, weight, "down")],
        head=head,
        down=down,
    )


def l2(*, down: Map | None = None) -> Recipe:
    """Imitation of the old vectors and nothing else: BCT's L2 baseline (code read).

    Labels play no part. The code divides by the dimension too; a lone Term needs no such factor.
    """
    return Recipe("l2", [Part("imitation", Regression(), 1.0, "down")], down=down)


@dataclass(frozen=True, eq=False)
class TwoStages:
    """A method that trains a model, then a map for the gallery with that model frozen.

    backward: for the new model. forward: afterwards, for `forward.maps["up"]` only, over the
    finished model's embeddings.
    """

    backward: Recipe
    forward: Recipe


def bict(
    head: Head,
    anchors: Reference,
    up: Map,
    *,
    score: Score | None = None,
    down: Map | None = None,
    weight: float = 1.0,
) -> TwoStages:
    """BiCT (IJCAI 2023): train backward compatible, then carry old vectors up to that model.

    Our reading of the abstract: the paper's equations, weights and schedule could not be obtained
    and its code was never released. What the abstract fixes is the order of the two stages, that
    the map is trained towards the *backward-compatible* model, and that the backward weight
    matters for both results. What we chose: BCT as the backward loss, since it is the simplest
    that every split allows; and for the map a regression to the new unit vectors, the only target
    that needs no labels, plus the new head's classification, which lets the map spend its capacity
    where classes are told apart.

    up: the map, for example `Residual(old dimension, new dimension)`. weight: backward; sweep it.
    """
    return TwoStages(
        bct(head, anchors, score=score, down=down, weight=weight),
        Recipe("bict-forward", _forward_parts(head), head=head, up=up),
    )


def dmu(
    head: Head,
    anchors: Reference,
    up: Map,
    *,
    score: Score | None = None,
    down: Map | None = None,
    weight: float = 1.0,
    forward_weight: float = 1.0,
    temperature: float = 0.1,
) -> Recipe:
    """DMU (AAAI 2023): inherit where the old vector is good, move it up where it is not.

    Our reading of the abstract: the paper's losses, score and weights could not be obtained and
    its code was never released. What the abstract fixes: backward compatibility is selective, by
    how discriminative the old vector is, and a light map carries old vectors to the new space.
    What we chose, with d = `discriminability` of the old vector:

        backward: sum d * BCT / sum d          forward: weights 1 + (1 - d) on BiCT's map loss

    because a weight per item is the smallest change of known losses that says this. The map is
    trained jointly; its targets are constants, so it does not pull the new model.
    """
    keep = partial(discriminability, temperature=temperature)

    def renew(pairs: Pairs, references: References) -> Tensor:
        return 2.0 - keep(pairs, references)

    influence = AnchorSoftmax("old", score or head.score)
    return Recipe(
        "dmu",
        [
            _classify(head),
            Part("influence", influence, weight, "down", weigh=keep),
            *_forward_parts(head, forward_weight, renew),
        ],
        head=head,
        anchors=anchors,
        down=down,
        up=up,
    )


def _classify(head: Head) -> Part:
    return Part("classification", AnchorSoftmax("new", head.score))


def _forward_parts(head: Head, weight: float = 1.0, weigh: Weigher | None = None) -> list[Part]:
    taught = AnchorSoftmax("new", head.score, asks="old")
    return [
        Part("forward", Regression(asks="old"), weight, "up", weigh=weigh),
        Part("forward-classification", taught, weight, "up", weigh=weigh),
    ]


def _from(start: float, weight: float) -> Callable[[float], float]:
    return lambda progress: weight if progress >= start else 0.0


def _refine(
    classes: int, propagation: float, temperature: float, old: Tensor, new: Tensor, labels: Tensor
) -> Reference:
    found = refined(old, new, labels, classes, propagation=propagation, temperature=temperature)
    return replace(found, count=None)
