"""How far to trust the results: null calibration, sensitivity, self-test, the smallest effect that could be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spectra_bids.columns import CALIBRATION, OUTLIERS, SENSITIVITY
from spectra_bids.figures.style import number
from spectra_bids.report.pages import Block, Bullets, Fold, GroupPage, Notice, Prose, Section
from spectra_bids.report.subject import alphanumeric
from spectra_bids.report.tables import table
from spectra_bids.report.words import Family, counted, smallest_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEANING = {c.name: c.description for c in (*SENSITIVITY, *CALIBRATION, *OUTLIERS)}
_OUTLIER_HEADINGS = {
    "label": "Session or site",
    "scalar": "Scalar",
    "size": "Size",
    "robust_z": "Robust z",
    "n_bundles": "Bundles",
    "worst_bundle": "Most in",
    "worst_size": "Size there",
}


def trust(page: GroupPage, every: Sequence[Family]) -> tuple[Section, ...]:
    """The section, or none where there is nothing to say."""
    blocks = (*_calibration(page), *_sensitivity(page), *_selftest(page), *_residuals(page), *_detectable(every))
    return (Section("trust", "How far to trust this", blocks),) if blocks else ()


def _calibration(page: GroupPage) -> tuple[Block, ...]:
    frames = [found.assign(kind=kind) for kind, found in sorted(page.calibration.items())]
    if not frames:
        return ()
    rows = pd.concat(frames, ignore_index=True)
    said = tuple((f"{r['contrast']}, {r['scalar']}, {r['kind']}", _rate_words(r, page)) for r in _records(rows))
    intro = (
        "The tested label was shuffled, so that nothing that is found is true, and the whole procedure run on these "
        "data again. Rates are shown ± their Monte-Carlo standard error."
    )
    shown: dict[str, Any] = {name: rows[name] for name in ("contrast", "scalar", "kind", "exchanged", "n_shuffles")}
    rates = ("rate_p05", "rate_any_block", "rate_any_cell", "rate_cell")
    for name in rates:
        shown[name] = [_rate(a, b) for a, b in zip(rows[name], rows[f"{name}_se"], strict=True)]
    noun = page.noun
    heads = [
        ("contrast", "Contrast", ""),
        ("scalar", "Scalar", ""),
        ("kind", "Profile", ""),
        ("exchanged", "Exchanged", _MEANING["exchanged"]),
        ("n_shuffles", "Shuffles", _MEANING["n_shuffles"]),
        ("rate_p05", "Cells with p ≤ .05", _MEANING["rate_p05"]),
        ("rate_any_block", f"Any {noun} selected", _MEANING["rate_any_block"]),
        ("rate_any_cell", "Any cell rejected", _MEANING["rate_any_cell"]),
        ("rate_cell", f"Cell FDR in selected {noun}s", _MEANING["rate_cell"]),
    ]
    if not page.settings.decision.hierarchical:
        heads = [head for head in heads if head[0] not in ("rate_any_block", "rate_cell")]
    item = table("calibration", pd.DataFrame(shown), heads, "Realised error rates under shuffled labels.")
    return (Bullets(said, "Null calibration", intro), Fold("All realised error rates", (item,)))


def miscalibrated(page: GroupPage) -> tuple[Block, ...]:
    """A warning for the summary, where shuffled labels gave more findings than they should."""
    rows = [(r, kind) for kind, found in sorted(page.calibration.items()) for r in _records(found)]
    names = [f"{r['contrast']}, {r['scalar']}, {kind}" for r, kind in rows if _is_liberal(r, page)]
    if not names:
        return ()
    text = f"{'; '.join(names)}. How far to trust this, below, has the rates."
    return (Notice("warning", "With shuffled labels, more was found than the nominal level allows", text),)


def _main_rate(page: GroupPage) -> tuple[str, str]:
    """Columns of the rate that the procedure bounds, and of its level."""
    hierarchical = page.settings.decision.hierarchical
    return ("rate_any_block", "alpha_block") if hierarchical else ("rate_any_cell", "alpha_cell")


def _is_liberal(row: Any, page: GroupPage) -> bool:
    """Whether the rate is above its level by more than two standard errors."""
    name, level = _main_rate(page)
    return bool(float(row[name]) - 2 * float(row[f"{name}_se"]) > float(row[level]))


def _rate_words(row: Any, page: GroupPage) -> str:
    hierarchical = page.settings.decision.hierarchical
    name, level = _main_rate(page)
    what = f"any {page.noun} selected" if hierarchical else "any cell rejected"
    value, se, nominal = (float(row[k]) for k in (name, f"{name}_se", level))
    text = (
        f"{counted(int(row['n_shuffles']), 'shuffle')} of {row['contrast']} ({row['exchanged']}): {what} in "
        f"{_rate(value, se)} (nominal {_share(nominal)})"
    )
    if _is_liberal(row, page):
        return f"{text}; this is more than nominal: findings of this family are less certain than their q says."
    return text + "."


def _rate(value: float, se: float) -> str:
    if not np.isfinite(value):
        return "n/a"
    return f"{_share(value)} ± {_share(se)}" if np.isfinite(se) else _share(value)


def _share(value: float) -> str:
    return f"{100 * value:.3g} %" if value < 0.9995 else "100 %"


def _sensitivity(page: GroupPage) -> tuple[Block, ...]:
    frames = [found.assign(kind=kind) for kind, found in sorted(page.sensitivity.items())]
    if not frames:
        return ()
    rows = pd.concat(frames, ignore_index=True)
    said = []
    tables: list[Block] = []
    heads = [
        ("variant", "Variant", _MEANING["variant"]),
        ("n", "Rows", _MEANING["n"]),
        ("n_valid", "Tested", _MEANING["n_valid"]),
        ("n_selected", "Selected", _MEANING["n_selected"]),
        ("n_rejected", "Rejected", _MEANING["n_rejected"]),
        ("n_kept", "Kept", _MEANING["n_kept"]),
        ("n_lost", "Lost", _MEANING["n_lost"]),
        ("n_gained", "Gained", _MEANING["n_gained"]),
        ("estimate_ratio", "Estimate ratio", _MEANING["estimate_ratio"]),
        ("n_sign_changes", "Other sign", _MEANING["n_sign_changes"]),
        ("note", "Note", _MEANING["note"]),
    ]
    for (contrast, scalar, kind), of in rows.groupby(["contrast", "scalar", "kind"], sort=False):
        name = f"{contrast}, {scalar}, {kind}"
        said.append((name, _sensitivity_words(of)))
        kept = heads if of["note"].notna().any() else heads[:-1]
        tables.append(table(f"sensitivity-{alphanumeric(name)}", of, kept, name))
    intro = "Everything fitted and decided again without one site at a time, and with more rows asked of a cell."
    return (Bullets(tuple(said), "Sensitivity", intro), Fold("All variants", tuple(tables)))


def _sensitivity_words(of: pd.DataFrame) -> str:
    main, others = of.iloc[0], of.iloc[1:]
    out = others[others["variant"].str.startswith("without ") & others["note"].isna()]
    failed = int(others["note"].notna().sum())
    rest = f" {counted(failed, 'variant')} could not be fitted." if failed else ""
    rejected = int(main["n_rejected"])
    if not len(out):
        return "There is no site to leave out." + rest
    fits = counted(len(out), "fit")
    if not rejected:
        most = int(out["n_rejected"].max())
        what = f"up to {most} are" if most else "none is"
        return f"No cell was rejected; without one site at a time ({fits}) {what}.{rest}"
    low, high = int(out["n_kept"].min()), int(out["n_kept"].max())
    kept = f"{low}" if low == high else f"{low} to {high}"
    text = f"Of {counted(rejected, 'rejected cell')}, {kept} stay rejected without one site at a time ({fits})"
    ratio = out["estimate_ratio"].dropna()
    if len(ratio):
        changes = int(out["n_sign_changes"].sum())
        signs = "none of the other sign" if not changes else f"{changes} of the other sign in all"
        text += (
            f"; estimates are {number(float(ratio.min()))} to {number(float(ratio.max()))} times the main ones "
            f"(median over cells), {signs}"
        )
    return f"{text}.{rest}"


def _residuals(page: GroupPage) -> tuple[Block, ...]:
    """Who does not fit, and whether residuals are normal."""
    said = [*_outlier_words(page), *_normality_words(page)]
    if not said:
        return ()
    frames = [found.assign(kind_of=kind).query("flagged") for kind, found in sorted(page.outliers.items())]
    flagged = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    intro = "What the model leaves of each session's values, in standard deviations of the cell; 1 is usual."
    blocks: list[Block] = [Bullets(tuple(said), "Residuals", intro)]
    if len(flagged):
        heads = [(name, text, _MEANING[name]) for name, text in _OUTLIER_HEADINGS.items()]
        heads.insert(2, ("kind_of", "Profile", ""))
        item = table("outliers", flagged, heads, "Flagged sessions and sites, the largest first.", tools=True)
        blocks.append(Fold(f"{counted(len(flagged), 'flagged row')}", (item,)))
    return tuple(blocks)


def _outlier_words(page: GroupPage) -> list[tuple[str, str]]:
    said = []
    for kind, found in sorted(page.outliers.items()):
        for scalar, rows in found.groupby("scalar", sort=False):
            sessions = rows[rows["kind"] == "session"]
            odd, sites = sessions[sessions["flagged"]], rows[(rows["kind"] != "session") & rows["flagged"]]
            text = f"{len(odd)} of {counted(len(sessions), 'session')} stand out by the size of their residuals"
            if len(odd):
                text += ": " + ", ".join(
                    f"{r['label']} ({number(float(r['size']))}, most in {r['worst_bundle']})"
                    for r in _records(odd.head(3))
                )
            text += f"; of the sites {', '.join(map(str, sites['label']))}" if len(sites) else ""
            said.append((f"{scalar}, {kind}", text + "."))
    return said


def _normality_words(page: GroupPage) -> list[tuple[str, str]]:
    return [
        (
            f"{row['scalar']}, {kind}",
            f"residuals are clearly not normal (p < .001) in {row['n_odd']} of {counted(int(row['n_cells']), 'cell')}"
            + (f", most of them in {row['worst_bundle']}." if row["n_odd"] else "."),
        )
        for kind, found in sorted(page.normality.items())
        for row in _records(found)
    ]


def _selftest(page: GroupPage) -> tuple[Block, ...]:
    if page.selftest is None:
        return ()
    line, agree = page.selftest
    if agree:
        return (Bullets((("Self-test", f"{line}."),), "Another program's numbers"),)
    return (Notice("warning", "The self-test found the two engines to differ", f"{line}."),)


def _detectable(every: Sequence[Family]) -> tuple[Block, ...]:
    """The smallest effects of every family of t tests; the table of results has them by bundle."""
    items = tuple((family.name, smallest_effect(family)) for family in every if smallest_effect(family))
    if not items:
        return ()
    text = (
        "The smallest effect that would have been found in a cell with 80 % power, at the threshold that the procedure "
        "came to. An effect well above it is unlikely to have been missed; one below it may be there unseen. The table "
        "of results has it for every bundle."
    )
    return (Bullets(items, "What could have been found", text),)


def harmonization(page: GroupPage) -> tuple[Block, ...]:
    """What ComBat took from every batch, bundle and scalar."""
    frame, chosen = page.harmonization, page.settings.fitting.harmonize
    if frame is None or chosen is None:
        return ()
    text = (
        f"ComBat removed the differences in mean and in spread between the levels of {chosen.batch} from every cell "
        f"before the fits. The other route is a random effect, (1|{chosen.batch}) in the formula without --harmonize: "
        "the tests then know that the differences were estimated, which they do not after ComBat; but it leaves the "
        "spreads of batches as they are."
    )
    heads = [
        ("kind", "Profile", ""),
        ("bundle", "Bundle", ""),
        ("scalar", "Scalar", ""),
        ("batch", chosen.batch, "batch"),
        ("n", "Rows", "rows that the batch's parameters were estimated from"),
        ("shift", "Shift", "median over cells of the absolute shift that was taken away, in the scalar's units"),
        ("shift_sd", "Shift, SD", "the same in standard deviations of the cell's harmonised values"),
        ("scale", "Scale", "median over cells of the factor that the batch's residuals were divided by"),
        ("cells", "Cells", "cells that were harmonised"),
        ("left_out", "Left out", "cells that could not be harmonised: constant or too few values; they are not tested"),
    ]
    caption = "What ComBat removed."
    left = frame.drop_duplicates(["kind", "bundle", "scalar"])["left_out"].sum()
    lost = (f"{counted(int(left), 'cell')} could not be harmonised and are not tested.",) if left else ()
    item = table("harmonization", frame, heads, caption, tools=True)
    return (
        Prose((text, *_largest(frame, chosen.batch), *lost)),
        Fold("What was removed, per batch and bundle", (item,)),
    )


def _largest(frame: pd.DataFrame, batch: str) -> tuple[str, ...]:
    """One sentence on the sizes of the shifts."""
    by = frame.groupby("batch", sort=False)["shift_sd"].median().dropna()
    scale = frame.groupby("batch", sort=False)["scale"].median().dropna()
    if not len(by) or not len(scale):
        return ()
    return (
        f"Median shifts of the {len(by)} levels of {batch}: {number(float(by.min()))} ({by.idxmin()}) to "
        f"{number(float(by.max()))} ({by.idxmax()}) standard deviations; median scales {number(float(scale.min()))} to "
        f"{number(float(scale.max()))}.",
    )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
