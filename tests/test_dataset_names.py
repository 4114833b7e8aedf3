"""BIDS names: bundles in many dialects, scalars, output paths, labels that must not become paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra_bids.dataset import names
from spectra_bids.dataset.names import bundle_name, canonical, is_known, label, plain, scalar_name
from spectra_bids.errors import DatasetError

OUT = Path("OUT")

ARCUATE = (
    "AF_L",
    "ARC_L",
    "Left Arcuate",
    "LeftArcuate",
    "AFleft",
    "AF_left",
    "AssociationArcuateFasciculusL",
    "Association_ArcuateFasciculusL",
    "Arcuate_Fasciculus_L",
    "arcuate_fasciculus_left",
    "tract-ArcuateFasciculus+hemi-L",
    "tract-ArcuateFasciculus_hemi-L",
    "ArcuateFasciculusL",
    "L_AF",
    "lh.af",
)

#: One row per tract: pyAFQ 3, TractSeg, HCP842/RecoBundles, DSI Studio. Empty: the program has no such tract.
DIALECTS = """
LeftAnteriorThalamic|ATR_left||ProjectionBasalGanglia_ThalamicRadiationL_Anterior
LeftPosteriorArcuate|||
LeftVerticalOccipital||VOF_L|Association_VerticalOccipitalFasciculusL
LeftInferiorLongitudinal|ILF_left|ILF_L|Association_InferiorLongitudinalFasciculusL
RightUncinate|UF_right|UF_R|Association_UncinateFasciculusR
|MLF_left|MdLF_L|Association_MiddleLongitudinalFasciculusL
|SLF_I_left||Association_SuperiorLongitudinalFasciculusL_1
|SLF_III_right||Association_SuperiorLongitudinalFasciculusR_3
|FPT_right|FPT_R|ProjectionBrainstem_CorticopontineTractR_Frontal
||OPT_L|ProjectionBrainstem_CorticopontineTractL_Occipital
||PPT_L|ProjectionBrainstem_CorticopontineTractL_Parietal
|ICP_left|ICP_L|Cerebellum_InferiorCerebellarPeduncleL
|MCP|MCP|Cerebellum_MiddleCerebellarPeduncle
|CA|AC|Commissure_AnteriorCommissure
CallosumOccipital|CC_7|CC_ForcepsMajor|Commissure_CorpusCallosum_ForcepsMajor
CallosumOrbital|CC_2|CC_ForcepsMinor|Commissure_CorpusCallosum_ForcepsMinor
CallosumMotor|CC_4|CCMid|Commissure_CorpusCallosum_Body
|CC|CC|
|FX_left|F_L|ProjectionBasalGanglia_FornixL
||V|Cerebellum_Vermis
||CNII_L|CranialNerve_CNII_L
||ML_R|ProjectionBrainstem_MedialLemniscusR
||MLF_R|
||AST_L|Association_FrontalAslantTractL
||EMC_R|Association_ExtremeCapsuleR
||STT_L|
""".strip().splitlines()

TRACTSEG = re.findall(
    r"\w+",
    """
    AF_left AF_right ATR_left ATR_right CA CC_1 CC_2 CC_3 CC_4 CC_5 CC_6 CC_7 CG_left CG_right CST_left CST_right
    MLF_left MLF_right FPT_left FPT_right FX_left FX_right ICP_left ICP_right IFO_left IFO_right ILF_left ILF_right
    MCP OR_left OR_right POPT_left POPT_right SCP_left SCP_right SLF_I_left SLF_I_right SLF_II_left SLF_II_right
    SLF_III_left SLF_III_right STR_left STR_right UF_left UF_right CC T_PREF_left T_PREF_right T_PREM_left
    T_PREM_right T_PREC_left T_PREC_right T_POSTC_left T_POSTC_right T_PAR_left T_PAR_right T_OCC_left T_OCC_right
    ST_FO_left ST_FO_right ST_PREF_left ST_PREF_right ST_PREM_left ST_PREM_right ST_PREC_left ST_PREC_right
    ST_POSTC_left ST_POSTC_right ST_PAR_left ST_PAR_right ST_OCC_left ST_OCC_right
    """,
)


@pytest.mark.parametrize("value", ["", "..", "a/b", "a_b", "a-b", "a b", "/etc", "a\n", "é"])
def test_a_label_that_could_leave_its_folder_is_refused(value: str) -> None:
    with pytest.raises(DatasetError, match="letters and digits"):
        label(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: names.session_stem(x, None, None),
        lambda x: names.session_stem("01", x, None),
        lambda x: names.session_stem("01", None, x),
        lambda x: names.profile_file(OUT, x, None, None, "1D"),
        lambda x: names.grid_files(OUT, x, "AFL"),
        lambda x: names.grid_files(OUT, "hcp", x),
        lambda x: names.figure_file(OUT, "01", x, "profile1D"),
        lambda x: names.figure_file(OUT, "01", "sub-01", x),
        lambda x: names.subject_page(OUT, x),
        lambda x: names.model_page(OUT, x),
        lambda x: names.map_file(OUT, "m", x, "1D"),
        lambda x: names.run_log_dir(OUT, x),
        lambda x: names.crash_dir(OUT, x, "u"),
    ],
)
def test_no_output_name_can_climb_out_of_the_output_folder(make) -> None:  # type: ignore[no-untyped-def]
    for value in ("../../etc", "a/b", ".."):
        with pytest.raises(DatasetError):
            make(value)


def test_one_tract_has_one_key_in_every_dialect() -> None:
    assert {canonical(name) for name in ARCUATE} == {"afleft"}


@pytest.mark.parametrize("row", DIALECTS)
def test_the_programs_names_of_a_tract_join(row: str) -> None:
    found = [name for name in row.split("|") if name]
    assert all(is_known(name) for name in found)
    assert len({canonical(name) for name in found}) == 1
    assert len({canonical(plain(name)) for name in found}) == 1


def test_the_shared_alias_table_joins(shared_data: Path) -> None:
    rows = [row.split("\t") for row in (shared_data / "aliases.tsv").read_text().splitlines()[1:]]
    keys = [{canonical(x) for name in row for x in (name, plain(name))} for row in rows]
    assert [len(k) for k in keys] == [1] * 19
    assert len(set.union(*keys)) == 19


def test_all_tractseg_tracts_are_known_and_differ() -> None:
    assert len(TRACTSEG) == 72
    assert all(is_known(name) for name in TRACTSEG)
    assert len({canonical(name) for name in TRACTSEG}) == 72


def test_the_two_meanings_of_mlf_are_told_apart_by_how_the_side_is_written() -> None:
    assert canonical("MLF_left") == canonical("MdLF_L") != canonical("MLF_L")


def test_the_alias_table_gives_no_spelling_to_two_tracts_and_keys_are_their_own_spelling() -> None:
    spellings = names._spellings()
    assert len(spellings) > 1500
    assert all(canonical(key) == key for key in set(spellings.values()))


def test_sides_never_join() -> None:
    keys = names._spellings().values()
    assert not {k for k in keys if k.endswith("left")} & {k for k in keys if k.endswith("right")}
    assert canonical("CST_L") != canonical("CST_R")


def test_unknown_names_pass_through() -> None:
    assert canonical("My Bundle_7") == "mybundle7"
    assert not is_known("My Bundle_7")


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=12))
def test_a_key_is_plain_and_its_own_key(name: str) -> None:
    try:
        key = canonical(name)
    except DatasetError:
        assert not any(c.isalnum() for c in name)
        return
    assert key.isalnum()
    assert key == key.lower()
    assert is_known(key) == is_known(name) or not is_known(name)


def test_a_name_without_letters_is_refused() -> None:
    with pytest.raises(DatasetError, match="letters or digits"):
        plain("__--")


@pytest.mark.parametrize(
    ("entities", "suffix", "expected"),
    [
        ({"tract": "ArcuateFasciculus", "hemi": "L", "desc": "x"}, "tractogram", "ArcuateFasciculusL"),
        ({"bundle": "AssociationArcuateFasciculusL", "desc": "x"}, "streamlines", "AssociationArcuateFasciculusL"),
        ({"desc": "LeftArcuate"}, "tractography", "LeftArcuate"),
        ({"desc": "bundles"}, "tractography", None),
        ({"model": "csd"}, "tractography", None),
        ({"desc": "LeftArcuate"}, "mask", None),
    ],
)
def test_a_bundles_name_is_its_tract_its_bundle_or_its_desc(
    entities: dict[str, str], suffix: str, expected: str | None
) -> None:
    assert bundle_name(entities, suffix) == expected


def test_a_scalars_column_always_has_both_parts() -> None:
    assert scalar_name({"model": "tensor", "param": "fa"}) == "tensor_fa"
    assert scalar_name({"model": "DTI", "desc": "FA"}) == "dti_fa"
    assert scalar_name({"param": "fa"}) == "dwi_fa"


def test_output_names_are_those_of_the_conventions() -> None:
    stem = "OUT/sub-01/ses-1/dwi/sub-01_ses-1_space-ACPC"
    paths = {
        names.profile_file(OUT, "01", "1", "ACPC", "1D"): f"{stem}_desc-profile1D_tractometry.tsv",
        names.profile_file(OUT, "sub-01", "ses-1", "ACPC", "2D"): f"{stem}_desc-profile2D_tractometry.tsv",
        names.profile_file(OUT, "01", None, None, "1D"): "OUT/sub-01/dwi/sub-01_desc-profile1D_tractometry.tsv",
        names.bundle_file(OUT, "01", "1", "ACPC"): f"{stem}_desc-bundle_tractometry.tsv",
        names.grid_files(OUT, "hcp1065", "AFL")[0]: "OUT/atlas/atlas-hcp1065_bundle-AFL_grid.json",
        names.grid_files(OUT, "hcp1065", "AFL")[1]: "OUT/atlas/atlas-hcp1065_bundle-AFL_grid.npz",
        names.streamlines_file(OUT, "hcp1065", "AFL"): "OUT/atlas/atlas-hcp1065_bundle-AFL_streamlines.tck",
        names.figure_file(OUT, "01", "sub-01_ses-1", "profile1D"): (
            "OUT/sub-01/figures/sub-01_ses-1_desc-profile1D_tractometry.svg"
        ),
        names.subject_page(OUT, "01"): "OUT/sub-01.html",
        names.model_dir(OUT, "age"): "OUT/group/model-age",
        names.map_file(OUT, "age", "AFL", "2D"): "OUT/group/model-age/model-age_bundle-AFL_desc-profile2D_fits.tsv",
        names.model_table(OUT, "age", "1D", "stats"): "OUT/group/model-age/model-age_desc-profile1D_stats.tsv",
        names.model_page(OUT, "age"): "OUT/model-age.html",
        names.run_log_dir(OUT, "20200101-000000_ab-cd"): "OUT/logs/20200101-000000_ab-cd",
        names.crash_dir(OUT, "01", "u"): "OUT/sub-01/log/u",
    }
    assert {path: path.as_posix() for path in paths} == paths


def test_a_template_with_a_cohort_keeps_its_plus() -> None:
    assert names.session_stem("01", None, "MNIInfant+2") == "sub-01_space-MNIInfant+2"
