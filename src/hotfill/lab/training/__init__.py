"""Plain training loops over the losses.

Compatible training of a model: `fit` (the loop), `Settings`, `ArrayItems` and `FolderItems` (the
data), `OldVectors` (what the old model made of it), `build_backbone`, `compatible_recipe` (by
name); `train_compatible` does it all from files. `model_embedder` serves what came out of it.
"""

from hotfill.lab.training import _torch as _torch
from hotfill.lab.training.backbones import build_backbone
from hotfill.lab.training.compatible_recipe import RECIPE_NAMES, Ingredients, compatible_recipe
from hotfill.lab.training.diverged import DivergedError
from hotfill.lab.training.embed import embed
from hotfill.lab.training.fit import Outcome, fit
from hotfill.lab.training.folder_items import FolderItems
from hotfill.lab.training.forward_map import forward_map
from hotfill.lab.training.items import ArrayItems, Items, read_arrays
from hotfill.lab.training.model_file import ModelFacts, ModelFile
from hotfill.lab.training.old_vectors import OldVectors
from hotfill.lab.training.settings import Settings
from hotfill.lab.training.train_compatible import Trained, train_compatible

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
