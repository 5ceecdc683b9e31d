import hashlib

import numpy as np
import pytest

from demo.omniglot import drawings


@pytest.fixture(scope="module")
def evaluation() -> drawings.Drawings:
    return drawings.load("evaluation")


@pytest.mark.parametrize(
    ("split", "characters", "alphabets"), [("background", 964, 30), ("evaluation", 659, 20)]
)
def test_a_split_is_complete(split: drawings.Split, characters: int, alphabets: int) -> None:
    data = drawings.load(split)
    assert data.images.shape == (characters * 20, 28, 28)
    assert data.images.dtype == np.bool_
    assert data.labels.dtype == data.drawers.dtype == np.int64
    assert np.bincount(data.labels)[np.unique(data.labels)].tolist() == [20] * characters
    assert np.bincount(data.drawers)[1:].tolist() == [characters] * 20
    assert len(set(data.alphabets)) == alphabets
    assert len(set(data.item_ids)) == len(data.item_ids) == len(data)


def test_the_splits_share_no_character_and_no_item() -> None:
    background, evaluation = drawings.load("background"), drawings.load("evaluation")
    assert not set(background.labels.tolist()) & set(evaluation.labels.tolist())
    assert not set(background.item_ids) & set(evaluation.item_ids)


def test_item_ids_never_change() -> None:
    ids = drawings.load("background").item_ids + drawings.load("evaluation").item_ids
    assert ids[0] == "Alphabet_of_the_Magi/character01/01"
    assert ids[-1] == "ULOG/character26/20"
    assert "Gurmukhi/character07/12" in ids
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert digest == "15b50c07995d0338bf585cebaf07d06da52b609f0112c0bbea94819d9daa31ff"


def test_the_drawings_never_change() -> None:
    with np.load(drawings.DATA / "drawings.npz", allow_pickle=False) as arrays:
        packed = arrays["packed"]
    assert hashlib.sha256(packed.tobytes()).hexdigest() == (
        "60bdc7847df6bcbca5488b54e67112d7bf7d77bda1e1dcdc93a3265b5590b478"
    )


def test_the_readme_gives_the_checksums_of_the_files() -> None:
    readme = (drawings.DATA / "README.md").read_text(encoding="utf-8")
    for name in ("classes.tsv", "drawings.npz", "old.safetensors", "new.safetensors"):
        digest = hashlib.sha256((drawings.DATA / name).read_bytes()).hexdigest()
        assert f"{digest}  {name}" in readme, name


def test_every_drawing_has_ink_and_paper(evaluation: drawings.Drawings) -> None:
    share = evaluation.images.mean(axis=(1, 2))
    assert share.min() > 0.005
    assert share.max() < 0.6
    assert 0.10 < share.mean() < 0.15


def test_gallery_and_queries_part_the_drawers(evaluation: drawings.Drawings) -> None:
    gallery, queries = evaluation.gallery(), evaluation.queries()
    assert sorted(set(gallery.drawers.tolist())) == list(range(1, 11))
    assert sorted(set(queries.drawers.tolist())) == list(range(11, 21))
    assert sorted(gallery.item_ids + queries.item_ids) == sorted(evaluation.item_ids)


def test_a_selection_keeps_each_row_together(evaluation: drawings.Drawings) -> None:
    mask = np.zeros(len(evaluation), dtype=np.bool_)
    mask[[3, 47]] = True
    chosen = evaluation.where(mask)
    assert chosen.item_ids == ["Angelic/character01/04", "Angelic/character03/08"]
    assert chosen.alphabets == ["Angelic", "Angelic"]
    assert chosen.drawers.tolist() == [4, 8]
    np.testing.assert_array_equal(chosen.images[1], evaluation.images[47])


def test_the_first_characters_are_whole(evaluation: drawings.Drawings) -> None:
    assert evaluation.first(3).item_ids == evaluation.item_ids[:60]
    assert len(evaluation.first(10_000)) == len(evaluation)


def test_a_mask_must_be_one_bool_per_drawing(evaluation: drawings.Drawings) -> None:
    with pytest.raises(ValueError, match="bool mask"):
        evaluation.where(np.ones(3, dtype=np.bool_))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="'train'"):
        drawings.load("train")  # type: ignore[arg-type]
