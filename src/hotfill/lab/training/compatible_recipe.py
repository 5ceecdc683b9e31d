"""Recipes by name, from what a training set and its old vectors give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hotfill.errors import ConfigError
from hotfill.lab.losses import Head, Recipe, Reference, TwoStages, asymmetric, recipes
from hotfill.lab.losses.maps import ResidualBranch, SpaceMap, resize
from hotfill.lab.losses.references import from_means, nearest_share, synthesised, with_alternatives


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What recipes are made of.

    head: the new classes. labels: (n,) of the training items. old: (n, old dimension), their old
    vectors. old_head: the old model's own classifier, where it is known. old_training: class means
    (`from_means`) of the old model's own training set, where it is known, with `rows` from the new
    labels to them; they may include old classes that no new class has.
    """

    head: Head
    labels: Tensor
    old: Tensor
    old_head: Reference | None = None
    old_training: Reference | None = None

    def means(self, **options: Any) -> Reference:
        """Class means of the old vectors."""
        return from_means(self.old, self.labels, self.head.classes, **options)

    def old_anchors(self, *, old_head_only: bool = False) -> Reference:
        """The old head, with means where it lacks classes; means alone where there is none.

        old_head_only: no means. Raises ConfigError where that leaves no class to learn from.
        """
        if not old_head_only:
            means = self.means()
            return means if self.old_head is None else synthesised(self.old_head, means)
        if self.old_head is None or not bool((self.old_head.rows >= 0).any()):
            raise ConfigError(
                "old_head_only: expected an old head with at least one of the new classes, got "
                f"{'none of them' if self.old_head is not None else 'no old head'}; leave the "
                "option out, and class means stand in for it"
            )
        return self.old_head

    def boundaries(self) -> Reference:
        """Class means of the old training set, of these items where it lacks the class."""
        means = self.means()
        return means if self.old_training is None else synthesised(self.old_training, means)

    def prototypes(self, *, alternatives: bool = False) -> Reference:
        """Class means of the old vectors; with `alternatives` the old head's other classes too."""
        if not alternatives or self.old_head is None:
            return self.means()
        return with_alternatives(self.means(), self.old_head)

    def down(self) -> SpaceMap:
        """Cuts or pads new embeddings to the old dimension."""
        return resize(self.head.vectors.shape[1], self.old.shape[1])

    def up(self) -> SpaceMap:
        """The map to be trained from the old to the new space."""
        return ResidualBranch(self.old.shape[1], self.head.vectors.shape[1])


_BUILDERS: dict[str, Callable[..., Recipe | TwoStages]] = {
    "advbct": lambda i, **o: recipes.advbct(i.head, i.boundaries(), down=i.down(), **o),
    "aml": lambda i, **o: asymmetric.aml(i.head, down=i.down(), **o),
    "bct": lambda i, *, old_head_only=False, **o: recipes.bct(
        i.head, i.old_anchors(old_head_only=old_head_only), down=i.down(), **o
    ),
    "bict": lambda i, **o: recipes.bict(i.head, i.old_anchors(), i.up(), down=i.down(), **o),
    "bounded": lambda i, **o: recipes.bounded(i.head, i.boundaries(), down=i.down(), **o),
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
    "unibct": lambda i, *, alternatives=False, **o: recipes.unibct(
        i.head, i.prototypes(alternatives=alternatives), down=i.down(), **o
    ),
}

RECIPE_NAMES = tuple(_BUILDERS)
"""The names that `compatible_recipe` takes, in order."""

DISTILLATIONS = frozenset({"aml", "csd", "d3still", "raml"})
"""The recipes for a small model that is to search the gallery of a larger, "old" one."""

FIXED_HEAD = frozenset({"cores", "hoc"})
"""The recipes whose head is a simplex, shared by the old and the new model."""


def compatible_recipe(name: str, ingredients: Ingredients, **options: Any) -> Recipe | TwoStages:
    """Build a recipe.

    name: one of RECIPE_NAMES. options: the recipe's own, such as weight=2.0; for "bct" also
    old_head_only=True (the published code: new classes that the old head lacks take no part), for
    "unibct" alternatives=True (the old head's other classes as wrong answers).
    Raises ConfigError for another name or option.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"recipe: expected one of {', '.join(RECIPE_NAMES)}, got {name!r}")
    try:
        return _BUILDERS[name](ingredients, **options)
    except TypeError as error:
        raise ConfigError(f"recipe {name!r}: {error}") from error
