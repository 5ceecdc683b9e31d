"""`hotfill init`: look at what is there, ask what cannot be known, and write the configuration."""

from __future__ import annotations

import json
import os
import re
import shlex
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, Json
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted
from hotfill.errors import HotfillError, InputError
from hotfill.formatting import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotfill.cli.output import Report
    from hotfill.config import Project
    from hotfill.integrations.discovery import FoundCollection, FoundContents
    from hotfill.integrations.items import Reader

T = TypeVar("T")

_STUB = '''"""The contents of items, by id: hotfill embeds them again."""


def open_source():
    """Return a function from item ids to their contents; ids that are gone are left out."""

    def read(item_ids):
        raise NotImplementedError("contents.py: look up the contents of these ids, and return them")
        return {item_id: "its text, or the bytes of its picture" for item_id in item_ids}

    return read
'''

_USUAL = {
    384: "all-MiniLM-L6-v2 or BAAI/bge-small-en-v1.5",
    512: "timm:... (pictures), or a model of the kind of CLIP",
    768: "all-mpnet-base-v2 or BAAI/bge-base-en-v1.5",
    1024: "BAAI/bge-large-en-v1.5 or mixedbread-ai/mxbai-embed-large-v1",
    1536: "openai:text-embedding-3-small or openai:text-embedding-ada-002",
    3072: "openai:text-embedding-3-large",
}
"""Models that often made vectors of that many numbers; only ever a hint in a question."""

_OPENAI = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}

_MODEL_HELP = (
    "A name or folder of sentence-transformers, module:function of your own, openai:NAME, "
    "URL#NAME of any endpoint like OpenAI's, timm:NAME, or a file .onnx"
)


def init(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="PLACE",
            help="What is there: postgresql://..., http://... (Qdrant, Milvus), a folder or file "
            "of a store, an index of FAISS, a Parquet or JSON lines file, a folder of pictures.",
        ),
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", help="The file to write.", envvar="HOTFILL_CONFIG")
    ] = DEFAULT_CONFIG,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Which collection, table or index.")
    ] = None,
    old: Annotated[
        str | None,
        typer.Option("--old", help=f"The model that made the vectors. {_MODEL_HELP}; gone:NAME."),
    ] = None,
    new: Annotated[str | None, typer.Option("--new", help="The model to upgrade to.")] = None,
    vector: Annotated[
        str | None, typer.Option("--vector-column", help="Column or name of the vectors.")
    ] = None,
    item_id: Annotated[
        str | None, typer.Option("--id-column", help="Column that tells items apart.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text-field", help="Column or field of the texts to embed.")
    ] = None,
    content: Annotated[
        str | None,
        typer.Option(
            "--content",
            help="Where the contents are, unless in the store: a Parquet or JSON lines file, a "
            "folder of pictures, or module:function of your own.",
        ),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt/--no-adopt", help="Also adopt the collection.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a configuration file that is there.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; take the likeliest of what was found.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at what is there, and write the configuration.

    Lists the collections of a place, asks which one and which models, and writes upgrade.toml;
    where nothing is known of the contents, a stub in contents.py, too. Then the collection is
    adopted: hotfill notes in the store which model made the vectors, and changes nothing else. Of
    a file of contents or a folder of pictures a gallery is made.
    """
    with reporting(config, as_json) as report:
        from hotfill.integrations.discovery import FoundContents, discover

        if config.exists() and not force:
            raise InputError(f"{config} is there already; --force replaces it")
        ask = _Questions(report, can_ask=not yes and output.interactive())
        place = ask.text("Where are the vectors?", "PLACE", place, guess=_likely_place())
        found = discover(place)
        answers = _Answers(config, vector, item_id, text, content)
        if isinstance(found, FoundContents):
            _from_contents(answers, found, ask, old, new)
        else:
            _from_store(answers, _chosen(found, place, collection, ask), ask, old, new)
        _write(answers, report)
        if adopt:
            try:
                _take_over(answers, report)
            except HotfillError:
                report.note(f"wrote {config}; correct it, then: {_adopting(answers, report)}")
                raise
        report.add({"config": str(config), "store": answers.sections["store"]})
        if adopt:
            report.next(["rehearse", "start"])
        else:
            report.add({"next_steps": ["adopt"]}, [f"next: {_adopting(answers, report)}"])


def _likely_place() -> str | None:
    """Guess from the environment and the current folder; a guess is shown before it is used."""
    if "DATABASE_URL" in os.environ:
        return os.environ["DATABASE_URL"]
    return next((str(path.parent) for path in Path().glob("*/spaces.json")), None)


# Questions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Questions:
    """Asks on a terminal; elsewhere takes what was guessed, or says which option to give."""

    report: Report
    can_ask: bool

    def text(
        self,
        question: str,
        option: str,
        given: str | None,
        hint: str = "",
        *,
        guess: str | None = None,
    ) -> str:
        """Ask for a text that was not given. guess: what it probably is; None: nobody knows."""
        if given:
            return given
        if not self.can_ask:
            if not guess:
                raise InputError(f"{question} Give {option}" + (f": {hint}" if hint else ""))
            return guess
        if hint:
            self.report.note(hint)
        return str(typer.prompt(question, default=guess or None, err=True))

    def one_of(self, question: str, option: str, names: Sequence[str], given: str | None) -> str:
        """Ask for one of some names, the likeliest first."""
        if given is None and len(names) > 1 and self.can_ask:
            for number, name in enumerate(names, 1):
                self.report.note(f"  {number}  {name}")
            said = str(typer.prompt(question, default="1", err=True))
            given = names[int(said) - 1] if said in map(str, range(1, len(names) + 1)) else said
        chosen = given if given is not None else next(iter(names), None)
        if chosen is None or chosen not in names:
            raise InputError(f"{option}: expected {' or '.join(names) or 'one'}, got {chosen!r}")
        return chosen


@dataclass(slots=True)
class _Answers:
    """What the file will say. columns: of `hotfill adopt`. written: files that were made.

    vector, item_id, text, content: as given on the command line.
    """

    config: Path
    vector: str | None
    item_id: str | None
    text: str | None
    content: str | None
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    stamped: bool = False
    fill_from: FoundContents | None = None
    written: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.config.parent

    def here(self, path: Path) -> str:
        """Write a path as it is read from the file's folder."""
        inside = path.resolve()
        with suppress(ValueError):
            return inside.relative_to(self.folder.resolve()).as_posix()
        return str(inside)


def _chosen(
    found: Sequence[FoundCollection], place: str, wanted: str | None, ask: _Questions
) -> FoundCollection:
    """Tell which collection is meant; all are shown."""
    if not found:
        raise InputError(f"{place} holds no vectors that hotfill could take over")
    for each in found:
        sizes = ", ".join(
            f"{name or 'its vector'} of {size or 'unknown'} numbers"
            for name, size in each.vectors.items()
        )
        items = "" if each.items is None else f"{count(each.items)} items, "
        texts = f", texts in {', '.join(each.text_fields[:3])}" if each.text_fields else ""
        ask.report.note(f"found {each.name}: {items}{sizes}{texts}")
    names = [each.name for each in found]
    if wanted is None and len(names) > 1 and not ask.can_ask:
        raise InputError(f"{place} has several collections ({', '.join(names)}): name --collection")
    name = ask.one_of("Which one?", "--collection", names, wanted)
    return next(each for each in found if each.name == name)


# Sections ----------------------------------------------------------------------------------------


def _from_store(
    answers: _Answers, found: FoundCollection, ask: _Questions, old: str | None, new: str | None
) -> None:
    """Decide the sections for a collection that is there."""
    store = dict(found.store)
    for key in ("path", "location"):
        if key in store and "://" not in store[key] and found.index_file is None:
            store[key] = answers.here(Path(store[key]))
    if "dsn" in store:
        store["dsn"] = _without_secret(store["dsn"], ask.report)
        answers.sections["journal"] = {"name": _journal_name(found)}
    answers.sections["store"] = store
    if str(store.get("location", "")).startswith("http"):
        # The whole upgrade on this machine; `kind = "postgres"` lets workers elsewhere join.
        answers.sections["journal"] = {"kind": "sqlite"}
    if found.models:
        answers.stamped = True
        size: int | None = found.models[-1].dimension
    else:
        vector = ask.one_of(
            "Which vectors?", "--vector-column", list(found.vectors), answers.vector
        )
        size = found.vectors[vector]
        answers.columns["vector_column"] = vector
        if found.id_columns:
            answers.columns["id_column"] = ask.one_of(
                "Which column tells items apart?", "--id-column", found.id_columns, answers.item_id
            )
        if found.metadata_columns:
            answers.columns["metadata_column"] = found.metadata_columns[0]
        answers.columns |= {"index_file": found.index_file, "ids_file": found.ids_file}
    if found.models and old is None:
        answers.sections["old"] = {"model": found.models[-1].to_dict()}
    else:
        said = ask.text("Which model made the vectors?", "--old", old, _hint(size))
        answers.sections["old"] = model_section(said, size)
    answers.sections["new"] = _new_model(ask, new)
    answers.sections["source"] = _source(answers, found.text_fields, ask)


def _from_contents(
    answers: _Answers, found: FoundContents, ask: _Questions, old: str | None, new: str | None
) -> None:
    """Decide the sections for a gallery that is made of contents."""
    answers.sections["store"] = {"kind": "qdrant-edge", "path": "gallery"}
    answers.fill_from = found
    if found.kind != "pictures":
        answers.item_id = ask.one_of(
            "Which column tells items apart?", "--id-column", found.id_columns, answers.item_id
        )
        answers.text = ask.one_of(
            "Which column has the texts?", "--text-field", found.text_fields, answers.text
        )
    said = ask.text("By which model is the gallery made?", "--old", old, _MODEL_HELP)
    answers.sections["old"] = model_section(said, None)
    answers.sections["new"] = _new_model(ask, new)
    answers.sections["source"] = _source_of(answers, found)


def _new_model(ask: _Questions, new: str | None) -> dict[str, Any]:
    return model_section(
        ask.text("Which model shall make them from now on?", "--new", new, _MODEL_HELP), None
    )


def _hint(size: int | None) -> str:
    usual = f" Vectors of {size} numbers are often by {_USUAL[size]}." if size in _USUAL else ""
    return f"{_MODEL_HELP}; gone:NAME for one that no longer runs.{usual}"


def model_section(said: str, size: int | None) -> dict[str, Any]:
    """Return [old] or [new] for a model as people name it.

    size: the numbers in its vectors, where they are known. Raises InputError.
    """
    if said.startswith("gone:"):
        if size is None:
            raise InputError(f"{said}: a model that no longer runs cannot make vectors")
        return {"model": {"name": said[5:], "revision": "1", "dimension": size}}
    if said.startswith("timm:"):
        return {"embedder": "hotfill.embedders.timm:from_options", "options": {"name": said[5:]}}
    url, mark, name = said.partition("#")
    if said.startswith("openai:"):
        url, mark, name = "https://api.openai.com/v1", "#", said[7:]
    if mark and "://" in url:
        size = size or _OPENAI.get(name)
        if size is None:
            raise InputError(
                f"{said}: nobody knows how many numbers its vectors have; write [new] by hand, as "
                "docs/howto/embedders.md shows"
            )
        options: dict[str, Any] = {"url": url, "name": name, "revision": "1", "dimension": size}
        if said.startswith("openai:"):
            options["api_key_env"] = "OPENAI_API_KEY"
        return {"embedder": "hotfill.embedders.http:from_options", "options": options}
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", said):
        return {"embedder": said}
    path = Path(said).expanduser()
    if path.suffix == ".onnx":
        options = {"path": str(path.resolve()), "name": path.stem}
        if (tokenizer := path.with_name("tokenizer.json")).is_file():
            options["tokenizer"] = str(tokenizer.resolve())
        return {"embedder": "hotfill.embedders.onnx:from_options", "options": options}
    return {
        "embedder": "hotfill.embedders.sentence_transformers:from_options",
        "options": {"model": str(path.resolve()) if path.is_dir() else said},
    }


def _source(answers: _Answers, fields: Sequence[str], ask: _Questions) -> dict[str, Any]:
    """Decide [source] for a store: its own texts, a file or folder, or code to be written."""
    from hotfill.integrations.discovery import FoundContents, discover

    if answers.content is None:
        if answers.text or fields:
            field = ask.one_of("Which field has the texts?", "--text-field", fields, answers.text)
            return {"kind": "store", "field": field}
        stub = answers.folder / "contents.py"
        if not stub.exists():
            stub.write_text(_STUB, encoding="utf-8")
            answers.written.append(str(stub))
        return {"factory": "contents:open_source"}
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", answers.content):
        return {"factory": answers.content}
    found = discover(answers.content)
    if not isinstance(found, FoundContents):
        raise InputError(f"--content {answers.content}: expected contents, found vectors")
    if found.kind != "pictures":
        answers.item_id = ask.one_of(
            "Which column has the ids?", "--id-column", found.id_columns, None
        )
        answers.text = ask.one_of(
            "Which column has the texts?", "--text-field", found.text_fields, answers.text
        )
    return _source_of(answers, found)


def _source_of(answers: _Answers, found: FoundContents) -> dict[str, Any]:
    """Make a source of contents; rows of a file are copied to where they are found by id."""
    if found.kind == "pictures":
        path = answers.here(found.path)
        placed = path if Path(path).is_absolute() else f"{{here}}/{path}"
        return {
            "factory": "hotfill.integrations.image_folder:open_source",
            "options": {"path": placed},
        }
    from hotfill.integrations.content_file import keep_contents

    contents = answers.folder / "contents.sqlite"
    keep_contents(_reader(answers, found), contents).close()
    answers.written.append(str(contents))
    return {
        "factory": "hotfill.integrations.content_file:open_source",
        "options": {"path": "{here}/contents.sqlite"},
    }


def _reader(answers: _Answers, found: FoundContents) -> Reader:
    if found.kind == "pictures":
        from hotfill.integrations.image_folder import ImageFolder

        return ImageFolder(found.path)
    keys = {"item_id": str(answers.item_id), "content": str(answers.text)}
    if found.kind == "jsonl":
        from hotfill.integrations.jsonl import JsonlReader

        return JsonlReader(found.path, **keys)
    from hotfill.integrations.parquet import ParquetReader

    return ParquetReader(found.path, **keys)


def _journal_name(found: FoundCollection) -> str:
    """Name a schema for the journal that no other gallery of the database is given, too."""
    plain = re.sub(r"[^a-z0-9]+", "_", found.name.lower())[:32]
    if plain == found.name and "rows" not in found.store:
        return f"hotfill_{plain}"
    meant = json.dumps([found.store["table"], found.store.get("rows")], sort_keys=True)
    return f"hotfill_{plain}_{zlib.crc32(meant.encode()):08x}"


def _without_secret(dsn: str, report: Report) -> str:
    """Name the variable that holds an address, where one does; passwords stay out of files."""
    for name in ("HOTFILL_DSN", "DATABASE_URL", "POSTGRES_URL"):
        if os.environ.get(name) == dsn:
            return f"${{{name}}}"
    if re.search(r"://[^/@]*:[^/@]+@|password=", dsn):
        report.note(
            "the file will hold a password: put the address into HOTFILL_DSN and give that to "
            "`hotfill init`, or the password into ~/.pgpass"
        )
    return dsn


# Files and the store -----------------------------------------------------------------------------


def _write(answers: _Answers, report: Report) -> None:
    import tomli_w

    order = ("store", "journal", "source", "old", "new")
    text = "# Written by `hotfill init`. All keys: docs/reference/configuration.md\n\n"
    text += tomli_w.dumps(
        {name: answers.sections[name] for name in order if name in answers.sections}
    )
    answers.config.parent.mkdir(parents=True, exist_ok=True)
    answers.config.write_text(text, encoding="utf-8")
    answers.written.insert(0, str(answers.config))
    report.add({"written": answers.written}, [f"wrote {path}" for path in answers.written])


def _take_over(answers: _Answers, report: Report) -> None:
    """Adopt the collection, or fill a gallery; the file is there, whatever happens here."""
    from hotfill.config import read

    project = read(answers.config)
    if answers.fill_from is not None:
        items = _filled(answers, answers.fill_from, project)
        report.add({"items": items}, [f"made a gallery of {count(items)} items"])
    elif not answers.stamped:
        from hotfill.cli.prepare import take_over_gallery
        from hotfill.stores.section import Existing

        take_over_gallery(project, Existing(**answers.columns), report)


def _adopting(answers: _Answers, report: Report) -> str:
    """Return the command that goes on from the file; `init` itself makes galleries of contents."""
    if answers.fill_from is not None:
        return "the same command with --force"
    options = (
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in answers.columns.items()
        if value is not None
    )
    return report.command("adopt") + "".join(options)


def _filled(answers: _Answers, found: FoundContents, project: Project) -> int:
    """Make a gallery of contents by the old model; called again, it goes on."""
    from hotfill.extras import need
    from hotfill.integrations.fill import fill_gallery

    need("qdrant_edge", "edge")
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    embedder = project.embedder("old")
    assert embedder is not None, "`model_section` refuses gone models here"
    folder = answers.folder / answers.sections["store"]["path"]
    opening: Callable[[], QdrantEdgeGallery] = (
        (lambda: QdrantEdgeGallery.open(folder))
        if (folder / "spaces.json").exists()
        else (lambda: QdrantEdgeGallery.create(folder, embedder.model_id))
    )
    with opening() as gallery, counted("embedding", found.items) as show:
        fill_gallery(gallery, _reader(answers, found), embedder, on_batch=show)
        return len(gallery)
