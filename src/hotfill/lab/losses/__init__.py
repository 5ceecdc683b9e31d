"""Losses that make a new model compatible with an old one.

Reading order: `pairs` (a batch), `reference` (anchors), `maps` (between spaces), `term` (one loss),
`recipe` (a method), `recipes` (the published ones). A user's own loop needs three lines:

    recipe = recipes.bct(Head.random(100, 128, Cosine(30)), references.from_head(old, rows=rows))
    optimiser = SGD([*model.parameters(), *recipe.parameters()], lr=0.1)
    loss = recipe(Pairs(model(images), old_vectors, labels), progress).loss
"""

from hotfill.lab.losses import _torch as _torch
from hotfill.lab.losses import asymmetric, maps, recipes, references, terms
from hotfill.lab.losses.discriminability import discriminability
from hotfill.lab.losses.head import Head
from hotfill.lab.losses.pairs import UNLABELLED, Pairs
from hotfill.lab.losses.recipe import Part, Recipe, Refresh
from hotfill.lab.losses.recipes import TwoStages
from hotfill.lab.losses.reference import NO_ANCHOR, Reference, References
from hotfill.lab.losses.score import Cosine, Dot, Score
from hotfill.lab.losses.term import Term
from hotfill.lab.losses.value import Value

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
