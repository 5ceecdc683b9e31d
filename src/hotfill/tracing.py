"""Spans of OpenTelemetry: where the time of a search or a batch goes.

They are made where the program around hotfill has imported OpenTelemetry, by whatever tracer it
has set up; nothing is imported or made elsewhere. `exporting` sets one up, for the command line.

| span | of it | attributes |
|---|---|---|
| `hotfill.request` | one HTTP request; its trace goes on from `traceparent` | route, status |
| `hotfill.search` | searching: below it `embed`, `sides`, `rank` | phase, k |
| `hotfill.embed` | embedding contents | model, items |
| `hotfill.sides` | one search of the store, over every side that the phase has | models, k |
| `hotfill.rank` | one list made of the sides | |
| `hotfill.batch` | from its lease to its end: below it `read`, `embed`, `move` | stage, items |
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hotfill._version import __version__
from hotfill.extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

_WANTED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_NOTHING: AbstractContextManager[Any] = nullcontext()


def span(
    name: str, *, below: Any = None, carried: Mapping[str, str] | None = None, **attributes: Any
) -> AbstractContextManager[Any]:
    """Measure a block as the span `hotfill.NAME`; what fails in it is noted with its kind only.

    below: what `begin` gave, where the block runs in another thread. carried: headers of a request
    that may name the caller's span. attributes: text, numbers, or several things, kept as text.
    The block gets the span, None where nothing is traced.
    """
    trace = _trace()
    if trace is None:
        return _NOTHING
    context = None
    if below is not None:
        context = trace.set_span_in_context(below)
    elif carried is not None:
        from opentelemetry.propagate import extract  # only where a program has it loaded

        context = extract(carried)
    return _measured(trace, f"hotfill.{name}", context, _named(attributes))


@contextmanager
def _measured(trace: Any, name: str, context: Any, attributes: Mapping[str, Any]) -> Iterator[Any]:
    with _tracer(trace).start_as_current_span(
        name,
        context=context,
        attributes=attributes,
        # Messages may quote what was searched or written: they would be kept by default.
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            made.set_attribute("error.type", type(error).__name__)
            made.set_status(trace.StatusCode.ERROR)
            raise


def begin(name: str, **attributes: Any) -> Any:
    """Begin a span that other threads work below, and that `end` ends; None where none is made."""
    trace = _trace()
    if trace is None:
        return None
    return _tracer(trace).start_span(f"hotfill.{name}", attributes=_named(attributes))


def end(begun: Any, **attributes: Any) -> None:
    """End what `begin` gave."""
    if begun is not None:
        begun.set_attributes(_named(attributes))
        begun.end()


@contextmanager
def exporting() -> Iterator[None]:
    """Send the block's spans to where OTEL_EXPORTER_OTLP_ENDPOINT says; do nothing without it.

    They are found as `hotfill`, unless OTEL_SERVICE_NAME says otherwise. Raises MissingExtraError.
    """
    if not any(os.environ.get(name) for name in _WANTED):
        yield
        return
    trace = need("opentelemetry.trace", "otel")
    sdk = need("opentelemetry.sdk.trace", "otel")
    resources = need("opentelemetry.sdk.resources", "otel")
    batches = need("opentelemetry.sdk.trace.export", "otel")
    otlp = need("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
    name = os.environ.get("OTEL_SERVICE_NAME", "hotfill")
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": name}))
    provider.add_span_processor(batches.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()  # sends the last ones


def _trace() -> Any:
    return sys.modules.get("opentelemetry.trace")


def _tracer(trace: Any) -> Any:
    return trace.get_tracer("hotfill", __version__)


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"hotfill.{name}": value
        if isinstance(value, str | int | float)
        else [str(each) for each in value]
        for name, value in attributes.items()
    }
