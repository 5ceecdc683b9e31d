"""Galleries in LanceDB: a table of columns in files on the local disk, a version per write."""

from hotfill.stores.lancedb.gallery import LanceDBGallery

__all__ = ["LanceDBGallery"]
