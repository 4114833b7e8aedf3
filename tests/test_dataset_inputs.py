"""Finding inputs: the layouts of QSIRecon, pyAFQ, RecoBundles and the draft, as empty files, and the real ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from spectra_bids.dataset.inputs import discover_derivatives, find_sessions, read_session
from spectra_bids.errors import MissingInputError, NothingSelectedError, UsageError
from spectra_bids.settings import RunSettings


def make(root: Path, *files: str, kind: str = "derivative") -> Path:
    """A data set of empty files."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    root.mkdir(parents=True, exist_ok=True)
    described = {"Name": root.name, "BIDSVersion": "1.10.0", "DatasetType": kind}
    (root / "dataset_description.json").write_text(json.dumps(described))
    return root


def run(root: Path, **more: object) -> RunSettings:
    return RunSettings(root, root.parent / "out", **more)  # type: ignore[arg-type]


@pytest.fixture
def qsirecon(tmp_path: Path) -> Path:
    """Bundles, maps and transforms in three data sets, two of them inside a fourth, as QSIRecon nests them."""
    root = make(tmp_path / "bids", "sub-01/dwi/sub-01_dwi.nii.gz", "sub-02/dwi/sub-02_dwi.nii.gz", kind="raw")
    make(root / "derivatives" / "qsirecon")
    tracts = "sub-01/dwi/sub-01_space-ACPC_model-gqi_bundle-{}_streamlines.tck.gz"
    make(
        root / "derivatives" / "qsirecon" / "derivatives" / "qsirecon-DSIStudio",
        tracts.format("AssociationArcuateFasciculusL"),
        tracts.format("ProjectionBrainstemCorticospinalTractR"),
        "sub-01/dwi/sub-01_space-ACPC_model-gqi_param-qa_dwimap.nii.gz",
        "sub-010/dwi/sub-010_space-ACPC_model-gqi_bundle-AssociationUncinateFasciculusL_streamlines.tck.gz",
    )
    maps = make(
        root / "derivatives" / "qsirecon" / "derivatives" / "qsirecon-DIPYDKI",
        "sub-01/dwi/sub-01_space-ACPC_model-dki_param-fa_dwimap.nii.gz",
        "sub-01/dwi/sub-01_space-MNI152NLin2009cAsym_model-dki_param-fa_dwimap.nii.gz",
        "sub-01/dwi/sub-01_space-ACPC_desc-brain_mask.nii.gz",
        "sub-01/figures/sub-01_space-ACPC_model-dki_param-md_dwimap.nii.gz",
    )
    sidecar = maps / "sub-01/dwi/sub-01_space-ACPC_model-dki_param-fa_dwimap.json"
    sidecar.write_text(json.dumps({"Units": "arbitrary"}))
    xfm = "sub-01/anat/sub-01_from-{}_to-{}_mode-image_xfm.{}"
    make(
        root / "derivatives" / "qsiprep",
        xfm.format("ACPC", "MNI152NLin2009cAsym", "h5"),
        xfm.format("MNI152NLin2009cAsym", "ACPC", "h5"),
        xfm.format("ACPC", "T1w", "mat"),
        xfm.format("ACPC", "fsnative", "txt"),
    )
    return root


def test_a_missing_bids_dir_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no folder .*nowhere"):
        discover_derivatives(run(tmp_path / "nowhere"))


def test_a_raw_data_set_without_derivatives_says_how_to_name_them(tmp_path: Path) -> None:
    root = make(tmp_path / "bids", "sub-01/dwi/sub-01_dwi.nii.gz", kind="raw")
    with pytest.raises(MissingInputError, match="no derivatives") as caught:
        discover_derivatives(run(root))
    assert "-d NAME=PATH" in caught.value.hint


def test_a_folder_that_d_names_must_be_there(qsirecon: Path) -> None:
    with pytest.raises(MissingInputError, match="-d names 'maps'"):
        discover_derivatives(run(qsirecon, derivatives=(("maps", qsirecon / "x"),)))


def test_one_name_cannot_stand_for_two_data_sets(qsirecon: Path) -> None:
    given = (("a", qsirecon / "derivatives" / "qsiprep"), ("a", qsirecon / "derivatives" / "qsirecon"))
    with pytest.raises(UsageError, match=r"different names. Got a, a"):
        discover_derivatives(run(qsirecon, derivatives=given))


def test_derivatives_are_found_in_natural_order_with_those_nested_in_them(qsirecon: Path) -> None:
    found = [name for name, _ in discover_derivatives(run(qsirecon))]
    assert found == ["qsiprep", "qsirecon", "qsirecon-DIPYDKI", "qsirecon-DSIStudio"]


def test_a_derivative_can_be_the_bids_dir_and_the_output_is_never_an_input(qsirecon: Path) -> None:
    one = qsirecon / "derivatives" / "qsiprep"
    assert discover_derivatives(RunSettings(one, qsirecon / "out")) == (("qsiprep", one),)
    names = [name for name, _ in discover_derivatives(RunSettings(qsirecon, one))]
    assert "qsiprep" not in names


def test_paths_are_absolute_whatever_was_given(qsirecon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(qsirecon.parent)
    assert all(path.is_absolute() for _, path in discover_derivatives(RunSettings(Path("bids"), Path("out"))))


def test_subjects_are_listed_in_natural_order(tmp_path: Path) -> None:
    root = make(tmp_path / "bids", *(f"derivatives/x/sub-{k}/dwi/f" for k in (10, 2, 1)), kind="raw")
    assert find_sessions(run(root)) == [("1", None), ("2", None), ("10", None)]


def test_sessions_are_those_of_the_derivatives(tmp_path: Path) -> None:
    root = make(
        tmp_path / "bids",
        "sub-01/ses-1/f",
        "sub-01/ses-2/f",
        "sub-02/ses-1/f",
        "derivatives/a/sub-01/ses-2/dwi/f",
        "derivatives/b/sub-01/anat/f",
        kind="raw",
    )
    assert find_sessions(run(root)) == [("01", "2"), ("02", "1")]
    assert find_sessions(run(root, participant_labels=("sub-01",), session_labels=("ses-2",))) == [("01", "2")]


def test_labels_that_do_not_exist_are_answered_with_those_that_do(qsirecon: Path) -> None:
    with pytest.raises(NothingSelectedError, match="Got 99; there are: 01, 02, 010"):
        find_sessions(run(qsirecon, participant_labels=("01", "99")))
    with pytest.raises(NothingSelectedError, match="Got 7; there are: none"):
        find_sessions(run(qsirecon, session_labels=("7",)))


def test_qsirecon_bundles_and_maps_are_joined_and_figures_are_not_read(qsirecon: Path) -> None:
    got = read_session(run(qsirecon), "01", None, ("*",))
    assert [b.name for b in got.bundles] == ["afleft", "cstright"]
    assert [b.label for b in got.bundles] == ["AssociationArcuateFasciculusL", "ProjectionBrainstemCorticospinalTractR"]
    assert [(s.name, s.space, s.units, s.dataset) for s in got.scalars] == [
        ("dki_fa", "ACPC", "arbitrary", "qsirecon-DIPYDKI"),
        ("gqi_qa", "ACPC", "", "qsirecon-DSIStudio"),
    ]
    assert got.space == "ACPC"
    assert got.notes == ()


def test_a_transform_that_needs_no_inversion_comes_first_and_others_are_left_out(qsirecon: Path) -> None:
    got = read_session(run(qsirecon), "01", None, ("*",)).transforms
    assert [(t.source, t.target, t.invert) for t in got] == [
        ("MNI152NLin2009cAsym", "ACPC", False),
        ("ACPC", "MNI152NLin2009cAsym", True),
    ]


def test_another_subject_whose_label_begins_alike_is_not_mixed_in(qsirecon: Path) -> None:
    with pytest.raises(NothingSelectedError, match="there are: none"):
        read_session(run(qsirecon), "010", None, ("*",))


def test_a_data_set_without_a_description_is_read_all_the_same(tmp_path: Path) -> None:
    root = make(tmp_path / "bids", kind="raw")
    file = root / "derivatives" / "mine" / "sub-01" / "dwi" / "sub-01_model-tensor_param-fa_dwimap.nii.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert [s.path for s in read_session(run(root), "01", None, ("fa",)).scalars] == [file]


def test_a_subject_without_bundles_has_a_note(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "sub-01/dwi/sub-01_model-tensor_param-fa_dwimap.nii.gz")
    got = read_session(run(root), "01", None, ("fa",))
    assert got.bundles == ()
    assert "no bundle" in got.notes[0]


def test_filters_select_by_entity_absence_and_any(qsirecon: Path) -> None:
    def names(**filters: object) -> list[str]:
        settings = run(qsirecon, bids_filters=json.dumps(filters))
        got = read_session(settings, "01", None, ("*",))
        return [*(b.name for b in got.bundles), *(s.name for s in got.scalars), *(t.target for t in got.transforms)]

    assert names(scalar={"model": "gqi"}, xfm={"from": None}) == ["afleft", "cstright", "gqi_qa"]
    assert names(bundle={"bundle": ["AssociationArcuateFasciculusL"]}, scalar={"acq": None}, xfm={"to": "ACPC"}) == [
        "afleft",
        "dki_fa",
        "gqi_qa",
        "ACPC",
    ]
    assert names(bundle={"ses": "*"}, scalar={"dataset": "qsirecon-DIPYDKI"}, xfm={"to": "x"}) == [
        "afleft",
        "cstright",
        "dki_fa",
    ]


def test_a_filter_that_leaves_no_bundle_is_named_with_what_it_asks_for(qsirecon: Path) -> None:
    found = read_session(run(qsirecon, bids_filters='{"bundle": {"trakt": "AF"}}'), "01", None, ("*",))
    assert any("leaves none of the 2 bundles" in note and '"trakt": "AF"' in note for note in found.notes)


def test_a_filter_for_something_else_is_refused(qsirecon: Path) -> None:
    with pytest.raises(UsageError, match=r"bundle, scalar, xfm. Got 'bold'"):
        read_session(run(qsirecon, bids_filters='{"bold": {}}'), "01", None, ("*",))


@pytest.mark.parametrize("model", ["tensor", "dti"])
def test_pyafq_files_and_groups_are_one_set_of_bundles(tmp_path: Path, model: str) -> None:
    root = make(
        tmp_path / "afq",
        "sub-1/ses-01/dwi/bundles/sub-1_ses-01_desc-LeftArcuate_tractography.trk",
        f"sub-1/ses-01/dwi/models/sub-1_ses-01_model-{model}_param-fa_dwimap.nii.gz",
        "sub-1/ses-01/dwi/sub-1_ses-01_desc-seed_mask.nii.gz",
    )
    with zipfile.ZipFile(root / "sub-1/ses-01/dwi/sub-1_ses-01_desc-bundles_tractography.trx", "w") as archive:
        for name in ("header.json", "groups/Left Arcuate.uint32", "groups/Right Uncinate.uint32"):
            archive.writestr(name, b"")
    got = read_session(run(root), "1", "01", ("fa",))
    assert [(b.name, b.group) for b in got.bundles] == [("afleft", None), ("ufright", "Right Uncinate")]
    assert [s.name for s in got.scalars] == [f"{model}_fa"]
    assert got.space is None


def test_recobundles_folders_are_paired_by_name_not_by_position(tmp_path: Path) -> None:
    root = make(
        tmp_path / "reco",
        "sub-1/rec_bundles/moved_AF_L__recognized.trk",
        "sub-1/rec_bundles/moved_CST_R__recognized.trk",
        "sub-1/rec_bundles/moved_UF_L__recognized.trk",
        "sub-1/org_bundles/streamlines_AF_L__labels__recognized_orig.trk",
        "sub-1/org_bundles/streamlines_UF_L__labels__recognized_orig.trk",
        "sub-1/org_bundles/streamlines_VOF_L__labels__recognized_orig.trk",
        "sub-1/dwi/sub-1_space-T1w_model-tensor_param-fa_dwimap.nii.gz",
    )
    got = read_session(run(root), "1", None, ("fa",))
    assert [(b.label, b.path.name, b.org_path.name if b.org_path else None) for b in got.bundles] == [
        ("AF_L", "moved_AF_L__recognized.trk", "streamlines_AF_L__labels__recognized_orig.trk"),
        ("UF_L", "moved_UF_L__recognized.trk", "streamlines_UF_L__labels__recognized_orig.trk"),
    ]
    assert got.space == "T1w"
    assert len(got.notes) == 2
    assert "moved_CST_R" in got.notes[0]
    assert "VOF_L" in got.notes[1]


def test_names_of_the_draft_are_read(tmp_path: Path) -> None:
    root = make(
        tmp_path / "bep",
        "sub-1/dwi/sub-1_space-MNI152NLin6Asym_tract-ArcuateFasciculus_hemi-L_track-eudx_tractogram.trx",
        "sub-1/dwi/sub-1_space-MNI152NLin6Asym_tract-CC7_tractogram.tck.gz",
        "sub-1/dwi/sub-1_space-MNI152NLin6Asym_model-tensor_param-fa_dwimap.nii.gz",
    )
    got = read_session(run(root), "1", None, ("fa",))
    assert [(b.name, b.label) for b in got.bundles] == [("afleft", "ArcuateFasciculusL"), ("ccforcepsmajor", "CC7")]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sub-1_model-DTI_desc-FA_dwi.nii.gz", "dti_fa"),
        ("sub-1_model-DTI_FA.nii.gz", "dti_fa"),
        ("sub-1_desc-FA_dwi.nii.gz", "dwi_fa"),
        ("sub-1_space-T1w_model-noddi_param-icvf_dwimap.nii", "noddi_icvf"),
        ("sub-1_desc-preproc_dwi.nii.gz", None),
        ("sub-1_desc-brain_mask.nii.gz", None),
        ("sub-1_T1w.nii.gz", None),
    ],
)
def test_scalar_maps_of_older_names_are_recognised_and_images_are_not(
    tmp_path: Path, name: str, column: str | None
) -> None:
    root = make(tmp_path / "old", f"sub-1/dwi/{name}")
    if column is None:
        with pytest.raises(NothingSelectedError):
            read_session(run(root), "1", None, ("*",))
    else:
        assert [s.name for s in read_session(run(root), "1", None, ("*",)).scalars] == [column]


def test_transforms_of_other_sessions_are_left_out_and_the_subjects_own_are_kept(tmp_path: Path) -> None:
    name = "from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.txt"
    root = make(
        tmp_path / "d",
        f"sub-1/anat/sub-1_{name}",
        f"sub-1/ses-1/anat/sub-1_ses-1_{name}",
        f"sub-1/ses-2/anat/sub-1_ses-2_{name}",
        "sub-1/ses-1/dwi/sub-1_ses-1_model-tensor_param-fa_dwimap.nii.gz",
    )
    got = read_session(run(root), "1", "1", ("fa",)).transforms
    assert [t.path.name for t in got] == [f"sub-1_ses-1_{name}", f"sub-1_{name}"]


def test_a_stored_index_is_used_again(tmp_path: Path) -> None:
    from spectra_bids.dataset import inputs

    root = make(tmp_path / "d", "sub-1/dwi/sub-1_model-tensor_param-fa_dwimap.nii.gz")
    settings = run(root, bids_database_dir=tmp_path / "db")
    first = read_session(settings, "1", None, ("fa",))
    assert list((tmp_path / "db").rglob("*.sqlite")) or list((tmp_path / "db").iterdir())
    make(root, "sub-1/dwi/sub-1_model-tensor_param-md_dwimap.nii.gz")
    inputs._index.cache_clear()
    assert read_session(settings, "1", None, ("*",)) == first


class Producer:
    """What is known of a real data set."""

    def __init__(self, folder: str, session: tuple[str, str | None], space: str | None, n: int, scalars: list[str]):
        self.folder, self.session, self.space, self.n, self.scalars = folder, session, space, n, scalars


REAL = [
    Producer("real-qsirecon", ("tractor", None), "ACPC", 18, ["dki_fa", "dki_md"]),
    Producer("real-pyafq", ("niivue", "01"), None, 18, ["tensor_fa"]),
    Producer("real-mni", ("tractseg", None), "MNI152NLin6Asym", 19, ["tensor_fa"]),
]


@pytest.mark.parametrize("real", REAL, ids=[r.folder for r in REAL])
def test_the_real_producers_are_read(shared_data: Path, tmp_path: Path, real: Producer) -> None:
    settings = RunSettings(shared_data / real.folder, tmp_path)
    assert find_sessions(settings) == [real.session]
    got = read_session(settings, *real.session, ("*",))
    assert (got.space, len(got.bundles), [s.name for s in got.scalars]) == (real.space, real.n, real.scalars)
    assert got.notes == ()
    assert [t.invert for t in got.transforms] == ([True] if real.folder == "real-qsirecon" else [])
