"""Columns of every table that is written: name, meaning, unit, levels. Sidecars are made from these, and tests
compare tables with them.

A table is a tuple of `Column`. `n/a` in a file is NaN in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

STATUSES = {
    "ok": "every scalar of the row has a value",
    "no_bundle": "the subject has no such bundle",
    "few_streamlines": "the bundle has fewer streamlines than --min-streamlines",
    "no_points": "no point of the bundle falls into the cell",
    "few_points": "fewer points in the cell than --min-points",
    "out_of_fov": "too few points left: the others lie outside the scalar map's field of view",
    "masked": "too few points left: the others lie where the map has no value or the mask is 0",
    "qc_fail": "the bundle was rejected in quality control",
}

FIT_STATUSES = {
    "ok": "fitted",
    "singular": "fitted; the variance of the random effect is estimated at 0 (p stays valid)",
    "not_converged": "the optimiser found no minimum; p is n/a",
    "too_few": "too few subjects, or fewer than 3 in a level of a tested factor; p is n/a",
    "not_estimable": "missing values leave the design rank-deficient, or as many random effects as rows; p is n/a",
    "constant": "all values are equal; p is n/a",
}


@dataclass(frozen=True)
class Column:
    """One column of a table: what a BIDS sidecar says of it."""

    name: str
    description: str
    units: str = ""
    levels: tuple[tuple[str, str], ...] = ()


def sidecar(columns: Iterable[Column]) -> dict[str, dict[str, Any]]:
    """Column dictionary as BIDS wants it in a JSON sidecar."""
    out: dict[str, dict[str, Any]] = {}
    for column in columns:
        entry: dict[str, Any] = {"Description": column.description}
        if column.units:
            entry["Units"] = column.units
        if column.levels:
            entry["Levels"] = dict(column.levels)
        out[column.name] = entry
    return out


_STATUS = Column("status", "Why values of this row are n/a; ok if none is", levels=tuple(STATUSES.items()))
_BUNDLE = Column("bundle", "Bundle, by the atlas's own name without punctuation")
_S = Column("s", "Node along the tract, 0 at the end named first in the grid's file")
_R = Column("r", "Radial bin, 0 at the most negative side of the grid's radial axis")
_S_MM = Column("s_mm", "Arc length of the node from the low end of the centroid", "mm")
_R_MM = Column("r_mm", "Signed distance of the bin's centre from the centroid along the node's radial axis", "mm")
_COUNTS = (
    Column("n_points", "Streamline points of the subject in the cell with a value in at least one scalar", "points"),
    Column("n_streamlines", "Streamlines that pass through the cell with such a point", "streamlines"),
)

#: Along-tract profile, one row per bundle and grid node; scalars follow (see `scalar_columns`).
PROFILE_1D = (_BUNDLE, _S, _S_MM, *_COUNTS, _STATUS)
#: Along-tract x radial profile, one row per bundle and grid cell; scalars follow.
PROFILE_2D = (_BUNDLE, _S, _R, _S_MM, _R_MM, *_COUNTS, _STATUS)

#: One row per bundle: `<scalar>` whole-bundle means follow.
BUNDLE = (
    _BUNDLE,
    Column("source", "Name of the bundle in the input file; n/a if there is none"),
    Column("n_streamlines", "Streamlines in the file", "streamlines"),
    Column("length_mm", "Mean streamline length", "mm"),
    Column("volume_mm3", "Volume of the voxels of the scalar map that streamlines pass through", "mm^3"),
    Column("distance_median_mm", "Registration QC: median distance of points to the nearest atlas point", "mm"),
    Column("distance_p95_mm", "Registration QC: 95th percentile of that distance (shown, not judged)", "mm"),
    Column("share_outside", "Share of points outside the scalar map's field of view"),
    Column("share_jumping", "Share of streamlines whose node index jumps by more than a fifth of the bundle"),
    Column(
        "flag",
        "Registration QC flag",
        levels=(
            ("none", "nothing to report"),
            ("far_bundle", "median distance to the atlas bundle above 8 mm"),
            ("far_session", "median distance over all bundles of the session above 4 mm"),
        ),
    ),
    _STATUS,
)


#: Spread of the 1D profiles over the cohort, one row per bundle, node and scalar.
NORMS = (
    _BUNDLE,
    _S,
    _S_MM,
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("n", "Sessions with a value at the node; from 5 on the columns that follow have a value"),
    Column("mean", "Mean over these sessions", "units of the scalar"),
    Column("sd", "Standard deviation over these sessions (n - 1)", "units of the scalar"),
    *(
        Column(f"p{q:02d}", f"{q}th percentile over these sessions, linearly interpolated", "units of the scalar")
        for q in (5, 25, 50, 75, 95)
    ),
)

#: Follows the scalars where --lesion-mask is given.
LESION_LOAD = Column("lesion_load", "Share of the row's points in the lesion mask; n/a without a mask or points")


def scalar_columns(scalar: str, units: str, spread: bool) -> tuple[Column, ...]:
    """Columns of one scalar, `<model>_<param>`; with `spread` also its `_sd`."""
    mean = Column(scalar, f"Mean of {scalar} over the row's points; in 1D weighted by 1 / distance to the node", units)
    if not spread:
        return (Column(scalar, f"Mean of {scalar} over all valid points of the bundle", units),)
    return (mean, Column(f"{scalar}_sd", f"Standard deviation of {scalar} over the row's points", units))


_FIT_STATUS = Column("fit_status", "What became of the fit", levels=tuple(FIT_STATUSES.items()))
_CELL = (
    _BUNDLE,
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("contrast", "What is tested: a term of the formula, or a named contrast"),
    _S,
    _S_MM,
    Column("x_mm", "Centre of the cell's atlas points in atlas space, to the right", "mm"),
    Column("y_mm", "Centre of the cell's atlas points in atlas space, to the front", "mm"),
    Column("z_mm", "Centre of the cell's atlas points in atlas space, upwards", "mm"),
)
_FIT = (
    Column("n", "Rows (sessions) in the fit"),
    Column("n_levels", "Levels in the fit of the random factor that has most; 0 without one"),
    Column(
        "statistic",
        "Kind of test",
        levels=(("t", "one coefficient or contrast"), ("F", "several at once"), ("chi2", "likelihood ratio")),
    ),
    Column("estimate", "Estimate in the scalar's own units; n/a for F", "units of the scalar"),
    Column("se", "Standard error of the estimate", "units of the scalar"),
    Column("df_num", "Numerator degrees of freedom; 1 for t"),
    Column(
        "df",
        "Degrees of freedom: Satterthwaite, or Kenward-Roger (see Engine); n - p without a random factor; n/a for chi2",
    ),
    Column("value", "The statistic: t, F or chi-square"),
    Column("p", "Two-sided p value, uncorrected"),
    Column(
        "ci_low",
        "Lower end of the 95 % confidence interval: estimate - t(.975, df) se, or of the profile likelihood (--ci)",
        "units of the scalar",
    ),
    Column("ci_high", "Upper end of the 95 % confidence interval", "units of the scalar"),
    Column("estimate_std", "Estimate in standard deviations of the cell's values"),
    Column("effect_size", "Effect size of the kind named in effect_type"),
    Column(
        "effect_type",
        "Kind of effect size",
        levels=(
            ("cohen_d", "estimate / sqrt(random + residual variance), for a difference between levels"),
            ("partial_r", "t / sqrt(t^2 + df), for a numeric covariate"),
            ("partial_eta2", "F df_num / (F df_num + df), for several degrees of freedom"),
            ("none", "a likelihood-ratio test has none"),
        ),
    ),
    Column(
        "sd_random",
        "Root of the mean over rows of the variance that the random part adds; of intercepts, their SD",
        "units of the scalar",
    ),
    Column("sd_residual", "Standard deviation of the residuals", "units of the scalar"),
    _FIT_STATUS,
)

#: Map step, one row per cell x contrast.
FITS_1D = (*_CELL, *_FIT)
FITS_2D = (*_CELL[:4], _R, _CELL[4], _R_MM, *_CELL[5:], *_FIT)

_COMPONENT = (
    Column("group", "Random factor, or Residual"),
    Column("term", "Column of the random part; two joined by ':' for a correlation; n/a for the others"),
    Column(
        "kind",
        "What the value is",
        levels=(
            ("sd", "standard deviation, in the scalar's units"),
            ("cor", "correlation of two effects"),
            ("icc", "share of the variance, averaged over rows"),
            ("skewness", "of the residuals"),
            ("kurtosis", "excess kurtosis of the residuals"),
            ("p_normal", "p of the residuals' normality by skewness and kurtosis (Jarque-Bera)"),
        ),
    ),
    Column("value", "The value; n/a where the cell was not fitted"),
)
_PLACE = (_BUNDLE, Column("scalar", "Scalar map, <model>_<param>"), _S)
#: Map step, variance components of every cell.
COMPONENTS_1D = (*_PLACE, *_COMPONENT)
COMPONENTS_2D = (*_PLACE, _R, *_COMPONENT)

_MEAN = (
    Column("column", "Column of the design"),
    Column("level", "Its level; of a number one of its values, or a third of the subjects"),
    Column("at", "The number that a numeric column is set to; n/a for factors"),
    Column("n", "Sessions of the level with a value in the cell"),
    Column(
        "estimate", "Mean adjusted for the other terms: levels of other factors count the same, numbers at their mean"
    ),
    Column("se", "Standard error of the mean", "units of the scalar"),
    Column("ci_low", "Lower end of the 95 % confidence interval", "units of the scalar"),
    Column("ci_high", "Upper end of the 95 % confidence interval", "units of the scalar"),
)
#: Map step, adjusted means of every cell.
MEANS_1D = (*_PLACE, *_MEAN)
MEANS_2D = (*_PLACE, _R, *_MEAN)

#: Reduce step: what multiple testing adds to a row of FITS.
DECISIONS = (
    Column("block", "Block of the hypothesis: the bundle, unless said otherwise"),
    Column("q_cell", "Benjamini-Hochberg adjusted p within the block (perm: p by permutation, uncorrected)"),
    Column(
        "q", "What is compared with the cell level; hfdr: q_cell m/R, n/a outside selected blocks; perm: family-wise p"
    ),
    Column("block_selected", "The block was selected at the block level (fdr: n/a)"),
    Column("rejected", "The hypothesis of no effect in this cell is rejected at the first cell level"),
    Column(
        "threshold",
        "Largest p with which the cell was rejected, or would first have been; n/a for perm and with alpha_scalar",
    ),
    Column(
        "mde",
        "Minimum detectable effect: the smallest that a t test at the threshold finds with 80 % power; n/a for F",
        "units of the scalar",
    ),
    Column("mde_std", "Minimum detectable effect in standard deviations of the cell's values"),
)

BLOCKS = (
    Column("scalar", "Scalar map"),
    Column("contrast", "What is tested"),
    Column("block", "Block of hypotheses: a bundle, a resel of one, or a block of the user's own"),
    Column("bundle", "Bundle that the block lies in; several if it spans bundles"),
    Column("n_cells", "Cells of the block"),
    Column("n_valid", "Cells with a p value: those in the family"),
    Column(
        "p_block",
        "Combination of the block's p values, by Simes unless --combination says otherwise; perm: their smallest q",
    ),
    Column("q_block", "Adjusted p_block over the family's blocks, to be compared with alpha_block (perm: p_block)"),
    Column("selected", "q_block <= alpha_block"),
    Column("n_rejected", "Rejected cells at the first cell level"),
)

SUMMARY = (
    Column("scalar", "Scalar map"),
    Column("contrast", "What is tested"),
    Column("mode", "Procedure, with the combination or statistic where it is not the usual one"),
    Column("n_blocks", "Blocks with at least one valid cell, m"),
    Column("n_selected", "Selected blocks, R"),
    Column("n_cells", "Cells of the family"),
    Column("n_valid", "Cells with a p value"),
    Column("p_scalar", "With a level over scalars: combination of the scalar's block p values; else n/a"),
    Column("q_scalar", "Adjusted p_scalar, to be compared with alpha_scalar"),
    Column("scalar_selected", "Whether the scalar was selected; n/a without a level over scalars"),
    Column("alpha_block", "Level over blocks"),
    Column("alpha_cell", "Level over cells within selected blocks (fdr: over all cells)"),
    Column("n_rejected", "Rejected cells at this cell level"),
    Column("p_min", "Smallest p of the family"),
    Column("exploratory", "True for every cell level but the first: a sweep is not confirmatory"),
)

CLUSTERS = (
    Column("scalar", "Scalar map"),
    Column("contrast", "What is tested"),
    _BUNDLE,
    Column("cluster", "Rank of the cluster by weight within its family, 1 = heaviest"),
    Column("n_cells", "Rejected cells that touch each other on the grid"),
    Column("weight", "Sum of -log10 p over the cluster's cells"),
    Column("direction", "Sign of the estimate in the cluster", levels=(("+", "positive"), ("-", "negative"))),
    Column("s_low", "First node of the cluster"),
    Column("s_high", "Last node of the cluster"),
    Column("r_low", "First radial bin; n/a in 1D"),
    Column("r_high", "Last radial bin; n/a in 1D"),
    Column("x_mm", "-log10 p weighted centre in atlas space, to the right", "mm"),
    Column("y_mm", "-log10 p weighted centre in atlas space, to the front", "mm"),
    Column("z_mm", "-log10 p weighted centre in atlas space, upwards", "mm"),
    Column("p_peak", "Smallest p of the cluster"),
    Column("q_peak", "Its q"),
    Column("value_peak", "Its statistic"),
    Column("estimate_peak", "Its estimate; n/a for F", "units of the scalar"),
    Column("x_peak_mm", "Centre of the atlas points of the cell with the smallest p, to the right", "mm"),
    Column("y_peak_mm", "Centre of the atlas points of the cell with the smallest p, to the front", "mm"),
    Column("z_peak_mm", "Centre of the atlas points of the cell with the smallest p, upwards", "mm"),
    Column("length_mm", "Extent along the tract: nodes from the first to the last x node spacing", "mm"),
    Column("width_mm", "Extent across the tract: edges of the radial bins from the lowest to the highest", "mm"),
    Column("area_mm2", "Sum over cells of node spacing x bin width; n/a in 1D", "mm^2"),
    Column("share_bundle", "Share of the atlas bundle's points that lie in the cluster; in 1D all across its nodes"),
    Column(
        "side",
        "Hemisphere of these points, x = 0 of the atlas space being the midsagittal plane",
        levels=(
            ("left", "nine tenths of those further than 5 mm from the plane lie to the left"),
            ("right", "nine tenths of those further than 5 mm from the plane lie to the right"),
            ("midline", "more than half lie within 5 mm of the plane"),
            ("both", "none of these"),
        ),
    ),
    Column("place", "Thirds of the tract by arc length that hold a fifth or more of these points"),
    Column("label_peak", "--atlas-labels: region at the peak's centre; OUTSIDE where there is none"),
    Column(
        "labels",
        "--atlas-labels: regions at the centres of the cluster's cells (1D: of all cells across its nodes), each "
        "weighted by its atlas points, in per cent that add up to 100 with OUTSIDE",
    ),
)

#: Peaks of a statistic's volume above a threshold (`inference.peaks`).
PEAKS = (
    Column("cluster", "Number of the cluster: positive ones by falling peak, then negative ones"),
    Column("peak", "0 for the cluster's peak, then 1, 2, ... for further local maxima by falling height"),
    Column("x_mm", "Centre of the peak's voxel, to the right", "mm"),
    Column("y_mm", "Centre of the peak's voxel, to the front", "mm"),
    Column("z_mm", "Centre of the peak's voxel, upwards", "mm"),
    Column("value", "The statistic there"),
    Column("n_voxels", "Size of the cluster", "voxels"),
    Column("volume_mm3", "Size of the cluster", "mm^3"),
    Column("label_peak", "Region at the peak; OUTSIDE where there is none"),
    Column(
        "labels",
        "Regions in per cent that add up to 100 with OUTSIDE: of the cluster's voxels (clusters), at the peak "
        "(maxima), or of the sphere around it (extended)",
    ),
)

#: Sessions and sites by the size of their residuals.
OUTLIERS = (
    Column("scalar", "Scalar map"),
    Column("kind", "What the row is: session, or the column whose level it is"),
    Column("label", "Subject and session, or the level"),
    Column("n_bundles", "Bundles with residuals"),
    Column("size", "Root mean square over cells of the residuals in standard deviations of the cell; 1 is usual"),
    Column("robust_z", "Distance from the median of all rows of its kind, in 1.4826 median absolute deviations"),
    Column("flagged", "robust_z >= 3.5"),
    Column("worst_bundle", "Bundle with the largest residuals"),
    Column("worst_size", "Their size"),
)

#: Realised error rates with the tested label shuffled.
CALIBRATION = (
    Column("scalar", "Scalar map"),
    Column("contrast", "What is tested"),
    Column("n_shuffles", "Shuffles of the tested label; every hypothesis is then true"),
    Column("exchanged", "Who was exchanged with whom"),
    Column("rate_p05", "Share of cells with p <= .05 before any correction; .05 is right"),
    Column("rate_p05_se", "Its Monte-Carlo standard error over shuffles"),
    Column("alpha_block", "Level over blocks; n/a for fdr"),
    Column("rate_any_block", "Share of shuffles with a selected block: the realised false discovery rate over blocks"),
    Column("rate_any_block_se", "Its Monte-Carlo standard error"),
    Column("alpha_cell", "First level over cells (fdr: over all cells)"),
    Column("rate_any_cell", "Share of shuffles with a rejected cell (fdr: the realised false discovery rate)"),
    Column("rate_any_cell_se", "Its Monte-Carlo standard error"),
    Column("rate_cell", "Mean over shuffles of the average over selected blocks of the cells' false discovery rate"),
    Column("rate_cell_se", "Its Monte-Carlo standard error"),
)

#: What is left of the results when the data or the rules are a little different.
SENSITIVITY = (
    Column("scalar", "Scalar map"),
    Column("contrast", "What is tested"),
    Column("variant", "What is different: a level of a factor is left out, or more subjects are asked of a cell"),
    Column("n", "Rows (sessions) in the design"),
    Column("n_valid", "Cells with a p value"),
    Column("n_selected", "Selected blocks"),
    Column("n_rejected", "Rejected cells at the first cell level"),
    Column("n_kept", "Cells rejected in the main analysis that still are"),
    Column("n_lost", "Cells rejected in the main analysis that are not any more"),
    Column("n_gained", "Rejected cells that were not in the main analysis"),
    Column("estimate_ratio", "Median over the main analysis's rejected cells of estimate / main estimate; n/a for F"),
    Column("n_sign_changes", "Of these cells, those with an estimate of the other sign"),
    Column("note", "Why a variant could not be fitted; else n/a"),
)

#: A sample of cells fitted by both engines; `_r` is R's lmerTest.
SELFTEST = (
    Column("profile", "Kind of profile", levels=(("1D", "along the tract"), ("2D", "along and across"))),
    _BUNDLE,
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("contrast", "What is tested: a term of the formula, or a named contrast"),
    _S,
    _R,
    Column(
        "statistic",
        "Kind of test",
        levels=(("t", "one coefficient or contrast"), ("F", "several at once"), ("chi2", "likelihood ratio")),
    ),
    Column("n", "Rows (sessions) in the fit"),
    *(
        Column(name + end, what + said, units)
        for name, what, units in (
            ("estimate", "Estimate", "units of the scalar"),
            ("se", "Standard error", "units of the scalar"),
            ("df", "Satterthwaite degrees of freedom", ""),
            ("value", "The statistic", ""),
            ("p", "Two-sided p value", ""),
            ("sd_random", "Standard deviation of the random part", "units of the scalar"),
            ("sd_residual", "Standard deviation of the residuals", "units of the scalar"),
            ("fit_status", "What became of the fit", ""),
        )
        for end, said in (("", " by the batched engine"), ("_r", " by lmerTest"))
    ),
    Column("d_estimate", "Difference of estimates in lmerTest's standard errors; for F, relative of the statistics"),
    Column("d_se", "Relative difference of standard errors"),
    Column("d_df", "Relative difference of degrees of freedom"),
    Column("d_p", "Relative difference of p values"),
    Column("d_sd", "Larger difference of the two standard deviations, relative to both together"),
)


def names(columns: Iterable[Column]) -> list[str]:
    """Column names in file order."""
    return [column.name for column in columns]
