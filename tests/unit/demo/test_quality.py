import json
from collections.abc import Callable

import numpy as np
import pytest

from demo.omniglot import drawings, encoders, quality


def unit(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_a_worked_example() -> None:
    # From 0 degrees the gallery ranks a b a b: precision 1 at rank 1, 2/3 at rank 3.
    # From 90 degrees it ranks b a b a, and the query is an a: 1/2 at rank 2, 2/4 at rank 4.
    measured = quality.rank_quality(
        unit(0, 90), unit(10, 20, 30, 40), np.array([7, 7]), np.array([7, 8, 7, 8])
    )
    assert measured.mean_average_precision == pytest.approx(
        ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 2
    )
    assert measured.hit_rate_at_1 == 0.5


def test_a_query_without_relevant_items_is_refused() -> None:
    with pytest.raises(ValueError, match="no relevant item"):
        quality.rank_quality(unit(0), unit(0, 1), np.array([1]), np.array([2, 3]))


@pytest.mark.parametrize(
    ("build", "file"), [(encoders.old, "old"), (encoders.new, "new")], ids=["old", "new"]
)
@pytest.mark.parametrize(
    "figure", ["quick_quality", pytest.param("quality", marks=pytest.mark.slow)]
)
def test_the_committed_weights_are_as_good_as_stated(
    build: Callable[[], encoders.Encoder], file: str, figure: str
) -> None:
    encoder = build()
    facts = json.loads((drawings.DATA / f"{file}.json").read_text(encoding="utf-8"))
    stated = facts[figure]
    data = drawings.load("evaluation").first(stated["characters"])
    measured = quality.measure(encoder, data)
    assert encoder.revision == facts["revision"]
    assert measured.mean_average_precision == pytest.approx(stated["map"], abs=0.002)
    assert measured.hit_rate_at_1 == pytest.approx(stated["hit_rate@1"], abs=0.002)


def test_the_readme_states_the_measured_qualities() -> None:
    readme = (drawings.DATA / "README.md").read_text(encoding="utf-8")
    for file in ("old", "new"):
        facts = json.loads((drawings.DATA / f"{file}.json").read_text(encoding="utf-8"))
        measured = facts["quality"]
        assert f"| {measured['map']:.4f} | {measured['hit_rate@1']:.4f} |" in readme


def test_the_new_encoder_is_clearly_better() -> None:
    qualities = [
        json.loads((drawings.DATA / f"{file}.json").read_text(encoding="utf-8"))["quality"]
        for file in ("old", "new")
    ]
    assert qualities[0]["map"] + 0.15 < qualities[1]["map"]
