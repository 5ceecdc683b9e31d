"""`hotfill rehearse`."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG
from hotfill.cli.output import console, reporting
from hotfill.errors import ConfigError
from hotfill.extras import need

if TYPE_CHECKING:
    from hotfill.rehearsal.fitting import Maps

_TABLE_WIDTH = 130  # columns; a narrower table breaks its words


def rehearse(
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
        str, typer.Option(help="naive_merge, merge, prefill, compatible, rrf; comma between.")
    ] = "naive_merge,merge,prefill,compatible",
    transforms: Annotated[
        str,
        typer.Option(
            help="How merge and prefill bring the models together; comma between. For merge: "
            "bridge, plain bridge, kernel bridge, ridge down, low rank down, procrustes down; with "
            "queries embedded by both models: own query and kernel bridge, two encoders, slerp. "
            "For prefill: kernel up, ridge up, low rank up, procrustes up. Trained, minutes each "
            "(extra train): reverse query, neighbour contrast, residual mlp down; residual mlp up, "
            "forward map."
        ),
    ] = "bridge,kernel bridge,own query and kernel bridge,two encoders,ridge up,kernel up",
    orders: Annotated[
        str, typer.Option(help="random, uncertainty, popularity, popularity_uncertainty.")
    ] = "random,uncertainty",
    query_log: Annotated[
        Path | None,
        typer.Option(help="For popularity: a line per returned hit, the item's row from 0."),
    ] = None,
    points: Annotated[int, typer.Option(help="Shares measured, from 0 to 1.")] = 11,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    use_labels: Annotated[
        bool, typer.Option("--use-labels", help="Let the recommendation look at the labels.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Below this score hits are dropped today: what it becomes."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything there; - is stdout.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page and pictures into this folder.")
    ] = None,
) -> None:
    """Tell whether an upgrade is worth it, and how to do it best, from a sample of embeddings.

    Of a live gallery (--sample), or of files: row i of --old and --new is the same item. Nothing
    is touched but the files asked for.
    """
    with reporting(DEFAULT_CONFIG, as_json=False) as said:
        from hotfill.rehearsal import rehearse as rehearsing
        from hotfill.rehearsal import report as reports
        from hotfill.rehearsal.files import read_query_log

        wanted = _names(transforms)
        paths = {
            "old": old,
            "new": new,
            "queries_old": queries_old,
            "queries_new": queries_new,
            "labels": labels,
            "query_labels": query_labels,
            "qrels": qrels,
        }
        given = _given(sample, {name: path for name, path in paths.items() if path is not None})
        done = rehearsing.rehearse(
            **given,
            fit=fit,
            strategies=_names(strategies),
            transforms=wanted,
            orders=_names(orders),
            returned=None if query_log is None else read_query_log(query_log, len(given["old"])),
            points=points,
            seed=seed,
            use_labels=use_labels,
            threshold=threshold,
            more_maps=_trained(wanted),
        )
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
        table = page.file.getvalue()  # type: ignore[attr-defined]
        said.add({}, [table, reports.summary(done), "", reports.settings(done)])


def _given(sample: Path | None, paths: dict[str, Path]) -> dict[str, Any]:
    """What is rehearsed with: a sample, or files of the user's own."""
    from hotfill.rehearsal.files import read_arguments
    from hotfill.rehearsal.gallery_sample import read_sample

    if sample is not None:
        if paths:
            options = ", ".join("--" + name.replace("_", "-") for name in paths)
            raise ConfigError(f"a sample has everything in it: leave out --sample, or {options}")
        return read_sample(sample)
    if not {"old", "new"} <= set(paths):
        raise ConfigError(
            "expected --sample FOLDER (made by `hotfill sample`), or --old FILE and --new FILE"
        )
    return read_arguments(paths)


def _names(given: str) -> list[str]:
    return [" ".join(name.split()) for name in given.split(",")]


def _trained(wanted: list[str]) -> Maps | None:
    """The trained maps, which need torch, where one of them is asked for."""
    from hotfill.rehearsal.fitting import MAPS
    from hotfill.rehearsal.ways import transform_names

    if set(wanted) <= set(transform_names(MAPS)):
        return None
    need("torch", "train")
    from hotfill.lab.training.transforms.label_free import LABEL_FREE

    return LABEL_FREE
