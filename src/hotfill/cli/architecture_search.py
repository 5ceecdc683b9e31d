"""`hotfill architecture-search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted

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
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Train the super-network, search, retrain the best. The same command again goes on."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.lab.architecture_search.evolution import Evolution
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
            seed=seed,
            device=device,
            flops_at_least=flops_at_least,
            unseen_classes=unseen_classes,
            on_candidate=lambda candidate: report.note(_line(candidate)),
        )
        best = found.finalists[0]
        report.add(
            {
                "query_model": str(found.path),
                "flops": best.candidate.flops,
                "query_to_query": best.measured.query_to_query,
                "query_to_gallery": best.measured.query_to_gallery,
                "keeps_the_rule": best.measured.keeps_the_rule,
                "candidates": len(found.history.candidates),
            },
            [
                f"query model: {found.path}",
                f"{best.candidate.flops / 1e6:.3f} MFLOPs, held-out mAP: small/large "
                f"{best.measured.query_to_gallery:.4f}, small/small "
                f"{best.measured.query_to_query:.4f}",
                f"next: hotfill architecture-search export {out} --onnx query.onnx",
            ],
        )


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
        from hotfill.lab.architecture_search import query_embedder
        from hotfill.lab.architecture_search.search import QueryModelFile

        file = QueryModelFile.read(folder / "query_model.safetensors")
        space = file.network.space
        with counted("exporting"):
            done = query_embedder.export(
                file.network, onnx, channels=space.channels, side=space.side
            )
        facts: dict[str, Any] = {
            "onnx": str(done.path),
            "bytes": done.bytes,
            "largest_difference": done.difference,
            "gallery_model": file.gallery_model.to_dict(),
        }
        report.add(
            facts,
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
