"""Every BIDS name that is read or written: entities, bundle and scalar names, output file patterns.

The tractometry and tractography names follow drafts (BEP046 and its kin); when the drafts move, this file moves.

    OUT/sub-01/[ses-1/]dwi/sub-01[_ses-1][_space-X]_desc-{profile1D,profile2D,bundle}_tractometry.tsv
    OUT/atlas/atlas-<label>_bundle-<X>_grid.{json,npz}
    OUT/atlas/atlas-<label>_bundle-<X>_streamlines.tck
    OUT/group/desc-profile1D_norms.tsv
    OUT/sub-01/figures/sub-01[_ses-1][_space-X]_bundle-<X>_desc-picture_tractometry.png
    OUT/group/model-<name>/model-<name>[_bundle-<X>]_desc-profile{1D,2D}_{fits,stats,blocks,summary,clusters}.tsv
    OUT/group/desc-{coverage,outliers,orientation,sites}_qc.tsv
    (map_file, model_table and model_rows name the others)

Programs spell one tract in many ways (AF_L, LeftArcuate, AFleft, Association_ArcuateFasciculusL). `canonical` gives
all of them one key, from `bundle_aliases.tsv`: one row per tract; hemispheres are made by rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from spectra_bids.errors import DatasetError

Dims = Literal["1D", "2D"]
TableKind = Literal["stats", "blocks", "summary", "clusters", "outliers", "calibration", "sensitivity"]
#: Tables of the quality of all sessions.
QcKind = Literal["coverage", "outliers", "orientation", "sites"]
#: What the map step leaves of a bundle beside its fits.
MapKind = Literal["fits", "components", "means", "residuals", "permutations"]

#: Short name in file names -> long name that BIDS tools use; file name order. Entities not listed are their own.
ENTITIES = {
    "sub": "subject",
    "ses": "session",
    "tpl": "template",
    "task": "task",
    "acq": "acquisition",
    "ce": "ceagent",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "from": "from",
    "to": "to",
    "mode": "mode",
    "hemi": "hemi",
    "space": "space",
    "atlas": "atlas",
    "res": "res",
    "label": "label",
    "model": "model",
    "algo": "algo",
    "bundles": "bundles",
    "bundle": "bundle",
    "tract": "tract",
    "track": "track",
    "param": "param",
    "desc": "desc",
}

BUNDLE_SUFFIXES = ("tractogram", "streamlines", "tractography")
#: Values of `desc` that name a whole file of bundles, or no bundle at all.
_NOT_A_BUNDLE = {"bundles", "wholebrain", "original", "prob", "det", "tractography", "seed", "stop", "preproc"}
_LABEL = re.compile(r"[A-Za-z0-9]+")


def label(value: str, what: str = "label") -> str:
    """`value` if it is a BIDS label, [A-Za-z0-9]+; it will become part of a path."""
    if not _LABEL.fullmatch(value):
        raise DatasetError(f"A {what} must consist of letters and digits. Got {value!r}")
    return value


def plain(name: str) -> str:
    """The name's letters and digits: value of the column `bundle` and of file names."""
    kept = re.sub(r"[^A-Za-z0-9]", "", name)
    if not kept:
        raise DatasetError(f"The name of a bundle must hold letters or digits. Got {name!r}")
    return kept


def bundle_name(entities: Mapping[str, str], suffix: str) -> str | None:
    """Bundle that a tractography file holds: tract(+hemi), else bundle(+hemi), else desc; None if it names none."""
    if suffix not in BUNDLE_SUFFIXES:
        return None
    for entity in ("tract", "bundle"):
        if entities.get(entity):
            return entities[entity] + entities.get("hemi", "")
    desc = entities.get("desc", "")
    return desc if desc and desc.lower() not in _NOT_A_BUNDLE else None


def scalar_name(entities: Mapping[str, str]) -> str:
    """Column of a scalar map, `<model>_<param>`, lower case; a map without model is `dwi_<param>`."""
    model, param = entities.get("model", "dwi"), entities.get("param") or entities.get("desc", "")
    return f"{label(model, 'model').lower()}_{label(param, 'scalar').lower()}"


def canonical(name: str) -> str:
    """One key for all spellings of a tract; unknown names become lower-case letters and digits.

    Examples
    --------
    >>> {canonical(n) for n in ("AF_L", "ARC_L", "Left Arcuate", "AFleft", "Association_ArcuateFasciculusL")}
    {'afleft'}
    >>> canonical("My Bundle_7")
    'mybundle7'

    """
    return _lookup(name) or plain(name).lower()


def meant(name: str, there: Iterable[str]) -> str | None:
    """The name of a bundle in `there` that `name` is, or is another spelling of; None if there is none.

    Examples
    --------
    >>> meant("AF_L", ["AssociationArcuateFasciculusL", "CSTR"])
    'AssociationArcuateFasciculusL'

    """
    known = list(there)
    return name if name in known else next((k for k in known if canonical(k) == canonical(name)), None)


def is_known(name: str) -> bool:
    """Whether the alias table knows the tract."""
    return _lookup(name) is not None


def _lookup(name: str) -> str | None:
    """Key of a known tract."""
    text = re.sub(r"(^|[_+])(tract|bundle|desc|hemi)-", r"\1", name)
    side = re.match(r"([LRlr])[hH]?[_\-. ]+(.+)$", text)
    spellings = [text] if side is None else [text, side.group(2) + side.group(1)]
    known = _spellings()
    for spelling in spellings:
        flat = re.sub(r"[^a-z0-9]", "", spelling.lower())
        for form in (flat, _CATEGORY.sub("", flat)):
            if form in known:
                return known[form]
    return None


#: DSI Studio puts the kind of tract before its name.
_CATEGORY = re.compile(
    r"^(association|projection(basalganglia|brainstem)?|commissur(e|al)|cerebell(um|ar)|cranialnerves?)"
)


@cache
def _spellings() -> dict[str, str]:
    """Every known spelling (lower-case letters and digits) -> key."""
    out: dict[str, str] = {}
    lines = (Path(__file__).parent / "bundle_aliases.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for line in lines:
        tract, sides, spellings = line.split("\t")
        for spelling in (tract, *spellings.split()):
            for form, key in _forms(tract, spelling, sides.split()):
                if out.setdefault(form, key) != key:
                    raise DatasetError(f"bundle_aliases.tsv gives {form!r} to both {out[form]!r} and {key!r}")
    return out


def _forms(tract: str, spelling: str, sides: list[str]) -> list[tuple[str, str]]:
    """(form, key) pairs of one spelling: {s} is where the side stands, {L} only l or r, {left} only the word."""
    forms = [(spelling, tract)] if "M" in sides and "{" not in spelling else []
    if "LR" not in sides:
        return forms
    for word in ("left", "right"):
        short, key = word[0], tract + word
        if "{s}" in spelling:
            forms += [(spelling.replace("{s}", short), key), (spelling.replace("{s}", word), key)]
        elif "{L}" in spelling:
            forms.append((spelling.replace("{L}", short), key))
        elif "{left}" in spelling:
            forms.append((spelling.replace("{left}", word), key))
        else:
            forms += [(spelling + short, key), (spelling + word, key), (word + spelling, key)]
    return forms


def _bare(value: str, prefix: str) -> str:
    """Label without `sub-` or `ses-`, checked."""
    return label(value.removeprefix(prefix), "subject label" if prefix == "sub-" else "session label")


def session_stem(subject: str, session: str | None, space: str | None) -> str:
    """`sub-01[_ses-1][_space-X]`."""
    parts = [f"sub-{_bare(subject, 'sub-')}"]
    if session:
        parts.append(f"ses-{_bare(session, 'ses-')}")
    if space:
        # BIDS joins a template and its cohort by '+': MNIInfant+1.
        label(space.replace("+", ""), "space")
        parts.append(f"space-{space}")
    return "_".join(parts)


def _session_table(out: Path, subject: str, session: str | None, space: str | None, desc: str) -> Path:
    folder = out / f"sub-{_bare(subject, 'sub-')}"
    if session:
        folder = folder / f"ses-{_bare(session, 'ses-')}"
    return folder / "dwi" / f"{session_stem(subject, session, space)}_desc-{desc}_tractometry.tsv"


def profile_file(out: Path, subject: str, session: str | None, space: str | None, dims: Dims) -> Path:
    """Table of a session's profiles."""
    return _session_table(out, subject, session, space, f"profile{label(dims)}")


def bundle_file(out: Path, subject: str, session: str | None, space: str | None) -> Path:
    """Table of a session's bundles, one row each."""
    return _session_table(out, subject, session, space, "bundle")


def grid_files(out: Path, atlas_label: str, bundle: str) -> tuple[Path, Path]:
    """(json, npz) of a frozen grid."""
    stem = f"atlas-{label(atlas_label, 'atlas label')}_bundle-{label(bundle, 'bundle')}_grid"
    return out / "atlas" / f"{stem}.json", out / "atlas" / f"{stem}.npz"


def streamlines_file(out: Path, atlas_label: str, bundle: str) -> Path:
    """Some streamlines of an atlas bundle, to show its grid on."""
    description, _ = grid_files(out, atlas_label, bundle)
    return description.with_name(description.name.removesuffix("_grid.json") + "_streamlines.tck")


def figure_file(out: Path, subject: str, stem: str, desc: str, suffix: str = "tractometry", ext: str = "svg") -> Path:
    """Figure of a subject; `stem` as `session_stem` makes it."""
    if not re.fullmatch(r"[A-Za-z0-9+_-]+", stem):
        raise DatasetError(f"A file name must consist of entities. Got {stem!r}")
    folder = out / f"sub-{_bare(subject, 'sub-')}" / "figures"
    return folder / f"{stem}_desc-{label(desc)}_{label(suffix)}.{label(ext)}"


def picture_file(out: Path, subject: str, stem: str, bundle: str) -> Path:
    """3D picture of a bundle; `stem` as `session_stem` makes it."""
    return figure_file(out, subject, f"{stem}_bundle-{label(bundle, 'bundle')}", "picture", ext="png")


def subject_page(out: Path, subject: str) -> Path:
    """Report of a subject."""
    return out / f"sub-{_bare(subject, 'sub-')}.html"


def group_dir(out: Path) -> Path:
    """Folder of everything about the group."""
    return out / "group"


def norms_file(out: Path) -> Path:
    """Spread of every node over the cohort's sessions, one table for all models."""
    return group_dir(out) / "desc-profile1D_norms.tsv"


def model_dir(out: Path, name: str) -> Path:
    """Folder of one model's results."""
    return group_dir(out) / f"model-{label(name, 'model name')}"


def map_file(out: Path, model: str, bundle: str, dims: Dims, kind: MapKind = "fits", suffix: str = "tsv") -> Path:
    """File of one bundle (map step): fits, components of variance, adjusted means, residuals' correlation ..."""
    stem = f"model-{label(model, 'model name')}_bundle-{label(bundle, 'bundle')}_desc-profile{label(dims)}"
    return model_dir(out, model) / f"{stem}_{kind}.{suffix}"


def model_table(out: Path, model: str, dims: Dims, kind: TableKind) -> Path:
    """Table over all bundles (reduce step)."""
    return model_dir(out, model) / f"model-{label(model, 'model name')}_desc-profile{label(dims)}_{label(kind)}.tsv"


def model_rows(out: Path, model: str) -> Path:
    """Who is a row of the model, and why the others are not."""
    return model_dir(out, model) / f"model-{model}_rows.tsv"


def qc_table(out: Path, kind: QcKind) -> Path:
    """Table of the quality of all sessions."""
    return group_dir(out) / f"desc-{kind}_qc.tsv"


def qc_page(out: Path) -> Path:
    """Report of the quality of all sessions."""
    return out / "group_qc.html"


def model_page(out: Path, name: str) -> Path:
    """Report of a model."""
    return out / f"model-{label(name, 'model name')}.html"


def _run(uuid: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", uuid):
        raise DatasetError(f"A run's name must consist of letters, digits, '-' and '_'. Got {uuid!r}")
    return uuid


def run_log_dir(out: Path, uuid: str) -> Path:
    """Folder of one run's settings and log."""
    return out / "logs" / _run(uuid)


def crash_dir(out: Path, subject: str, uuid: str) -> Path:
    """Folder of one run's crashes of a subject."""
    return out / f"sub-{_bare(subject, 'sub-')}" / "log" / _run(uuid)
