"""`hotfill compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import check_writable, reporting
from hotfill.cli.progress import counted


def compare(
    recipes: Annotated[
        list[str], typer.Argument(help="bct, unibct, advbct, bounded ...; maps: ridge, procrustes.")
    ],
    old: Annotated[Path, typer.Option(help="The old model's embeddings, .npy (n, d_old).")],
    new: Annotated[Path, typer.Option(help="The new backbone's features, .npy (n, d_new).")],
    labels: Annotated[Path, typer.Option(help="Labels of the items, .npy (n,).")],
    seeds: Annotated[int, typer.Option(help="How many splits, each with its own weights.")] = 3,
    epochs: Annotated[int, typer.Option(help="Passes over the items, of each head.")] = 16,
    unseen_classes: Annotated[
        bool, typer.Option(help="Search classes that no head was trained on.")
    ] = False,
    measure: Annotated[
        str, typer.Option(help="AP, nDCG@k, R@k or Success@k, as ir-measures names them.")
    ] = "AP",
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the table as LaTeX.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality over the share embedded anew: .svg, .pdf.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="A folder for TREC run files and judgements.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare recipes and maps on your own embeddings; differences with a paired bootstrap."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.extras import need

        need("torch", "train")
        from hotfill.array_files import read_array
        from hotfill.lab.compare import check_picture
        from hotfill.lab.compare import compare as compared
        from hotfill.lab.heads import HeadPlan
        from hotfill.lab.training import TrainingSettings

        check_writable(csv, latex, plot)
        if plot is not None:
            check_picture(plot)
        before = read_array(old, 2)
        plan = HeadPlan(
            dimension=before.shape[1],
            hidden=2 * before.shape[1],
            settings=TrainingSettings(epochs=epochs, batch=250),
        )
        with counted("comparing", seeds * (len(recipes) + 1)) as show:
            found = compared(
                recipes,
                before,
                read_array(new, 2),
                read_array(labels, 1),
                seeds=seeds,
                unseen_classes=unseen_classes,
                plan=plan,
                by=measure,
                runs=runs,
                on_measured=show,
            )
        for path, text in ((csv, found.csv()), (latex, found.latex())):
            if path is not None:
                path.write_text(text, encoding="utf-8")
        if plot is not None:
            found.plot(plot)
        splits = "one split" if seeds == 1 else f"{seeds} splits"
        said = f"{measure}, mean over {len(found.old):,} queries of {splits}"
        report.add(found.to_dict(), [*found.text().splitlines(), said])
