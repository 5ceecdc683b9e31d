"""`hotfill doctor`: look at everything an upgrade needs. Changes nothing."""

from __future__ import annotations

import platform
import re
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotfill._version import __version__
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode, exit_code
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted
from hotfill.errors import (
    ConfigError,
    HeldError,
    HotfillError,
    SourceError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from hotfill.formatting import percent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotfill.config import Project
    from hotfill.stores.base import Gallery

_LOOKED_AT = 3  # items whose content is read


def doctor(
    config: Config = DEFAULT_CONFIG,
    quick: Annotated[
        bool, typer.Option("--quick", help="Load no model, read no content, count no rows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check whether everything an upgrade needs is there.

    Says how to fix what is not. Changes nothing. Ends with the exit code of the first problem.
    """
    with reporting(config, as_json) as report:
        findings = check_up(config, quick=quick)
        problems = [each for each in findings if each.problem]
        report.add(
            {"healthy": not problems, "findings": [each.to_dict() for each in findings]},
            [line for each in findings for line in each.lines()],
        )
        if problems:
            report.code = problems[0].code
            report.next(["doctor"])
        else:
            report.next(["sample", "plan", "status"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    problem: what is wrong and how to fix it; None when all is well. warns: whether what was found
    may need something to be done, although nothing is wrong.
    """

    what: str
    found: str = ""
    problem: str | None = None
    code: ExitCode = ExitCode.OK
    warns: bool = False

    def lines(self) -> list[str]:
        """Say it to people."""
        state = "problem" if self.problem is not None else "warning" if self.warns else "ok"
        return [f"{state:8} {self.what:14} {self.problem or self.found}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "what": self.what,
            "found": self.found,
            "problem": self.problem,
            "warns": self.warns,
        }


def check_up(path: Path, *, quick: bool = False) -> list[Finding]:
    """Look at the installation, the file, the models, the source, the store and the journal.

    quick: leave out what loads a model, reads contents or looks at every row.
    """
    from hotfill.config import read
    from hotfill.locks import holder

    findings = [_versions(), _extras()]
    try:
        project = read(path)
    except HotfillError as error:
        return [*findings, Finding("configuration", problem=str(error), code=exit_code(error))]
    findings.append(Finding("configuration", str(path)))
    findings += [_looked("journal", _journal, project), _looked("rho", _rho, project)]
    if not quick:
        findings += [
            _looked("old model", _old_model, project),
            _looked("new model", _new_model, project),
            _looked("source", _source, project),
        ]
    try:
        with project.gallery() as gallery:
            if quick:
                findings.append(_looked("store", lambda it: _stamps(gallery), project))
            else:
                findings += [
                    _looked("store", lambda it: _store(it, gallery), project),
                    _looked("content", lambda it: _content(it, gallery), project),
                    _looked("free space", lambda it: _space(it, gallery), project),
                    _looked("writes", lambda it: _writes(it, gallery), project),
                    _looked("counts", lambda it: _counts(gallery), project),
                    _drift(project, gallery),
                    *_notes(project, gallery),
                ]
            findings += [
                _looked("phase", lambda it: _agreement(it, gallery, quick=quick), project),
                _looked("indexes", lambda it: _indexes(it, gallery), project),
                _looked("origins", lambda it: _origins(it, gallery), project),
            ]
    except StoreBusyError as error:
        pid = holder(project.folder / "running")
        if pid is None:
            findings.append(Finding("store", problem=str(error), code=exit_code(error)))
        else:
            findings.append(Finding("store", f"open in process {pid}, which runs this upgrade"))
    except HotfillError as error:
        findings.append(Finding("store", problem=str(error), code=exit_code(error)))
    return findings


def _looked(what: str, look: Callable[[Project], str], project: Project) -> Finding:
    try:
        with counted(f"looking at: {what}"):
            return Finding(what, look(project))
    except HotfillError as error:
        return Finding(what, problem=str(error), code=exit_code(error))


def _versions() -> Finding:
    return Finding("versions", f"hotfill {__version__}, Python {platform.python_version()}")


def _extras() -> Finding:
    """Name the extras whose packages are all installed, and the others."""
    packages: dict[str, list[str]] = {}
    for requirement in metadata.requires("hotfill") or ():
        extra = re.search(r"""extra == ['"]([^'"]+)""", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name:
            packages.setdefault(extra[1], []).append(name[0])
    present = [extra for extra, names in packages.items() if all(map(_is_installed, names))]
    absent = [extra for extra in packages if extra not in present]
    return Finding("extras", f"installed: {_listed(present)}; not installed: {_listed(absent)}")


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _journal(project: Project) -> str:
    with closing(project.look()) as journal:
        begun = journal.last("plan") is not None
        return f"phase {journal.phase}" if begun else "not begun"


def _rho(project: Project) -> str:
    """Tell how well scores of mapped vectors follow the true ones, and what that makes doubtful."""
    from hotfill.ranking.one_space import doubts_of_rho, rho_enough
    from hotfill.upgrade.status import items_wait

    with closing(project.look()) as journal:
        fit = journal.last("fit")
        if fit is None:
            return "not known yet: `hotfill rehearse` measures it, and `hotfill start` does"
        if "rho" not in fit.body:
            return "not known: nothing is imputed"
        rho, by_items = float(fit.body["rho"]), bool(fit.body["rho_by_items"])
        plan, phase = project.plan_to_look_at(journal), journal.phase
    by = "items" if by_items else "real queries"
    found = f"{rho:.2f} by {by}; from {rho_enough(by_items):.2f} on, one encoder is enough"
    if plan.queries == "both":
        return f"{found}; the old model embeds queries, too"
    doubts = doubts_of_rho(rho, by_items=by_items) if items_wait(phase, plan) else ()
    return "; ".join([found, *doubts])


def _old_model(project: Project) -> str:
    model = project.model("old")
    note = "" if project.embedder("old") else "; no embedder, so nothing can be written for it"
    return f"{model}{note}"


def _new_model(project: Project) -> str:
    if project.embedder("new") is None:
        raise ConfigError("[new] needs an embedder: items are embedded by it")
    return str(project.model("new"))


def _source(project: Project) -> str:
    section = project.settings.source
    if section is None and project.settings.upgrade.backfill == "none":
        return "none: nothing is embedded"
    if section is not None and section.kind == "store":
        return "the store itself"
    return type(project.source()).__name__


def _store(project: Project, gallery: Gallery) -> str:
    with closing(project.look()) as journal:
        wanted = {project.model("old"), project.model("new")}
        if journal.last("plan") is None:
            wanted = {project.model("old")}
    stamps = _stamps(gallery)
    if not wanted & set(gallery.spaces):
        raise ConfigError(
            f"the store is {stamps}, the file's old model is {project.model('old')}; "
            "correct [old], or the store's path"
        )
    return stamps


def _stamps(gallery: Gallery) -> str:
    held = [f"{space} with {gallery.count(space):,} items" for space in gallery.spaces]
    return f"stamped with {_listed(held)}"


def _content(project: Project, gallery: Gallery) -> str:
    item_ids = [
        item_id
        for space in gallery.spaces
        for item_id in gallery.scan(space, limit=_LOOKED_AT).item_ids
    ][:_LOOKED_AT]
    if project.settings.source is None and project.settings.upgrade.backfill == "none":
        return "none is needed"
    given = project.source(gallery)(item_ids)
    lacking = [item_id for item_id in item_ids if item_id not in given]
    if lacking and project.settings.upgrade.backfill != "all":
        return f"read for {len(given)} of the first {len(item_ids)} items; others stay imputed"
    if lacking:
        raise SourceError(
            f"the source has no content for {', '.join(lacking)}, which the store holds; "
            "check [source]: items without content cannot be upgraded"
        )
    return f"read for the first {len(item_ids)} items"


def _space(project: Project, gallery: Gallery) -> str:
    new = project.model("new")
    items = len(gallery) - (gallery.count(new) if new in gallery.spaces else 0)
    needed = items * gallery.vector_bytes(new)
    free = project.free_bytes
    if free is None:
        return f"{needed / 1e9:.3f} GB of new vectors to write; how much is free is not known here"
    text = f"{free / 1e9:.1f} GB free, {needed / 1e9:.3f} GB of new vectors to write"
    if needed > free:
        raise StoreFullError(f"{text}: make room first")
    return text


def _writes(project: Project, gallery: Gallery) -> str:
    """Try what the upgrade will write; everything is undone."""
    if problems := gallery.rehearse_writes(project.model("new")):
        raise StoreError("; ".join(problems))
    return "what an upgrade writes was tried, and undone"


def _notes(project: Project, gallery: Gallery) -> list[Finding]:
    try:
        said = gallery.remarks(project.model("new"))
    except HotfillError as error:
        return [Finding("notes", problem=str(error), code=exit_code(error))]
    return [Finding("note", line) for line in said]


def _counts(gallery: Gallery) -> str:
    """Compare the sums that the store keeps with its rows; reads the ids of all items."""
    from hotfill.upgrade.order import pages_of

    wrong = []
    for space in gallery.spaces:
        for _ in range(_LOOKED_AT):  # others may write while it is counted
            kept = gallery.count(space)
            there = sum(len(page.item_ids) for page in pages_of(gallery, space))
            if there in (kept, gallery.count(space)):
                break
        else:
            wrong.append(f"{there:,} items of {space} are there, and {kept:,} are counted")
    if wrong:
        raise StoreError(
            f"{'; '.join(wrong)}: rows came in behind the store's back; `hotfill start`, or "
            "`hotfill verify` where all is re-embedded, counts anew"
        )
    return "as many items as the store counts"


def _drift(project: Project, gallery: Gallery) -> Finding:
    """Compare what comes in with the pairs that the map was fitted on."""
    try:
        found, differs = _compared_with_pairs(project, gallery)
    except (HotfillError, FileNotFoundError) as error:  # the folder of the fit may be gone
        return Finding("drift", f"not known: {error}")
    return Finding("drift", found, warns=differs)


def _compared_with_pairs(project: Project, gallery: Gallery) -> tuple[str, bool]:
    from hotfill.ranking import Fit
    from hotfill.upgrade.drift import FALSE_ALARMS, LEAST, alarms, compare_with_pairs
    from hotfill.upgrade.state import fit_folder

    with closing(project.look()) as journal, counted("comparing what comes in with the pairs"):
        plan, phase = project.plan_to_look_at(journal), journal.phase
        if journal.last("fit") is None or not plan.imputes:
            return "nothing is imputed", False
        fit = Fit.load(fit_folder(project.folder, journal))
        if fit.one_space is None:
            return "no pairs were kept: the map was given, or the models are compatible", False
        compared = compare_with_pairs(gallery, journal, plan, fit)
    if not compared:
        return f"not known: fewer than {LEAST} items were written since", False
    if not (differing := alarms(compared)):
        return f"what comes in looks like the map's pairs (p {compared[0].p:.3f})", False
    said = " and ".join(
        f"{each.what} ({each.items} against {each.pairs} pairs, p {each.p:.4f})"
        for each in differing
    )
    back = "rollback" if phase == "cut_over" else "abort"
    remedy = (
        "embed what stayed imputed by `hotfill start --more`"
        if phase == "completed"
        else f"`hotfill {back}`, and begin again with pairs like these, or with a larger budget"
    )
    return (
        f"{said}: unlike the pairs that the map was fitted on (of looks without a change "
        f"{FALSE_ALARMS:.0%} say so), so imputed items are ranked worse than rho says: {remedy}"
    ), True


def _agreement(project: Project, gallery: Gallery, *, quick: bool) -> str:
    """Compare the phase with where the items are. quick: not before the upgrade begins."""
    from hotfill.upgrade.astray import find_astray

    with closing(project.look()) as journal:
        if quick and journal.last("plan") is None:
            return "not begun"
        plan, chained = project.plan_in_force(journal), project.previous is not None
        found = find_astray(gallery, journal, plan, chained=chained)
    if found is not None:
        raise HeldError("rely on the journal", [str(found)])
    return "the items are where the phase looks for them"


def _indexes(project: Project, gallery: Gallery) -> str:
    """Tell what share of each side is indexed; a lacking index of the new side is a problem."""
    from hotfill.upgrade.indexes import lacks_index

    shares = {space: gallery.indexed(space) for space in gallery.spaces}
    with closing(project.look()) as journal:
        begun = journal.last("plan") is not None
        new = project.plan_in_force(journal).new_model if begun else None
        done = journal.phase in ("backfilled", "cut_over", "completed")
        if done and new in shares and lacks_index(gallery, journal, new):
            raise StoreError(
                f"{percent(shares[new] or 0.0)} of {new} is indexed, and searches compare with all "
                "others one by one: `hotfill optimise` builds the index"
            )
    needed = {space: share for space, share in shares.items() if share is not None}
    return _listed([f"{percent(share)} of {space}" for space, share in needed.items()])


def _origins(project: Project, gallery: Gallery) -> str:
    """Count items by what made the vector that finds them; one that nothing known made is told."""
    from hotfill.upgrade.origins import Origins

    origins, told, unknown = Origins(gallery, project.folder), [], []
    with closing(project.look()) as journal:
        fits = {each for fact in journal.facts("fit") for each in fact.body["origins"]}
    for space in gallery.spaces:
        items, own = gallery.count(space), gallery.count(space, origin=space.fingerprint)
        known = {each.origin: str(each) for each in origins.of(space)}
        known = {**dict.fromkeys(fits, "imputed by the upgrade"), **known}
        counts = {origin: gallery.count(space, origin=origin) for origin in known}
        told.append(f"{own:,} by {space} itself")
        told += [f"{count:,} {known[origin]}" for origin, count in counts.items() if count]
        if (others := items - own - sum(counts.values())) > 0:
            unknown.append(f"{others:,} items of {space}")
    if unknown:
        raise StoreError(
            f"{_listed(unknown)} are found by imputed vectors of a fit that nobody knows, so that "
            "they are ranked as they come: `hotfill start` imputes them anew, and after `complete` "
            "`hotfill start --more` embeds them"
        )
    return _listed(told)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
