"""The HTTP embedder against a real server on this machine that fails in every way we know."""

from __future__ import annotations

import base64
import json
import time
from contextlib import closing
from email.utils import formatdate

import numpy as np
import pytest

from hotfill.embedders import HttpEmbedder, SpendCap
from hotfill.embedders.http import RequestPace, from_options, retry_after_seconds
from hotfill.errors import ConfigError, EmbedError, ShapeError
from hotfill.types import Embedder, ModelId
from tests.unit.embedders.server import (
    DIMENSION,
    answer,
    changed,
    says,
    tokens_of,
    vector_of,
    vectors_of,
)

MODEL = ModelId("paid", "1", DIMENSION)
QUICK = {"tries": 3, "first_wait_seconds": 0.001, "longest_wait_seconds": 0.05}
TEXTS = [f"a text about number {number}" for number in range(10)]


@pytest.fixture
def make(endpoint):
    made = []

    def one(**settings):
        settings = {**QUICK, "batch_size": 4, **settings}
        made.append(HttpEmbedder(settings.pop("url", endpoint.url), MODEL, **settings))
        return made[-1]

    yield one
    for embedder in made:
        embedder.close()


def test_texts_get_their_vectors_in_the_order_given(endpoint, make) -> None:
    embedder = make()
    assert isinstance(embedder, Embedder)
    vectors = embedder(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_of(TEXTS), atol=1e-6)
    assert [len(texts) for texts in endpoint.requests] == [4, 4, 2]
    assert endpoint.bodies[0]["model"] == "paid"


def test_no_texts_need_no_request(endpoint, make) -> None:
    assert make()([]).shape == (0, DIMENSION)
    assert not endpoint.requests


def test_requests_under_way_at_once_are_as_many_as_allowed(endpoint, make) -> None:
    endpoint.delay_seconds = 0.1
    vectors = make(parallel=3, batch_size=1)(TEXTS)
    np.testing.assert_allclose(vectors, vectors_of(TEXTS), atol=1e-6)
    assert endpoint.most_at_once == 3


def test_key_and_further_fields_are_sent(endpoint, make) -> None:
    make(api_key="secret", model="other-name", extra={"dimensions": DIMENSION})(TEXTS[:1])
    assert endpoint.headers[0]["Authorization"] == "Bearer secret"
    assert endpoint.bodies[0] == {
        "model": "other-name",
        "dimensions": DIMENSION,
        "input": TEXTS[:1],
    }


def test_base64_vectors_are_read(endpoint, make) -> None:
    def encode(body):
        for entry in body["data"]:
            raw = np.array(entry["embedding"], dtype="<f4").tobytes()
            entry["embedding"] = base64.b64encode(raw).decode()

    endpoint.script = [changed(encode)]
    np.testing.assert_array_equal(make()(TEXTS[:3]), vectors_of(TEXTS[:3]))


def test_vectors_of_a_normalised_model_get_unit_length(endpoint, make) -> None:
    def longer(body):
        for entry in body["data"]:
            entry["embedding"] = [3 * value for value in entry["embedding"]]

    endpoint.script = [changed(longer)]
    np.testing.assert_allclose(make()(TEXTS[:3]), vectors_of(TEXTS[:3]), atol=1e-6)


def test_answers_in_another_order_are_put_in_ours(endpoint, make) -> None:
    endpoint.script = [changed(lambda body: body["data"].reverse())]
    np.testing.assert_allclose(make()(TEXTS[:4]), vectors_of(TEXTS[:4]), atol=1e-6)


# What is worth another try --------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_a_busy_or_broken_server_is_asked_again(endpoint, make, status) -> None:
    endpoint.script = [says(status), says(status)]
    np.testing.assert_allclose(make()(TEXTS[:2]), vectors_of(TEXTS[:2]), atol=1e-6)
    assert len(endpoint.requests) == 3


def test_after_the_last_try_the_call_fails_retryable_and_names_no_rows(endpoint, make) -> None:
    endpoint.script = [says(500, b"out of order")] * 3
    with pytest.raises(EmbedError, match=r"500: out of order; gave up after 3 tries") as caught:
        make()(TEXTS[:2])
    assert (caught.value.retryable, caught.value.rows) == (True, ())
    assert len(endpoint.requests) == 3


def test_the_wait_that_the_server_asks_for_is_kept(endpoint, make) -> None:
    endpoint.script = [says(429, Retry_After="0.2")]
    began = time.monotonic()
    make(tries=2, longest_wait_seconds=1.0)(TEXTS[:1])
    assert time.monotonic() - began >= 0.2


def test_a_wait_that_is_too_long_is_not_begun(endpoint, make) -> None:
    endpoint.script = [says(429, Retry_After="3600")]
    with pytest.raises(EmbedError, match="asks to wait 3600 s"):
        make()(TEXTS[:1])
    assert len(endpoint.requests) == 1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_seconds(None) is None
    assert retry_after_seconds("7") == 7.0
    assert 5 < retry_after_seconds(formatdate(time.time() + 10, usegmt=True)) <= 10
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_seconds("soon") is None


def test_a_time_out_is_tried_again_and_then_fails_retryable(endpoint, make) -> None:
    endpoint.delay_seconds = 0.5
    with pytest.raises(EmbedError, match="ReadTimeout") as caught:
        make(timeout_seconds=0.05)(TEXTS[:1])
    assert caught.value.retryable
    assert len(endpoint.requests) == 3


def test_a_server_that_is_not_there_fails_retryable(make) -> None:
    with pytest.raises(EmbedError, match="cannot be reached") as caught:
        make(url="http://127.0.0.1:9/v1")(TEXTS[:1])
    assert caught.value.retryable


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"data": 3}', b'{"data": [1]}', b"", b"[" * 10**5]
)
def test_an_unreadable_answer_is_asked_for_again(endpoint, make, body) -> None:
    endpoint.script = [says(200, body)]
    np.testing.assert_allclose(make()(TEXTS[:2]), vectors_of(TEXTS[:2]), atol=1e-6)


def test_an_answer_that_is_far_too_long_is_not_read_to_its_end(endpoint, make) -> None:
    endless = b" " * 50_000_000
    endpoint.script = [says(200, endless)]
    with pytest.raises(EmbedError, match=r"longer than 1000256 bytes.*look at what answers there"):
        make()(TEXTS[:1])
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_wrong_key_or_address_is_said_at_once_and_blames_no_text(endpoint, make, status) -> None:
    endpoint.script = [says(status, b"key secret is not known")]
    with pytest.raises(EmbedError, match=rf"refuses: status {status}") as caught:
        make(api_key="secret")(TEXTS)
    assert (caught.value.retryable, caught.value.rows) == (True, ())
    assert "secret" not in str(caught.value)
    assert len(endpoint.requests) == 1


# What a text is to blame for ------------------------------------------------------------------


def test_refused_texts_are_found_and_named_and_the_others_are_not_bought_twice(
    endpoint, make
) -> None:
    endpoint.refuse = {TEXTS[2], TEXTS[7]}
    embedder = make()
    got = {}
    with pytest.raises(EmbedError, match="input too long") as caught:  # noqa: PT012
        for rows, vectors in embedder.parts(TEXTS):
            got |= dict(zip(rows, vectors, strict=True))
    assert (caught.value.rows, caught.value.retryable) == ((2, 7), False)
    assert sorted(got) == [0, 1, 3, 4, 5, 6, 8, 9]
    for row, vector in got.items():
        np.testing.assert_allclose(vector, vector_of(TEXTS[row]), atol=1e-6)
    assert set(endpoint.bought.values()) == {1}


def test_a_server_that_refuses_everything_is_not_blamed_on_the_texts(endpoint, make) -> None:
    texts = [f"text {number}" for number in range(64)]
    endpoint.refuse = set(texts)
    with pytest.raises(EmbedError, match="refuses everything") as caught:
        make(batch_size=64)(texts)
    assert (caught.value.retryable, caught.value.rows) == (True, ())
    assert len(endpoint.requests) < 64


def at_most(limit: int):
    """A step of the script: the server refuses requests of more texts."""

    def respond(texts):
        if len(texts) > limit:
            return 400, {}, b'{"error": {"message": "batch size is invalid"}}'
        return 200, {}, json.dumps(answer(texts)).encode()

    return respond


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize(("limit", "batch_size"), [(10, 64), (1, 64), (96, 256), (64, 64)])
def test_a_limit_on_the_texts_of_a_request_is_learned_once_and_not_for_each_call(
    endpoint, make, limit, batch_size, parallel
) -> None:
    texts = [f"text {number}" for number in range(300)]
    endpoint.script = [at_most(limit)] * 2000
    embedder = make(batch_size=batch_size, parallel=parallel)
    np.testing.assert_allclose(embedder(texts), vectors_of(texts), atol=1e-6)
    sizes = [len(request) for request in endpoint.requests]
    assert sum(size > limit for size in sizes) <= 8 * parallel
    taken = max(size for size in sizes if size <= limit)
    assert (embedder.note == "") == (limit >= batch_size)
    endpoint.requests.clear()
    np.testing.assert_allclose(embedder(texts), vectors_of(texts), atol=1e-6)
    assert max(len(request) for request in endpoint.requests) <= limit
    assert len(endpoint.requests) <= -(-len(texts) // min(batch_size, taken))


def test_texts_that_are_to_blame_do_not_make_requests_smaller(endpoint, make) -> None:
    texts = [f"text {number}" for number in range(64)]
    endpoint.refuse = {texts[5], texts[40]}
    embedder = make(batch_size=32)
    with pytest.raises(EmbedError) as caught:
        embedder(texts)
    assert caught.value.rows == (5, 40)
    assert embedder.note == ""
    endpoint.refuse = set()
    endpoint.requests.clear()
    embedder(texts)
    assert [len(request) for request in endpoint.requests] == [32, 32]


def test_what_is_no_text_or_blank_is_named_before_anything_is_sent(endpoint, make) -> None:
    with pytest.raises(EmbedError, match="not blank") as caught:
        make()(["fine", "", 3, "  ", "half \ud800"])
    assert (caught.value.rows, caught.value.retryable) == ((1, 2, 3, 4), False)
    assert not endpoint.requests


def test_rows_missing_in_an_answer_are_named(endpoint, make) -> None:
    endpoint.script = [changed(lambda body: body["data"].pop(1))]
    with pytest.raises(EmbedError, match="no vector for it") as caught:
        make()(TEXTS[:4])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)


def test_a_short_answer_without_numbers_of_rows_is_asked_for_again(endpoint, make) -> None:
    def shorten(body):
        body["data"].pop()
        for entry in body["data"]:
            del entry["index"]

    endpoint.script = [changed(shorten)]
    np.testing.assert_allclose(make()(TEXTS[:4]), vectors_of(TEXTS[:4]), atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None], ids=["nan", "inf", "null"])
def test_rows_that_are_no_numbers_are_named_and_the_others_kept(endpoint, make, bad) -> None:
    def spoil(body):
        body["data"][2]["embedding"][0] = bad

    endpoint.script = [changed(spoil)]
    got = []
    with pytest.raises(EmbedError, match="NaN") as caught:  # noqa: PT012
        for rows, _ in make().parts(TEXTS[:4]):
            got += rows
    assert (caught.value.rows, caught.value.retryable) == ((2,), False)
    assert got == [0, 1, 3]


def test_a_row_of_zeros_is_named(endpoint, make) -> None:
    def empty(body):
        body["data"][0]["embedding"] = [0.0] * DIMENSION

    endpoint.script = [changed(empty)]
    with pytest.raises(EmbedError) as caught:
        make()(TEXTS[:2])
    assert caught.value.rows == (0,)


def test_vectors_of_another_length_are_another_model(endpoint, make) -> None:
    def cut(body):
        for entry in body["data"]:
            entry["embedding"] = entry["embedding"][:4]

    endpoint.script = [changed(cut)]
    with pytest.raises(ShapeError, match="expected vectors of 8 numbers, the server sent 4"):
        make()(TEXTS[:2])


def test_what_was_under_way_when_another_request_failed_is_still_handed_over(
    endpoint, make
) -> None:
    endpoint.script = [says(401)]
    endpoint.delay_seconds = 0.05
    got = []
    with pytest.raises(EmbedError, match="401"):  # noqa: PT012
        for rows, _ in make(parallel=2, batch_size=2).parts(TEXTS):
            got += rows
    assert sum(endpoint.bought.values()) == len(got) >= 2
    assert len(endpoint.requests) <= 3  # nothing was begun after the failure was known


# Money and pace -------------------------------------------------------------------------------


def test_the_price_is_counted_as_the_server_reports_its_tokens(endpoint, make, tmp_path) -> None:
    with closing(SpendCap(tmp_path / "spent", cap=10.0, per_1000=2.0)) as cap:
        assert cap.estimate(["x" * 400, "y" * 3]) == pytest.approx((101 + 1) * 2.0 / 1000)
        make(spend_cap=cap)(TEXTS)
        assert cap.spent == pytest.approx(tokens_of(TEXTS) * 2.0 / 1000)


def test_the_cap_is_never_passed_and_is_remembered_by_the_next_process(
    endpoint, make, tmp_path
) -> None:
    def price():
        return sum(tokens_of([text]) * n for text, n in endpoint.bought.items())

    with closing(SpendCap(tmp_path / "spent", cap=0.1, per_1000=1.0)) as cap:
        embedder = make(spend_cap=cap, batch_size=1)
        with pytest.raises(EmbedError, match=r"spend cap of 0\.1") as caught:
            embedder([f"one two three {number}" for number in range(100)])
        assert (caught.value.retryable, caught.value.rows) == (True, ())
        assert cap.spent == pytest.approx(price() / 1000)
        assert 0.1 - 0.03 < cap.spent <= 0.1
    bought = sum(endpoint.bought.values())
    with closing(SpendCap(tmp_path / "spent", cap=0.1, per_1000=1.0)) as cap:
        with pytest.raises(EmbedError, match="spend cap"):
            make(spend_cap=cap, batch_size=1)(["one two three more"])
        assert sum(endpoint.bought.values()) == bought
    with closing(SpendCap(tmp_path / "spent", cap=0.2, per_1000=1.0)) as cap:  # raised: goes on
        make(spend_cap=cap, batch_size=1)(["something more"])


def test_a_cap_by_items_counts_items(endpoint, make, tmp_path) -> None:
    with closing(SpendCap(tmp_path / "spent", cap=0.06, per_1000=10.0, unit="items")) as cap:
        with pytest.raises(EmbedError, match="spend cap"):
            make(spend_cap=cap, batch_size=2)(TEXTS)
        assert cap.spent == pytest.approx(0.06)
    assert sum(endpoint.bought.values()) == 6


def test_what_was_not_answered_is_not_paid_but_a_time_out_may_be(endpoint, make, tmp_path) -> None:
    with closing(SpendCap(tmp_path / "spent", cap=1.0, per_1000=1.0, unit="items")) as cap:
        endpoint.script = [says(500), says(429)]
        make(spend_cap=cap)(TEXTS[:1])
        assert cap.spent == pytest.approx(0.001)
        endpoint.delay_seconds = 0.5
        with pytest.raises(EmbedError):
            make(spend_cap=cap, timeout_seconds=0.05)(TEXTS[:1])
        assert cap.spent == pytest.approx(0.001 + 3 * 0.001)


def test_without_reported_tokens_the_highest_price_is_counted(endpoint, make, tmp_path) -> None:
    endpoint.script = [changed(lambda body: body.pop("usage"))]
    with closing(SpendCap(tmp_path / "spent", cap=1.0, per_1000=1.0)) as cap:
        make(spend_cap=cap)(["abcd"])
        assert cap.spent == pytest.approx((4 + 8) / 1000)


@pytest.mark.parametrize("settings", [{"cap": 0}, {"cap": float("nan")}, {"per_1000": -1}])
def test_a_cap_that_makes_no_sense_is_refused(tmp_path, settings) -> None:
    with pytest.raises(ConfigError, match="spend cap"):
        SpendCap(tmp_path / "spent", **{"cap": 1.0, "per_1000": 1.0, **settings})


def test_the_pace_is_kept() -> None:
    waits: list[float] = []
    pace = RequestPace(per_minute=30, clock=lambda: 100.0 + sum(waits), sleep=waits.append)
    for _ in range(4):
        pace.wait(1)
    assert waits == [2.0, 2.0, 2.0]
    pace.charge(2)  # work whose size was known afterwards holds up who comes next
    pace.wait()
    assert waits == [2.0, 2.0, 2.0, 6.0]


def test_requests_and_reported_tokens_slow_the_next_request(endpoint, make) -> None:
    began = time.monotonic()
    make(batch_size=1, requests_per_minute=60 / 0.05)(TEXTS[:4])
    assert time.monotonic() - began >= 0.15
    began = time.monotonic()
    make(batch_size=1, tokens_per_minute=60 / 0.01)(TEXTS[:3])  # 5 tokens each
    assert time.monotonic() - began >= 0.1


# Settings -------------------------------------------------------------------------------------


def test_options_of_a_configuration_file_make_the_embedder(endpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PAID_KEY", "secret")
    embedder = from_options(
        url=endpoint.url,
        name="paid",
        revision="1",
        dimension=DIMENSION,
        api_key_env="PAID_KEY",
        spend_cap=1.0,
        price_per_1000=0.1,
        spend_file=str(tmp_path / "spent"),
        tries=2,
        batch_size=8,
    )
    assert embedder.model_id == MODEL
    np.testing.assert_allclose(embedder(TEXTS), vectors_of(TEXTS), atol=1e-6)
    assert endpoint.headers[0]["Authorization"] == "Bearer secret"
    embedder.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "api.example.com"}, "expected http"),
        ({"batch_size": 0}, "must be >= 1"),
        ({"api_key_env": "HOTFILL_NO_SUCH_KEY"}, "HOTFILL_NO_SUCH_KEY holds no API key"),
        ({"spend_cap": 3.0}, "given together"),
        ({"batchsize": 3}, "batchsize"),
    ],
)
def test_options_that_cannot_work_are_refused(wrong, message) -> None:
    options = {"url": "http://127.0.0.1:9", "name": "paid", "revision": "1", "dimension": 8}
    with pytest.raises(ConfigError, match=message):
        from_options(**{**options, **wrong})


# Providers' ways ------------------------------------------------------------------------------


def test_headers_and_parameters_reach_a_gateway_and_are_not_shown(endpoint, make) -> None:
    embedder = make(headers={"api-key": "s3cret"}, params={"api-version": "2024-02-01"})
    embedder(TEXTS)
    assert {each["api-key"] for each in endpoint.headers} == {"s3cret"}
    assert endpoint.paths == ["/v1/embeddings?api-version=2024-02-01"] * len(endpoint.requests)
    endpoint.script = [lambda _: (401, {}, b"no access with s3cret")]
    with pytest.raises(EmbedError, match=r"no access with \*\*\*"):
        embedder(TEXTS)


def test_a_server_is_told_how_long_the_vectors_shall_be(endpoint, make) -> None:
    make(dimensions=True)(TEXTS)
    assert {body["dimensions"] for body in endpoint.bodies} == {DIMENSION}


def test_queries_have_a_prompt_and_fields_of_their_own(endpoint, make) -> None:
    embedder = make(
        prompt="passage: ",
        query_prompt="query: ",
        extra={"input_type": "document"},
        query_extra={"input_type": "query"},
    )
    embedder(["a"])
    asking = embedder.for_queries()
    asking(["a"])
    assert endpoint.requests == [["passage: a"], ["query: a"]]
    assert [body["input_type"] for body in endpoint.bodies] == ["document", "query"]
    assert asking.model_id == embedder.model_id
    assert make(prompt="text: ").for_queries() is None
    assert make().for_queries() is None
