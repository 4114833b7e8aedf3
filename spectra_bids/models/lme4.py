"""The R engine: one cell after the other by pymer4 0.8.2 (lme4, lmerTest, pbkrtest). The only importer of pymer4, rpy2.

It is slow, about a tenth of a second per cell, and shares no code with `lmm`: the reference that `lmm` is held
against, and the way to what only R has (Kenward-Roger, profile intervals). R gets the columns of the design and of the
random terms as numbers under names of ours, x1, z1_1, so that the coding is the same, and no name of a user's meets
pymer4's text matching (a covariate with "sig" in its name breaks its table of intervals). The values are standardised
cell by cell, and the optimiser runs to tight tolerances: lme4's default ones leave standard errors off by up to 1e-4.

    y ~ 0 + x1 + x2 + ... + (1 + z1_2 | g1) + (0 + z2_1 | g2)      lmerTest::lmer, contest1D, contestMD
    y ~ 0 + x1 + x2 + ...                                         stats::lm, where there is no random term

R is not fork-safe: processes that call this are spawned. R writes to TMPDIR; nothing of what it says reaches stdout.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import MissingInputError, UsageError
from spectra_bids.models.cell_tests import CellTests
from spectra_bids.models.cells import Cells
from spectra_bids.models.contrasts import Contrast
from spectra_bids.models.design import Design
from spectra_bids.models.fits import tested_factors
from spectra_bids.models.random import RandomPart, Structure

if TYPE_CHECKING:
    import pandas as pd

F = NDArray[np.float64]

Ddf = Literal["satterthwaite", "kenward-roger"]
Estimation = Literal["reml", "ml"]
Interval = Literal["wald", "profile"]

log = logging.getLogger("spectra_bids")

#: How to get what the engine needs.
INSTALL = (
    "Install R with its packages (Debian, Ubuntu: apt-get install r-base-core r-base-dev r-cran-lme4 r-cran-lmertest "
    "r-cran-emmeans r-cran-pbkrtest), then pip install 'spectra-bids[r]'; the container image has all of it."
)
R_PACKAGES = ("lme4", "lmerTest", "pbkrtest", "emmeans")

_CONTROL = (
    "optimizer='nloptwrap', check.conv.singular='ignore', check.nobs.vs.nlev='ignore', check.nobs.vs.nRE='ignore', "
    "check.nobs.vs.rankZ='ignore', check.scaleX='ignore', "
    "optCtrl=list(xtol_abs=1e-13, ftol_abs=1e-15, xtol_rel=1e-13, maxeval=20000)"
)
_SINGULAR = 1e-4  # lme4's own tolerance for θ
_RANK = 1e-9  # smallest eigenvalue of a cell's X'X, with X orthonormal over all rows

# Every function returns numbers alone; a test is estimate, se, df_num, df, statistic, p.
_R = """
list(
  mixed = function(model, L, ddf) {
    if (nrow(L) == 1) {
      r <- lmerTest::contest1D(model, drop(L), ddf = ddf)
      return(c(r[["Estimate"]], r[["Std. Error"]], 1, r[["df"]], r[["t value"]], r[["Pr(>|t|)"]]))
    }
    r <- lmerTest::contestMD(model, L, ddf = ddf)
    c(NA, NA, r[["NumDF"]], r[["DenDF"]], r[["F value"]], r[["Pr(>F)"]])
  },
  plain = function(model, L, ddf) {
    b <- drop(L %*% coef(model)); V <- L %*% vcov(model) %*% t(L); df <- df.residual(model); k <- nrow(L)
    if (k == 1) { s <- sqrt(drop(V)); return(c(b, s, 1, df, b / s, 2 * pt(-abs(b / s), df))) }
    value <- drop(b %*% solve(V, b)) / k
    c(NA, NA, k, df, value, pf(value, k, df, lower.tail = FALSE))
  },
  lm = function(formula, data) lm(as.formula(formula), data),
  sigma = function(model) sigma(model),
  random = function(model) unname(lapply(lme4::VarCorr(model), function(v) list(rownames(v), as.numeric(v)))),
  state = function(model, tol) c(lme4::isSingular(model, tol), model@optinfo$conv$opt),
  versions = function(names) c(as.character(getRversion()),
                               vapply(names, function(n) as.character(packageVersion(n)), "")),
  profile = function(model, name) drop(as.matrix(suppressWarnings(
    confint(model, parm = name, method = "profile", quiet = TRUE))))
)
"""


def fit_cells_lme4(
    values: F,
    design: Design,
    contrasts: Sequence[Contrast],
    *,
    ddf: Ddf = "satterthwaite",
    estimation: Estimation = "reml",
    ci: Interval = "wald",
    min_subjects: int | None = None,
    weights: F | None = None,
    offset: F | None = None,
) -> pd.DataFrame:
    """Fit the design to every cell and test every contrast, in R; the table of `models.fits.fit_cells`.

    Parameters
    ----------
    values : (n, C) float
        One column per cell, rows as the design's; NaN = missing.
    design : Design
        X and the random parts, whatever their number and kind.
    contrasts : sequence of K Contrast
    ddf : {"satterthwaite", "kenward-roger"}
        Degrees of freedom; Kenward-Roger also adjusts the standard errors (pbkrtest).
    estimation : {"reml", "ml"}
    ci : {"wald", "profile"}
        Estimate - t(.975, df) se, or where the profiled likelihood falls by its 95 % point.
    min_subjects : int, optional
        Fewest subjects of a cell; default max(10, p + 5).
    weights : (n,) float, optional
        The residual variance of a row is σ² / weight.
    offset : (n,) float, optional
        Taken from every cell's values before the fit.

    Returns
    -------
    DataFrame of C x K rows, contrast by contrast
        Columns `contrast`, `cell` and those of a fit, as in columns.FITS_1D from `n` on.

    Raises
    ------
    MissingInputError
        Where R, rpy2, pymer4 or an R package is absent; the hint says how to install them.
    UsageError
        Kenward-Roger with maximum likelihood.

    """
    if ddf == "kenward-roger" and estimation == "ml":
        raise UsageError("Kenward-Roger degrees of freedom need REML. Got estimation by maximum likelihood")
    _bridge()
    shifted = np.asarray(values, np.float64) - (0.0 if offset is None else np.asarray(offset)[:, None])
    job = _Job(design.X, design.random, tuple(contrasts), ddf, estimation, ci, weights)
    cells = Cells(
        shifted,
        design.p,
        Structure(design.random).factors[0].codes if design.random else None,  # as models.lmm counts levels
        design.subjects,
        [f.codes for f in design.factors if f.name in tested_factors(design, contrasts)],
        min_subjects,
        centre=job.centred,
    )
    out = CellTests(values.shape[1], job.contrasts)
    for part in design.random:  # as many effects of one term as rows: lme4 refuses them
        present = np.maximum(cells.count_present(part.codes), 2)  # one level: fitted without the term
        crowded = present * len(part.names) >= cells.n
        cells.status[crowded & (cells.status == "ok")] = "not_estimable"
    basis = np.linalg.qr(design.X)[0]
    for cell in np.flatnonzero(cells.status == "ok"):  # 0.1 s each, most of it pymer4's own tables
        rows = np.isfinite(shifted[:, cell])
        if np.linalg.eigvalsh(basis[rows].T @ basis[rows])[0] < _RANK:
            cells.status[cell] = "not_estimable"
            continue
        y = (shifted[rows, cell] - (shifted[rows, cell].mean() if job.centred else 0.0)) / cells.sd[cell]
        cells.status[cell] = job.fit(y, rows, int(cell), out)
    return out.table(cells)


class _Job:
    """What is the same for all cells: X, random terms, contrasts, how to test them."""

    def __init__(
        self,
        X: F,
        parts: tuple[RandomPart, ...],
        contrasts: tuple[Contrast, ...],
        ddf: Ddf,
        estimation: Estimation,
        ci: Interval,
        weights: F | None,
    ) -> None:
        self.X, self.parts, self.contrasts = X, parts, contrasts
        self.ddf = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger"}[ddf]
        self.reml, self.profile = estimation == "reml", ci == "profile"
        # Rows times √w have equal variance: with every column a number, that is all there is to weights.
        self.root = np.ones(len(X)) if weights is None else np.sqrt(np.asarray(weights, np.float64))
        mean = np.linalg.lstsq(X, np.ones(len(X)), rcond=None)[0]
        spanned = np.abs(X @ mean - 1).max() < 1e-8
        #: Values are centred where X holds an intercept and no contrast asks for the level itself.
        self.centred = bool(spanned and all(np.abs(c.weights @ mean).max() < 1e-9 for c in contrasts))

    def fit(self, y: F, rows: NDArray[np.bool_], cell: int, out: CellTests) -> str:
        """Fit one cell's standardised values, store its tests, and tell its status."""
        from rpy2.rinterface_lib.embedded import RRuntimeError

        kept = [part for part in self.parts if len(np.unique(part.codes[rows])) > 1]
        try:
            model = self._model(y, rows, kept, self.X)
            if not model.converged:
                return "not_converged"
            for k, contrast in enumerate(self.contrasts):
                out.store(cell, k, model.test(contrast.weights, self.ddf))
                if self.profile and kept and len(contrast.weights) == 1:
                    turned = self._model(y, rows, kept, self.X @ np.linalg.inv(_completed(contrast.weights)))
                    out.interval(cell, k, turned.profile("x1"))
        except RRuntimeError as error:
            log.warning("R engine: a cell cannot be fitted: %s", " ".join(str(error).split()))
            out.clear(cell)
            return "not_converged"
        out.sd_random[cell], out.sd_residual[cell] = model.sd_random, model.sd_residual
        return "singular" if self.parts and (model.singular or not kept) else "ok"

    def _model(self, y: F, rows: NDArray[np.bool_], kept: Sequence[RandomPart], X: F) -> _Model:
        """R's model of the rows that are observed."""
        import pandas as pd

        root = self.root[rows]
        data = {"y": y * root} | {f"x{j + 1}": column * root for j, column in enumerate(X[rows].T)}
        terms, columns = [f"x{j + 1}" for j in range(X.shape[1])], {"(Intercept)": np.ones(len(X))}
        for i, part in enumerate(kept):
            data[f"g{i + 1}"] = np.char.mod("l%d", part.codes[rows])
            if part.is_intercept and (self.root == 1).all():
                terms.append(f"(1 | g{i + 1})")
                continue
            for block in part.blocks:
                z = {f"z{i + 1}_{block.start + k + 1}": c for k, c in enumerate(_even(part.columns[:, block]).T)}
                columns |= z
                data |= {name: column[rows] * root for name, column in z.items()}
                terms.append(f"(0 + {' + '.join(z)} | g{i + 1})")
        formula = f"y ~ 0 + {' + '.join(terms)}"
        frame = pd.DataFrame(data)
        return _Mixed(formula, frame, self.reml, columns) if kept else _Plain(formula, frame)


def _even(columns: F) -> F:
    """Columns that span the same, of mean square 1 and uncorrelated: the same model for effects that covary.

    lme4's tolerances are absolute, and an intercept beside an age of 70 ± 5 years leaves the Hessian so ill-conditioned
    that lmerTest's degrees of freedom are off by a tenth (seen: 18.4 for 21.1).
    """
    q, r = np.linalg.qr(columns)
    size = np.abs(np.diag(r))
    if size.min() > 1e-7 * size.max():
        return np.asarray(q * np.sqrt(len(q)))
    return np.asarray(columns / np.maximum(np.sqrt(np.mean(columns**2, axis=0)), 1e-300))


class _Model:
    """A model object of R's and what is asked of it."""

    converged = True
    singular = False
    sd_random = 0.0
    sd_residual: float
    _test = "plain"

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted

    def test(self, rows: F, ddf: str) -> F:
        """Estimate, se, df_num, df, statistic, p of one contrast."""
        from rpy2 import robjects

        matrix = robjects.r.matrix(robjects.FloatVector(rows.ravel(order="F")), nrow=len(rows))
        numbers = np.asarray(_bridge()[self._test](self._fitted, matrix, ddf), np.float64)
        return np.where(np.isnan(numbers), np.nan, numbers)  # R's NA is a NaN that NumPy warns of

    def profile(self, name: str) -> F:
        """Ends of the profile interval of a coefficient; NaN where the profile breaks off."""
        from rpy2.rinterface_lib.embedded import RRuntimeError

        try:
            return np.asarray(_bridge()["profile"](self._fitted, name), np.float64).ravel()
        except RRuntimeError as error:
            log.warning("R engine: no profile interval: %s", " ".join(str(error).split()))
            return np.full(2, np.nan)


class _Plain(_Model):
    """Least squares by R's lm."""

    def __init__(self, formula: str, frame: pd.DataFrame) -> None:
        from pymer4.bridge import pandas2R

        super().__init__(_bridge()["lm"](formula, pandas2R(frame)))
        self.sd_residual = float(_bridge()["sigma"](self._fitted)[0])


class _Mixed(_Model):
    """A mixed model by pymer4's Lmer."""

    _test = "mixed"

    def __init__(self, formula: str, frame: pd.DataFrame, reml: bool, columns: Mapping[str, F]) -> None:
        from pymer4.models import Lmer

        lmer = Lmer(formula, data=frame)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about pymer4's use of it
            lmer.fit(summarize=False, no_warnings=True, REML=reml, control=_CONTROL)
        super().__init__(lmer.model_obj)
        self.sd_residual = float(lmer.ranef_var.loc["Residual", "Std"])
        variance = 0.0  # mean over rows of the variance of Zb, as in models.lmm
        for names, covariance in _bridge()["random"](lmer.model_obj):
            z = np.column_stack([columns[name] for name in names])
            variance += float(np.ravel(z.T @ z / len(z)) @ np.asarray(covariance, np.float64))
        self.sd_random = float(np.sqrt(variance))
        singular, code = np.asarray(_bridge()["state"](lmer.model_obj, _SINGULAR), np.float64)
        said = " ".join(str(text) for text in np.ravel(np.array(lmer.warnings, dtype=object)))
        self.singular = bool(singular)
        # nlopt's -4: at these tolerances the criterion no longer changes by more than rounding.
        self.converged = code in (0, -4) and "failed to converge" not in said and self.sd_residual > 1e-10


def _completed(row: F) -> F:
    """An invertible (p, p) matrix whose first row is `row`."""
    return np.vstack([row, np.linalg.svd(row)[2][1:]])


@cache
def _bridge() -> Mapping[str, Any]:
    """R's functions by name, once R, pymer4 and R's packages are found to be there.

    Raises
    ------
    MissingInputError
        One of them is not; the message says which.

    """
    libraries = os.environ.get("LD_LIBRARY_PATH")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from rpy2.rinterface_lib import callbacks

            # Before R starts and loads packages: what they say belongs into the log.
            callbacks.consolewrite_print = callbacks.consolewrite_warnerror = _said
            import pymer4.models  # noqa: F401
            from rpy2 import robjects
            from rpy2.robjects.packages import isinstalled
    except ModuleNotFoundError as error:
        raise MissingInputError(
            f"the R engine needs the Python package {error.name}, which is absent", INSTALL
        ) from error
    except (ImportError, OSError, ValueError, RuntimeError) as error:  # rpy2 without R, or with a library of R's gone
        raise MissingInputError(f"the R engine cannot start R: {error}", INSTALL) from error
    finally:
        # rpy2 puts the system's libraries first, where a process started later might find another libpython.
        os.environ.pop("LD_LIBRARY_PATH", None)
        os.environ |= {} if libraries is None else {"LD_LIBRARY_PATH": libraries}
    absent = [name for name in R_PACKAGES if not isinstalled(name)]
    if absent:
        raise MissingInputError(f"the R engine needs the R packages {', '.join(absent)}, which are absent", INSTALL)
    functions = robjects.r(_R)
    return {name: functions.rx2(name) for name in functions.names}


def _said(text: str) -> None:
    """What R would write to the console."""
    log.debug("R: %s", text.rstrip())


def require_r() -> None:
    """MissingInputError with the install line, unless the R engine works here."""
    _bridge()


def r_versions() -> dict[str, str]:
    """Versions of R, of its packages that the engine uses, and of pymer4."""
    from importlib import metadata

    from rpy2 import robjects

    found = [str(text) for text in _bridge()["versions"](robjects.StrVector(R_PACKAGES))]
    return dict(zip(("R", *R_PACKAGES), found, strict=True)) | {"pymer4": metadata.version("pymer4")}
