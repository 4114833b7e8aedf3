"""plot: what is chosen of a model's tables, how it is named, and what the figures hold."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spectra_bids.dataset.outputs import read_table
from spectra_bids.errors import MissingInputError, NothingSelectedError, UsageError
from spectra_bids.figures import press_fdr
from spectra_bids.figures.press import THINNEST, Press, finish, fitted, new_figure, press_style, save, text_width
from spectra_bids.plot import PlotTask, run_plot
from spectra_bids.plot.source import (
    Groups,
    choose_bundles,
    choose_model,
    groups_of,
    kinds_of,
    read_families,
    read_profiles,
    unit_of,
)
from spectra_bids.plot.words import bundle_title, renamings, scalar_title, with_unit

FORMULA = "value ~ group + age + (1|site)"


@pytest.fixture(scope="module")
def group(study, tmp_path_factory, cli):
    """The study's group level: read, never write."""
    out = Path(shutil.copytree(study.out, tmp_path_factory.mktemp("plot") / "out"))
    words = ("group", "--formula", FORMULA, "--model-name", "m", "--n-procs", 1)
    ended = cli(study.bids, out, *words)
    assert ended.status == 0, ended.err
    return out


def family(out, contrast="group", dims="1D"):
    return read_families(out, "m", dims, (contrast,), ())[0]


# --- validation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [({"width": 10}, "--width"), ({"font_size": 30}, "--font-size"), ({"dpi": 10}, "--dpi")],
)
def test_a_press_says_which_option_is_out_of_range(made, said):
    with pytest.raises(UsageError, match=said):
        Press(**made)


def test_names_that_are_not_there_are_answered_with_those_that_are(group, tmp_path):
    with pytest.raises(NothingSelectedError, match="There are: m"):
        choose_model(group, "other")
    with pytest.raises(MissingInputError, match="no tables of decisions"):
        kinds_of(tmp_path, "m")
    with pytest.raises(MissingInputError, match="no model"):
        choose_model(tmp_path, "")
    with pytest.raises(NothingSelectedError, match="There are: group, age"):
        read_families(group, "m", "1D", ("dx",), ())
    with pytest.raises(NothingSelectedError, match=r"--scalar md: not in this model. There are: "):
        read_families(group, "m", "1D", (), ("md",))
    with pytest.raises(NothingSelectedError, match="There are: AFL, CCForcepsMajor, CSTR"):
        choose_bundles(family(group), ("IFOF_left",))
    with pytest.raises(NothingSelectedError, match=r"split by handedness: subjects.csv has group"):
        read_profiles(group, "m", family(group), ["AFL"], Groups("handedness"))


def test_several_models_must_be_told_apart(group, tmp_path):
    for name in ("model-a", "model-b"):
        (tmp_path / "group" / name).mkdir(parents=True)
    with pytest.raises(NothingSelectedError, match="several models: a, b"):
        choose_model(tmp_path, "")
    assert choose_model(tmp_path, "model-b") == "b"
    assert choose_model(group, "") == "m"


def test_strips_without_streamlines_say_where_they_are_taken_from(group, tmp_path):
    lean = Path(shutil.copytree(group, tmp_path / "lean"))
    for path in (lean / "atlas").glob("*_streamlines.tck"):
        path.unlink()
    task = PlotTask(lean, tmp_path / "f.png", ("png",), ("strips",), contrasts=("group",))
    with pytest.raises(MissingInputError, match="no --atlas"):
        run_plot(task)


# --- choice ----------------------------------------------------------------------------------------------------------


def test_bundles_are_chosen_in_any_spelling_and_by_default_where_something_was_found(group):
    found = family(group)
    stats = read_table(group / "group/model-m/model-m_desc-profile1D_stats.tsv")
    mine = stats[stats["contrast"] == "group"]
    hit = mine.loc[(mine["rejected"] == True) | (mine["block_selected"] == True), "bundle"]  # noqa: E712
    assert choose_bundles(found, ()) == list(dict.fromkeys(hit)) == ["CSTR"]
    assert choose_bundles(found, ("corticospinal right", "Left Arcuate")) == ["CSTR", "AFL"]
    assert choose_bundles(found, ("all",)) == list(dict.fromkeys(mine["bundle"]))
    nothing = read_families(group, "m", "1D", ("age",), ())[0]
    if not nothing.found:
        assert choose_bundles(nothing, ()) == nothing.bundles


def test_profiles_are_those_of_the_people_in_the_design_split_by_the_contrast(group, study):
    groups = groups_of(group, "m", "group", "")
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t")
    levels = sorted(people["group"].unique())
    assert groups.column == "group"
    assert groups.levels == tuple(levels[1:])
    assert groups_of(group, "m", "group", "age") == Groups("age")
    found = family(group)
    table = read_profiles(group, "m", found, ["CSTR"], groups)
    assert list(table["group"].cat.categories) == levels
    raw = [read_table(p).assign(participant=p.name.split("_")[0]) for p in group.glob("sub-*/dwi/*profile1D*.tsv")]
    expected = pd.concat(raw).query("bundle == 'CSTR'").set_index(["participant", "s"])[found.scalar].sort_index()
    got = table.set_index(["participant", "s"])[found.scalar].sort_index()
    np.testing.assert_allclose(got, expected.reindex(got.index), rtol=1e-6)
    assert got.index.get_level_values(0).nunique() == len(people)


def test_people_without_a_covariate_are_not_among_the_profiles(group, tmp_path):
    mine = Path(shutil.copytree(group, tmp_path / "mine"))
    who = pd.read_csv(mine / "group/subjects.csv")
    who.loc[0, "age"] = np.nan
    who.to_csv(mine / "group/subjects.csv", index=False)
    table = read_profiles(mine, "m", family(mine), ["CSTR"], Groups(""))
    assert who["subjectID"][0] not in set(table["participant"])
    assert table["participant"].nunique() == len(who) - 1


def test_people_whom_the_run_left_out_are_not_among_the_profiles(group, tmp_path):
    mine = Path(shutil.copytree(group, tmp_path / "mine"))
    sidecar = mine / "group/model-m/model-m_desc-profile1D_stats.json"
    sidecar.write_text(
        sidecar.read_text().replace("group --model-name", "group --participant-label 01 02 --model-name")
    )
    table = read_profiles(mine, "m", family(mine), ["CSTR"], Groups(""))
    assert set(table["participant"]) == {"sub-01", "sub-02"}


def test_the_unit_is_that_of_the_session_tables(group):
    assert unit_of(group, "no_such") == ""
    assert isinstance(unit_of(group, family(group).scalar), str)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("AssociationArcuateFasciculusL", "Arcuate fasciculus, left"),
        ("ProjectionBrainstemCorticospinalTractR", "Corticospinal tract, right"),
        ("AssociationInferiorFrontoOccipitalFasciculusR", "Inferior fronto-occipital fasciculus, right"),
        ("AssociationSuperiorLongitudinalFasciculusL2", "Superior longitudinal fasciculus 2, left"),
        ("CommissureCorpusCallosumForcepsMajor", "Corpus callosum forceps major"),
        ("AFL", "AFL"),
        ("CSTR", "CSTR"),
        ("x<script>", "x<script>"),
    ],
)
def test_bundles_have_the_names_that_readers_know(name, title):
    assert bundle_title(name) == title
    assert bundle_title(name, {name: "mine"}) == "mine"


def test_scalars_and_units_are_words():
    assert scalar_title("tensor_fa") == "FA (DTI)"
    assert scalar_title("dki_mk") == "MK (DKI)"
    assert scalar_title("odd") == "ODD"
    assert scalar_title("noddi_icvf_modulated") == "noddi_icvf_modulated"
    assert with_unit("MD", "mm^2/s") == "MD (mm²/s)"
    assert with_unit("FA", "") == "FA"
    assert renamings(["a=b", "c=d = e"]) == {"a": "b", "c": "d = e"}


def test_names_are_shortened_to_the_room_there_is():
    press = Press()
    full = "Inferior longitudinal fasciculus, left"
    assert fitted(press, full, 200) == full
    assert fitted(press, full, text_width(press, full) - 1) == "Inferior longitudinal fasciculus L"
    assert fitted(press, full, 35) == "Inf. long. fasc. L"
    cut = fitted(press, full, 15)
    assert cut.endswith("…")
    assert text_width(press, cut) <= 15


# --- the line of Benjamini and Hochberg ------------------------------------------------------------------------------


def worked_example():
    """Blocks A, B, C, D of the worked example in the methods, which agrees with R's TreeBH."""
    cells = {
        "A": [0.001, 0.004, 0.03, 0.2, 0.6],
        "B": [0.02, 0.3, 0.5, 0.9],
        "C": [0.0004, 0.7, 0.8],
        "D": [0.4, 0.6, np.nan],
    }
    q = {"A": [0.01, 0.02, 0.1, 0.5, 1], "C": [0.0024, 1, 1]}
    return {
        name: pd.DataFrame(
            {
                "p": p,
                "q": q.get(name, np.nan),
                "rejected": [x <= 0.05 for x in q[name]] if name in q else False,
            }
        )
        for name, p in cells.items()
    }


def test_points_below_the_line_are_the_rejected_ones_of_the_worked_example():
    blocks = worked_example()
    for name, n, count in (("A", 5, 2), ("C", 3, 1)):
        ladder = press_fdr.of_cells(name, blocks[name], 0.05, n * 4 / 2, "cell")
        assert ladder.rejected.tolist() == [True] * count + [False] * (n - count)
        below = np.flatnonzero(ladder.p <= ladder.line)
        assert below.max() + 1 == count
        np.testing.assert_allclose(ladder.line, 0.05 * np.arange(1, n + 1) / (n * 2))
        assert ladder.threshold == ladder.p[count - 1]
        assert ladder.note == f"{count} of {n} cells rejected"
        # Read off the adjusted p values, the line is the same.
        np.testing.assert_allclose(press_fdr.of_cells(name, blocks[name], 0.05, None, "cell").line, ladder.line)
    other = press_fdr.of_cells("D", blocks["D"], 0.05, 4.0, "cell")
    assert other.line is None
    assert other.note == "not selected"
    assert len(other.p) == 2
    table = pd.DataFrame(
        {
            "p_block": [0.005, 0.08, 0.0012, 0.6],
            "q_block": [0.01, 0.106667, 0.0048, 0.6],
            "selected": [True, False, True, False],
        }
    )
    top = press_fdr.of_blocks(table, 0.05, by_bh=True)
    assert top.note == "R = 2 of m = 4 selected"
    np.testing.assert_allclose(top.line, [0.0125, 0.025, 0.0375, 0.05])
    assert top.rejected.tolist() == [True, True, False, False]


def test_the_adaptive_line_agrees_with_the_decisions_of_statsmodels():
    """statsmodels.stats.multitest.fdrcorrection_twostage(p, .05, method="bky") on the same p values."""
    from statsmodels.stats.multitest import fdrcorrection_twostage

    rng = np.random.default_rng(3)
    p = np.sort(np.r_[rng.uniform(0, 0.004, 15), rng.uniform(size=45)])
    rejected, q = fdrcorrection_twostage(p, 0.05, method="bky")[:2]
    c = press_fdr.constant(p, q)
    line = 0.05 * np.arange(1, 61) / c
    assert int(rejected.sum()) == int(np.flatnonzero(p <= line).max()) + 1


# --- figures ---------------------------------------------------------------------------------------------------------


def plotted(group, tmp_path, kind, formats=("svg",), contrasts=("group",), **more):
    press = more.pop("press", Press(outlines=False))
    made = run_plot(PlotTask(group, tmp_path / "f.svg", formats, (kind,), contrasts=contrasts, press=press, **more))
    return [path for path, _ in made], [caption for _, caption in made]


def texts(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def test_profiles_name_groups_numbers_ends_and_units(group, study, tmp_path):
    (path,), (caption,) = plotted(group, tmp_path, "profiles", bundles=("all",))
    said = texts(path)
    people = pd.read_csv(study.bids / "participants.tsv", sep="\t")
    for level, n in people["group"].value_counts().items():
        assert any(text.startswith(f"{level} (n = ") and str(n) in text for text in said)
    assert {"AFL", "CC forceps major", "CSTR", "rejected"} <= set(said)
    assert sum("→" in text and "(mm)" in text for text in said) == 3
    assert "95 % confidence interval" in caption


def test_a_figure_has_the_width_asked_for_and_no_thin_lines(group, tmp_path):
    from PIL import Image

    (svg, png), _ = plotted(group, tmp_path, "maps", ("svg", "png"), press=Press(width=85, dpi=200, outlines=False))
    assert abs(float(re.search(r'width="([0-9.]+)pt"', svg.read_text())[1]) / 72 * 25.4 - 85) < 0.01
    image = Image.open(png)
    assert abs(image.width - 85 / 25.4 * 200) <= 1
    assert abs(image.info["dpi"][0] - 200) < 0.1
    widths = [float(w) for w in re.findall(r"stroke-width: ([0-9.]+)", svg.read_text())]
    assert min(w for w in widths if w > 0) >= THINNEST


def test_bytes_are_the_same_twice_and_hold_no_date(group, tmp_path):
    kinds = ("svg", "pdf", "png")
    first, _ = plotted(group, tmp_path / "1", "fdr", kinds)
    second, _ = plotted(group, tmp_path / "2", "fdr", kinds)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
        assert not re.search(rb"CreationDate|dc:date|Matplotlib v|Software", a.read_bytes())


def test_fonts_are_embedded_in_pdf_as_truetype(group, tmp_path):
    (path,), _ = plotted(group, tmp_path, "profiles", ("pdf",))
    content = path.read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_text_of_svg_is_outlines_unless_asked_otherwise(group, tmp_path):
    (path,), _ = plotted(group, tmp_path, "maps", press=Press())
    assert "<text" not in path.read_text()


def test_letters_titles_and_other_words_are_shown_when_asked_for(group, tmp_path):
    press = Press(letters=("A",), outlines=False, title="A heading")
    renamed = {"CSTR": "CST, right & more", "tensor_fa": "FA"}
    (path,), _ = plotted(group, tmp_path, "profiles", bundles=("all",), press=press, renamed=renamed)
    said = texts(path)
    assert {"A", "B", "C", "A heading", "CST, right &amp; more"} <= set(said)


def test_a_dark_theme_leaves_no_light_ink(group, tmp_path):
    (path,), _ = plotted(group, tmp_path, "profiles", press=Press(dark=True, outlines=False))
    found = path.read_text()
    for ink in ("#1d2733", "#5d6b7a", "#1f5f8b", "#c9d1d9"):
        assert ink not in found
    assert "#171e26" in found
    (clear,), _ = plotted(group, tmp_path, "profiles", press=Press(transparent=True))
    assert not re.search(r"<path d=\"M 0 [0-9.]+ [^>]*style=\"fill: #ffffff\"", clear.read_text().replace("\n", " "))


def test_effects_and_estimates_colour_maps_in_their_own_words(group, tmp_path):
    (path,), _ = plotted(group, tmp_path, "maps", value="effect")
    assert "Cohen&#x27;s d, group" in path.read_text() or "Cohen's d, group" in path.read_text()
    (path,), _ = plotted(group, tmp_path, "maps", value="estimate")
    assert any(text.startswith("Δ ") for text in texts(path))


def test_numbers_of_the_family_stand_with_the_diagnostics(group, tmp_path):
    (path,), (caption,) = plotted(group, tmp_path, "fdr")
    summary = (
        read_table(group / "group/model-m/model-m_desc-profile1D_summary.tsv").query("contrast == 'group'").iloc[0]
    )
    assert f"R = {summary['n_selected']} of m = {summary['n_blocks']} selected" in texts(path)
    assert f"{summary['n_selected']} of {summary['n_blocks']} blocks selected at level 0.05" in caption
    assert f"{summary['n_valid']} of {summary['n_cells']} nodes tested, {summary['n_rejected']} rejected" in caption


@pytest.mark.parametrize("mode", [("fdr",), ("fdr", "--adaptive"), ("perm", "--n-permutations", 19), ("hfdr_resel",)])
def test_every_procedure_has_diagnostics(study, group, tmp_path, cli, mode):
    out = Path(shutil.copytree(group, tmp_path / "out"))
    words = (
        "group",
        "--formula",
        FORMULA,
        "--model-name",
        "p",
        "--stats-mode",
        *mode,
        "--profile",
        "1D",
        "--n-procs",
        1,
    )
    assert cli(study.bids, out, *words).status == 0
    (path,), (caption,) = plotted(out, tmp_path, "fdr", model="p")
    assert any("rejected" in text for text in texts(path))
    assert mode[0] in caption


def test_a_mosaic_without_streamlines_is_the_overview_alone(group, tmp_path, caplog):
    lean = Path(shutil.copytree(group, tmp_path / "lean"))
    for path in (lean / "atlas").glob("*_streamlines.tck"):
        path.unlink()
    (path,), (caption,) = plotted(lean, tmp_path, "mosaic")
    assert "no streamlines to draw CSTR with" in caplog.text
    assert caption.startswith("group, FA (DTI), 1D. Strips: every bundle") or "Strips: every bundle" in caption
    assert "<image" in path.read_text()
    assert {"AFL", "CC forceps major", "CSTR"} <= set(texts(path))


def test_strips_and_mosaics_are_drawn_at_the_resolution_asked_for(group, study, tmp_path):
    """By matplotlib, which draws without a graphics driver."""
    from PIL import Image

    press = Press(width=90, dpi=100, outlines=False)
    more = {"atlas": str(study.atlas), "engine": "matplotlib", "cameras": ("Sagittal_R", "Axial"), "press": press}
    (path,), _ = plotted(group, tmp_path, "strips", ("png",), **more)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[1] in (354, 355)
    blue = (picture[..., 2] - picture[..., 0] > 60) | (picture[..., 0] - picture[..., 2] > 60)
    assert blue.sum() > 50, "a bundle with a strong effect shows the colours of the scale"
    (path,), _ = plotted(group, tmp_path, "mosaic", ("pdf",), **more)
    assert path.stat().st_size > 10_000


@pytest.mark.vulkan
def test_fury_draws_strips(group, study, tmp_path):
    from PIL import Image

    press = Press(width=85, dpi=100)
    (path,), _ = plotted(group, tmp_path, "strips", ("png",), atlas=str(study.atlas), press=press, dims="2D")
    picture = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")).astype(int)
    assert (np.ptp(picture, axis=2) > 60).sum() > 30


def test_type_is_brought_to_the_size_of_the_press():
    press = Press(font_size=12, outlines=False)
    with press_style(press):
        figure = new_figure(press, 30)
        axes = figure.add_axes((0.2, 0.3, 0.7, 0.6))
        axes.plot([0, 1], [0, 1], linewidth=0.1)
        axes.set_xlabel("mm", size=8.5)
        finish(figure, press)
        written = save(figure, press, "svg").decode()
    assert len(re.findall(r"font-size: 12px|font: 12px", written)) >= 3
    assert f"stroke-width: {THINNEST}" in written
