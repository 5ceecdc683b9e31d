"""Galleries in Qdrant Edge: a vector engine inside the process, on the local disk."""

from hotfill.stores.qdrant_edge.gallery import QdrantEdgeGallery

__all__ = ["QdrantEdgeGallery"]
