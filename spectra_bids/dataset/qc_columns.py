"""Columns of the tables of quality control (group/desc-*_qc.tsv), and of a model's rows."""

from __future__ import annotations

from spectra_bids.columns import BUNDLE, STATUSES, Column

#: What the flip audit says of a profile.
VERDICTS = {
    "as_cohort": "the profile is the way round that the cohort's mean is",
    "reversed": "it is clearly more like the reverse of that mean: look at the bundle's ends and at its affine",
    "unclear": "the reverse wins, but by less than half of the usual margin",
    "cannot_tell": "in this bundle profiles look too much the same from both ends",
    "not_measured": "too few nodes, or no variation along them",
}

_WHO = (
    Column("participant_id", "Subject, with sub-"),
    Column("session_id", "Session, with ses-; n/a in a data set without sessions"),
)
_DECISION = Column(
    "decision",
    "Decision of the --qc-file that is in force; n/a for none",
    levels=(("accept", "kept"), ("reject", "left out at group level")),
)

#: Which session has which bundle, and what quality control decided.
QC_COVERAGE = (
    *_WHO,
    BUNDLE[0],
    Column("n_nodes", "Nodes of the bundle's grid", "nodes"),
    Column("n_measured", "Nodes at which the session has a value in at least one scalar", "nodes"),
    Column("status", "Why the bundle is not used; ok if it is", levels=tuple(STATUSES.items())),
    _DECISION,
    Column("line", "Line of the --qc-file that decided"),
    Column("reason", "Reason given there"),
)

#: How far each session's 1D profile is from the others'.
QC_OUTLIERS = (
    *_WHO,
    BUNDLE[0],
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("score", "Robust distance within the usual ways to vary (score distance of robust principal components)"),
    Column("score_limit", "Limit of the score; about one bundle in twenty has anybody above a limit by chance"),
    Column("orthogonal", "Robust distance from the usual ways to vary (orthogonal distance)"),
    Column("orthogonal_limit", "Limit of the orthogonal distance"),
    Column("excess", "The larger of the two distances over its limit"),
    Column("level", "Median over nodes of the deviation from the node's median, in 1.4826 median absolute deviations"),
    Column("worst_s", "Node with the largest deviation"),
    Column("flagged", "excess > 1; n/a where there is no distance"),
    _DECISION,
)

#: Flip audit of each session's 1D profile.
QC_ORIENTATION = (
    *_WHO,
    BUNDLE[0],
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("r_cohort", "Correlation with the mean profile of the other sessions"),
    Column("r_reversed", "Correlation with that mean in reverse"),
    Column("usual_margin", "Median over sessions of r_cohort - r_reversed"),
    Column("verdict", "What follows", levels=tuple(VERDICTS.items())),
    _DECISION,
)

#: Mean of a bundle by site, over sessions that are not rejected.
QC_SITES = (
    Column("column", "Column of the participants' table"),
    Column("level", "Its level"),
    BUNDLE[0],
    Column("scalar", "Scalar map, <model>_<param>"),
    Column("n", "Sessions with a mean"),
    Column("low", "Lowest session mean within 1.5 interquartile ranges of the quartiles", "units of the scalar"),
    Column("q1", "First quartile of the sessions' means over nodes", "units of the scalar"),
    Column("median", "Their median", "units of the scalar"),
    Column("q3", "Their third quartile", "units of the scalar"),
    Column("high", "Highest session mean within 1.5 interquartile ranges of the quartiles", "units of the scalar"),
    Column("share", "Share of the variance of the means that lies between levels (adjusted, not below 0)"),
    Column("p", "Kruskal-Wallis test of equal levels, not adjusted for age, sex or group"),
    Column("q", "Benjamini-Hochberg adjusted over bundles and scalars"),
)

#: Every session and person, and whether it is a row of a model.
ROWS = (
    Column("row", "Subject, and session where there are any"),
    Column("used", "Whether it is a row of the model"),
    Column("reason", "Why not; n/a if it is"),
)
