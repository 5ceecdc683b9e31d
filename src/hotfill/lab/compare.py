"""Compare recipes and maps on one's own embeddings: what `hotfill compare` does.

The old model is known by its embeddings only, as in a gallery; the new one by its frozen features,
over which a head is trained by each recipe. Every difference comes with a paired bootstrap.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.extras import need
from hotfill.lab.heads import FeaturePreparation, HeadPlan, OldSpace, train_head
from hotfill.lab.losses import Part, Recipe
from hotfill.lab.losses.terms import AnchorSoftmax, MetricLoss
from hotfill.lab.training.compatible_recipe import FIXED_HEAD, RECIPE_NAMES, Ingredients
from hotfill.metrics import (
    BackfillCurve,
    Difference,
    advbct_scores,
    paired_difference,
    rank_scores,
    same_label,
)
from hotfill.metrics.trec import Measure, measure, write_qrels, write_run
from hotfill.ranking.linear import fit_procrustes, fit_ridge
from hotfill.rehearsal.report import COLOURS, STYLES
from hotfill.types import ModelId, Vectors
from hotfill.vectors import check_vectors

MAPS: Mapping[str, Callable[..., Any]] = {"ridge": fit_ridge, "procrustes": fit_procrustes}
"""Maps that need no training of a head: old vectors are carried to the new features' space."""

SHARES = tuple(number / 10 for number in range(11))
"""Of the gallery that are embedded anew, at which a curve is measured."""

_FORMS = ("svg", "pdf", "png")
_FILE_NAME = re.compile(r"[\w+-]+")
_LEAST = 4  # items of a class: two to train on, one query, one to be found


@dataclass(frozen=True, eq=False)
class Compared:
    """One recipe or map over all seeds. Every figure is of the measure compared by, 0 to 1.

    new_to_old, new_to_new: (queries,) by query, the seeds one after the other: new queries in the
        old gallery, upgraded where the recipe or map does that, and in the new one.
    partly: (len(SHARES), queries), the same queries in a gallery of which that share, drawn at
        random, is embedded anew.
    """

    name: str
    new_to_old: NDArray[np.float64]
    new_to_new: NDArray[np.float64]
    partly: NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out.

    old, reference: (queries,), old queries in the old gallery, and an independent head in its own.
    seeds: (queries,), which seed's each query is. rows: the recipes and maps, as they were named.
    samples: of the bootstrap. measure: what the figures are, by its name in `ir-measures`.
    """

    old: NDArray[np.float64]
    reference: NDArray[np.float64]
    seeds: NDArray[np.int64]
    rows: tuple[Compared, ...]
    samples: int = 1000
    measure: str = "AP"

    def difference(self, name: str, baseline: str = "old") -> Difference:
        """Compare one row with another, or with the old system, query by query.

        Queries are drawn with replacement within each seed; the same draw serves both.
        Raises InputError for a name that was not compared.
        """
        return paired_difference(
            self._of(name), self._of(baseline), groups=self.seeds, samples=self.samples
        )

    def table(self) -> list[list[str]]:
        """Return the rows of the table, heads first; "-" where a figure is undefined."""
        first = self.rows[0].name
        heads = [
            self.measure,
            "new/old",
            "gain [95 %]",
            f"against {first} [95 %]",
            "new/new",
            "P_1",
        ]
        cells = [heads, ["old system", _figure(self.old), "-", "-", "-", "-"]]
        for row in self.rows:
            score = self.p_1(row.name)
            cells.append(
                [
                    row.name,
                    _figure(row.new_to_old),
                    _interval(self.difference(row.name)),
                    "-" if row.name == first else _interval(self.difference(row.name, first)),
                    _figure(row.new_to_new),
                    "-" if math.isnan(score) else f"{score:.1f}",
                ]
            )
        return cells

    def matrix(self, name: str) -> NDArray[np.float64]:
        """Return the compatibility matrix of a row, (2, 2): queries by gallery, the old one first.

        Old queries in a new gallery are NaN: nobody asks them. Raises InputError.
        """
        row = self._row(name)
        return np.array(
            [[self.old.mean(), math.nan], [row.new_to_old.mean(), row.new_to_new.mean()]]
        )

    def curve(self, name: str) -> BackfillCurve:
        """Return how a row's quality rises while the gallery is embedded anew. Raises InputError.

        old, new: of the old system, and of the row itself when all is done.
        """
        row = self._row(name)
        values = tuple(float(value) for value in row.partly.mean(axis=1))
        return BackfillCurve(SHARES, values, float(self.old.mean()), values[-1])

    def plot(self, path: str | Path) -> None:
        """Draw the curves to a file; its ending (.svg, .pdf, .png) says how.

        Needs matplotlib (extra `plot`). Raises MissingExtraError, InputError for another ending.
        """
        form = check_picture(path)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for number, row in enumerate(self.rows):
            axes.plot(
                [100 * share for share in SHARES],
                row.partly.mean(axis=1),
                color=COLOURS[number % len(COLOURS)],
                linestyle=STYLES[(number + number // len(COLOURS)) % len(STYLES)],
                label=row.name,
            )
        for value, text in ((self.old, "old system"), (self.reference, "independent new system")):
            axes.axhline(value.mean(), color="0.6", linewidth=1, zorder=0)
            axes.annotate(
                text, (100, value.mean()), color="0.4", fontsize=8, ha="right", va="bottom"
            )
        axes.set_xlim(0, 100)
        axes.set_xlabel("gallery embedded anew (%)")
        axes.set_ylabel(self.measure)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.legend(frameon=False, fontsize=8)
        # A date would make every picture another file.
        dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}
        figure.savefig(path, metadata=dateless[form], dpi=150)

    def p_1(self, name: str) -> float:
        """Return AdvBCT's P_1, averaged over the seeds; NaN where it is undefined."""
        row = self._row(name)
        parts = [self.seeds == seed for seed in np.unique(self.seeds)]
        return advbct_scores(
            new=[row.new_to_new[part].mean() for part in parts],
            new_to_old=[row.new_to_old[part].mean() for part in parts],
            old=[self.old[part].mean() for part in parts],
            reference=[self.reference[part].mean() for part in parts],
        ).p_1

    def text(self) -> str:
        """Return the table in columns."""
        cells = self.table()
        widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )

    def csv(self) -> str:
        """Return the table as CSV: a number in each cell, and none where a figure is undefined."""
        first = self.rows[0].name
        heads = [self.measure, "new/old"]
        for what in ("gain", f"against {first}"):
            heads += [what, f"{what} low", f"{what} high"]
        cells: list[list[str | float]] = [[*heads, "new/new", "P_1"]]
        cells.append(["old system", _rounded(self.old.mean()), *[""] * (len(cells[0]) - 2)])
        for row in self.rows:
            line: list[str | float] = [row.name, _rounded(row.new_to_old.mean())]
            line += _plain(self.difference(row.name)).values()
            none = row.name == first
            line += ["", "", ""] if none else _plain(self.difference(row.name, first)).values()
            score = self.p_1(row.name)
            line += [_rounded(row.new_to_new.mean()), "" if math.isnan(score) else _rounded(score)]
            cells.append(line)
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(cells)
        return out.getvalue()

    def latex(self) -> str:
        """Return the table as a LaTeX tabular, with the rules of the package booktabs."""
        heads, *rest = (" & ".join(map(_for_latex, row)) + r" \\" for row in self.table())
        lines = [
            r"% \usepackage{booktabs}",
            r"\begin{tabular}{lrrrrr}",
            r"\toprule",
            heads,
            r"\midrule",
            *rest,
        ]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: means, intervals, and every query's figures."""
        return {
            "measure": self.measure,
            "old": _rounded(self.old.mean()),
            "reference": _rounded(self.reference.mean()),
            "rows": [
                {
                    "name": row.name,
                    "new_to_old": _rounded(row.new_to_old.mean()),
                    "new_to_new": _rounded(row.new_to_new.mean()),
                    "gain": _plain(self.difference(row.name)),
                    "p_1": None if math.isnan(self.p_1(row.name)) else round(self.p_1(row.name), 3),
                    "partly": [_rounded(value) for value in row.partly.mean(axis=1)],
                    "queries": [_rounded(value) for value in row.new_to_old],
                }
                for row in self.rows
            ],
            "seeds": self.seeds.tolist(),
        }

    def _row(self, name: str) -> Compared:
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            names = ", ".join(row.name for row in self.rows)
            raise InputError(f"expected one of old, {names}, got {name!r}; compare it first")
        return found

    def _of(self, name: str) -> NDArray[np.float64]:
        return self.old if name == "old" else self._row(name).new_to_old


def check_picture(path: str | Path) -> str:
    """Tell by its ending how a picture is drawn: svg, pdf or png.

    Raises InputError for another ending, MissingExtraError without matplotlib (extra `plot`).
    """
    need("matplotlib", "plot")
    form = Path(path).suffix.removeprefix(".")
    if form not in _FORMS:
        raise InputError(f"{path}: expected a file ending in .{', .'.join(_FORMS)}")
    return form


Named: TypeAlias = Sequence[str] | Mapping[str, tuple[str, Mapping[str, Any]]]


def compare(
    recipes: Named,
    old: Any,
    new: Any,
    labels: Any,
    *,
    terms: Mapping[str, Any] | None = None,
    seeds: int = 3,
    unseen_classes: bool = False,
    plan: HeadPlan | None = None,
    samples: int = 1000,
    by: str = "AP",
    runs: str | Path | None = None,
    on_measured: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Train a head by each recipe, fit each map, and search the old embeddings with both.

    recipes: names of RECIPE_NAMES or of MAPS; or, by title, a name and the options of the recipe.
    old: (n, old dimension), the old model's embeddings, as they stand in a gallery. new: (n, new
        dimension), features of the new backbone for the same items, row by row. labels: (n,)
        integers or texts.
    terms: by title, losses of pytorch-metric-learning that accept a reference set; each is added to
        the classification (`hotfill.lab.losses.terms.MetricLoss`).
    seeds: how many splits, each with its own weights. Of each class three fifths of the items are
        trained on, and the rest are queries and gallery, half each. unseen_classes: train on four
        fifths of the classes instead, and search the others.
    plan: of the heads; their dimension is the old one by default. samples: of the bootstrap.
    by: the measure, by its name in `ir-measures`: AP, nDCG@10, R@100, Success@1.
    runs: a folder for what other evaluators read: `seed0.qrels`, and for each system and gallery a
        TREC run (`seed0.bct.old.run`); queries and items are named by their rows.
    on_measured: told how many of the seeds x (recipes + 1) systems are measured.
    The old model's classifier is unknown, so class means of its embeddings stand in for it.
    Raises ShapeError, VectorError, InputError, ConfigError before anything is trained.
    """
    titled = _titled(recipes, terms or {})
    figure = measure(by)
    before, after, numbers = _checked(old, new, labels)
    if seeds < 1 or samples < 1:
        raise ConfigError(f"expected seeds and samples >= 1, got {seeds} and {samples}")
    folder = _folder(runs, titled)
    width = before.shape[1]
    head = plan or HeadPlan(dimension=width, hidden=2 * width)
    figures: dict[str, list[tuple[NDArray[np.float64], ...]]] = {title: [] for title in titled}
    own, best, places = [], [], []
    for seed in range(seeds):
        cut = _unseen(numbers, seed) if unseen_classes else _known(numbers, seed)
        trial = _Trial(before, after, numbers, *cut, head, seed, figure, folder)
        own.append(trial.old_system())
        best.append(trial.independent())
        on_measured(seed * (len(titled) + 1) + 1)
        places.append(np.full(len(own[-1]), seed))
        for done, (title, (name, options)) in enumerate(titled.items(), 2):
            loss = (terms or {}).get(title)
            figures[title].append(trial.measure(title, name, options, loss))
            on_measured(seed * (len(titled) + 1) + done)
    return Comparison(
        np.concatenate(own),
        np.concatenate(best),
        np.concatenate(places),
        tuple(
            Compared(title, *(np.concatenate(part, axis=-1) for part in zip(*some, strict=True)))
            for title, some in figures.items()
        ),
        samples,
        by,
    )


@final
class _Trial:
    """One seed: what is trained on, the queries and the gallery, as row numbers."""

    def __init__(
        self,
        old: Vectors,
        new: Vectors,
        labels: NDArray[np.int64],
        train: NDArray[np.int64],
        queries: NDArray[np.int64],
        gallery: NDArray[np.int64],
        plan: HeadPlan,
        seed: int,
        figure: Measure,
        runs: Path | None,
    ) -> None:
        self.old, self.labels, self.plan, self.seed = old, labels, plan, seed
        self.train, self.queries, self.gallery = train, queries, gallery
        self.features = FeaturePreparation(new[train])(new)
        self.new = new / np.linalg.norm(new, axis=1, keepdims=True)
        self.relevance = same_label(labels[queries], labels[gallery])
        self._figure, self._runs = figure, runs
        self._query_ids, self._item_ids = (
            [str(row) for row in rows] for rows in (queries, gallery)
        )
        order = np.random.default_rng([seed, 52]).permutation(len(gallery))
        self._place = np.argsort(order) / len(gallery)  # when an item is embedded anew, 0 to 1
        if runs is not None:
            path = runs / f"seed{seed}.qrels"
            write_qrels(path, self.relevance, self._query_ids, self._item_ids)

    def old_system(self) -> NDArray[np.float64]:
        return self._measured(self.old[self.queries], self.old[self.gallery], "old.old")

    def independent(self) -> NDArray[np.float64]:
        queries, _, gallery = self._head("independent", {})
        return self._measured(queries, gallery, "independent.new")

    def measure(
        self, title: str, name: str, options: Mapping[str, Any], loss: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if name in MAPS:
            queries, before, after = self._map(name)
        else:
            recipe = _with_term(loss) if loss is not None else name
            queries, before, after = self._head(recipe, options)
        between = [
            self._measured(queries, np.where(self._place[:, None] < share, after, before))
            for share in SHARES[1:-1]
        ]
        old = self._measured(queries, before, f"{title}.old")
        new = self._measured(queries, after, f"{title}.new")
        return old, new, np.array([old, *between, new])

    def _measured(
        self, queries: Vectors, gallery: Vectors, run: str | None = None
    ) -> NDArray[np.float64]:
        scores = queries @ gallery.T
        if run is not None and self._runs is not None:
            path = self._runs / f"seed{self.seed}.{run}.run"
            write_run(path, scores, self._query_ids, self._item_ids, run)
        return self._figure(rank_scores(scores, self.relevance))

    def _map(self, name: str) -> tuple[Vectors, Vectors, Vectors]:
        source = ModelId("old", "1", self.old.shape[1])
        target = ModelId("new", "1", self.new.shape[1])
        up = MAPS[name](self.old[self.train], self.new[self.train], source=source, target=target)
        return self.new[self.queries], up(self.old[self.gallery]), self.new[self.gallery]

    def _head(
        self, recipe: str | Callable[[Ingredients], Recipe], options: Mapping[str, Any]
    ) -> tuple[Vectors, Vectors, Vectors]:
        """Return queries, the old gallery as the new head compares it, and the new one."""
        head = train_head(
            recipe,
            self.features[self.train],
            self.labels[self.train],
            self.plan,
            seed=self.seed,
            old=OldSpace(self.old[self.train]),
            options=options,
        )
        queries, gallery = head(self.features[self.queries]), head(self.features[self.gallery])
        old = self.old[self.gallery]
        mapped = head.upgrade(old)
        if mapped is None:  # spaces of different dimension meet in the coordinates they share
            kept = min(queries.shape[1], old.shape[1])
            mapped = np.zeros((len(old), queries.shape[1]), dtype=np.float32)
            mapped[:, :kept] = old[:, :kept]
        return queries, mapped, gallery


def _folder(runs: str | Path | None, titles: Iterable[str]) -> Path | None:
    if runs is None:
        return None
    for title in titles:
        if not _FILE_NAME.fullmatch(title):
            raise ConfigError(
                f"titles name run files: expected letters, digits, '_', '+' and '-', got {title!r}"
            )
    folder = Path(runs)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _with_term(loss: Any) -> Callable[[Ingredients], Recipe]:
    def build(given: Ingredients) -> Recipe:
        parts = [
            Part("classification", AnchorSoftmax("new", given.head.score)),
            Part("term", MetricLoss(loss), 1.0, "down"),
        ]
        return Recipe("own term", parts, head=given.head, down=given.down())

    return build


def _titled(recipes: Named, terms: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    found: dict[str, tuple[str, Mapping[str, Any]]] = (
        dict(recipes) if isinstance(recipes, Mapping) else {name: (name, {}) for name in recipes}
    )
    if both := found.keys() & terms.keys():
        raise ConfigError(f"expected different titles, got {', '.join(sorted(both))} twice")
    for name, options in found.values():
        if name not in RECIPE_NAMES and name not in MAPS:
            known = ", ".join([*RECIPE_NAMES, *MAPS])
            raise ConfigError(f"recipe: expected one of {known}, got {name!r}")
        if name in FIXED_HEAD:
            raise ConfigError(
                f"recipe {name!r} needs an old model that was trained by it, with the same class "
                "corners; old embeddings of another model cannot be compared with it"
            )
        if options.get("old_head_only") or options.get("alternatives"):
            raise ConfigError(
                f"recipe {name!r}: {', '.join(options)} needs the old model's classifier, and only "
                "its embeddings are given; use hotfill.lab.heads.train_head with an OldSpace"
            )
    found |= {title: ("own term", {}) for title in terms}
    if not found:
        raise ConfigError(
            f"expected at least one recipe or map of {', '.join([*RECIPE_NAMES, *MAPS])}, got none"
        )
    return found


def _checked(old: Any, new: Any, labels: Any) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    given = [np.asarray(old), np.asarray(new)]
    for rows, what in zip(given, ("old embeddings", "new features"), strict=True):
        if rows.ndim != 2:
            raise ShapeError(f"{what}: expected (n, dimension), got {rows.shape}")
    before, after = (
        check_vectors(rows, rows.shape[1], what=what)
        for rows, what in zip(given, ("old embeddings", "new features"), strict=True)
    )
    named = np.asarray(labels)
    if len(before) != len(after) or named.shape != (len(before),):
        raise ShapeError(
            "expected one row of each for the same items, got "
            f"{len(before)} old embeddings, {len(after)} new features and labels {named.shape}"
        )
    _, numbers, counts = np.unique(named, return_inverse=True, return_counts=True)
    if (counts >= _LEAST).sum() < 2:
        raise InputError(
            f"labels: expected at least two classes of {_LEAST} items or more (to train, to ask, "
            f"to be found), got {len(counts)} classes, the largest of {counts.max(initial=0)}; "
            "items of smaller classes are trained on only"
        )
    unit = before / np.linalg.norm(before, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32), after, numbers.reshape(-1)


_Cut: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _known(labels: NDArray[np.int64], seed: int) -> _Cut:
    """Rows to train on, queries, gallery: some items of each class."""
    rng = np.random.default_rng([seed, 50])
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for rows in _classes(labels, rng):
        count = len(rows) if len(rows) < _LEAST else max(2, round(0.6 * len(rows)))
        parts[0].extend(rows[:count])
        parts[1].extend(rows[count::2])
        parts[2].extend(rows[count + 1 :: 2])
    return _sorted(parts)


def _unseen(labels: NDArray[np.int64], seed: int) -> _Cut:
    """Rows to train on, queries, gallery: some classes are searched only."""
    rng = np.random.default_rng([seed, 51])
    classes, counts = np.unique(labels, return_counts=True)
    searched = rng.permutation(classes[counts >= 2])[: max(2, round(0.2 * len(classes)))]
    if len(classes) - len(searched) < 2:
        raise InputError(
            f"unseen classes: expected at least four classes, got {len(classes)}; two are searched "
            "and two are trained on"
        )
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for rows in _classes(labels, rng):
        if labels[rows[0]] in searched:
            parts[1].extend(rows[::2])
            parts[2].extend(rows[1::2])
        else:
            parts[0].extend(rows)
    return _sorted(parts)


def _classes(labels: NDArray[np.int64], rng: np.random.Generator) -> Iterable[NDArray[np.int64]]:
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _sorted(parts: tuple[list[int], ...]) -> _Cut:
    train, queries, gallery = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return train, queries, gallery


def _figure(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.4f}"


def _interval(apart: Difference) -> str:
    return f"{apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}]"


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _plain(apart: Difference) -> dict[str, float]:
    return {name: _rounded(value) for name, value in asdict(apart).items()}


def _for_latex(cell: str) -> str:
    """Escape a cell; figures with a sign are mathematics, so that a minus is as long as a plus."""
    if cell == "-":
        return "--"
    return re.sub(r"[+-]\d[\d.]*", r"$\g<0>$", cell.replace("_", r"\_").replace("%", r"\%"))
