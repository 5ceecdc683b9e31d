"""Asks for torch by the name of its extra, before anything here imports it."""

from hotfill.extras import need

need("torch", "train")
