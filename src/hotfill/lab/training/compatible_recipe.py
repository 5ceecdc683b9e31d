"""Recipes by name, from what a training set and its old vectors give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hotfill.errors import ConfigError
from hotfill.lab.losses import Head, Recipe, Reference, TwoStages, asymmetric, recipes
from hotfill.lab.losses.maps import Map, Residual, resize
from hotfill.lab.losses.references import from_means, nearest_share, synthesised


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What recipes are made of.

    head: the new classes. labels: (n,) of the training items. old: (n, old dimension), their old
    vectors. old_head: the old model's own classifier, where it is known. old_training: class means
    of the old model's own training set, where it is known; AdvBCT's boundaries are theirs.
    """

    head: Head
    labels: Tensor
    old: Tensor
    old_head: Reference | None = None
    old_training: Reference | None = None

    def means(self, **options: Any) -> Reference:
        """Class means of the old vectors."""
        return from_means(self.old, self.labels, self.head.classes, **options)

    def old_anchors(self) -> Reference:
        """The old head, with means where it lacks classes; means alone where there is none."""
        return self.means() if self.old_head is None else synthesised(self.old_head, self.means())

    def boundaries(self) -> Reference:
        """Class means of the old training set, or of these items where that is not known."""
        return self.means() if self.old_training is None else self.old_training

    def down(self) -> Map:
        """Cuts or pads new embeddings to the old dimension."""
        return resize(self.head.vectors.shape[1], self.old.shape[1])

    def up(self) -> Map:
        """The map to be trained from the old to the new space."""
        return Residual(self.old.shape[1], self.head.vectors.shape[1])


_BUILDERS: dict[str, Callable[..., Recipe | TwoStages]] = {
    "advbct": lambda i, **o: recipes.advbct(i.head, i.boundaries(), down=i.down(), **o),
    "aml": lambda i, **o: asymmetric.aml(i.head, down=i.down(), **o),
    "bct": lambda i, **o: recipes.bct(i.head, i.old_anchors(), down=i.down(), **o),
    "bict": lambda i, **o: recipes.bict(i.head, i.old_anchors(), i.up(), down=i.down(), **o),
    "contrastive": lambda i, **o: recipes.contrastive(i.head, down=i.down(), **o),
    "cores": lambda i, **o: recipes.cores(i.head, **o),
    "csd": lambda i, **o: asymmetric.csd(i.head, down=i.down(), **o),
    "d3still": lambda i, **o: asymmetric.d3still(i.head, down=i.down(), **o),
    "dmu": lambda i, **o: recipes.dmu(i.head, i.means(), i.up(), down=i.down(), **o),
    "hoc": lambda i, **o: recipes.hoc(i.head, down=i.down(), **o),
    "independent": lambda i, **o: recipes.independent(i.head, **o),
    "l2": lambda i, **o: recipes.l2(down=i.down(), **o),
    "lce": lambda i, **o: recipes.lce(i.head, i.means(), down=i.down(), **o),
    "mixbct": lambda i, **o: recipes.mixbct(
        i.head,
        i.means(radius=nearest_share(0.9)),
        up=resize(i.old.shape[1], i.head.vectors.shape[1]),
        **o,
    ),
    "ract": lambda i, **o: recipes.ract(i.head, down=i.down(), **o),
    "raml": lambda i, **o: asymmetric.raml(i.head, down=i.down(), **o),
    "unibct": lambda i, **o: recipes.unibct(i.head, i.means(), down=i.down(), **o),
}

RECIPE_NAMES = tuple(_BUILDERS)
"""The names that `compatible_recipe` takes, in order."""

DISTILLATIONS = frozenset({"aml", "csd", "d3still", "raml"})
"""The recipes for a small model that is to search the gallery of a larger, "old" one."""

FIXED_HEAD = frozenset({"cores", "hoc"})
"""The recipes whose head is a simplex, shared by the old and the new model."""


def compatible_recipe(name: str, ingredients: Ingredients, **options: Any) -> Recipe | TwoStages:
    """Build a recipe.

    name: one of RECIPE_NAMES. options: the recipe's own, such as weight=2.0.
    Raises ConfigError for another name or option.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"recipe: expected one of {', '.join(RECIPE_NAMES)}, got {name!r}")
    try:
        return _BUILDERS[name](ingredients, **options)
    except TypeError as error:
        raise ConfigError(f"recipe {name!r}: {error}") from error
