"""The page about the quality of all sessions: a verdict first, then coverage, outliers, ends, sites, rows, decisions.

With `by_person` false nothing of it names a session, or shows one by itself: counts, shares and boxes alone.
"""

from __future__ import annotations

import pandas as pd

from spectra_bids.columns import STATUSES
from spectra_bids.dataset.qc_columns import QC_OUTLIERS, QC_SITES, VERDICTS
from spectra_bids.figures.overviews import MOST_COLUMNS, coverage_map
from spectra_bids.figures.quality import Scale, Turned, site_sheet, strip, turned_sheet
from spectra_bids.report.pages import Block, Bullets, Code, Facts, FigureItem, Fold, Notice, Prose, Section, TableItem
from spectra_bids.report.quality_model import TOLD, QualityPage, labelled
from spectra_bids.report.quality_words import (
    METHODS,
    decision_words,
    far_words,
    missing_words,
    model_words,
    site_words,
    turned_words,
)
from spectra_bids.report.subject import alphanumeric, status_words
from spectra_bids.report.tables import table
from spectra_bids.report.words import counted

_MEANING = {c.name: c.description for c in (*QC_OUTLIERS, *QC_SITES)}
#: Rows of a table on the page, boxes per scalar, levels of a box where no person may be shown.
MOST_ROWS, MOST_BOXES, LEAST_SHOWN = 300, 12, 5


# Figures.


def figures(page: QualityPage) -> tuple[FigureItem, ...]:
    """Coverage, distances and ends by scalar, reversed profiles, boxes by site; `name` is the stem of the file."""
    columns = page.by_person and len(page.sessions) <= MOST_COLUMNS
    caption = "One column per session, one row per bundle." if columns else "Share of the sessions, by bundle."
    out = [FigureItem("desc-coverage_qc", "Coverage", caption, coverage_map(page.statuses, shares=not page.by_person))]
    if page.by_person:
        for scalar in page.units:
            out += _strips(page, scalar)
        if page.flipped:
            curves = tuple(
                Turned(f.label, f.bundle, f.s_mm, f.profile, f.mean,
                       f"{f.scalar}: r {_r(f.r_cohort)}, with the reverse {_r(f.r_reversed)}")
                for f in page.flipped
            )  # fmt: skip
            said = "Colour: the session. Grey: the cohort's mean; dashed: its reverse. The clearest first."
            out.append(FigureItem("desc-reversed_qc", "Profiles that look reversed", said, turned_sheet(curves)))
    return (*out, *_boxes(page))


def _r(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _strips(page: QualityPage, scalar: str) -> list[FigureItem]:
    far = labelled(page.outliers[page.outliers["scalar"] == scalar])
    far = far.assign(value=far["excess"].astype(float), marked=far["flagged"] == True)  # noqa: E712
    told = page.orientation[page.orientation["scalar"] == scalar]
    told = labelled(told[told["verdict"].isin(TOLD)])
    told = told.assign(value=told["r_cohort"] - told["r_reversed"], marked=told["verdict"] == "reversed")
    place = {bundle: k for k, bundle in enumerate(page.bundles)}
    far, told = (
        rows[rows["decision"] != "reject"].sort_values("bundle", key=lambda c: c.map(place), kind="stable")
        for rows in (far, told)
    )
    out = []
    if far["value"].notna().any():
        scale = Scale("distance from the cohort, over its limit", 1.0, logarithmic=True, remark="unusual: right of 1")
        said = "Dashed: the limit. Coloured: beyond it, the farthest of each bundle with its name, + how many more. "
        said += "Rejected bundles are left out." if page.decisions else ""
        name = f"desc-outliers{alphanumeric(scalar)}_qc"
        out.append(FigureItem(name, scalar, said, strip(far, scale, scalar), "outliers"))
    if len(told):
        scale = Scale(
            "r with the cohort's mean − r with its reverse", 0.0, above=False, remark="reverse wins: left of 0"
        )
        said = "Left of the dashed line the reverse of the cohort's mean is more like the session's profile."
        name = f"desc-orientation{alphanumeric(scalar)}_qc"
        out.append(FigureItem(name, scalar, said, strip(told, scale, scalar), "orientation"))
    return out


def _boxes(page: QualityPage) -> list[FigureItem]:
    """Boxes of each column and scalar: the bundles in which its levels differ most."""
    if page.sites is None:
        return []
    out = []
    for (column, scalar), rows in page.sites.groupby(["column", "scalar"], sort=False):
        chosen = _most_different(rows)
        shown = rows[rows["bundle"].isin(chosen)]
        if not page.by_person:
            shown = shown[shown["n"] >= LEAST_SHOWN]
        shown = shown.sort_values("bundle", key=lambda c: c.map(chosen.index), kind="stable")
        if shown.empty:
            continue
        said = (
            f"Means over the nodes by {column}: box from quartile to quartile, line at the median, whiskers to the "
            f"last within 1.5 box lengths{_of(page.units.get(str(scalar), ''))}."
        )
        if len(chosen) < rows["bundle"].nunique():
            said += f" The {len(chosen)} of {rows['bundle'].nunique()} bundles in which most lies between the levels."
        if not page.by_person:
            said += f" Levels of fewer than {LEAST_SHOWN} sessions are left out."
        name = f"desc-{alphanumeric(column)}{alphanumeric(scalar)}_qc"
        sheet = site_sheet(shown, page.units.get(str(scalar), ""))
        out.append(FigureItem(name, f"{scalar} by {column}", said, sheet, "sites"))
    return out


def _of(unit: str) -> str:
    return f", in {unit}" if unit else ""


def _most_different(rows: pd.DataFrame) -> list[str]:
    """Bundles, the largest share between levels first; MOST_BOXES at most."""
    one = rows.drop_duplicates("bundle").sort_values("share", ascending=False, kind="stable", na_position="last")
    return [str(b) for b in one["bundle"][:MOST_BOXES]]


# Sections.


def sections(page: QualityPage, drawn: tuple[FigureItem, ...]) -> tuple[Section, ...]:
    """All sections, in reading order."""
    sites = _sites(page, drawn)
    return (
        Section("summary", "Summary", _summary(page)),
        Section("coverage", "Coverage", _coverage(page, drawn)),
        Section("outliers", "Unusual profiles", _outliers(page, drawn)),
        Section("orientation", "Flip audit", _orientation(page, drawn)),
        *((Section("sites", "Sites", sites),) if sites else ()),
        Section("rows", "Rows of the models", _rows(page)),
        Section("decisions", "Decisions", _decisions(page)),
        Section("methods", "How this was judged", (Prose(METHODS),)),
        Section(
            "provenance", "Provenance", (Facts((("Made of", f"tables, models and settings {page.fingerprint}"),)),)
        ),
    )


def _summary(page: QualityPage) -> tuple[Block, ...]:
    people = counted(page.n_people, "person", "people")
    sessions = counted(len(page.sessions), "session")
    usable = int((page.coverage["status"] == "ok").sum())
    total = len(page.coverage)
    share = f"{100 * usable / total:.0f} %" if usable < total else "all"
    who = sessions if len(page.sessions) == page.n_people else f"{sessions} of {people}"
    lead = f"{who if who != sessions else people}, {counted(len(page.bundles), 'bundle')}: "
    lead += f"{usable:,} of {total:,} profiles ({share}) can be used. "
    open_ends = [words for words, any_found in (far_words(page), turned_words(page)) if any_found]
    lead += "What needs a look stands below." if open_ends else "Nothing stands out that needs a decision."
    items = [
        ("Coverage", missing_words(page)),
        ("Unusual profiles", far_words(page)[0]),
        ("Ends", turned_words(page)[0]),
        ("Sites", site_words(page)),
        *((f"Model {m.name}", model_words(m)) for m in page.models),
        ("Decisions", decision_words(page)),
    ]
    blocks: list[Block] = [Prose((lead,), lead=True), Bullets(tuple(items))]
    if page.warnings:
        what = counted(len(page.warnings), "line or column", "lines or columns")
        blocks.append(
            Notice("warning", f"{what} of {page.decisions_name} without effect", "Decisions, below, has them.")
        )
    return tuple(blocks)


def _unknown(page: QualityPage) -> Notice:
    what = counted(len(page.warnings), "line or column", "lines or columns")
    shown = [w.split(". There are:")[0] for w in page.warnings[:10]] if page.by_person else []
    more = f" And {len(page.warnings) - 10} more." if page.by_person and len(page.warnings) > 10 else ""
    return Notice("warning", f"{what} of {page.decisions_name} without effect", "; ".join(shown) + more)


def _coverage(page: QualityPage, drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    used = [s for s in STATUSES if (page.statuses == s).to_numpy().any()]
    counts = {s: (page.statuses == s).sum() for s in used}
    frame = pd.DataFrame({"bundle": page.bundles, **{s: counts[s].to_numpy() for s in used}})
    heads = [("bundle", "Bundle", ""), *((s, status_words(s), STATUSES[s]) for s in used)]
    complete = int((page.statuses == "ok").all(axis=1).sum())
    text = f"{complete} of {counted(len(page.sessions), 'session')} have every bundle."
    what = counted(len(page.absent), "bundle")
    absent = (Fold(f"{what} of the atlas that nobody has", (Prose((", ".join(page.absent),)),)),) if page.absent else ()
    meaning = Bullets(tuple((status_words(s), STATUSES[s]) for s in used))
    item = table("coverage", frame, heads, "Sessions per bundle and status.", tools=True)
    return (
        Prose((text,)),
        *(f for f in drawn if f.name == "desc-coverage_qc"),
        meaning,
        Fold(item.caption, (item,)),
        *absent,
    )


def _outliers(page: QualityPage, drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    blocks: list[Block] = [Prose((_sentence(far_words(page)[0]),))]
    blocks += [item for item in drawn if item.group == "outliers"]
    far = page.far
    if far.empty:
        return tuple(blocks)
    if not page.by_person:
        frame = far.groupby(["bundle", "scalar"], sort=False).agg(n=("label", "nunique")).reset_index()
        heads = [("bundle", "Bundle", ""), ("scalar", "Scalar", ""), ("n", "Sessions", "beyond the limit")]
        return (*blocks, table("outliers", frame, heads, "Sessions beyond the limit.", tools=True))
    heads = [
        ("label", "Session", ""),
        ("bundle", "Bundle", ""),
        ("scalar", "Scalar", ""),
        ("excess", "Over the limit", _MEANING["excess"]),
        ("level", "Level", _MEANING["level"]),
        ("worst_s", "Node", _MEANING["worst_s"]),
        ("decision", "Decision", ""),
    ]
    caption = "Profiles beyond the limit, the farthest first."
    return (*blocks, *_cut(table("outliers", far[:MOST_ROWS], heads, caption, tools=True), len(far), "outliers"))


def _cut(item: TableItem, n: int, kind: str) -> tuple[Block, ...]:
    """A table, and a word where it has not all rows."""
    if n <= MOST_ROWS:
        return (item,)
    return (Notice("note", f"The first {MOST_ROWS} of {n:,}", f"group/desc-{kind}_qc.tsv has all."), item)


def _orientation(page: QualityPage, drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    counts = page.orientation.loc[page.orientation["decision"] != "reject", "verdict"].value_counts()
    said = tuple((f"{counts[v]:,} {v.replace('_', ' ')}", VERDICTS[v]) for v in VERDICTS if counts.get(v, 0))
    blocks: list[Block] = [Prose((_sentence(turned_words(page)[0]),)), Bullets(said)]
    turned = page.turned
    if page.by_person and len(turned):
        blocks += [item for item in drawn if item.name == "desc-reversed_qc"]
        heads = [
            ("label", "Session", ""),
            ("bundle", "Bundle", ""),
            ("n_reversed", "Scalars reversed", "whose reverse wins"),
            ("n_scalars", "of", "scalars that can tell"),
            ("margin", "Margin", "largest r with the reverse less r with the mean"),
        ]
        caption = "Sessions in which the reverse wins."
        blocks += _cut(table("turned", turned[:MOST_ROWS], heads, caption, tools=True), len(turned), "orientation")
    elif len(turned):
        frame = turned.groupby("bundle", sort=False).agg(n=("label", "nunique")).reset_index()
        blocks.append(table("turned", frame, [("bundle", "Bundle", ""), ("n", "Sessions", "")], "Reversed, by bundle."))
    strips = tuple(item for item in drawn if item.group == "orientation")
    return (*blocks, Fold("All sessions", strips)) if strips else tuple(blocks)


def _sites(page: QualityPage, drawn: tuple[FigureItem, ...]) -> tuple[Block, ...]:
    if page.sites is None or page.sites.empty:
        return ()
    tests = page.sites.drop_duplicates(["column", "bundle", "scalar"])
    grouped = page.sites.groupby(["column", "bundle", "scalar"], sort=False)["level"].size()
    frame = tests.assign(levels=grouped.to_numpy()).sort_values("share", ascending=False, kind="stable")
    heads = [
        ("column", "Column", ""),
        ("bundle", "Bundle", ""),
        ("scalar", "Scalar", ""),
        ("levels", "Levels", ""),
        ("share", "Share between", _MEANING["share"]),
        ("p", "p", _MEANING["p"]),
        ("q", "q", _MEANING["q"]),
    ]
    item = table("sites", frame, heads, "How much lies between the levels.", tools=True)
    figures_of = tuple(f for f in drawn if f.group == "sites")
    return (Prose((_sentence(site_words(page)),)), *figures_of, Fold("All bundles and scalars", (item,)))


def _rows(page: QualityPage) -> tuple[Block, ...]:
    if not page.models:
        return (Prose(("No model was run yet.",)),)
    rows = [{"model": m.name, "used": m.n, "left": len(m.dropped), "why": ""} for m in page.models if not m.dropped]
    rows += [{"model": m.name, "used": m.n, "left": n, "why": why} for m in page.models for why, n in m.reasons.items()]
    heads = [("model", "Model", ""), ("used", "Rows", ""), ("left", "Left out", ""), ("why", "Why", "")]
    blocks: list[Block] = [table("rows", pd.DataFrame(rows), heads, "Rows used and left out, by model.")]
    if page.by_person:
        for model in (m for m in page.models if m.dropped):
            frame = pd.DataFrame(model.dropped[:MOST_ROWS], columns=["row", "why"])
            who = table(f"left-{model.name}", frame, [("row", "Session", ""), ("why", "Why", "")], tools=True)
            blocks.append(Fold(f"Left out of {model.name}", (who,), remark=str(len(model.dropped))))
    return tuple(blocks)


def _decisions(page: QualityPage) -> tuple[Block, ...]:
    blocks: list[Block] = [Prose((_sentence(decision_words(page)),))]
    if page.warnings:
        blocks.append(_unknown(page))
    if page.decisions_name:
        counts = page.coverage["line"].value_counts()
        frame = pd.DataFrame(
            {
                "line": [d.line for d in page.decisions],
                "who": [d.participant for d in page.decisions],
                "session": [d.session or "all" for d in page.decisions],
                "bundle": [d.bundle or "all" for d in page.decisions],
                "decision": [d.decision for d in page.decisions],
                "n": [int(counts.get(d.line, 0)) for d in page.decisions],
                "reason": [d.reason or None for d in page.decisions],
            }
        )
        if page.by_person:
            heads = [("line", "Line", ""), ("who", "Subject", ""), ("session", "Session", ""), ("bundle", "Bundle", ""),
                     ("decision", "Decision", ""), ("n", "In force for", "bundles of sessions"),
                     ("reason", "Reason", "")]  # fmt: skip
            item = table("decisions", frame[:MOST_ROWS], heads, f"Lines of {page.decisions_name}.", tools=True)
            blocks.append(item)
        else:
            decided = page.coverage.dropna(subset=["decision"])
            by = decided.groupby(["bundle", "decision"], sort=False).size().reset_index(name="n")
            heads = [("bundle", "Bundle", ""), ("decision", "Decision", ""), ("n", "Sessions", "")]
            blocks.append(table("decisions", by, heads, "Sessions decided on, by bundle."))
    if page.by_person and (lines := _suggested(page)):
        text = "Look at each; keep the lines that are right, write the file's path after --qc-file, run again."
        blocks.append(Fold("Lines to start a decisions file from", (Prose((text,)), Code(lines))))
    return tuple(blocks)


def _suggested(page: QualityPage) -> str:
    """What stands out and is not decided yet, as lines of a decisions file."""
    pairs: dict[tuple[str, str], str] = {}
    for row in page.turned.itertuples():
        pairs[str(row.label), str(row.bundle)] = "looks reversed"
    for row in page.far[page.far["decision"].isna()].itertuples():
        pairs.setdefault((str(row.label), str(row.bundle)), f"{row.scalar} {row.excess:.1f} x the limit")
    lines = ["\t".join(("participant_id", "session_id", "bundle", "decision", "reason"))]
    for (label, bundle), reason in list(pairs.items())[:MOST_ROWS]:
        participant, _, session = label.partition(" ")
        lines.append("\t".join((participant, session or "n/a", bundle, "reject", reason)))
    return "\n".join(lines) if len(lines) > 1 else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
