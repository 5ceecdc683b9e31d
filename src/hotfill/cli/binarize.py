"""`hotfill binarize fit|apply|search|evaluate`: float vectors to binary codes, file to file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted

if TYPE_CHECKING:
    from hotfill.types import ModelId
    from hotfill.types import Vectors as Rows

binarize = typer.Typer(
    help="Turn float vectors into recurrent binary codes, and search them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Encoder = Annotated[Path, typer.Argument(help="The encoder's file, safetensors.")]
Vectors = Annotated[Path, typer.Argument(help="Float vectors, .npy (n, dimension).")]
Codes = Annotated[Path, typer.Argument(help="The file of codes.")]


@binarize.command()
def fit(
    vectors: Annotated[
        Path,
        typer.Argument(
            help="Float vectors, .npy (n, dimension); or a configuration file: those of the old "
            "model in its store, as many as fitting needs."
        ),
    ],
    encoder: Encoder,
    name: Annotated[
        str | None, typer.Option(help="Name of the model that made the vectors of a .npy file.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Its revision.")] = "1",
    bytes_per_item: Annotated[
        int | None, typer.Option("--bytes", help="Bytes per item; the best split is found.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Bits per dimension instead: 1, 2 or 4.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train networks too (extra train); kept if better.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit an encoder on float vectors; it is chosen by what it finds among held-out ones."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.binary.files import binarize_fit

        plan = None
        if train:
            from hotfill.lab.binary.training import similarity_plan

            plan = similarity_plan()
        rows, source = _to_fit_on(vectors, name, revision, seed)
        with counted("fitting"):
            found = binarize_fit(
                rows,
                source,
                encoder,
                bytes_per_item=bytes_per_item,
                bits=bits,
                plan=plan,
                seed=seed,
            )
        space = found.encoder.space
        report.add(
            {"encoder": str(encoder), "space": space.to_dict()},
            [
                *(
                    f"{tried.code_format.dimension} x {tried.code_format.bits} bits, {tried.how}: "
                    f"finds {tried.ann_recall:.3f} of the nearest 10"
                    for tried in found.tried
                ),
                f"encoder: {encoder} to {space}",
            ],
        )


@binarize.command()
def apply(encoder: Encoder, vectors: Vectors, codes: Codes, as_json: Json = False) -> None:
    """Write the codes of float vectors, batch by batch."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.binary.files import binarize_apply

        with counted("encoding"):
            items = binarize_apply(encoder, vectors, codes)
        size = codes.stat().st_size
        report.add(
            {"items": items, "bytes": size, "codes": str(codes)},
            [f"{items:,} codes in {size:,} bytes: {codes}"],
        )


@binarize.command()
def values(
    codes: Codes,
    out: Annotated[Path, typer.Argument(help="The .npy file to write.")],
    as_json: Json = False,
) -> None:
    """Write codes as float16 vectors, exactly: for `hotfill rehearse` and other tools."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.binary.files import binarize_values

        with counted("decoding"):
            items = binarize_values(codes, out)
        report.add({"items": items, "values": str(out)}, [f"{items:,} vectors: {out}"])


@binarize.command()
def search(
    encoder: Encoder,
    codes: Codes,
    queries: Annotated[Path, typer.Argument(help="Float queries, .npy (q, dimension).")],
    k: Annotated[int, typer.Option("-k", help="Hits per query.")] = 10,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Binarise the queries too.")
    ] = False,
    rerank: Annotated[
        Path | None, typer.Option(help="Float vectors of the gallery, to rank 5 k hits again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search codes by float queries; items are row numbers."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.binary.files import binarize_search

        with counted("searching"):
            hits = binarize_search(encoder, codes, queries, k, symmetric=symmetric, rerank=rerank)
        found = [
            [
                {"item": item, "score": score}
                for item, score in zip(items, scores, strict=True)
                if item >= 0
            ]
            for items, scores in zip(hits.items.tolist(), hits.scores.tolist(), strict=True)
        ]
        lines = [
            f"{query}  " + "  ".join(f"{hit['item']} ({hit['score']:.3f})" for hit in row)
            for query, row in enumerate(found)
        ]
        report.add({"hits": found}, lines)


@binarize.command()
def evaluate(
    encoder: Encoder,
    gallery: Vectors,
    queries: Annotated[Path, typer.Argument(help="Float queries, .npy (q, dimension).")],
    k: Annotated[int, typer.Option("-k", help="Neighbours compared.")] = 10,
    as_json: Json = False,
) -> None:
    """Measure how many of the exact float neighbours the codes find."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.binary.files import binarize_evaluate

        with counted("evaluating"):
            found = binarize_evaluate(encoder, gallery, queries, k=k)
        report.add(
            asdict(found),
            [
                f"of the {k} nearest by floats: {found.asymmetric:.3f} by float queries, "
                f"{found.symmetric:.3f} by codes alone, {found.reranked:.3f} ranked again",
                f"{found.bytes_per_item} bytes an item instead of {found.float_bytes}",
            ],
        )


_FITTED_ON = 20_000  # of a gallery; more make the fit no better


def _to_fit_on(vectors: Path, name: str | None, revision: str, seed: int) -> tuple[Rows, ModelId]:
    """Read vectors from a .npy file, or some of those in the store of a configuration file."""
    from hotfill.errors import ConfigError

    if vectors.suffix != ".toml":
        from hotfill.lab.binary.files import read_vectors
        from hotfill.types import ModelId

        if name is None:
            raise ConfigError("--name is needed: of the model that made the vectors")
        rows = read_vectors(vectors)
        return rows, ModelId(name, revision, rows.shape[1])
    if name is not None:
        raise ConfigError(f"--name is not wanted here: {vectors} says which the old model is")
    from hotfill.config import read
    from hotfill.upgrade.order import sample_ids

    project = read(vectors)
    model = project.model("old")
    # The store alone: the file may name the encoder that is to be made here.
    with project.settings.store.open(vectors.parent) as gallery:
        ids = sample_ids(gallery, [model], _FITTED_ON, seed)
        return gallery.vectors(ids, model).vectors, model
