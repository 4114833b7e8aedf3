"""Time pymer4 0.8.2 on the standard task.   python engine_pymer4.py N_CELLS"""

import contextlib
import io
import sys

from task import report, rows, timed, values

n_cells = int(sys.argv[1])
with contextlib.redirect_stderr(io.StringIO()):
    import pandas as pd
    from pymer4.models import Lmer

x, site = rows()
y = values(n_cells)
table = pd.DataFrame(x[:, 1:], columns=[f"x{i}" for i in range(1, x.shape[1])]).assign(site=site.astype(str))
right = " + ".join([name for name in table if name != "site"])


def fit(cell):
    """One model, as pymer4 reports it: estimates, Satterthwaite df, p."""
    model = Lmer(f"y ~ {right} + (1|site)", data=table.assign(y=y[:, cell]))
    return model.fit(summarize=False, verbose=False)


fit(0)  # loads R's packages
took = timed(lambda: [fit(cell) for cell in range(n_cells)], 1)
report(cells=n_cells, **took, fitted=n_cells, data_mb=y.nbytes / 1e6)
