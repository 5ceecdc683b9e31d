"""Recipes and maps compared on one's own embeddings."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.errors import ConfigError, InputError, ShapeError, VectorError
from hotfill.lab.compare import Compared, Comparison, _known, _unseen, compare
from hotfill.lab.heads import HeadPlan
from hotfill.lab.training import TrainingSettings

CLASSES, ITEMS = 6, 20
PLAN = HeadPlan(dimension=8, hidden=16, settings=TrainingSettings(epochs=4, batch=24))


def embeddings(dimension: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(dimension)
    centres = rng.normal(size=(CLASSES, 1, dimension))
    rows = centres + noise * rng.normal(size=(CLASSES, ITEMS, dimension))
    return rows.reshape(-1, dimension).astype(np.float32)


OLD, NEW = embeddings(8, 1.5), embeddings(24, 0.5)
LABELS = np.repeat([f"class {number}" for number in range(CLASSES)], ITEMS)


@pytest.fixture(scope="module")
def found() -> Comparison:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    return compare(
        ["bct", "bict", "ridge"],
        OLD,
        NEW,
        LABELS,
        terms={"triplet": losses.TripletMarginLoss()},
        seeds=2,
        plan=PLAN,
        samples=50,
    )


def test_every_recipe_map_and_term_is_measured_on_every_query(found) -> None:
    assert [row.name for row in found.rows] == ["bct", "bict", "ridge", "triplet"]
    queries = CLASSES * 4  # a fifth of twenty items a class
    assert found.seeds.tolist() == [0] * queries + [1] * queries
    for row in found.rows:
        assert row.new_to_old.shape == row.new_to_new.shape == (2 * queries,)
    table = found.table()
    assert [row[0] for row in table] == ["AP", "old system", "bct", "bict", "ridge", "triplet"]
    assert found.latex().count(r" \\" + "\n") == len(table)
    assert len(found.text().splitlines()) == len(table)
    assert json.loads(json.dumps(found.to_dict()))["rows"][2]["name"] == "ridge"


def test_each_cell_of_the_csv_is_a_number_or_empty(found) -> None:
    heads, old, *rows = csv.reader(io.StringIO(found.csv()))
    gain = ["gain", "gain low", "gain high"]
    against = ["against bct", "against bct low", "against bct high"]
    assert heads == ["AP", "new/old", *gain, *against, "new/new", "P_1"]
    assert old[0] == "old system"
    assert float(old[1]) == pytest.approx(found.old.mean(), abs=1e-6)
    for line, row in zip(rows, found.rows, strict=True):
        cells = dict(zip(heads, line, strict=True))
        apart = found.difference(row.name)
        assert [float(cells[name]) for name in gain] == pytest.approx(
            [apart.value, apart.low, apart.high], abs=1e-6
        )
        assert all((cells[name] == "") is (row.name == "bct") for name in against)
        assert float(cells["new/new"]) == pytest.approx(row.new_to_new.mean(), abs=1e-6)


def test_the_same_call_gives_the_same_figures(found) -> None:
    told: list[int] = []
    again = compare(["bct"], OLD, NEW, LABELS, seeds=2, plan=PLAN, on_measured=told.append)
    assert told == [1, 2, 3, 4]
    np.testing.assert_array_equal(again.rows[0].new_to_old, found.rows[0].new_to_old)
    np.testing.assert_array_equal(again.old, found.old)


def test_a_curve_leads_from_the_old_gallery_to_the_new_one(found) -> None:
    for row in found.rows:
        np.testing.assert_array_equal(row.partly[0], row.new_to_old)
        np.testing.assert_array_equal(row.partly[-1], row.new_to_new)
        curve = found.curve(row.name)
        assert (curve.old, curve.new) == (found.old.mean(), row.new_to_new.mean())
        matrix = found.matrix(row.name)
        assert np.isnan(matrix[0, 1])
        assert (matrix[0, 0], *matrix[1]) == (curve.old, curve.values[0], curve.values[-1])


def test_items_embedded_anew_stay_so_while_the_share_grows() -> None:
    """With features that are the old embeddings, a map by ridge makes both sides nearly equal."""
    found = compare(["procrustes"], NEW, NEW, LABELS, seeds=1, plan=PLAN, by="nDCG@5")
    assert found.measure == "nDCG@5"
    np.testing.assert_allclose(
        found.rows[0].partly, found.rows[0].partly[:1].repeat(11, 0), atol=1e-6
    )


@pytest.mark.parametrize("name", ["AP", "nDCG@5", "R@7", "Success@1"])
def test_another_evaluator_reads_the_same_figures_from_the_run_files(name, tmp_path) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    runs = tmp_path / "runs"
    found = compare(["ridge"], OLD, NEW, LABELS, seeds=2, plan=PLAN, by=name, runs=runs)
    names = ["independent.new", "old.old", "ridge.new", "ridge.old"]
    files = [f"seed{seed}.{each}.run" for seed in (0, 1) for each in names]
    assert sorted(path.name for path in runs.iterdir()) == sorted(
        [*files, "seed0.qrels", "seed1.qrels"]
    )
    for system, own in (("old.old", found.old), ("ridge.old", found.rows[0].new_to_old)):
        theirs = [
            ir_measures.calc_aggregate(
                [ir_measures.parse_measure(name)],
                list(ir_measures.read_trec_qrels(str(runs / f"seed{seed}.qrels"))),
                list(ir_measures.read_trec_run(str(runs / f"seed{seed}.{system}.run"))),
            )
            for seed in (0, 1)
        ]
        mean = np.mean([next(iter(each.values())) for each in theirs])
        assert own.mean() == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_curves_are_drawn_as_the_file_is_named(found, form, tmp_path) -> None:
    path = tmp_path / f"curves.{form}"
    found.plot(path)
    heads = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert path.read_bytes().startswith(heads[form])
    again = tmp_path / f"again.{form}"
    found.plot(again)
    if form != "svg":  # its ids are drawn anew
        assert again.read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match=r"ending in \.svg, \.pdf, \.png"):
        found.plot(tmp_path / "curves.gif")


def test_an_interval_is_that_of_paired_draws_within_seeds() -> None:
    """Noise that both rows share cancels; what is left has the interval of a mean."""
    rng = np.random.default_rng(5)
    shared, apart = rng.uniform(0, 0.8, 400), rng.normal(0.1, 0.02, 400)
    rows = (
        Compared("a", shared, shared, shared[None]),
        Compared("b", shared + apart, shared, shared[None]),
    )
    found = Comparison(shared, shared, np.repeat([0, 1], 200), rows, samples=400)
    between = found.difference("b", "a")
    assert between.value == pytest.approx(apart.mean())
    expected = 1.96 * apart.std() / np.sqrt(400)
    assert between.high - between.value == pytest.approx(expected, rel=0.25)
    assert between.value - between.low == pytest.approx(expected, rel=0.25)
    same = found.difference("a")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert found.table()[2][-1] == "-"  # nothing can be gained: P_1 is undefined
    with pytest.raises(InputError, match="got 'c'; compare it first"):
        found.difference("c")


def test_no_item_is_in_two_parts_and_unseen_classes_are_in_one() -> None:
    _, labels = np.unique(LABELS, return_inverse=True)
    for cut in (_known, _unseen):
        train, queries, gallery = cut(labels, 0)
        assert sorted([*train, *queries, *gallery]) == list(range(len(labels)))
        assert set(labels[queries]) == set(labels[gallery])
        assert bool(set(labels[train]) & set(labels[queries])) == (cut is _known)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"recipes": ["bst"]}, ConfigError, "recipe: expected one of advbct, .*, got 'bst'"),
        ({"recipes": []}, ConfigError, "at least one recipe or map"),
        ({"recipes": ["cores"]}, ConfigError, "needs an old model that was trained by it"),
        (
            {"recipes": {"published": ("bct", {"old_head_only": True})}},
            ConfigError,
            "old_head_only needs the old model's classifier",
        ),
        ({"new": NEW[:-1]}, ShapeError, "120 old embeddings, 119 new features"),
        ({"old": OLD[:, 0]}, ShapeError, r"old embeddings: expected \(n, dimension\)"),
        ({"labels": LABELS[:-1]}, ShapeError, r"labels \(119,\)"),
        ({"labels": np.zeros(120, int)}, InputError, "at least two classes of 4 items"),
        ({"labels": np.arange(120)}, InputError, "got 120 classes, the largest of 1"),
        ({"old": np.zeros_like(OLD)}, VectorError, "120 of 120 hold NaN, infinite or only zero"),
        ({"seeds": 0}, ConfigError, "seeds and samples >= 1"),
        ({"by": "MRR"}, ConfigError, "expected AP, nDCG@k, R@k or Success@k, got 'MRR'"),
        (
            {"recipes": {"my own": ("bct", {})}, "runs": "nowhere"},
            ConfigError,
            "titles name run files: .* got 'my own'",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    change, error, message, monkeypatch
) -> None:
    monkeypatch.setattr("hotfill.lab.compare.train_head", None)  # nothing may be trained
    given = {"recipes": ["bct"], "old": OLD, "new": NEW, "labels": LABELS} | change
    with pytest.raises(error, match=message):
        compare(**given)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--csv=no/such/table.csv", "the folder no/such is not there"),
        ("--latex=.", "expected a file, found a folder"),
        ("--plot=no/such/curves.svg", "the folder no/such is not there"),
        ("--plot=curves.gif", "expected a file ending in .svg, .pdf, .png"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_anything_is_trained(
    option, message, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("hotfill.lab.compare.train_head", None)
    result = CliRunner().invoke(app, [*compare_words(tmp_path), option])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_the_tables_figures_are_mathematics_in_latex() -> None:
    def row(name: str, values: list[float]) -> Compared:
        return Compared(name, np.array(values), np.array(values), np.array([values] * 11))

    old = np.array([0.5, 0.5])
    found = Comparison(old, old, np.zeros(2, np.int64), (row("my_own", [0.25, 0.25]),), samples=10)
    line = next(line for line in found.latex().splitlines() if line.startswith("my"))
    assert line.startswith(r"my\_own & 0.2500 & $-0.2500$ [$-0.2500$, $-0.2500$] & -- & 0.2500 & ")


def compare_words(folder) -> list[str]:
    for name, rows in {"old": OLD, "new": NEW, "labels": LABELS}.items():
        np.save(folder / f"{name}.npy", rows)
    words = ["compare", "ridge", "bct", "--seeds", "1", "--epochs", "1"]
    return words + [f"--{name}={folder / name}.npy" for name in ("old", "new", "labels")]


def test_the_command_writes_the_tables(tmp_path) -> None:
    words = compare_words(tmp_path)
    words += [f"--csv={tmp_path / 'table.csv'}", f"--latex={tmp_path / 'table.tex'}"]
    words += [f"--plot={tmp_path / 'curves.pdf'}", f"--runs={tmp_path / 'runs'}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.stdout, result.exception)
    first = [line.split(",")[0] for line in (tmp_path / "table.csv").read_text().splitlines()]
    assert first[1:] == ["old system", "ridge", "bct"]
    assert "ridge" in result.stdout
    assert result.stdout.endswith("queries of one split\n")
    assert (tmp_path / "curves.pdf").stat().st_size > 1000
    assert (tmp_path / "runs" / "seed0.bct.old.run").exists()
    assert r"\toprule" in (tmp_path / "table.tex").read_text()
