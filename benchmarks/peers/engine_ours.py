"""Time our engine on the standard task.   python engine_ours.py N_CELLS MISSING REPEATS P_VALUES.csv"""

import sys

import numpy as np
from task import report, rows, timed, values

from spectra_bids.models.lmm import fit_lmm

n_cells, missing, repeats = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
x, site = rows()
y = values(n_cells, missing)
last = {}
took = timed(lambda: last.update(fit=fit_lmm(y, x, site)), repeats)
fit = last["fit"]
p = np.stack([test.p for test in fit.tests], axis=1)
np.savetxt(sys.argv[4], p[:200], delimiter=",")
fitted = int(np.isfinite(p).all(axis=1).sum())
report(cells=n_cells, **took, fitted=fitted, data_mb=y.nbytes / 1e6)
