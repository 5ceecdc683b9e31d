"""`hotfill architecture-search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import Report, reporting
from hotfill.cli.progress import counted
from hotfill.errors import MissingExtraError

if TYPE_CHECKING:
    from hotfill.lab.architecture_search.evolution import Candidate, RewardName

Folder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder that a search has written.")
]

architecture_search = typer.Typer(
    help="Find a small query model for a large model's gallery.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@architecture_search.command()
def run(
    data: Annotated[
        Path, typer.Option(help="A folder with one subfolder of pictures per class, or an .npz.")
    ],
    gallery_model: Annotated[Path, typer.Option(help="The large model's file, with its head.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")],
    flops: Annotated[int, typer.Option(help="Multiply-adds of one query, at most.")],
    flops_at_least: Annotated[
        int | None, typer.Option(help="And at least; four fifths of it by default, 0 for any.")
    ] = None,
    unseen_classes: Annotated[
        bool,
        typer.Option(help="Hold out classes instead of items: queries will be of new classes."),
    ] = False,
    space: Annotated[str, typer.Option(help="small (6 blocks) or paper (20 blocks).")] = "small",
    side: Annotated[int, typer.Option(help="Pictures of a folder are read at this size.")] = 32,
    reward: Annotated[str, typer.Option(help="r1 = M(q,q), r2 = M(q,g), r3 = r1 x r2.")] = "r3",
    generations: Annotated[int, typer.Option(help="Of the evolution, with the first.")] = 20,
    population: Annotated[int, typer.Option(help="Candidates of the first generation.")] = 50,
    crossover: Annotated[int, typer.Option(help="Children of every later generation.")] = 40,
    epochs: Annotated[int, typer.Option(help="Of the super-network, and of retraining.")] = 30,
    warm_up_epochs: Annotated[int, typer.Option(help="In which no path is drawn.")] = 3,
    finalists: Annotated[int, typer.Option(help="This many of the best are retrained.")] = 5,
    way: Annotated[
        list[str] | None,
        typer.Option(help="To train the best in, again and again: bct, csd ...; all by default."),
    ] = None,
    distil_epochs: Annotated[
        int | None, typer.Option(help="Of each way; three times --epochs by default.")
    ] = None,
    onnx: Annotated[bool, typer.Option(help="Write query.onnx, too.")] = True,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Train the super-network, search, retrain the best. The same command again goes on.

    The best of those is trained in several ways for longer; what searches best is kept.
    """
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.architecture_search.evolution import Evolution
        from hotfill.lab.architecture_search.search import WAYS
        from hotfill.lab.architecture_search.search_files import search_files

        found = search_files(
            data,
            gallery_model,
            out,
            flops=flops,
            space=space,
            side=side,
            reward=cast("RewardName", reward),
            evolution=Evolution(generations, population, crossover, seed=seed),
            epochs=epochs,
            warm_up_epochs=warm_up_epochs,
            finalists=finalists,
            ways=way or tuple(WAYS),
            distil_epochs=distil_epochs,
            seed=seed,
            device=device,
            flops_at_least=flops_at_least,
            unseen_classes=unseen_classes,
            on_candidate=lambda candidate: report.note(_line(candidate)),
        )
        best, kept = found.finalists[0].candidate, found.trained[0]
        report.add(
            {
                "query_model": str(found.path),
                "flops": best.flops,
                "way": kept.way,
                "query_to_query": kept.measured.query_to_query,
                "query_to_gallery": kept.measured.query_to_gallery,
                "keeps_the_rule": kept.measured.keeps_the_rule,
                "ways": {each.way: each.measured.query_to_gallery for each in found.trained},
                "candidates": len(found.history.candidates),
            },
            [
                *(
                    f"{each.way:<9} held-out mAP: small/large "
                    f"{each.measured.query_to_gallery:.4f}, small/small "
                    f"{each.measured.query_to_query:.4f}"
                    for each in found.trained
                ),
                f"query model: {found.path}, trained by {kept.way}, {best.flops / 1e6:.3f} MFLOPs",
            ],
        )
        if onnx:
            try:
                _export(report, found.path, out / "query.onnx")
            except MissingExtraError as error:
                report.add({"onnx": None}, [f"not written as ONNX: {error}"])


@architecture_search.command()
def show(
    folder: Folder,
    best: Annotated[int, typer.Option(help="How many candidates to list.")] = 10,
    picture: Annotated[
        Path | None, typer.Option(help="Draw quality against FLOPs into this .png or .svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the best candidates of a search, finished or not, and draw it."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.architecture_search.evolution import History, search_picture

        history = History.read(folder / "history.json")
        ranked, front = history.best(best), history.front()
        report.add(
            {
                "candidates": len(history.candidates),
                "best": [candidate.to_dict() for candidate in ranked],
                "pareto_front": [candidate.to_dict() for candidate in front],
            },
            [
                f"{len(history.candidates)} candidates, {len(front)} on the Pareto front; "
                f"the best by {history.identity.get('reward')}:",
                *map(_line, ranked),
            ],
        )
        if picture is not None:
            search_picture(history, picture)
            report.add({"picture": str(picture)}, [f"picture: {picture}"])


@architecture_search.command()
def export(
    folder: Folder,
    onnx: Annotated[Path, typer.Option(help="The file to write.")],
    as_json: Json = False,
) -> None:
    """Write the found query model as ONNX, and compare onnxruntime with torch."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        _export(report, folder / "query_model.safetensors", onnx)


def _export(report: Report, query_model: Path, onnx: Path) -> None:
    from hotfill.lab.architecture_search import query_embedder
    from hotfill.lab.architecture_search.search import QueryModelFile

    file = QueryModelFile.read(query_model)
    space = file.network.space
    with counted("exporting"):
        done = query_embedder.export(file.network, onnx, channels=space.channels, side=space.side)
    report.add(
        {
            "onnx": str(done.path),
            "bytes": done.bytes,
            "largest_difference": done.difference,
            "gallery_model": file.gallery_model.to_dict(),
        },
        [
            f"{done.path}: {done.bytes:,} bytes; onnxruntime differs from torch by at most "
            f"{done.difference:.1e}",
            f"its embeddings search the gallery of {file.gallery_model}",
        ],
    )


def _line(candidate: Candidate) -> str:
    blocks = " ".join(f"{b.operation}x{b.width:g}" for b in candidate.architecture.blocks)
    return (
        f"generation {candidate.generation}  {candidate.flops / 1e6:8.3f} MFLOPs  "
        f"reward {candidate.reward:.4f}  M(q,g) {candidate.measured.query_to_gallery:.4f}  "
        f"M(q,q) {candidate.measured.query_to_query:.4f}  {blocks}"
    )
