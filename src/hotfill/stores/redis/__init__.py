"""Galleries in Redis with its query engine, through redis-py."""

from hotfill.extras import need

need("redis", "redis")

from hotfill.stores.redis.gallery import RedisGallery  # noqa: E402  said above if missing

__all__ = ["RedisGallery"]
