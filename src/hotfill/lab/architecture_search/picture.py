"""A search as a picture: quality against FLOPs, and the Pareto front."""

from __future__ import annotations

from pathlib import Path

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.lab.architecture_search.history import History

FRONT = "#D55E00"  # of Okabe and Ito's palette
DOTS_PER_INCH = 150


def search_picture(history: History, path: Path) -> None:
    """Draw M(q, g) of every candidate against its FLOPs, coloured by generation.

    The line is the Pareto front of M(q, g); the star marks the highest reward. path: .png or .svg.
    Needs matplotlib (extra `plot`). Raises InputError for a history without candidates.
    """
    if not history.candidates:
        raise InputError("the history has no candidate yet; there is nothing to draw")
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = axes.scatter(
        [candidate.flops / 1e6 for candidate in history.candidates],
        [candidate.measured.query_to_gallery for candidate in history.candidates],
        c=[candidate.generation for candidate in history.candidates],
        cmap="viridis_r",
        s=16,
        label="candidate",
    )
    if history.candidates[-1].generation:
        figure.colorbar(points, label="generation")
    front = history.front()
    axes.step(
        [candidate.flops / 1e6 for candidate in front],
        [candidate.measured.query_to_gallery for candidate in front],
        where="post",
        color=FRONT,
        label="Pareto front",
    )
    (best,) = history.best()
    axes.plot(
        [best.flops / 1e6],
        [best.measured.query_to_gallery],
        marker="*",
        markersize=14,
        linestyle="",
        color=FRONT,
        label=f"highest reward ({history.identity.get('reward', '')})",
    )
    axes.set_xlabel("query model, million multiply-adds")
    axes.set_ylabel("mAP, small queries on the large gallery")
    axes.set_title("Candidates with the super-network's weights")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
