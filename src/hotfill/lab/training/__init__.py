"""Plain training loops over the losses.

Compatible training of a model: `fit` (the loop), `TrainingSettings`, `ArrayItems` and `FolderItems`
(the data), `OldVectors` (what the old model made of it), `build_backbone`, `compatible_recipe` (by
name); `train_compatible` does it all from files. `model_file` serves what came out of it.
"""

from hotfill.lab import _torch as _torch
from hotfill.lab.training.backbones import build_backbone
from hotfill.lab.training.compatible_recipe import RECIPE_NAMES, Ingredients, compatible_recipe
from hotfill.lab.training.fit import DivergedError, Outcome, TrainingSettings, fit
from hotfill.lab.training.items import (
    ArrayItems,
    FolderItems,
    OldVectors,
    TrainingItems,
    embed,
    read_arrays,
)
from hotfill.lab.training.model_file import ModelFacts, ModelFile
from hotfill.lab.training.train_compatible import Trained, forward_map, train_compatible

__all__ = [
    "RECIPE_NAMES",
    "ArrayItems",
    "DivergedError",
    "FolderItems",
    "Ingredients",
    "ModelFacts",
    "ModelFile",
    "OldVectors",
    "Outcome",
    "Trained",
    "TrainingItems",
    "TrainingSettings",
    "build_backbone",
    "compatible_recipe",
    "embed",
    "fit",
    "forward_map",
    "read_arrays",
    "train_compatible",
]
