"""Galleries in index files: SQLite is the source of truth; FAISS indexes are rebuilt from it."""

from hotfill.stores.index_files.gallery import IndexFilesGallery

__all__ = ["IndexFilesGallery"]
