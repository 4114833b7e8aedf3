"""Methods in words with citations, the guarantee of the procedure, logs/CITATION.md and logs/CITATION.bib.

The text of the citation files does not depend on a run, so that jobs that share an output folder write equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from spectra_bids import __version__
from spectra_bids.report.references import MODEL_KEYS, PARTICIPANT_KEYS, REFERENCES, Reference
from spectra_bids.settings import GroupSettings, ProfileSettings

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
        f"{settings.min_points} points have no value; the tables give the reason.",
    )


def group_methods(settings: GroupSettings, formula: str, has_random: bool) -> tuple[str, ...]:
    """How the group results were made, paragraphs."""
    model = (
        "One linear mixed model per cell was fitted by restricted maximum likelihood, all cells at once; t and F tests "
        "have Satterthwaite's degrees of freedom "
        f"{cite(*MODEL_KEYS)}. A variance of the random effect that is estimated at 0 (a singular fit) is a valid fit."
        if has_random
        else "One linear model per cell was fitted by ordinary least squares; t and F tests have exact degrees of "
        "freedom."
    )
    return (
        f"Group inference used spectra_bids {__version__} with the formula {formula}. {model}",
        "Missing values are left out cell by cell. Cells without a valid p value leave the family: they are neither "
        "p = 1 nor p = 0.",
        *correction(settings),
    )


def correction(settings: GroupSettings) -> tuple[str, ...]:
    """The multiple-testing procedure, paragraphs."""
    family = (
        "A family is one contrast of one scalar, 1D and 2D apart; each family is corrected on its own and nothing is "
        "corrected across families."
    )
    if settings.stats_mode == "fdr":
        name = (
            f"the adaptive two-stage procedure {cite('benjamini2006')}"
            if settings.adaptive
            else f"the Benjamini-Hochberg procedure {cite('benjamini1995')}"
        )
        return (f"{family} All cells of a family were corrected together by {name} at level {settings.alpha:g}.",)
    return (
        f"{family} Bundles are the blocks of a hierarchical procedure {cite('benjamini2014', 'bogomolov2021')}: the p "
        f"values of a bundle's cells are combined by Simes' test {cite('simes1986')}; Benjamini-Hochberg "
        f"{cite('benjamini1995')} over the m bundles at level {settings.alpha_block:g} selects R of them; within each "
        "selected bundle, Benjamini-Hochberg over its cells at level α·R/m, "
        f"α = {settings.alpha_cell[0]:g}, rejects cells. The column q is the adjusted p of a cell times m/R, to be "
        "compared with α.",
    )


def guarantee(settings: GroupSettings) -> tuple[str, ...]:
    """What the procedure guarantees and what it does not, paragraphs."""
    proviso = (
        "if the cells' p values are valid and independent or positively dependent (PRDS); for two-sided tests of "
        "smooth fields, as here, this rests on simulation, not on proof"
    )
    if settings.stats_mode == "fdr" and settings.adaptive:
        return (
            "The expected share of false rejections among the rejected cells of a family (the false discovery rate) is "
            f"at most {settings.alpha:g}, if the cells' p values are valid and independent. The adaptive two-stage "
            "procedure is proven for independent p values only; for positively dependent ones, as neighbouring cells "
            "have, this rests on simulation.",
            "Nothing is guaranteed of bundles: a bundle with a rejected cell is not itself a tested finding.",
        )
    if settings.stats_mode == "fdr":
        return (
            "The expected share of false rejections among the rejected cells of a family (the false discovery rate) is "
            f"at most {settings.alpha:g}, {proviso}.",
            "Nothing is guaranteed of bundles: a bundle with a rejected cell is not itself a tested finding.",
        )
    sweep = ", ".join(f"{a:g}" for a in settings.alpha_cell[1:])
    text = (
        "The false discovery rate over bundles (the expected share of false ones among the selected bundles) is at "
        f"most {settings.alpha_block:g}, and the average over the selected bundles of the false discovery rate "
        f"over their cells is at most {settings.alpha_cell[0]:g}, {proviso}.",
        "It does not bound the false discovery rate of all rejected cells pooled over the bundles.",
    )
    if not sweep:
        return text
    return (
        *text,
        f"The level within bundles was fixed in advance at {settings.alpha_cell[0]:g}. Results at the other levels "
        f"({sweep}) are exploratory.",
    )


def participant_references(routes: Iterable[str] = ()) -> tuple[str, ...]:
    """References of the participant page."""
    extra = ("garyfallidis2015",) if "slr" in set(routes) else ()
    return tuple(REFERENCES[key].text for key in (*PARTICIPANT_KEYS, *extra))


def group_references(settings: GroupSettings, has_random: bool) -> tuple[str, ...]:
    """References of the group page."""
    procedure = {
        ("hfdr", False): ("benjamini2014", "bogomolov2021", "simes1986", "benjamini1995"),
        ("hfdr", True): ("benjamini2014", "bogomolov2021", "simes1986", "benjamini1995"),
        ("fdr", False): ("benjamini1995",),
        ("fdr", True): ("benjamini2006",),
    }[settings.stats_mode, settings.adaptive]
    keys = (*PARTICIPANT_KEYS, *(MODEL_KEYS if has_random else ()), *procedure)
    return tuple(REFERENCES[key].text for key in keys)


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
