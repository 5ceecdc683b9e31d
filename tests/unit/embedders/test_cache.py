"""A vector is made once, whoever asks: rows, calls, threads, processes, and after kills."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.embedders import CachedEmbedder, HttpEmbedder, VectorCache
from hotfill.embedders.cache import from_options
from hotfill.errors import ConfigError, EmbedError, ShapeError
from hotfill.types import Embedder, ModelId
from tests.unit.embedders.server import DIMENSION, vector_of, vectors_of

ROOT = Path(__file__).parents[3]
MODEL = ModelId("paid", "1", DIMENSION)
OTHER = ModelId("paid", "2", DIMENSION)


class Counting:
    """An embedder that counts what is asked of it."""

    def __init__(self, model_id: ModelId = MODEL, seconds: float = 0.0) -> None:
        self.model_id = model_id
        self.seconds = seconds
        self.asked: Counter[str] = Counter()
        self.calls = 0
        self.broken: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, contents):
        time.sleep(self.seconds)
        bad = [row for row, text in enumerate(contents) if text in self.broken]
        if bad:
            raise EmbedError("cannot be read", rows=bad, retryable=False)
        with self._lock:
            self.calls += 1
            self.asked.update(contents)
        return vectors_of(contents)


@pytest.fixture
def cache(tmp_path):
    with closing(VectorCache(tmp_path / "cache")) as opened:
        yield opened


def test_a_vector_that_was_made_is_not_made_again(cache, tmp_path) -> None:
    inner = Counting()
    embedder = CachedEmbedder(inner, cache)
    assert isinstance(embedder, Embedder)
    first = embedder(["a", "b"])
    np.testing.assert_array_equal(embedder(["b", "c", "a"]), vectors_of(["b", "c", "a"]))
    np.testing.assert_array_equal(first, vectors_of(["a", "b"]))
    assert inner.asked == {"a": 1, "b": 1, "c": 1}
    assert (embedder.made, embedder.reused) == (3, 2)
    with closing(VectorCache(tmp_path / "cache")) as again:  # as the next process finds it
        np.testing.assert_array_equal(
            CachedEmbedder(Counting(), again)(["c", "a"]), vectors_of(["c", "a"])
        )


def test_what_is_kept_is_counted_and_nothing_is_made(cache) -> None:
    inner = Counting()
    cached = CachedEmbedder(inner, cache)
    cached(["a", "b"])
    asked = dict(inner.asked)
    assert cached.cached(iter(["a", "c", "b", "a"])) == 3
    assert cached.uncached is inner
    assert inner.asked == asked


def test_a_text_that_occurs_twice_in_a_call_is_made_once(cache) -> None:
    inner = Counting()
    vectors = CachedEmbedder(inner, cache)(["a", "b", "a", "a"])
    np.testing.assert_array_equal(vectors, vectors_of(["a", "b", "a", "a"]))
    assert inner.asked == {"a": 1, "b": 1}


def test_nothing_asked_is_nothing_made(cache) -> None:
    inner = Counting()
    assert CachedEmbedder(inner, cache)([]).shape == (0, DIMENSION)
    assert inner.calls == 0


def test_models_do_not_share_vectors(cache) -> None:
    one, other = Counting(), Counting(OTHER)
    CachedEmbedder(one, cache)(["a"])
    CachedEmbedder(other, cache)(["a"])
    assert (one.asked, other.asked) == ({"a": 1}, {"a": 1})
    assert (cache.count(MODEL), cache.count(OTHER)) == (1, 1)
    assert cache.drop(MODEL) == 1
    assert (cache.count(MODEL), cache.count(OTHER)) == (0, 1)


@settings(max_examples=12, deadline=None)
@given(calls=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=8))
def test_any_calls_in_any_order_give_what_the_embedder_gives(calls, tmp_path_factory) -> None:
    inner = Counting()
    with closing(VectorCache(tmp_path_factory.mktemp("cache") / "cache")) as opened:
        embedder = CachedEmbedder(inner, opened)
        for texts in calls:
            made = embedder(texts)
            expected = vectors_of(texts) if texts else np.empty((0, DIMENSION), np.float32)
            np.testing.assert_array_equal(made, expected)
    assert set(inner.asked.values()) <= {1}
    assert set(inner.asked) == {text for texts in calls for text in texts}


def test_float16_takes_half_the_room_and_gives_the_same_vector_every_time(tmp_path) -> None:
    texts = [f"text {number}" for number in range(20)]
    with closing(VectorCache(tmp_path / "cache", precision="float16")) as cache:
        embedder = CachedEmbedder(Counting(), cache)
        bought = embedder(texts)
        assert bought.dtype == np.float32
        np.testing.assert_array_equal(bought, embedder(texts))
        np.testing.assert_allclose(bought, vectors_of(texts), atol=1e-3)
    with closing(sqlite3.connect(tmp_path / "cache")) as db:
        assert db.execute("SELECT DISTINCT length(vector) FROM vectors").fetchall() == [
            (2 * DIMENSION,)
        ]
    with closing(VectorCache(tmp_path / "cache")) as cache:  # a file may hold both
        embedder = CachedEmbedder(Counting(), cache)
        np.testing.assert_array_equal(embedder(texts), bought)
        np.testing.assert_array_equal(embedder(["new"]), vectors_of(["new"]))


def test_float16_is_refused_for_vectors_of_any_length(tmp_path) -> None:
    model = ModelId("long", "1", DIMENSION, "dot", normalised=False)
    with (
        closing(VectorCache(tmp_path / "cache", precision="float16")) as cache,
        pytest.raises(ConfigError, match="unit length"),
    ):
        CachedEmbedder(Counting(model), cache)


# Failures -------------------------------------------------------------------------------------


def test_rows_of_a_failure_are_those_of_the_call(cache) -> None:
    inner = Counting()
    embedder = CachedEmbedder(inner, cache)
    embedder(["a", "b"])
    inner.broken = {"x"}
    with pytest.raises(EmbedError, match="cannot be read") as caught:
        embedder(["a", "x", "b", "c", "x"])
    assert (caught.value.rows, caught.value.retryable) == ((1, 4), False)
    inner.broken = set()
    np.testing.assert_array_equal(embedder(["x", "c"]), vectors_of(["x", "c"]))
    assert inner.asked == {"a": 1, "b": 1, "c": 1, "x": 1}


def test_what_was_paid_before_a_failure_is_not_paid_again(endpoint, cache) -> None:
    endpoint.refuse = {"text 5"}
    texts = [f"text {number}" for number in range(10)]
    with closing(HttpEmbedder(endpoint.url, MODEL, batch_size=4)) as inner:
        embedder = CachedEmbedder(inner, cache)
        with pytest.raises(EmbedError) as caught:
            embedder(texts)
        assert caught.value.rows == (5,)
        healthy = [text for text in texts if text != "text 5"]
        np.testing.assert_allclose(embedder(healthy), vectors_of(healthy), atol=1e-6)
    assert endpoint.bought == dict.fromkeys(healthy, 1)


def test_vectors_that_cannot_be_used_are_named_and_the_good_ones_kept(cache) -> None:
    class Spoilt(Counting):
        def __call__(self, contents):
            vectors = super().__call__(contents)
            vectors[[row for row, text in enumerate(contents) if text == "x"]] = np.nan
            return vectors

    inner = Spoilt()
    embedder = CachedEmbedder(inner, cache)
    with pytest.raises(EmbedError, match="NaN") as caught:
        embedder(["a", "x", "b"])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)
    embedder(["a", "b"])
    assert inner.asked == {"a": 1, "x": 1, "b": 1}


@pytest.mark.parametrize("shape", [(2, DIMENSION + 1), (3, DIMENSION), (2,)])
def test_vectors_of_a_wrong_shape_are_not_kept(cache, shape) -> None:
    class Wrong:
        model_id = MODEL

        def __call__(self, contents):
            return np.ones(shape, dtype=np.float32)

    with pytest.raises((ShapeError, EmbedError)):
        CachedEmbedder(Wrong(), cache)(["a", "b"])
    assert cache.count(MODEL) == 0
    assert CachedEmbedder(Counting(), cache)(["a", "b"]).shape == (2, DIMENSION)


def test_a_content_without_a_hash_is_named(cache) -> None:
    with pytest.raises(EmbedError, match="has no hash") as caught:
        CachedEmbedder(Counting(), cache)(["a", object()])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)


@pytest.mark.parametrize("kind", ["text", "database"])
def test_a_file_of_another_kind_is_left_alone(tmp_path, kind) -> None:
    path = tmp_path / "file"
    if kind == "text":
        path.write_bytes(b"precious notes, not a database " * 100)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE precious (note TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="embedding cache"):
        VectorCache(path)
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist_is_said(tmp_path) -> None:
    with pytest.raises(ConfigError, match="check that the folder exists"):
        VectorCache(tmp_path / "absent" / "cache")


def test_a_closed_cache_says_so(tmp_path) -> None:
    cache = VectorCache(tmp_path / "cache")
    cache.close()
    with pytest.raises(EmbedError, match="is closed"):
        CachedEmbedder(Counting(), cache)(["a"])


# Threads, processes, kills --------------------------------------------------------------------


def test_threads_that_want_the_same_text_make_it_once(cache) -> None:
    inner = Counting(seconds=0.02)
    embedder = CachedEmbedder(inner, cache)
    texts = [f"text {number}" for number in range(12)]
    wanted = [texts[start : start + 6] for start in range(6)] * 2
    with ThreadPoolExecutor(6) as threads:
        for some, vectors in zip(wanted, threads.map(embedder, wanted), strict=True):
            np.testing.assert_array_equal(vectors, vectors_of(some))
    assert set(inner.asked.values()) == {1}


def test_who_waited_for_a_failing_thread_tries_for_itself(cache) -> None:
    inner = Counting(seconds=0.1)
    inner.broken = {"x"}
    embedder = CachedEmbedder(inner, cache)
    failures = []

    def ask():
        try:
            embedder(["x"])
        except EmbedError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(failures) == 3


def child(path: Path, endpoint, begin: int, end: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.unit.embedders.cache_child"]
    return subprocess.Popen(
        [*words, str(path), endpoint.url, str(begin), str(end)], cwd=ROOT, stdout=subprocess.PIPE
    )


def test_processes_that_want_the_same_texts_buy_them_once(endpoint, tmp_path) -> None:
    endpoint.delay_seconds = 0.02
    children = [child(tmp_path / "cache", endpoint, *part) for part in [(0, 40), (10, 50), (0, 50)]]
    for each in children:
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert endpoint.bought == {f"text {number}": 1 for number in range(50)}


def test_a_killed_buyer_loses_only_what_was_under_way(endpoint, tmp_path) -> None:
    endpoint.delay_seconds = 0.05
    killed = child(tmp_path / "cache", endpoint, 0, 40)
    deadline = time.monotonic() + 30
    while len(endpoint.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    time.sleep(0.2)  # until the server has answered the dead
    endpoint.delay_seconds = 0.0
    other = child(tmp_path / "cache", endpoint, 0, 40)
    other.communicate(timeout=60)  # nobody waits for the claims of the dead, which last 15 minutes
    assert other.returncode == 0
    assert set(endpoint.bought) == {f"text {number}" for number in range(40)}
    twice = [text for text, times in endpoint.bought.items() if times > 1]
    assert len(twice) <= 4  # one request of four texts was under way
    with closing(VectorCache(tmp_path / "cache")) as cache:
        embedder = CachedEmbedder(Counting(), cache)
        texts = [f"text {number}" for number in range(40)]
        np.testing.assert_allclose(embedder(texts), vectors_of(texts), atol=1e-6)
        assert embedder.made == 0


def test_claims_that_are_too_old_do_not_count(tmp_path) -> None:
    with closing(VectorCache(tmp_path / "cache", claim_seconds=0.05)) as cache:
        assert cache.claim(MODEL, [b"a", b"b"], "one") == [b"a", b"b"]
        assert cache.claim(MODEL, [b"a"], "other") == []
        time.sleep(0.06)
        assert cache.claim(MODEL, [b"a"], "other") == [b"a"]


def test_what_is_there_is_not_claimed_and_stays_as_it_is(cache) -> None:
    cache.put(MODEL, {b"a": vector_of("a")})
    assert cache.claim(MODEL, [b"a", b"b"], "one") == [b"b"]
    kept = cache.put(MODEL, {b"a": vector_of("other")})
    np.testing.assert_array_equal(kept[b"a"], vector_of("a"))
    assert cache.get(OTHER, [b"a"]) == {}


def _ask_in_a_fork(embedder: CachedEmbedder, queue) -> None:
    queue.put(embedder(["a", "forked"]).tolist())


def test_a_forked_process_may_use_the_cache_it_inherited(cache) -> None:
    embedder = CachedEmbedder(Counting(), cache)
    embedder(["a"])
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_ask_in_a_fork, args=(embedder, queue))
    process.start()
    got = queue.get()
    process.join()
    np.testing.assert_allclose(got, vectors_of(["a", "forked"]), atol=1e-6)
    assert cache.count(MODEL) == 2


def test_many_hashes_at_once_are_read_in_pages(cache) -> None:
    texts = [f"text {number}" for number in range(1300)]
    inner = Counting()
    embedder = CachedEmbedder(inner, cache)
    np.testing.assert_array_equal(embedder(texts), vectors_of(texts))
    assert inner.calls == 6  # parts of 256, each kept before the next is asked for
    embedder(texts)
    assert inner.calls == 6


def test_a_full_disk_is_said_before_anything_is_bought(cache, tmp_path) -> None:
    inner = Counting()
    with cache._file.reading() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    embedder = CachedEmbedder(inner, cache)
    with pytest.raises(EmbedError, match="full") as caught:  # noqa: PT012
        for number in range(200):
            embedder([f"text {number}"])
    assert caught.value.retryable
    calls = inner.calls
    with pytest.raises(EmbedError, match="full"):
        embedder(["one more"])
    assert inner.calls - calls <= 1


# Settings -------------------------------------------------------------------------------------


def test_options_of_a_configuration_file_wrap_another_embedder(endpoint, tmp_path) -> None:
    options = {"url": endpoint.url, "name": "paid", "revision": "1", "dimension": DIMENSION}
    embedder = from_options(
        path=str(tmp_path / "cache"),
        embedder="hotfill.embedders.http:from_options",
        options=options,
        precision="float16",
    )
    assert embedder.model_id == MODEL
    np.testing.assert_allclose(embedder(["a"]), vectors_of(["a"]), atol=1e-3)
    embedder.close()


@pytest.mark.parametrize("name", ["no_colon", "hotfill.no_such_module:x", "hotfill.errors:absent"])
def test_an_embedder_that_cannot_be_found_is_said(tmp_path, name) -> None:
    with pytest.raises(ConfigError, match="embedder"):
        from_options(path=str(tmp_path / "cache"), embedder=name)
    assert not os.path.exists(tmp_path / "cache")


def test_an_unknown_precision_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="float32 or float16"):
        VectorCache(tmp_path / "cache", precision="int8")
