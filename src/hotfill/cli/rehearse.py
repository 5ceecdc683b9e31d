"""`hotfill sample` and `hotfill rehearse`: measure an upgrade before it is begun."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import check_writable, console, reporting
from hotfill.cli.progress import counted
from hotfill.errors import ConfigError
from hotfill.extras import need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.rehearsal.budget import Cost
    from hotfill.rehearsal.gallery_sample import GallerySample
    from hotfill.rehearsal.maps import Maps
    from hotfill.rehearsal.sample import EmbeddedBy, Judgements, Labels

_TABLE_WIDTH = 130  # columns; a narrower table breaks its words
_TRAINED = ("residual_mlp", "reverse_query", "neighbour_contrast", "forward_map")


Keep: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--keep/--no-keep", help="Keep the vectors that are made for it; `start` takes them."
    ),
]


def sample(
    config: Config = DEFAULT_CONFIG,
    out: Annotated[
        Path, typer.Option("--out", help="A new folder for the sample, for `hotfill rehearse`.")
    ] = Path("sample"),
    items: Annotated[
        int, typer.Option(help="How many items, drawn evenly from the gallery.")
    ] = 5000,
    queries: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines {"content": ..., "relevant": [item ids]}, as [guard] takes them; '
            "without them, items are asked for."
        ),
    ] = None,
    label_key: Annotated[
        str,
        typer.Option(help="A metadata key; items sharing this value are relevant to each other."),
    ] = "",
    keep: Keep = True,
    as_json: Json = False,
) -> None:
    """Take a sample of the gallery to rehearse with.

    Touches nothing in the store. Old vectors are read from there; the new model embeds the sampled
    items, and both models the given queries.
    """
    with reporting(config, as_json) as report:
        from hotfill.rehearsal.gallery_sample import check_free

        check_free(out)
        taken = _taken(config, items, queries, label_key, keep=keep)
        taken.save(out)
        counts = {
            "folder": str(out),
            "items": len(taken.item_ids),
            "queries": 0 if taken.queries_new is None else len(taken.queries_new),
            "judged_queries": len(taken.qrels),
            "labelled": taken.labels is not None,
            "imputed_items": taken.imputed_items,
        }
        left_out = (
            f"{taken.imputed_items:,} items of the gallery are found by vectors that were imputed "
            f"for {taken.old_model}; none of those vectors is in the sample"
        )
        report.add(
            counts,
            [
                f"{counts['items']:,} items and {counts['queries']:,} queries in {out}",
                *([left_out] if taken.imputed_items else []),
                f"next: hotfill rehearse --sample {out}"
                + (" --use-labels" if taken.qrels or label_key else ""),
            ],
        )


def _taken(
    config: Path, items: int, queries: Path | None, label_key: str, *, keep: bool
) -> GallerySample:
    from hotfill.config import Project, open_upgrade
    from hotfill.rehearsal.sampler import Sampler
    from hotfill.upgrade.canaries import read_queries
    from hotfill.upgrade.stored_vectors import StoredVectors

    given = [] if queries is None else read_queries(queries)
    with open_upgrade(config) as up:
        with counted("loading the models"):
            sampler = Sampler.of(up)
        # What is made of stored vectors costs nothing.
        if keep and isinstance(up.parts, Project) and not isinstance(sampler.source, StoredVectors):
            sampler = replace(sampler, new_embedder=up.parts.keeping(sampler.new_embedder))
        with counted("embedding a sample", min(items, len(up.gallery))) as show:
            return sampler.take(items, queries=given, label_key=label_key, on_batch=show)


def rehearse(
    config: Config = DEFAULT_CONFIG,
    items: Annotated[
        int, typer.Option(help="How many items of the gallery, drawn evenly, where it is sampled.")
    ] = 5000,
    keep: Keep = True,
    sample: Annotated[
        Path | None, typer.Option(help="A folder that `hotfill sample` wrote.")
    ] = None,
    old: Annotated[
        Path | None, typer.Option(help="Without a sample: old embeddings, .npy (n, d_old).")
    ] = None,
    new: Annotated[
        Path | None, typer.Option(help="And new embeddings, .npy (n, d_new), same rows.")
    ] = None,
    queries_old: Annotated[
        Path | None, typer.Option(help="Queries by the old model; else some items are taken.")
    ] = None,
    queries_new: Annotated[Path | None, typer.Option(help="The same by the new model.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of the items, .npy (n,).")] = None,
    query_labels: Annotated[Path | None, typer.Option(help="Labels of the queries.")] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements, TREC format, rows counted from 0.")
    ] = None,
    fit: Annotated[
        int, typer.Option(help="Pairs used for fitting; they leave the gallery.")
    ] = 2000,
    strategies: Annotated[
        str, typer.Option(help="naive_merge, merge, prefill, compatible; comma between.")
    ] = "naive_merge,merge,prefill,compatible",
    transforms: Annotated[
        str,
        typer.Option(
            help="How merge and prefill bring the models together; comma between: bridge, "
            "kernel_bridge, low_rank, procrustes; plain_bridge and ridge (merge only). Trained, "
            "minutes each (extra train): residual_mlp; reverse_query and neighbour_contrast "
            "(merge), forward_map (prefill)."
        ),
    ] = "bridge,kernel_bridge",
    queries: Annotated[
        str, typer.Option(help="Models that embed a query: new, both; comma between.")
    ] = "new,both",
    orders: Annotated[
        str, typer.Option(help="random, uncertainty, popularity, popularity_uncertainty.")
    ] = "random,uncertainty",
    query_log: Annotated[
        Path | None,
        typer.Option(help="For popularity: a line per returned hit, the item's row from 0."),
    ] = None,
    points: Annotated[int, typer.Option(help="Shares measured, from 0 to 1.")] = 11,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    use_labels: Annotated[
        bool, typer.Option("--use-labels", help="Let the recommendation look at the labels.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Below this score hits are dropped today: what it becomes."),
    ] = None,
    gallery_items: Annotated[
        int | None,
        typer.Option(help="Items of the whole gallery, for what a budget costs; else its count."),
    ] = None,
    items_per_second: Annotated[
        float | None,
        typer.Option(help="That the new model embeds; else as measured when sampling."),
    ] = None,
    price_per_1000: Annotated[
        float | None, typer.Option(help="Price of embedding 1,000 items; else the embedder's.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything there; - is stdout.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page and pictures into this folder.")
    ] = None,
) -> None:
    """Tell whether an upgrade is worth it, and how to do it.

    Measures a sample of the gallery, which it takes, or took before (--sample), or files: row i of
    --old and --new is the same item. Writes only the files asked for.
    """
    with reporting(config, as_json=False) as said:
        from hotfill.rehearsal import RehearsalSettings
        from hotfill.rehearsal import rehearse as measure
        from hotfill.rehearsal import report as reports
        from hotfill.rehearsal.gallery_sample import (
            read_cost,
            read_imputed_items,
            read_query_log,
        )

        settings = RehearsalSettings(
            fit=fit,
            strategies=_names(strategies),
            transforms=_names(transforms),
            queries=_names(queries),
            orders=_names(orders),
            points=points,
            seed=seed,
            use_labels=use_labels,
            threshold=threshold,
        )
        maps = _maps(settings.transforms)
        settings.check(maps)
        check_writable(json_file)
        if report is not None:
            reports.check_place(report)
        paths = {
            "old": old,
            "new": new,
            "queries_old": queries_old,
            "queries_new": queries_new,
            "labels": labels,
            "query_labels": query_labels,
            "qrels": qrels,
        }
        files = {name: path for name, path in paths.items() if path is not None}
        if sample is None and not files:
            taken = _taken(config, items, None, "", keep=keep)
            measured, (by_old, by_new, relevant) = taken.cost, taken.given()
            imputed = taken.imputed_items
        else:
            by_old, by_new, relevant = _given(sample, files)
            measured = None if sample is None else read_cost(sample)
            imputed = 0 if sample is None else read_imputed_items(sample)
        cost = _cost(measured, gallery_items, items_per_second, price_per_1000)
        returned = None if query_log is None else read_query_log(query_log, len(by_old.gallery))
        with counted("rehearsing") as show:
            done = measure(
                by_old,
                by_new,
                relevant=relevant,
                returned=returned,
                settings=settings,
                more_maps=maps,
                cost=cost,
                on_measured=show,
            )
        done = replace(done, imputed_items=imputed)
        if report is not None:
            reports.write_report(done, report)
        if json_file == Path("-"):
            said.as_json = True
            said.add(json.loads(done.to_json()))
            return
        if json_file is not None:
            json_file.write_text(done.to_json(), encoding="utf-8")
        page = console(StringIO())
        page.width = _TABLE_WIDTH
        page.print(reports.table(done))
        if done.budget is not None:
            page.print(reports.budget_table(done.budget))
        tables = page.file.getvalue()  # type: ignore[attr-defined]
        answer = reports.must_embed(done)
        words = [reports.summary(done), *([answer] if answer else [])]
        said.add({}, [tables, *words, "", reports.settings(done)])


def _cost(
    measured: Cost | None,
    items: int | None,
    items_per_second: float | None,
    price_per_1000: float | None,
) -> Cost | None:
    """What was measured, or what is said instead; None without a count of the items."""
    from hotfill.rehearsal.budget import Cost

    if items is None and measured is None:
        if (items_per_second, price_per_1000) != (None, None):
            raise ConfigError(
                "a speed or a price is of a whole gallery: say how many items it has, by "
                "--gallery-items N"
            )
        return None
    known = measured or Cost(items or 0)
    if items_per_second is not None and items_per_second <= 0:
        raise ConfigError(f"--items-per-second: expected more than 0, got {items_per_second:g}")
    return Cost(
        known.items if items is None else items,
        known.seconds_per_item if items_per_second is None else 1 / items_per_second,
        known.price_per_item if price_per_1000 is None else price_per_1000 / 1000,
    )


def _given(
    sample: Path | None, paths: dict[str, Path]
) -> tuple[EmbeddedBy, EmbeddedBy, Labels | Judgements | None]:
    """What is rehearsed with: a sample, or files of the user's own."""
    from hotfill.rehearsal.gallery_sample import read_files, read_sample

    if sample is not None:
        if paths:
            options = ", ".join("--" + name.replace("_", "-") for name in paths)
            raise ConfigError(f"a sample has everything in it: leave out --sample, or {options}")
        return read_sample(sample)
    if not {"old", "new"} <= set(paths):
        raise ConfigError(
            "expected --old FILE and --new FILE; or --sample FOLDER (made by `hotfill sample`), or "
            "none of these to sample the gallery of the configuration"
        )
    return read_files(paths)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",")]


def _maps(wanted: Sequence[str]) -> Maps:
    """The known maps; the trained ones, which need torch, only where one of them is asked for."""
    from hotfill.rehearsal.maps import MAPS

    trained = set(wanted) & set(_TRAINED)
    if not trained:
        return MAPS
    need("torch", "train")
    from hotfill.lab.training.transforms.label_free import LABEL_FREE

    return {**MAPS, **LABEL_FREE}
