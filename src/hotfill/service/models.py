"""What goes in and out of the API, as JSON. Names and units as everywhere in hotfill."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    create_model,
    model_validator,
)

from hotfill.service.step_runner import Run
from hotfill.stores.base import Range
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.status import Status
from hotfill.upgrade.view import MadeBy

ScalarValue: TypeAlias = str | int | float | bool
ItemName: TypeAlias = Annotated[str, Field(min_length=1, max_length=1000)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Bounds(_In):
    """Bounds of a number, both inclusive; leave one out and that end is open."""

    at_least: float | None = None
    at_most: float | None = None

    def range(self) -> Range:
        """Return it as stores know it."""
        return Range(self.at_least, self.at_most)


def _decoded(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return base64.b64decode(given, validate=True)
    except ValueError as error:  # binascii.Error, or letters beyond ASCII
        raise ValueError(f"expected base64: {error}") from error


Base64: TypeAlias = Annotated[
    bytes,
    BeforeValidator(_decoded, json_schema_input_type=str),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


Conditions: TypeAlias = dict[str, ScalarValue | list[ScalarValue] | Bounds]


class _WithContent(_In):
    content: JsonValue = None
    content_base64: Base64 | None = None

    @property
    def what(self) -> Any:
        """The content that the embedder is given."""
        return self.content if self.content_base64 is None else self.content_base64


class Query(_WithContent):
    """One search: by `content`, which the service embeds, or by `vectors`, embedded by you.

    content: whatever the embedder reads, usually a text. content_base64: instead of it bytes, such
    as those of a picture's file.
    vectors: by fingerprint of the model that made it (`GET /models`); each as numbers, or as the
    base64 of little-endian float32, which is read faster. Send the vectors of both models and no
    change of phase can make you fail; an upgrade with `queries = "both"` also ranks better by both.
    where: every key must match its value, one of its values, or its bounds.
    explain: also tell where each hit was found, and the coverage.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": [each]} for each in ("content", "content_base64", "vectors")]
        },
    )

    vectors: Annotated[dict[str, list[float] | str], Field(min_length=1, max_length=2)] | None = (
        None
    )
    k: Annotated[int, Field(ge=1)] = 10
    where: Annotated[Conditions, Field(default_factory=dict)]
    explain: bool = False

    @model_validator(mode="after")
    def _one_of_three(self) -> Query:
        given = (self.content, self.content_base64, self.vectors)
        if sum(each is not None for each in given) != 1:
            raise ValueError("give one of content, content_base64 and vectors")
        return self


class Models(BaseModel):
    """The models of the gallery, by fingerprint; and the fingerprints of three roles.

    query: what embeds queries now: the old or the new model, or its small query model.
    """

    models: dict[str, ModelId]
    old: str
    new: str
    query: str
    phase: Phase


class Why(BaseModel):
    """Where a hit was found.

    side: imputed: on the new side, by a vector that a map made of an older one. raw_score: as that
    side's metric gives it.
    """

    side: MadeBy
    model: str
    raw_score: float


class HitOut(BaseModel):
    """One item found. score: comparable over the whole list, higher is better."""

    item_id: str
    score: float
    why: Why | None = None


class SearchAnswer(BaseModel):
    """What a search found, best first.

    query_model: fingerprint of what embedded the query. coverage: share of the items that had
    the new model's own vector when last looked at, from 0 to 1.
    """

    hits: list[HitOut]
    phase: Phase
    query_model: str
    coverage: float | None = None


class ItemIn(_WithContent):
    """An item to write, with a content as in a search.

    metadata: replaces what was there; left out, that stays.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": [each]} for each in ("content", "content_base64")]
        },
    )

    item_id: ItemName
    metadata: dict[str, ScalarValue] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ItemIn:
        if ("content" in self.model_fields_set) == (self.content_base64 is not None):
            raise ValueError("give one of content and content_base64")
        return self


class ItemsIn(_In):
    """Items to write, all or none of them with metadata."""

    items: Annotated[list[ItemIn], Field(min_length=1)]

    @model_validator(mode="after")
    def _all_or_none(self) -> ItemsIn:
        if len({item.metadata is None for item in self.items}) > 1:
            raise ValueError("give metadata for every item of a call, or for none")
        return self


class ItemMetadataIn(_In):
    """An item and its metadata from now on."""

    item_id: ItemName
    metadata: dict[str, ScalarValue]


class MetadataIn(_In):
    """Items whose metadata is replaced."""

    items: Annotated[list[ItemMetadataIn], Field(min_length=1)]


class ItemsOut(_In):
    """Ids of items to remove."""

    item_ids: Annotated[list[ItemName], Field(min_length=1)]


class Counted(BaseModel):
    """How many items were concerned."""

    items: int


class Item(BaseModel):
    """What is known of an item.

    side: imputed: on the new side, by a vector that a map made of an older one. made_by:
    fingerprint of what made the vector that is searched: a model's, or the map's.
    """

    item_id: str
    side: MadeBy
    model: str
    made_by: str
    version: int
    metadata: dict[str, ScalarValue]


_status_fields: dict[str, Any] = {
    **{name: (kind, ...) for name, kind in get_type_hints(Status).items()},
    "share": (float, ...),
    "run": (Run | None, ...),
}
UpgradeStatus = create_model(
    "UpgradeStatus",
    __doc__="Where the upgrade is, as `hotfill status --json`; and the step that runs or ran last.",
    **_status_fields,
)
"""The fields of `hotfill.upgrade.status.Status` with its share, and `run`."""


class StartIn(_In):
    """How to start.

    retry_dead_letters: try items again that failed for good. more: after `complete`, embed items
    that stayed imputed, as many as `backfill` and the budget of the configuration file say.
    """

    retry_dead_letters: bool = False
    more: bool = False


class ResumeIn(_In):
    """What to go on from. accept_gate: also although a gate is not met; the caller is noted."""

    accept_gate: bool = False


class CompleteIn(_In):
    """The answer to the question that the first call asked."""

    confirmation_token: Annotated[str, Field(max_length=200)] | None = None


class TryIn(_In):
    """What to try a search with, on the dashboard. like: the id of an item."""

    text: Annotated[str, Field(max_length=10_000)] | None = None
    like: Annotated[str, Field(max_length=1000)] | None = None


class Question(BaseModel):
    """Asked before the old vectors are removed: confirm by a second call with the token."""

    question: str
    confirmation_token: str
    expires_in_seconds: float


class Health(BaseModel):
    """Whether the process lives, or is ready."""

    status: Literal["ok"]


class Problem(BaseModel):
    """Why it did not work (RFC 9457). kind: the class of the error, for programs."""

    model_config = ConfigDict(extra="allow")

    status: int
    title: str
    kind: str
    detail: str
