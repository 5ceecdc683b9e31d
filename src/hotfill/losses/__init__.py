"""Losses that make a new model compatible with an old one.

Reading order: `pairs` (a batch), `reference` (anchors), `maps` (between spaces), `term` (one loss),
`recipe` (a method), `recipes` (the published ones). A user's own loop needs three lines:

    recipe = recipes.bct(Head.random(100, 128, Cosine(30)), references.from_head(old, rows=rows))
    optimiser = SGD([*model.parameters(), *recipe.parameters()], lr=0.1)
    loss = recipe(Pairs(model(images), old_vectors, labels), progress).loss
"""

from hotfill.losses import _torch as _torch
from hotfill.losses import asymmetric, maps, recipes, references, terms
from hotfill.losses.discriminability import discriminability
from hotfill.losses.head import Head
from hotfill.losses.pairs import UNLABELLED, Pairs
from hotfill.losses.recipe import Part, Recipe, Refresh
from hotfill.losses.recipes import TwoStages
from hotfill.losses.reference import NO_ANCHOR, Reference, References
from hotfill.losses.score import Cosine, Dot, Score
from hotfill.losses.term import Term
from hotfill.losses.value import Value

__all__ = [
    "NO_ANCHOR",
    "UNLABELLED",
    "Cosine",
    "Dot",
    "Head",
    "Pairs",
    "Part",
    "Recipe",
    "Reference",
    "References",
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
