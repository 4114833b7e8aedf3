"""SPECTRA's second stage on its own files: a mixed model per grid cell and bundle, then FDR over all bundles."""

from spectra_bids.lmm_fdr.aggregate import run_aggregate
from spectra_bids.lmm_fdr.single import run_single
from spectra_bids.lmm_fdr.task import Task

__all__ = ["Task", "run_aggregate", "run_single"]
