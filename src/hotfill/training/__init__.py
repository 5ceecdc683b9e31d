"""Plain training loops over the losses.

Compatible training of a model: `fit` (the loop), `Settings`, `ArrayItems` and `FolderItems` (the
data), `OldVectors` (what the old model made of it), `build_backbone`, `compatible_recipe` (by
name); `train_compatible` does it all from files. `model_embedder` serves what came out of it.
"""

from hotfill.training import _torch as _torch
from hotfill.training.backbones import build_backbone
from hotfill.training.compatible_recipe import RECIPE_NAMES, Ingredients, compatible_recipe
from hotfill.training.diverged import DivergedError
from hotfill.training.embed import embed
from hotfill.training.fit import Outcome, fit
from hotfill.training.folder_items import FolderItems
from hotfill.training.forward_map import forward_map
from hotfill.training.items import ArrayItems, Items, read_arrays
from hotfill.training.model_file import ModelFacts, ModelFile
from hotfill.training.old_vectors import OldVectors
from hotfill.training.settings import Settings
from hotfill.training.train_compatible import Trained, train_compatible

__all__ = [
    "RECIPE_NAMES",
    "ArrayItems",
    "DivergedError",
    "FolderItems",
    "Ingredients",
    "Items",
    "ModelFacts",
    "ModelFile",
    "OldVectors",
    "Outcome",
    "Settings",
    "Trained",
    "build_backbone",
    "compatible_recipe",
    "embed",
    "fit",
    "forward_map",
    "read_arrays",
    "train_compatible",
]
