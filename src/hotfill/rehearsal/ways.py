"""The ways through an upgrade that a rehearsal measures: strategies, each with several maps."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError
from hotfill.rehearsal.strategies import (
    OWN_QUERY,
    SLERP,
    TWO_ENCODERS,
    merge_down,
    merge_up,
    rank_fusion,
    slerp,
    two_encoders,
    with_own_query,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hotfill.rehearsal.fitting import Fitted, Maps, Pairs
    from hotfill.rehearsal.mixed_gallery import MixedGallery
    from hotfill.rehearsal.sample import Sample

STRATEGIES = ("naive_merge", "merge", "prefill", "compatible", "rrf")
DEFAULT_STRATEGIES = ("naive_merge", "merge", "prefill", "compatible")

DEFAULT_TRANSFORMS = ("bridge", "kernel bridge", OWN_QUERY, TWO_ENCODERS, "ridge up", "kernel up")

BOTH_MODELS = (OWN_QUERY, TWO_ENCODERS, SLERP)
"""They embed each query by both models."""


def ways(
    sample: Sample,
    pairs: Pairs,
    fitted: Callable[[str], Fitted],
    *,
    strategies: Sequence[str],
    transforms: Sequence[str],
    maps: Maps,
) -> Iterator[MixedGallery]:
    """Make a mixed gallery of every strategy, with each of the transforms that it takes.

    `merge` takes maps that go down and those that embed by both models, all with tail calibration;
    `prefill` takes maps that go up, uncalibrated, because one index has one scale.
    """
    if "naive_merge" in strategies:
        yield two_encoders(sample, pairs, calibration="none")
    if "rrf" in strategies:
        yield rank_fusion(sample)
    merged = cache(lambda name: merge_down(sample, pairs, fitted(name), calibration="tail"))
    for name in transforms:
        direction = "down" if name in BOTH_MODELS else maps[name][0]
        if direction == "down" and "merge" in strategies:
            if name == TWO_ENCODERS:
                yield two_encoders(sample, pairs, calibration="tail")
            elif name == SLERP:
                yield slerp(sample, pairs, fitted("procrustes down"), calibration="tail")
            elif name == OWN_QUERY:
                yield with_own_query(merged("kernel bridge"), sample, pairs)
            else:
                yield merged(name)
        if direction == "up" and "prefill" in strategies:
            up = fitted(name)
            yield merge_up(sample, pairs, up, strategy="prefill", calibration="none")
    if "compatible" in strategies and sample.old.model.dimension == sample.new.model.dimension:
        same = fitted("identity")
        yield merge_up(sample, pairs, same, strategy="compatible", calibration="none")


def transform_names(maps: Maps) -> list[str]:
    """Name all that can be asked for, in the order of the catalogue."""
    return [*(name for name in maps if name != "identity"), *BOTH_MODELS]


def check_names(what: str, given: Sequence[str], possible: Sequence[str]) -> None:
    """Raise ConfigError unless names were given and all of them are known."""
    if isinstance(given, str) or not given:
        raise ConfigError(f"expected a list of one {what} or more, of {', '.join(possible)}")
    for name in given:
        if name not in possible:
            raise ConfigError(f"unknown {what} {name!r}; expected some of {', '.join(possible)}")
