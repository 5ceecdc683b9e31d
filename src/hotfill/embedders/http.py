"""Any endpoint that speaks OpenAI's /embeddings: OpenAI, vLLM, Ollama, TEI, LiteLLM and others.

How failures are told apart, so that an upgrade goes on without losing items or money:

- The server is busy, broken or out of reach (429, 5xx, time-outs, unreadable answers): the request
  is sent again after a wait, longer each time; then the call fails, retryable, naming no rows.
- The server refuses us (wrong key, unknown model, quota) or the spend cap is reached: the same,
  but at once.
- It refuses a text (400, 413, 422): the request is halved until the text is found, and the call
  fails naming its row, not retryable. Where both halves are taken, the request was only too large:
  no other one is as large from then on, in this and in later calls, and in those of the other
  processes of an upgrade (`share_limit`).
- Vectors are of the wrong length: ShapeError, since that is another model.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from hotfill.embedders.spend_cap import PriceUnit, SpendCap
from hotfill.errors import ConfigError, EmbedError, HotfillError, ShapeError
from hotfill.extras import need
from hotfill.types import Metric, ModelId
from hotfill.vectors import as_promised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx
    from numpy.typing import NDArray
    from tenacity import RetryCallState

    from hotfill.types import Vectors


# What an /embeddings endpoint answered: which rows have a vector, and which have none ------------


class UnreadableAnswerError(Exception):
    """The server sent something else than vectors; asking again may help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to n texts.

    rows, vectors: those with a usable vector, float32 (rows, dimension). failed: the other rows,
    and what was wrong with each. tokens: as the server counts them; None when it does not say.
    """

    rows: list[int]
    vectors: Vectors
    failed: dict[int, str]
    tokens: int | None


def read_answer(body: bytes, n: int, dimension: int) -> Answer:
    """Read the JSON that answers n texts.

    Vectors are lists of numbers or base64 of little-endian float32.
    Raises UnreadableAnswerError, and ShapeError when the vectors are not `dimension` long: then
    another model answers than was planned.
    """
    try:
        values = json.loads(body)
        entries = values["data"]
        found = {int(entry.get("index", place)): entry for place, entry in enumerate(entries)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableAnswerError(f"expected JSON with embeddings, got {body[:80]!r}") from error
    if len(found) != len(entries) or not set(found) <= set(range(n)):
        raise UnreadableAnswerError(f"expected one embedding for each of {n} texts, got others")
    if len(found) < n and not all("index" in entry for entry in entries):
        raise UnreadableAnswerError(f"expected {n} embeddings, got {len(found)}")
    good: dict[int, NDArray[np.float32]] = {}
    failed = dict.fromkeys(sorted(set(range(n)) - set(found)), "the answer has no vector for it")
    for row, entry in found.items():
        vector = _vector(entry.get("embedding"))
        if vector is None:
            failed[row] = "its vector holds NaN, infinite or only zero values"
        elif len(vector) != dimension:
            raise ShapeError(
                f"expected vectors of {dimension} numbers, the server sent {len(vector)}: it runs "
                "another model than planned, or needs `dimensions = true`"
            )
        else:
            good[row] = vector
    rows = sorted(good)
    vectors = np.stack([good[row] for row in rows]) if rows else np.empty((0, dimension))
    return Answer(rows, vectors.astype(np.float32), failed, _tokens(values))


def _vector(given: Any) -> NDArray[np.float32] | None:
    """One vector, or None when its numbers cannot be used."""
    try:
        if isinstance(given, str):
            vector = np.frombuffer(base64.b64decode(given, validate=True), dtype="<f4")
        else:
            vector = np.array(given, dtype=np.float32)
    except (ValueError, TypeError) as error:
        if isinstance(given, list):  # null among the numbers: how JSON says NaN
            return None
        raise UnreadableAnswerError(f"expected a vector, got {str(given)[:80]!r}") from error
    if vector.ndim != 1:
        raise UnreadableAnswerError(f"expected a vector, got {str(given)[:80]!r}")
    return vector if np.isfinite(vector).all() and vector.any() else None


def _tokens(values: dict[str, Any]) -> int | None:
    usage = values.get("usage")
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("total_tokens", usage.get("prompt_tokens"))
    return tokens if isinstance(tokens, int) and tokens >= 0 else None


# The bookkeeping of one call: which rows have a vector, which never will, which are to ask -------

_REFUSED_EVERYTHING = 32  # refusals in a call without one success: the texts are not to blame


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not embed one of these texts. reason: as it said."""

    reason: str


@dataclass(slots=True)
class _Halved:
    """A request that was refused and is asked again by halves. taken: how many were answered."""

    size: int
    taken: int = 0


class Limit:
    """The most texts of a request that a server takes, as far as is known. For several threads."""

    def __init__(self, most: int) -> None:
        self.most = self.asked = most
        self._lock = threading.Lock()
        self._known: Callable[[], int | None] = lambda: None
        self._keep: Callable[[int], None] | None = None

    def share(self, known: Callable[[], int | None], keep: Callable[[int], None] | None) -> None:
        """Learn from others by `known`; tell them by `keep` what is learned here."""
        self._known, self._keep = known, keep
        self.begin()
        if keep is not None and self.most < self.asked:
            keep(self.most)  # learned before

    def begin(self) -> None:
        """Take over what others have learned until now."""
        self._lower(self._known())

    def too_large(self, size: int) -> None:
        """Note that a request of this size was refused for its size."""
        if self._lower(size // 2) and self._keep is not None:
            self._keep(self.most)

    def _lower(self, most: int | None) -> bool:
        with self._lock:
            before = self.most
            if most is not None:
                self.most = max(1, min(before, most))
            return self.most < before


class Call:
    """What has become of the rows of one call. limit: learned from refusals."""

    def __init__(self, n: int, limit: Limit) -> None:
        self._limit = limit
        self._waiting: deque[list[int]] = deque([list(range(n))] if n else [])
        self._halves: dict[int, _Halved] = {}  # by the first row of each half
        self._failed: dict[int, str] = {}
        self._problem: HotfillError | None = None
        self._answered = False
        self._refusals = 0

    @property
    def goes_on(self) -> bool:
        """Whether there is a request to send."""
        return bool(self._waiting) and self._problem is None

    def next(self) -> list[int]:
        """Take the rows of the next request."""
        rows = self._waiting.popleft()
        if len(rows) > self._limit.most:
            self._halves.pop(rows[0], None)  # of what is too large nothing more is learned
            self._waiting.appendleft(rows[self._limit.most :])
        return rows[: self._limit.most]

    def took(self, rows: list[int], future: Future[Answer | Refused]) -> Answer | None:
        """Note the outcome of a request; give back the answer, if it is one."""
        try:
            outcome = future.result()
        except HotfillError as error:
            self._problem = self._problem or error
            return None
        if isinstance(outcome, Answer):
            self._answered = True
            self._failed |= {rows[row]: reason for row, reason in outcome.failed.items()}
            if (halved := self._halves.pop(rows[0], None)) is not None:
                halved.taken += 1
                if halved.taken == 2:
                    self._limit.too_large(halved.size)
            return outcome
        self._refusals += 1
        self._halves.pop(rows[0], None)
        if len(rows) == 1:
            self._failed[rows[0]] = outcome.reason
        else:
            halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            self._waiting.extendleft(reversed(halves))  # first: what is learned helps the others
            both = _Halved(len(rows))
            self._halves |= {half[0]: both for half in halves}
        if self._refusals >= _REFUSED_EVERYTHING and not self._answered:
            self._problem = EmbedError(
                f"the server refuses everything it is sent: {outcome.reason}; the request itself "
                "is probably wrong: check model and extra"
            )
        return None

    def raise_failures(self, n: int) -> None:
        """Raise what went wrong, if anything did."""
        if self._problem is not None:
            raise self._problem
        if self._failed:
            rows = sorted(self._failed)
            raise EmbedError(
                f"{len(rows)} of {n} texts cannot be embedded; row {rows[0]}: "
                f"{self._failed[rows[0]]}",
                rows=rows,
                retryable=False,
            )


# Go no faster than a number of calls a minute -------------------------------------------------


class RequestPace:
    """Spreads work evenly over time; several threads may share one.

    per_minute: how much is allowed, > 0; None for no limit. Work is charged when its size is known;
    who comes next waits until it has been worked off. clock, sleep: in seconds.
    """

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, amount: float = 0.0) -> None:
        """Wait for one's turn, and charge what is known of the work already."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._free_at)
            self._free_at = turn + amount * self._seconds_each
        if turn > now:
            self._sleep(turn - now)

    def charge(self, amount: float) -> None:
        """Charge work whose size became known afterwards."""
        with self._lock:
            self._free_at = max(self._clock(), self._free_at) + amount * self._seconds_each


_ASK_AGAIN = {408, 409, 425, 429}  # and every 5xx
_ABOUT_THE_TEXTS = {400, 413, 422}

# How long an answer may be: one number of JSON for each dimension, and room for the rest.
_NUMBER_BYTES = 32
_ANSWER_BYTES = 1_000_000


class _AskAgainError(Exception):
    """A request that failed for a reason that may pass. asked: the wait asked for, in seconds."""

    def __init__(self, problem: str, asked: float | None = None) -> None:
        super().__init__(problem)
        self.asked = asked or 0.0


def _asked_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.asked if isinstance(error, _AskAgainError) else 0.0


def retry_after_seconds(header: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date. None when absent or unreadable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


class _AsksTooLong(stop_base):
    """Stops when the server asks for a longer wait than there is patience for."""

    def __init__(self, longest: float) -> None:
        self._longest = longest

    def __call__(self, state: RetryCallState) -> bool:
        return _asked_wait(state) > self._longest


class HttpEmbedder:
    """Embeds texts by requests to a server.

    url: of the API, without "/embeddings", for example "https://api.openai.com/v1".
    model_id: of the vectors; where it says normalised, rows are brought to unit length.
    model: the name that the server knows; by default the model id's.
    api_key: sent as a bearer token. headers, params: sent with each request, as gateways and Azure
        want them ({"api-key": ...}, {"api-version": ...}). Their values are not shown in messages.
    dimensions: whether the server is told how long the vectors shall be, for models that can make
        them shorter.
    extra: further fields of the request, such as {"encoding_format": "base64"} (a quarter of the
        bytes) or {"input_type": "document"}.
    prompt: put before each text. query_prompt, query_extra: the same for queries, where the model
        wants them otherwise, as E5, BGE, Cohere and Voyage do; see `for_queries`. None: the same.
    batch_size: texts in a request, at most: a server that takes fewer is noticed. parallel:
        requests under way at once.
    timeout_seconds: of one request. tries: how often one is sent at most, >= 1. first_wait_seconds,
        longest_wait_seconds: the waits between double, and are drawn evenly between nothing and
        that limit ("full jitter"), so that many clients that failed together do not come back
        together; a server that asks for a longer wait than the longest is not waited for.
    requests_per_minute, tokens_per_minute: the pace; None for none. Tokens need a server that
        reports its `usage`.
    spend_cap: asked before every request; None for no limit.

    It may be called from several threads, which share pace and cap. Raises ConfigError for settings
    that cannot work, MissingExtraError without httpx.
    """

    def __init__(
        self,
        url: str,
        model_id: ModelId,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        dimensions: bool = False,
        extra: Mapping[str, Any] | None = None,
        prompt: str = "",
        query_prompt: str | None = None,
        query_extra: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        parallel: int = 1,
        timeout_seconds: float = 60.0,
        tries: int = 6,
        first_wait_seconds: float = 0.5,
        longest_wait_seconds: float = 60.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        spend_cap: SpendCap | None = None,
    ) -> None:
        client: Any = need("httpx", "http")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url: expected http://... or https://..., got {url!r}")
        if batch_size < 1 or parallel < 1 or tries < 1:
            raise ConfigError(
                "batch_size, parallel and tries must be >= 1, got "
                f"{batch_size}, {parallel} and {tries}"
            )
        self._httpx = client
        self._url = url.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        self._model_id = model_id
        self._fields = {
            "model": model or model_id.name,
            **({"dimensions": model_id.dimension} if dimensions else {}),
            **(extra or {}),
        }
        self._prompt = prompt
        self._query_prompt = prompt if query_prompt is None else query_prompt
        self._query_fields = {**self._fields, **(query_extra or {})}
        self._secrets = [
            *filter(None, [api_key, *(headers or {}).values(), *(params or {}).values()])
        ]
        self._limit = Limit(batch_size)
        self._parallel = parallel
        self._tries = tries
        self._longest_wait = longest_wait_seconds
        self._jitter = wait_random_exponential(first_wait_seconds, longest_wait_seconds)
        self._request_pace = RequestPace(requests_per_minute)
        self._token_pace = RequestPace(tokens_per_minute)
        self._spend_cap = spend_cap
        self._client: httpx.Client = client.Client(
            timeout=timeout_seconds,
            headers={
                **({"Authorization": f"Bearer {api_key}"} if api_key else {}),
                **(headers or {}),
            },
            params=dict(params or {}),
            limits=client.Limits(max_connections=None, max_keepalive_connections=parallel),
        )

    @property
    def model_id(self) -> ModelId:
        """The space that the server's vectors live in."""
        return self._model_id

    @property
    def note(self) -> str:
        """What an operator should know by now; empty where that is nothing."""
        if self._limit.most == self._limit.asked:
            return ""
        return (
            f"{self._url} takes {self._limit.most} texts in a request, not batch_size = "
            f"{self._limit.asked}: requests are of this size from now on"
        )

    @property
    def request_settings(self) -> str:
        """What the server's limit depends on: address, fields, prompt and batch size, hashed."""
        settings = [self._url, self._fields, self._prompt, self._limit.asked]
        text = json.dumps(settings, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def share_limit(
        self, known: Callable[[], int | None], keep: Callable[[int], None] | None
    ) -> None:
        """Share with other processes what is learned of how many texts the server takes.

        known: asked before each call of several texts; the most that others have learned of, None
            for nothing. keep: told when less is learned here; None where nobody wants to know.
        """
        self._limit.share(known, keep)

    def for_queries(self) -> HttpEmbedder | None:
        """Return the one that embeds queries, in the same space; None where that is the same.

        It shares connections, pace, cap and what is known of the server.
        """
        if (self._query_prompt, self._query_fields) == (self._prompt, self._fields):
            return None
        made = copy(self)
        made._prompt, made._fields = self._query_prompt, self._query_fields
        return made

    def price(self, contents: Sequence[Any], /) -> float | None:
        """Tell about what texts cost; None without a spend cap, which has the price."""
        return self._spend_cap.estimate(contents) if self._spend_cap is not None else None

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed texts: float32 (n, dimension), rows in the order given.

        Raises EmbedError naming the rows whose text is at fault, or none; ShapeError when the
        server's vectors have another length.
        """
        vectors = np.empty((len(contents), self._model_id.dimension), dtype=np.float32)
        for rows, made in self.parts(contents):
            vectors[rows] = made
        return vectors

    def parts(self, contents: Sequence[Any], /) -> Iterator[tuple[list[int], Vectors]]:
        """Yield rows and their vectors as the answers come. Raises as a call does, at the end.

        What a request under way brings is waited for and yielded even after another has failed:
        it is paid for.
        """
        unfit = [row for row, text in enumerate(contents) if not _can_be_sent(text)]
        if unfit:
            raise EmbedError(
                f"expected Unicode texts that are not blank; {len(unfit)} of {len(contents)} are "
                "something else; nothing was sent",
                rows=unfit,
                retryable=False,
            )
        if len(contents) > 1:
            self._limit.begin()
        call = Call(len(contents), self._limit)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="hotfill-http") as threads:
            under_way: dict[Future[Answer | Refused], list[int]] = {}
            while under_way or call.goes_on:
                while call.goes_on and len(under_way) < self._parallel:
                    rows = call.next()
                    texts = [self._prompt + contents[row] for row in rows]
                    under_way[threads.submit(self._ask, texts)] = rows
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    rows = under_way.pop(future)
                    made = call.took(rows, future)
                    if made is not None and made.rows:
                        yield (
                            [rows[row] for row in made.rows],
                            as_promised(made.vectors, self._model_id),
                        )
        call.raise_failures(len(contents))

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.close()

    # ------------------------------------------------------------------------------------------

    def _ask(self, texts: list[str]) -> Answer | Refused:
        """Send one request until it is answered, refused, or not worth trying any more."""
        asking = Retrying(
            retry=retry_if_exception_type(_AskAgainError),
            stop=stop_after_attempt(self._tries) | _AsksTooLong(self._longest_wait),
            wait=lambda state: max(self._jitter(state), _asked_wait(state)),
            retry_error_callback=self._give_up,
        )
        return asking(self._send, texts)

    def _give_up(self, state: RetryCallState) -> NoReturn:
        asked, tries = _asked_wait(state), state.attempt_number
        waits = f"; it asks to wait {asked:.0f} s" if asked > self._longest_wait else ""
        error = state.outcome.exception() if state.outcome else None
        raise EmbedError(f"{self._url}: {error}; gave up after {tries} tries{waits}") from error

    def _send(self, texts: list[str]) -> Answer | Refused:
        """Send a request once. Raises _AskAgainError, and EmbedError when asking is in vain."""
        reserved = self._spend_cap.reserve(texts) if self._spend_cap else 0.0
        self._token_pace.wait()
        self._request_pace.wait(1)
        try:
            response = self._post({**self._fields, "input": texts}, len(texts))
        except (self._httpx.ConnectError, self._httpx.ConnectTimeout) as error:
            self._settle(reserved, 0.0)
            raise _AskAgainError(f"cannot be reached: {error}") from error
        except self._httpx.HTTPError as error:
            # It may have been worked on, so what was reserved stays counted.
            raise _AskAgainError(f"no answer: {type(error).__name__} {error}") from error
        if response.status_code != 200:
            self._settle(reserved, 0.0)
            return self._not_answered(response)
        try:
            answer = read_answer(response.content, len(texts), self._model_id.dimension)
        except (UnreadableAnswerError, RecursionError) as error:
            raise _AskAgainError(str(error)) from error  # and paid for, perhaps
        if answer.tokens is not None:
            self._token_pace.charge(answer.tokens)
        if self._spend_cap is not None:
            price = self._spend_cap.price(items=len(texts), tokens=answer.tokens or 0)
            counted = self._spend_cap.counts_items or answer.tokens is not None
            self._settle(reserved, price if counted else reserved)
        return answer

    def _not_answered(self, response: httpx.Response) -> Refused:
        status = response.status_code
        said = f"status {status}: {self._without_key(response.text[:300])}"
        if status in _ABOUT_THE_TEXTS:
            return Refused(said)
        if status in _ASK_AGAIN or status >= 500:
            raise _AskAgainError(said, retry_after_seconds(response.headers.get("Retry-After")))
        raise EmbedError(f"{self._url} refuses: {said}; fix the settings and go on")

    def _post(self, fields: dict[str, Any], n_texts: int) -> httpx.Response:
        """Send and read, but no more than the vectors can need: a server may send anything."""
        most = _ANSWER_BYTES + n_texts * self._model_id.dimension * _NUMBER_BYTES
        body = bytearray()
        with self._client.stream("POST", self._url, json=fields) as response:
            for part in response.iter_bytes():
                body += part
                if len(body) > most:
                    raise EmbedError(
                        f"{self._url}: the answer to {n_texts} texts is longer than {most} bytes, "
                        f"more than their vectors of {self._model_id.dimension} numbers can need; "
                        "look at what answers there"
                    )
            kept = {
                name: value for name, value in response.headers.items() if name == "retry-after"
            }
            read: httpx.Response = self._httpx.Response(
                response.status_code, headers=kept, content=bytes(body)
            )
            return read

    def _settle(self, reserved: float, price: float) -> None:
        if self._spend_cap is not None:
            self._spend_cap.settle(reserved, price)

    def _without_key(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _can_be_sent(text: Any) -> bool:
    if not isinstance(text, str) or not text.strip():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def from_options(
    *,
    url: str,
    name: str,
    revision: str,
    dimension: int,
    metric: Metric = "cosine",
    normalised: bool = True,
    preprocessing: str = "",
    api_key_env: str | None = None,
    spend_cap: float | None = None,
    price_per_1000: float | None = None,
    price_unit: PriceUnit = "tokens",
    spend_file: str | None = None,
    **settings: Any,
) -> HttpEmbedder:
    """Make an embedder from the options of a configuration file.

    name, revision, dimension, metric, normalised, preprocessing: the model id. A prompt is part of
        it where no preprocessing is named.
    api_key_env: the environment variable that holds the key; keys do not belong into files.
    spend_cap, price_per_1000, price_unit, spend_file: given together; see `SpendCap`.
    settings: the rest of `HttpEmbedder`.
    Raises ConfigError.
    """
    key = os.environ.get(api_key_env) if api_key_env else None
    if api_key_env and not key:
        raise ConfigError(f"the environment variable {api_key_env} holds no API key")
    wanted = [spend_cap is not None, price_per_1000 is not None, spend_file is not None]
    if any(wanted) and not all(wanted):
        raise ConfigError(
            "spend_cap, price_per_1000 and spend_file are given together or not at all"
        )
    cap = None
    if spend_cap is not None and price_per_1000 is not None and spend_file is not None:
        cap = SpendCap(
            Path(spend_file).expanduser(), cap=spend_cap, per_1000=price_per_1000, unit=price_unit
        )
    if settings.get("prompt"):
        preprocessing = preprocessing or json.dumps({"prompt": settings["prompt"]})
    model_id = ModelId(name, revision, dimension, metric, normalised, preprocessing)
    try:
        return HttpEmbedder(url, model_id, api_key=key, spend_cap=cap, **settings)
    except TypeError as error:
        raise ConfigError(f"options of the HTTP embedder: {error}") from error
