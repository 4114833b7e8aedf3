"""Figures of the group level: numbers, marks, hostile labels, equal bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from spectra_bids.figures.overviews import coverage_map, effect_overview
from spectra_bids.figures.plots import _mean_and_interval, _runs, cell_map, effect_profile, group_profile, groups
from spectra_bids.figures.style import diverging, label, limits, number, sequential
from spectra_bids.figures.svg import inline

HOSTILE = [
    "<script>alert(1)</script>",
    "a\"b'c",
    "$x^2$ \\alpha",
    "ünïcödé 束 ✓",
    "x" * 200,
    "tab\tnul\x00 bell\x07",
    "]]>&amp;",
]


def profiles(n: int = 12, ns: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "participant": f"sub-{i:02d}",
            "session": "",
            "s": s,
            "s_mm": 5.0 * s,
            "fa": 0.4 + 0.01 * i + 0.01 * rng.normal(),
        }
        | {"group": "patient" if i % 2 else "control", "age": 20.0 + i}
        for i in range(n)
        for s in range(ns)
    ]
    return pd.DataFrame(rows)


def stats(kind: str = "1D", statistic: str = "t", bundle: str = "AF_L") -> pd.DataFrame:
    cells = [(s, r) for s in range(8) for r in range(4 if kind == "2D" else 1)]
    frame = pd.DataFrame(cells, columns=["s", "r"])
    value = np.linspace(-3, 4, len(frame))
    frame = frame.assign(
        bundle=bundle, scalar="dti_fa", contrast="g", s_mm=5.0 * frame.s, r_mm=5.0 * frame.r - 7.5, value=value
    )
    frame["p"] = np.exp(-np.abs(value))
    frame["statistic"] = statistic
    frame["estimate"] = np.nan if statistic == "F" else value / 100
    frame["ci_low"], frame["ci_high"] = frame.estimate - 0.01, frame.estimate + 0.01
    frame["rejected"] = value > 3
    frame["block_selected"] = True
    frame.loc[0, ["value", "p", "estimate"]] = np.nan
    return frame.drop(columns=["r", "r_mm"]) if kind == "1D" else frame


def texts(svg: str) -> str:
    return " ".join("".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.tag.endswith("}text"))


def test_the_interval_of_a_group_is_the_t_interval_of_its_people() -> None:
    from scipy import stats as scipy_stats

    table = profiles()
    mean, half, n = _mean_and_interval(table, "fa", np.arange(10))
    values = table[table.s == 3].fa.to_numpy()
    low, high = scipy_stats.t.interval(0.95, len(values) - 1, values.mean(), scipy_stats.sem(values))
    assert n == 12
    assert (mean[3] - half[3], mean[3] + half[3]) == pytest.approx((low, high), abs=1e-12)


def test_sessions_of_one_person_are_averaged_before_people_are_counted() -> None:
    table = profiles()
    twice = pd.concat([table, table.assign(session="02", fa=table.fa + 0.02)])
    mean, half, n = _mean_and_interval(twice, "fa", np.arange(10))
    once = _mean_and_interval(table, "fa", np.arange(10))
    assert n == 12
    np.testing.assert_allclose(mean, once[0] + 0.01)
    np.testing.assert_allclose(half, once[1])


def test_a_missing_value_lowers_the_count_of_its_node_alone() -> None:
    table = profiles()
    table.loc[(table.s == 2) & (table.participant == "sub-00"), "fa"] = np.nan
    mean, _, n = _mean_and_interval(table, "fa", np.arange(10))
    assert n == 12
    assert np.isfinite(mean).all()
    kept = table[(table.s == 2) & table.fa.notna()].fa
    assert mean[2] == pytest.approx(kept.mean())


def test_numbers_are_cut_into_terciles_and_factors_keep_their_order() -> None:
    table = profiles()
    assert [len(rows) for _, rows in groups(table, "age")] == [40, 40, 40]
    table["group"] = pd.Categorical(table.group, ["patient", "control"])
    assert [name for name, _ in groups(table, "group")] == ["patient", "control"]
    assert [name for name, _ in groups(table, "")] == [""]


def test_real_groups_are_drawn_with_their_counts(shared_data: object) -> None:
    nodes = pd.read_csv(f"{shared_data}/tables/sarica_als_nodes.csv.gz")
    people = pd.read_csv(f"{shared_data}/tables/sarica_als_subjects.csv")
    table = nodes[nodes.tractID == "Right Corticospinal"].merge(people, on="subjectID")
    table = table.rename(columns={"subjectID": "participant", "nodeID": "s", "class": "dx"}).assign(
        s_mm=table.nodeID * 1.0
    )
    svg = group_profile(table, "fa", "dx", "", ("I", "S"), np.array([40, 41]), "Right Corticospinal").svg
    said = texts(svg)
    assert "ALS (24)" in said
    assert "CTRL (24)" in said
    assert "inferior → superior (mm)" in said


@pytest.mark.parametrize("statistic", ["t", "F"])
def test_a_map_outlines_exactly_the_boundary_of_the_rejected_cells(statistic: str) -> None:
    rows = stats("2D", statistic)
    svg = cell_map(rows, ("P", "A"), ("L", "R"), "AF_L", "g").svg
    colour = "#ffffff" if statistic == "F" else "#10161d"
    inside = {(s, r) for s, r in rows.loc[rows.rejected, ["s", "r"]].to_numpy().tolist()}
    edges = sum((s + a, r + b) not in inside for s, r in inside for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    assert len(re.findall(rf"stroke: {colour}", svg)) == edges > 0
    assert "posterior → anterior (mm)" in texts(svg)
    assert "left → right (mm)" in texts(svg)
    assert "<pattern" in svg  # the cell without a p value is hatched


def test_nothing_missing_means_no_hatching() -> None:
    assert "<pattern" not in cell_map(stats("2D").dropna(), ("P", "A")).svg


def test_neighbouring_rejected_nodes_are_one_band() -> None:
    low = np.array([0.0, 5.0, 20.0])
    assert _runs(low, low + 5, 5.0) == [(0.0, 10.0), (20.0, 25.0)]


def test_an_effect_that_is_an_F_test_shows_its_value() -> None:
    assert "F value" in texts(effect_profile(stats(statistic="F"), title="AF_L").svg)
    assert "estimate and 95 % CI" in texts(effect_profile(stats(), title="AF_L").svg)


def test_the_overview_sets_selected_bundles_in_bold() -> None:
    other = stats(bundle="CST_R").assign(block_selected=False, rejected=False)
    svg = effect_overview(pd.concat([stats(), other]), {"AF_L": ("P", "A"), "CST_R": ("I", "S")}, "g").svg
    bold = [
        e.text for e in ET.fromstring(svg).iter() if e.tag.endswith("}text") and "font-weight" in e.get("style", "")
    ]
    assert "AF_L" in bold
    assert "CST_R" not in bold


def test_coverage_names_the_statuses_that_occur_and_no_other() -> None:
    table = pd.DataFrame({"AF_L": ["ok", "no_bundle"], "CST_R": ["ok", "few_streamlines"]}, index=["sub-01", "sub-02"])
    sheet = coverage_map(table)
    said = texts(sheet.svg)
    assert "no bundle" in said
    assert "few streamlines" in said
    assert "masked" not in said
    assert "2 of 4 not ok" in sheet.panels[0].text


def every_figure(text: str) -> list[str]:
    table = profiles().assign(**{text: "x"})
    table.loc[table.group == "patient", text] = text
    sheets = [
        group_profile(table.rename(columns={"fa": "f" + text}), "f" + text, text, text, (text, text), None, text),
        effect_profile(stats(), text, (text, text), text, text),
        cell_map(stats("2D"), (text, text), (text, text), text, text),
        effect_overview(stats(bundle=text), {text: (text, text)}, text),
        coverage_map(pd.DataFrame({text: ["ok", text]}, index=[text, "b"])),
    ]
    return [sheet.svg for sheet in sheets] + [inline(sheet.panels[0], "a-") for sheet in sheets]


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "quotes", "mathtext", "utf8", "long", "control", "cdata"])
def test_a_hostile_label_stays_text_in_every_figure(text: str) -> None:
    for svg in every_figure(text):
        root = ET.fromstring(svg)
        tags = {e.tag.rpartition("}")[2] for e in root.iter()}
        assert "script" not in tags
        said = " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith("text"))
        assert label(text, 10)[:9] in said + root.get("aria-label", "")


def test_equal_input_gives_equal_bytes_whatever_matplotlib_and_numpy_are_set_to() -> None:
    import matplotlib as mpl

    first = every_figure("a")
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 20, "axes.grid": True}):
        second = every_figure("a")
    with np.printoptions(legacy="1.13"):  # NumPy's own, too: the ids of clip paths are hashes of printed numbers
        third = every_figure("a")
    assert first == second == third


def test_a_figure_names_no_other_host_and_carries_no_date() -> None:
    for svg in every_figure("a"):
        assert not re.search(r"(?:href|src)=\"(?!#|data:)", svg)
        assert "DOCTYPE" not in svg
        assert "<metadata" not in svg
    assert "http" not in inline(cell_map(stats("2D")).panels[0], "a-")


def test_ids_of_two_figures_on_one_page_differ() -> None:
    item = cell_map(stats("2D")).panels[0]
    first, second = (set(re.findall(r' id="([^"]+)"', inline(item, prefix))) for prefix in ("a-", "b-"))
    assert first
    assert not first & second
    page = inline(item, "a-")
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) <= first


def test_maps_fall_or_rise_evenly_in_lightness() -> None:
    def lightness(colours: np.ndarray) -> np.ndarray:
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        y = linear @ np.array([0.2126, 0.7152, 0.0722])
        return 116 * np.cbrt(y) - 16

    rising = lightness(sequential()(np.linspace(0, 1, 64))[:, :3])
    assert (np.diff(rising) > 0.2).all()
    both = lightness(diverging()(np.linspace(0, 1, 65))[:, :3])
    assert both[32] == both.max()
    np.testing.assert_allclose(both[:32], both[:-33:-1], atol=6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.45, "0.45"), (-3.14159, "−3.14"), (7.2e-5, "7.2e−5"), (1234.5, "1234"), (np.nan, "n/a"), (0, "0")],
)
def test_numbers_read_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


def test_limits_open_where_all_values_are_equal() -> None:
    low, high = limits([2.0, 2.0])
    assert low < 2 < high
    assert limits([np.nan]) == (0.0, 1.0)
    assert limits([-1.0, 3.0], centred=True) == (-3.0, 3.0)
