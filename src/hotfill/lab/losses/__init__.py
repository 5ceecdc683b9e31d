"""Losses that make a new model compatible with an old one.

Reading order: `pairs` (a batch), `references` (anchors), `maps` (between spaces), `term` (one
loss), `recipe` (a method), `recipes` (the published ones). A user's own loop needs three lines:

    recipe = recipes.bct(Head.random(100, 128, Cosine(30)), references.from_head(old, rows=rows))
    optimiser = SGD([*model.parameters(), *recipe.parameters()], lr=0.1)
    loss = recipe(PairedBatch(model(images), old_vectors, labels), progress).loss
"""

from hotfill.lab import _torch as _torch
from hotfill.lab.losses import asymmetric, maps, recipes, references, terms
from hotfill.lab.losses.head import Cosine, Dot, Head, Score
from hotfill.lab.losses.pairs import UNLABELLED, PairedBatch
from hotfill.lab.losses.recipe import Part, Recipe, Refresh
from hotfill.lab.losses.recipes import TwoStages, discriminability
from hotfill.lab.losses.references import NO_ANCHOR, Reference, ReferencePair
from hotfill.lab.losses.term import Term, Value

__all__ = [
    "NO_ANCHOR",
    "UNLABELLED",
    "Cosine",
    "Dot",
    "Head",
    "PairedBatch",
    "Part",
    "Recipe",
    "Reference",
    "ReferencePair",
    "Refresh",
    "Score",
    "Term",
    "TwoStages",
    "Value",
    "asymmetric",
    "discriminability",
    "maps",
    "recipes",
    "references",
    "terms",
]
