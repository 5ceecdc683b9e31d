"""Any endpoint that speaks OpenAI's /embeddings: OpenAI, vLLM, Ollama, TEI, LiteLLM and others.

How failures are told apart, so that an upgrade goes on without losing items or money:

- The server is busy, broken or out of reach (429, 5xx, time-outs, unreadable answers): the request
  is sent again after a wait, longer each time; then the call fails, retryable, naming no rows.
- The server refuses us (wrong key, unknown model, quota) or the spend cap is reached: the same,
  but at once.
- It refuses a text (400, 413, 422): the request is halved until the text is found, and the call
  fails naming its row, not retryable.
- Vectors are of the wrong length: ShapeError, since that is another model.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.embedders.answer import Answer, UnreadableAnswerError, read_answer
from hotfill.embedders.backoff import Backoff, retry_after_seconds
from hotfill.embedders.http_call import Call, Refused
from hotfill.embedders.pace import Pace
from hotfill.embedders.spend_cap import PriceUnit, SpendCap
from hotfill.embedders.unit_length import as_promised
from hotfill.errors import ConfigError, EmbedError
from hotfill.extras import need
from hotfill.types import Metric, ModelId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx

    from hotfill.types import Vectors

_ASK_AGAIN = {408, 409, 425, 429}  # and every 5xx
_ABOUT_THE_TEXTS = {400, 413, 422}

# How long an answer may be: one number of JSON for each dimension, and room for the rest.
_NUMBER_BYTES = 32
_ANSWER_BYTES = 1_000_000


class HttpEmbedder:
    """Embeds texts by requests to a server.

    url: of the API, without "/embeddings", for example "https://api.openai.com/v1".
    model_id: of the vectors; where it says normalised, rows are brought to unit length.
    model: the name that the server knows; by default the model id's.
    api_key: sent as a bearer token. extra: further fields of the request, such as
        {"dimensions": 512} or {"encoding_format": "base64"} (a quarter of the bytes).
    batch_size: texts in a request. parallel: requests under way at once.
    timeout_seconds: of one request. backoff: of requests sent again.
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
        extra: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        parallel: int = 1,
        timeout_seconds: float = 60.0,
        backoff: Backoff | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        spend_cap: SpendCap | None = None,
    ) -> None:
        client: Any = need("httpx", "http")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url: expected http://... or https://..., got {url!r}")
        if batch_size < 1 or parallel < 1:
            raise ConfigError(
                f"batch_size and parallel must be >= 1, got {batch_size} and {parallel}"
            )
        self._httpx = client
        self._url = url.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        self._model_id = model_id
        self._fields = {"model": model or model_id.name, **(extra or {})}
        self._key = api_key
        self._batch_size = batch_size
        self._parallel = parallel
        self._backoff = backoff or Backoff()
        self._request_pace = Pace(requests_per_minute)
        self._token_pace = Pace(tokens_per_minute)
        self._spend_cap = spend_cap
        self._client: httpx.Client = client.Client(
            timeout=timeout_seconds,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=client.Limits(max_connections=None, max_keepalive_connections=parallel),
        )

    @property
    def model_id(self) -> ModelId:
        """The space that the server's vectors live in."""
        return self._model_id

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
        call = Call(
            [
                list(range(len(contents))[i : i + self._batch_size])
                for i in range(0, len(contents), self._batch_size)
            ]
        )
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="hotfill-http") as threads:
            under_way: dict[Future[Answer | Refused], list[int]] = {}
            while under_way or call.goes_on:
                while call.goes_on and len(under_way) < self._parallel:
                    rows = call.waiting.popleft()
                    texts = [contents[row] for row in rows]
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
        """Close the connections. Again is harmless."""
        self._client.close()

    # ------------------------------------------------------------------------------------------

    def _ask(self, texts: list[str]) -> Answer | Refused:
        """Send one request until it is answered, refused, or not worth trying any more."""
        failures = 0
        while True:
            reserved = self._spend_cap.reserve(texts) if self._spend_cap else 0.0
            asked, problem = self._send(texts, reserved)
            if not isinstance(problem, str):
                return problem
            failures += 1
            too_long = asked is not None and asked > self._backoff.longest_seconds
            if failures >= self._backoff.tries or too_long:
                waits = f"; it asks to wait {asked:.0f} s" if too_long else ""
                raise EmbedError(f"{self._url}: {problem}; gave up after {failures} tries{waits}")
            sleep(self._backoff.seconds(failures, asked))

    def _send(
        self, texts: list[str], reserved: float
    ) -> tuple[float | None, Answer | Refused | str]:
        """Send a request once: what came, or what went wrong and the wait that was asked for."""
        self._token_pace.wait()
        self._request_pace.wait(1)
        try:
            response = self._post({**self._fields, "input": texts}, len(texts))
        except (self._httpx.ConnectError, self._httpx.ConnectTimeout) as error:
            self._settle(reserved, 0.0)
            return None, f"cannot be reached: {error}"
        except self._httpx.HTTPError as error:
            # It may have been worked on, so what was reserved stays counted.
            return None, f"no answer: {type(error).__name__} {error}"
        if response.status_code != 200:
            self._settle(reserved, 0.0)
            return self._not_answered(response)
        try:
            answer = read_answer(response.content, len(texts), self._model_id.dimension)
        except (UnreadableAnswerError, RecursionError) as error:
            return None, str(error)  # and paid for, perhaps
        if answer.tokens is not None:
            self._token_pace.charge(answer.tokens)
        if self._spend_cap is not None:
            price = self._spend_cap.price(items=len(texts), tokens=answer.tokens or 0)
            counted = self._spend_cap.counts_items or answer.tokens is not None
            self._settle(reserved, price if counted else reserved)
        return None, answer

    def _not_answered(self, response: httpx.Response) -> tuple[float | None, Refused | str]:
        status = response.status_code
        said = f"status {status}: {self._without_key(response.text[:300])}"
        if status in _ABOUT_THE_TEXTS:
            return None, Refused(said)
        if status in _ASK_AGAIN or status >= 500:
            return retry_after_seconds(response.headers.get("Retry-After")), said
        raise EmbedError(f"{self._url} refuses: {said}; mend the settings and go on")

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
        return text.replace(self._key, "***") if self._key else text


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

    name, revision, dimension, metric, normalised, preprocessing: the model id.
    api_key_env: the environment variable that holds the key; keys do not belong into files.
    spend_cap, price_per_1000, price_unit, spend_file: given together; see `SpendCap`.
    settings: the rest of `HttpEmbedder`; `tries` and `longest_wait_seconds` of its back-off.
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
    backoff = Backoff(
        tries=settings.pop("tries", 6), longest_seconds=settings.pop("longest_wait_seconds", 60.0)
    )
    model_id = ModelId(name, revision, dimension, metric, normalised, preprocessing)
    try:
        return HttpEmbedder(url, model_id, api_key=key, backoff=backoff, spend_cap=cap, **settings)
    except TypeError as error:
        raise ConfigError(f"options of the HTTP embedder: {error}") from error
