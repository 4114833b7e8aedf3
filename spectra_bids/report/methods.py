"""Methods of the profiles in words with citations, logs/CITATION.md and logs/CITATION.bib.

The text of the citation files does not depend on a run, so that jobs that share an output folder write equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from spectra_bids import __version__
from spectra_bids.report.references import MODEL_KEYS, PARTICIPANT_KEYS, REFERENCES, Reference
from spectra_bids.settings import ProfileSettings

SOFTWARE = (
    "numpy",
    "scipy",
    "pandas",
    "nibabel",
    "dipy",
    "pybids",
    "nilearn",
    "nitransforms",
    "formulaic",
    "matplotlib",
)


def versions() -> dict[str, str]:
    """Versions of this program and of the packages that compute, those that are installed."""
    found = {"spectra_bids": __version__}
    for name in SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_text() -> str:
    """All versions in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def cite(*keys: str) -> str:
    """(Yeatman et al. 2012; Feng et al. 2026)"""
    return "(" + "; ".join(REFERENCES[key].short for key in keys) + ")"


def participant_methods(settings: ProfileSettings, routes: Iterable[str] = ()) -> tuple[str, ...]:
    """How a subject's profiles were made, paragraphs."""
    grid = settings.grid
    along = f"{grid.ns} nodes" if grid.ns else f"nodes about {grid.s_len:g} mm apart"
    wide = f"{grid.nr} bins" if grid.nr else f"bins {grid.r_len:g} mm wide"
    ends = {
        "linear": "its ends extended along their tangents and cut where the atlas streamlines end",
        "spline": "its ends extended by a cubic spline and cut where the atlas streamlines end",
        "none": "its ends as they are",
    }[grid.robust]
    radial = {
        "signed": "The radial bin r is signed: the position along the dominant axis of the bundle's cross-section at "
        "that node (a bundle is a ribbon), negative on one side and positive on the other.",
        "distance": "The radial bin r is the perpendicular distance to the centroid.",
    }[grid.radial]
    said = {
        "none": "bundles were taken as they are, since their space agrees with the atlas space",
        "xfm": "points were moved by the preprocessing derivatives' own transforms",
        "slr": "all bundles of a session were aligned to the atlas by one affine streamline registration "
        + cite("garyfallidis2015"),
    }
    used = [said[route] for route in dict.fromkeys(routes) if route in said]
    registration = f" To reach atlas space, {'; '.join(used)}." if used else ""
    return (
        f"Along-tract profiles were computed with spectra_bids {__version__} "
        f"{cite('yeatman2012', 'chandio2020', 'feng2026')}, which builds on DIPY {versions().get('dipy', '')} "
        f"{cite('garyfallidis2014')}.",
        "The grid is a property of the atlas and the same for every person: the centroid of each atlas bundle, "
        f"{ends}, is divided into {along}, and its cross-section into {wide}. {radial}{registration}",
        "Every streamline point takes the nearest node. Scalar maps were sampled trilinearly in their own space; "
        "points outside the field of view, outside the mask or without a finite value do not count, and are never "
        "taken as 0. The 1D profile is the mean over a node's points, weighted by the inverse of their distance to "
        "it; the 2D profile is the plain mean of a cell.",
        f"Bundles with fewer than {settings.min_streamlines} streamlines and cells with fewer than "
        f"{settings.min_points} points have no value; the tables give the reason.{_points(settings)}",
    )


def _points(settings: ProfileSettings) -> str:
    """Sentences on masks and weights, those that were used."""
    chosen = settings.points
    said = ""
    if chosen.include_mask:
        said += f" Only points inside {chosen.include_mask} count."
    if chosen.exclude_mask:
        said += f" Points inside {chosen.exclude_mask} do not count."
    if chosen.lesion_mask:
        said += f" The lesion load is the share of a row's points inside {chosen.lesion_mask}."
    if chosen.streamline_weights:
        said += f" Streamlines count by their weights, {chosen.streamline_weights}."
    return said


def participant_references(routes: Iterable[str] = ()) -> tuple[str, ...]:
    """References of the participant page."""
    extra = ("garyfallidis2015",) if "slr" in set(routes) else ()
    return tuple(REFERENCES[key].text for key in (*PARTICIPANT_KEYS, *extra))


def citation_md() -> str:
    """Text of logs/CITATION.md."""
    lines = [
        "# How to cite",
        "",
        "Profiles and statistics were made with spectra_bids " + __version__ + ". Please cite what you used:",
        "",
        f"- Along-tract and radial profiles: {_keys('yeatman2012', 'chandio2020', 'feng2026', 'garyfallidis2014')}.",
        f"- Registration by streamlines (`--registration slr`): {_keys('garyfallidis2015')}.",
        f"- Mixed models with Satterthwaite's degrees of freedom: {_keys(*MODEL_KEYS)}.",
        f"- Hierarchical FDR (`--stats-mode hfdr`): {_keys('benjamini2014', 'bogomolov2021', 'simes1986')}.",
        f"- FDR (`--stats-mode fdr`): {_keys('benjamini1995')}; with `--adaptive`: {_keys('benjamini2006')}.",
        f"- Permutation (`--stats-mode perm`): {_keys('freedman1983', 'winkler2014')}; TFCE: {_keys('smith2009')}.",
        f"- Combinations of p values (`--combination`): acat {_keys('liu2020')}, minp-galwey {_keys('galwey2009')}, "
        f"gates {_keys('li2011')}.",
        f"- R engine (`--engine pymer4`): {_keys('jolly2018', 'bates2015', 'kuznetsova2017')}; Kenward-Roger: "
        f"{_keys('kenward1997', 'halekoh2014')}.",
        f"- Local termination patterns (`spectra-bids ltpa`): {_keys('cieslak2014')}.",
        f"- ComBat (`--harmonize combat`): {_keys('johnson2007', 'fortin2018')}.",
        f"- Data organisation: {_keys('gorgolewski2016', 'yarkoni2019')}.",
        f"- Computing: {_keys('harris2020', 'virtanen2020')}.",
        "",
        f"Software: {versions_text()}.",
        "",
        "## References",
        "",
        *(f"- [{reference.key}] {reference.text}" for reference in REFERENCES.values()),
    ]
    return "\n".join(lines) + "\n"


def citation_bib() -> str:
    """Text of logs/CITATION.bib."""
    return "\n".join(_bibtex(reference) for reference in REFERENCES.values())


def _keys(*keys: str) -> str:
    return " ".join(f"[{key}]" for key in keys)


def _bibtex(reference: Reference) -> str:
    authors = reference.authors.replace(";", " and")
    fields = {
        "author": authors,
        "year": str(reference.year),
        "title": f"{{{reference.title}}}",
        "note": reference.where,
        "doi": reference.doi,
    }
    kind = "misc" if reference.where == "Preprint" else "article"
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{reference.key},\n{body}\n}}\n"
