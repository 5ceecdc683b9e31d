"""Galleries in index files: SQLite has the truth, and indexes of FAISS are rebuilt from it."""

from hotfill.stores.index_files.gallery import IndexFilesGallery

__all__ = ["IndexFilesGallery"]
