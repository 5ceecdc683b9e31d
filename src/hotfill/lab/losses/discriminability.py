"""How well an old embedding tells its class from the others."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from hotfill.lab.losses.pairs import Pairs
from hotfill.lab.losses.reference import References


def discriminability(pairs: Pairs, references: References, *, temperature: float = 0.1) -> Tensor:
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
