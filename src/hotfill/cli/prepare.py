"""The commands that prepare an upgrade."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import check_writable, reporting
from hotfill.cli.progress import counted
from hotfill.formatting import count

if TYPE_CHECKING:
    from hotfill.cli.output import Report
    from hotfill.config import Project
    from hotfill.stores.section import Existing

_FEW = 10  # lines about single items


def adopt(
    config: Config = DEFAULT_CONFIG,
    id_column: Annotated[
        str | None, typer.Option("--id-column", help="Column that tells items apart: id.")
    ] = None,
    vector_column: Annotated[
        str | None,
        typer.Option("--vector-column", help="Column with the old model's vectors: embedding."),
    ] = None,
    metadata_column: Annotated[
        str, typer.Option("--metadata-column", help="Column of type jsonb to filter by.")
    ] = "",
    index_file: Annotated[
        Path | None, typer.Option("--index-file", help="Index of FAISS to take over.")
    ] = None,
    ids_file: Annotated[
        Path | None,
        typer.Option("--ids-file", help="Its ids in the order added: .txt, .npy or .jsonl."),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Take the gallery from an upgrade whose journal is lost."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Adopt a table or index as the gallery.

    Records that the old model made its vectors. The table itself is neither copied nor altered;
    `start` adds columns to it. Idempotent. In LanceDB all columns of texts, numbers and booleans
    can be filtered by. The vectors of an index file are copied into the gallery's folder; the file
    itself stays as it is. What LangChain, LlamaIndex or pgai made is recognised, and needs no names
    of columns.

    With --take-over a gallery that another upgrade has is given to this one, and nothing else is
    done: for when that one's journal is lost.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade, read
        from hotfill.stores.section import Existing

        if take_over:
            with open_upgrade(config) as up:
                up.take_over()
                status = up.status()
            report.add({"taken_over": True}, ["this upgrade has the gallery now"])
            report.next(status.next_steps)
            return
        project = read(config)
        existing = Existing(id_column, vector_column, metadata_column or None, index_file, ids_file)
        take_over_gallery(project, existing, report)


def take_over_gallery(project: Project, existing: Existing, report: Report) -> None:
    """Adopt what is there as the gallery, and say what was found. existing: its names.

    Raises as `Gallery.adopt` of the store.
    """
    with counted("loading the old model"):
        model = project.model("old")
    store, folder = project.settings.store, project.path.parent
    with (
        counted("adopting") as told,
        store.adopt(folder, model, replace(existing, told=told)) as gallery,
    ):
        items, remarks, layout = len(gallery), gallery.remarks(), gallery.layout
    framework = None if layout is None else layout.framework
    report.add(
        {"model": str(model), "items": items, "made_by": framework, "remarks": remarks},
        [
            f"adopted: {count(items)} items of {model}",
            *([f"made by {framework}"] if framework else []),
            *(f"note: {each}" for each in remarks),
        ],
    )


def plan(
    config: Config = DEFAULT_CONFIG,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the plan to this TOML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what an upgrade would do; touch nothing.

    Looks at everything: reads the store and the source, and embeds a few items to measure the time.
    Ends with code 3 when something blocks the upgrade.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        check_writable(out)
        with open_upgrade(config) as up:
            with counted("planning"):
                made = up.plan()
            status = up.status()
        if out is not None:
            made.write(out)
        report.add(made.to_dict(), str(made).splitlines())
        if made.blockers:
            report.code = ExitCode.BLOCKED
            report.next(["plan"])
        else:
            report.next(status.next_steps)


def embed(
    config: Config = DEFAULT_CONFIG,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Items: a Parquet file, or a folder of them."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the files of vectors, named as those of the items."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Files of vectors: bring them into the cache of [new] here."),
    ] = None,
    id_column: Annotated[str, typer.Option("--id-column", help="Column of the id.")] = "id",
    content_column: Annotated[
        list[str] | None,
        typer.Option("--content-column", help="Column of the content: text; repeatable, joined."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Items at once.")] = 256,
    as_json: Json = False,
) -> None:
    """Embed Parquet files by the new model, wherever they are, to be used by `start` elsewhere.

    For many machines that reach neither the gallery nor each other: each takes some files with
    --data and --out, and needs nothing but these and the model. Where the upgrade runs, --keep
    brings what they made into the embedding cache of [new], and `start` asks the model only for
    what is not in it. The same command again goes on.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.embedders.cache import CachedEmbedder
        from hotfill.errors import ConfigError
        from hotfill.integrations.parquet import embed_files, keep_vectors

        if (data is None) != (out is None) or (data is None) == (keep is None):
            raise ConfigError("expected --data ITEMS and --out FOLDER, or --keep FOLDER")
        with counted("loading the new model"):
            embedder = read(config).embedder("new")
        if embedder is None:
            raise ConfigError(f"{config}: [new] needs an embedder")
        cache = embedder if isinstance(embedder, CachedEmbedder) else None
        if keep is not None:
            if cache is None:
                raise ConfigError(
                    f'{config}: --keep needs embedder = "hotfill.embedders.cache:from_options" in '
                    "[new], with the embedder there is in its options"
                )
            with counted("keeping") as told:
                new = keep_vectors(keep, cache, on_batch=told)
            report.add(
                {"kept": new, "in_cache": cache.kept},
                [f"kept {count(new)} vectors more; {count(cache.kept)} of {cache.model_id}"],
            )
            return
        assert data is not None
        assert out is not None
        with counted("embedding") as told:
            done = embed_files(
                data,
                out,
                embedder if cache is None else cache.uncached,
                item_id=id_column,
                content=content_column or "text",
                batch_size=batch_size,
                on_batch=told,
            )
        report.add(
            {
                "model": str(embedder.model_id),
                "items": done.items,
                "files": done.files,
                "files_skipped": done.skipped,
                "failed": done.failed,
            },
            [
                f"embedded {count(done.items)} items of {done.files} files with "
                f"{embedder.model_id}; the vectors of {done.skipped} were there",
                *(f"left out: {each}: {why}" for each, why in [*done.failed.items()][:_FEW]),
            ],
        )
