"""The page about Redis, run from first to last against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

redis = pytest.importorskip("redis")

from tests import redis_server  # noqa: E402
from tests.examples.howto import phase, run_page, shell  # noqa: E402, F401

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redis.md"


@pytest.fixture
def server():
    if redis_server.MISSING:
        pytest.skip("the packages that have the server exist for Linux on x86-64 only")
    server = redis_server.Server()
    yield server
    server.remove()


@pytest.mark.usefixtures("shell")
def test_the_page_about_redis_runs(tmp_path, server):
    from hotfill.stores.redis import RedisGallery

    page = tmp_path / "redis.md"
    text = PAGE.read_text(encoding="utf-8")
    page.write_text(text.replace("redis://localhost:6379/0", server.url), encoding="utf-8")
    said = run_page(page)
    assert "200 items" in said[0]
    notes = [line for line in said[0].splitlines() if line.startswith("note")]
    # The settings that the page names are those of this server: there is nothing to say of them.
    assert all("a search of the store" in note or "imputed" in note for note in notes), notes
    assert phase("upgrade.toml") == "completed"
    client = redis.Redis.from_url(server.url)
    fields = {name.decode(): value for name, value in client.hgetall("product:17").items()}
    assert fields["title"] == b"green car number 17"
    assert (len(fields["embedding"]), len(fields["hotfill_v2"])) == (4 * 64, 4 * 256)
    found = client.execute_command(
        *("FT.SEARCH", "products-2", "@colour:{green}=>[KNN 1 @embedding $q]"),
        *("PARAMS", 2, "q", fields["hotfill_v2"], "NOCONTENT", "DIALECT", 2),
    )
    assert found[b"results"][0][b"id"] == b"product:17"
    client.close()
    with RedisGallery.open(server.url, index="products") as gallery:
        (space,) = gallery.spaces
        assert (space.dimension, len(gallery)) == (256, 200)
        assert gallery.get(["17"])[0].metadata["number"] == 17
