"""From p values, correlations and null distributions to decisions. Pure functions on arrays.

fdr          Benjamini-Hochberg, its adaptive form, hierarchical FDR over blocks
tree         the same over any number of levels (TreeBH): scalar > block > cell
combine      a block's p values in one
resels       smoothness of residuals, blocks as large as it
spatial      neighbourhoods on the (s, r) grid: clusters, threshold-free cluster enhancement
peaks        clusters and local maxima of a volume, with the regions of an atlas
maxima       null distributions of maxima over bundles: family-wise error by permutation
calibration  realised error rates under shuffled labels
power        smallest effect that a study could have seen
"""

from spectra_bids.inference.calibration import ErrorRates, Rate, error_rates
from spectra_bids.inference.combine import acat, bonferroni, combine, effective_tests, gates, minp_galwey, simes
from spectra_bids.inference.exchange import Permutations, draw_permutations
from spectra_bids.inference.fdr import Decisions, bh_adjust, bky_reject, fdr, hierarchical_fdr
from spectra_bids.inference.maxima import Corrected, NullMaxima, fwe_p, fwe_threshold, joint_maxima, reduce_maxima
from spectra_bids.inference.power import cell_thresholds, detectable_effect
from spectra_bids.inference.resels import Smoothness, block_correlations, correlate, resels, smoothness
from spectra_bids.inference.spatial import Spatial, clusters
from spectra_bids.inference.tree import TreeDecisions, TreeLevel, tree_fdr

__all__ = [
    "Corrected",
    "Decisions",
    "ErrorRates",
    "NullMaxima",
    "Permutations",
    "Rate",
    "Smoothness",
    "Spatial",
    "TreeDecisions",
    "TreeLevel",
    "acat",
    "bh_adjust",
    "bky_reject",
    "block_correlations",
    "bonferroni",
    "cell_thresholds",
    "clusters",
    "combine",
    "correlate",
    "detectable_effect",
    "draw_permutations",
    "effective_tests",
    "error_rates",
    "fdr",
    "fwe_p",
    "fwe_threshold",
    "gates",
    "hierarchical_fdr",
    "joint_maxima",
    "minp_galwey",
    "reduce_maxima",
    "resels",
    "simes",
    "smoothness",
    "tree_fdr",
]
