"""The published methods, each as a Recipe.

Every recipe with a `head` classifies with it: the score of the head is the method's softmax. Where
a default comes from third-party code or from us rather than from the paper, the docstring says so.
`anchors` are old classes (see `references`); `down` maps new embeddings to the old space where the
dimensions differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError
from hotfill.lab.losses.head import Cosine, Head, Score
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.recipe import Part, Recipe, Refresh, Weigher
from hotfill.lab.losses.references import Reference, ReferencePair, refined
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


def discriminability(
    pairs: PairedBatch, references: ReferencePair, *, temperature: float = 0.1
) -> Tensor:
    """The probability that the old embedding itself gives its class: (n,), 0 to 1.

    softmax over the valid old anchors of cosine(old, anchor) / temperature, at the item's class.
    DMU's own score could not be obtained; this is the form our method notes derive from its
    abstract. 0 for an item without a label or without an anchor: there the old model knows nothing
    worth keeping.
    """
    reference = references.of("old")
    row = reference.answering(pairs)
    cosines = normalize(pairs.embeddings("old")) @ normalize(reference.vectors.detach()).T
    scores = (cosines / temperature).masked_fill(~reference.valid, float("-inf"))
    known = row >= 0
    chosen = scores[known].softmax(dim=1).gather(1, row[known].unsqueeze(1)).squeeze(1)
    found = cosines.new_zeros(len(pairs))
    found[known] = chosen
    return found


def independent(head: Head) -> Recipe:
    """No compatibility: classification alone. The model that compatible ones are measured by."""
    return Recipe("independent", [_classify(head)], head=head)


def bct(
    head: Head,
    anchors: Reference,
    *,
    score: Score | None = None,
    down: SpaceMap | None = None,
    weight: float = 1.0,
) -> Recipe:
    """BCT (Shen et al., CVPR 2020; first author's code read): the old head must accept new vectors.

    anchors: `from_head` (new classes that the old head lacks take no part, as in the published
        code), or `synthesised` (they get their class mean, as in the paper), or `from_means`.
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
    down: SpaceMap | None = None,
    weight: float = 3.0,
    refresh_at: Sequence[float] = (10 / 35, 20 / 35),
    propagation: float = 0.9,
    temperature: float = 0.05,
) -> Recipe:
    """UniBCT (IJCAI 2022; third-party code read): like BCT, to refined class means.

    anchors: `from_means` over the new training set, every new class included; they are used from
        the first step until they are refined. Anchors behind those of the labels
        (`with_alternatives`) stay unchanged.
    refresh_at: when the anchors are refined with the new model. The schedule (epochs 10 and 20 of
        35), propagation and temperature are the third-party code's. That code has no compatibility
        Term before its first refinement, while its learning rate is highest; ours starts at once.
        Its softmax axis makes refinement do nothing; ours is the other one.
    score: by default a quarter of the head's scale, without a margin. Class means were never
        trained to be told apart at the head's own; the third-party code has none, which is flat.
    weight: 1 in that code. 3, and the default score, are measured (`benchmarks/compatible_heads`).
    Raises ConfigError for anchors in another order than the labels'.
    """
    if anchors.rows.tolist() != list(range(anchors.labels)):
        raise ConfigError(
            "unibct refines one anchor per label, in their order: build the anchors by from_means"
        )
    plain = replace(anchors, radius=None, min_cosine=None, count=None)
    build = partial(_refine, plain, propagation, temperature)
    prototypes = AnchorSoftmax("old", score or _softer(head.score))
    return Recipe(
        "unibct",
        [_classify(head), Part("prototypes", prototypes, weight, "down")],
        head=head,
        anchors=plain,
        down=down,
        refresh=Refresh(tuple(refresh_at), build),
    )


def _softer(score: Score) -> Score:
    return Cosine(score.scale / 4) if isinstance(score, Cosine) else score


def advbct(
    head: Head,
    anchors: Reference,
    *,
    down: SpaceMap | None = None,
    threshold: float = 0.4,
    boundary: float = 10.0,
    critic: float = 4.0,
) -> Recipe:
    """AdvBCT (Pan et al., CVPR 2023; official code read): a critic and an elastic boundary.

    anchors: `synthesised(means of the old training set, means of the new items)`: the boundary is
        that of the old training set where the old model knew the class, and of the new items
        elsewhere. A class without an anchor has no boundary.
    threshold: of the elastic radius; 1.0 for landmarks in the code, 0.4 in a face port.
    boundary, critic: the weights; 1 in the code, 4 in the face port. The critic's falls with the
        training, from 1 (at its start; the code's (E+1)/E) to 0 (its 2/E). The defaults are
        measured (`benchmarks/compatible_heads`): next to a scaled cosine softmax the code's own
        are too loose.
    """

    def fading(progress: float) -> float:
        return critic * (1.0 - progress)

    return Recipe(
        "advbct",
        [
            _classify(head),
            _boundary(anchors, threshold, boundary),
            Part("critic", Adversarial(anchors.dimension), fading, "down"),
        ],
        head=head,
        anchors=anchors,
        down=down,
    )


def bounded(
    head: Head,
    anchors: Reference,
    *,
    score: Score | None = None,
    down: SpaceMap | None = None,
    threshold: float = 0.4,
    boundary: float = 3.0,
    weight: float = 1.0,
) -> Recipe:
    """BCT's softmax and AdvBCT's boundary around the same anchors; ours, from no paper.

    A boundary pulls to one anchor and knows no wrong answers; the softmax over all anchors knows
    them, and does not care how far an embedding stays from the right one.
    anchors: as for `advbct`, with the anchors of old classes that no new class has.
    threshold: as for `advbct`. boundary: 3, chosen on a seed that no figure is reported for.
    weight: of BCT's part. score: as for `bct`.
    """
    influence = AnchorSoftmax("old", score or head.score)
    return Recipe(
        "bounded",
        [
            _classify(head),
            Part("influence", influence, weight, "down"),
            _boundary(anchors, threshold, boundary),
        ],
        head=head,
        anchors=anchors,
        down=down,
    )


def ract(
    head: Head,
    *,
    down: SpaceMap | None = None,
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
    down: SpaceMap | None = None,
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
    head: Head, *, down: SpaceMap | None = None, share: float = 0.1, sharpness: float = 10.0
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


def mixbct(
    head: Head, anchors: Reference, *, up: SpaceMap | None = None, share: float = 0.3
) -> Recipe:
    """MixBCT (2023; code read): the new head classifies a mixture of new and old vectors.

    head: with a Cosine score. anchors: `from_means(..., radius=nearest_share(0.9))`, which say
    which old vectors are credible. up: to the new dimension, where it differs.
    """
    mixture = MixedSoftmax(head.score, share=share)  # type: ignore[arg-type]  # checked there
    return Recipe(
        "mixbct", [Part("mixture", mixture, 1.0, "up")], head=head, anchors=anchors, up=up
    )


def contrastive(
    head: Head, *, down: SpaceMap | None = None, temperature: float = 0.05, weight: float = 1.0
) -> Recipe:
    """The supervised contrast across models that BCT's first author compares with (code read)."""
    contrast = ClassContrast(temperature)
    return Recipe(
        "contrastive",
        [_classify(head), Part("contrast", contrast, weight, "down")],
        head=head,
        down=down,
    )


def l2(*, down: SpaceMap | None = None) -> Recipe:
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
    up: SpaceMap,
    *,
    score: Score | None = None,
    down: SpaceMap | None = None,
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
    up: SpaceMap,
    *,
    score: Score | None = None,
    down: SpaceMap | None = None,
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

    def renew(pairs: PairedBatch, references: ReferencePair) -> Tensor:
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


def _boundary(anchors: Reference, threshold: float, weight: float) -> Part:
    term = ElasticBoundary(len(anchors.vectors), threshold=threshold)
    return Part("boundary", term, weight, "down")


def _refine(
    before: Reference,
    propagation: float,
    temperature: float,
    old: Tensor,
    new: Tensor,
    labels: Tensor,
) -> Reference:
    """Refine the anchors of the labels; those behind them, the wrong alternatives, stay."""
    classes = before.labels
    found = refined(old, new, labels, classes, propagation=propagation, temperature=temperature)
    before = before.map_tensors(lambda tensor: tensor.to(found.vectors.device))
    return replace(
        before,
        vectors=torch.cat([found.vectors, before.vectors[classes:].to(found.vectors)]),
        valid=torch.cat([found.valid, before.valid[classes:]]),
    )
