"""Asks for torch by the name of its extra, before anything of the laboratory imports it."""

from hotfill.extras import need

need("torch", "train")
