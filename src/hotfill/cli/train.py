"""`hotfill train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import reporting
from hotfill.errors import ConfigError


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="bct, unibct, advbct, ract, bict, dmu, lce ...; csd, d3still, aml or raml for a "
            "small model that is to search the old one's gallery."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="A folder with one subfolder of pictures per class, or an .npz.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, log and the finished model.")],
    old: Annotated[
        Path | None, typer.Option(help="The old model's file, or old vectors by item id.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="small, medium, resnet18, or timm:NAME.")] = "small",
    dimension: Annotated[
        int | None, typer.Option(help="Of the new embeddings; the old one's by default.")
    ] = None,
    side: Annotated[int, typer.Option(help="Pictures of a folder are read at this size.")] = 32,
    channels: Annotated[int, typer.Option(help="1 for grey pictures, 3 for colour.")] = 3,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the recipe, as NAME=VALUE: weight=2, old_head_only=true; repeatable."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 30,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """Train a model that is compatible with an old one. The same command again goes on."""
    with reporting(DEFAULT_CONFIG, as_json) as report:
        from hotfill.extras import need

        need("torch", "train")
        from hotfill.lab.training import TrainingSettings, train_compatible

        trained = train_compatible(
            recipe,
            data,
            out,
            old=old,
            backbone=backbone,
            dimension=dimension,
            side=side,
            channels=channels,
            settings=TrainingSettings(epochs=epochs, seed=seed, device=device),
            options=dict(map(_option, option or [])),
            show_progress=not as_json,
        )
        model = None if trained.model is None else str(trained.model)
        report.add(
            {"recipe": recipe, "finished": trained.outcome.finished, "model": model},
            [f"model: {model}" if model else "not finished; the same command goes on"],
        )


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as error:
        raise ConfigError(
            f"--option: expected NAME=VALUE with a number, true or false, got {text!r}"
        ) from error
