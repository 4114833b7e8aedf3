"""dataset.masks: a mask by the end of its name or by a path; session and space decide between several."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectra_bids.dataset.masks import find_mask
from spectra_bids.errors import DatasetError, MissingInputError


@pytest.fixture
def roots(tmp_path: Path) -> list[tuple[str, Path]]:
    for name in (
        "prep/sub-1/ses-a/anat/sub-1_ses-a_space-ACPC_desc-brain_mask.nii.gz",
        "prep/sub-1/ses-b/anat/sub-1_ses-b_space-ACPC_desc-brain_mask.nii.gz",
        "prep/sub-1/ses-a/anat/sub-1_ses-a_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
        "prep/sub-1/figures/sub-1_desc-brain_mask.nii.gz",
        "lesions/sub-1/anat/sub-1_label-lesion_roi.nii",
        "lesions/sub-2/anat/sub-2_acq-x_label-lesion_roi.nii",
        "lesions/sub-2/anat/sub-2_acq-y_label-lesion_roi.nii",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [("prep", tmp_path / "prep"), ("lesions", tmp_path / "lesions")]


@pytest.mark.parametrize(
    ("session", "space", "name"),
    [
        ("a", "ACPC", "sub-1_ses-a_space-ACPC_desc-brain_mask.nii.gz"),
        ("a", "T1w", "sub-1_ses-a_space-ACPC_desc-brain_mask.nii.gz"),
        ("b", "ACPC", "sub-1_ses-b_space-ACPC_desc-brain_mask.nii.gz"),
        ("a", "MNI152NLin2009cAsym", "sub-1_ses-a_space-MNI152NLin6Asym_desc-brain_mask.nii.gz"),
    ],
)
def test_the_mask_is_that_of_the_session_and_space(roots, session, space, name):
    found = find_mask("desc-brain_mask", "--include-mask", roots, "1", session, space)
    assert found is not None
    assert (found.dataset, found.path.name) == ("prep", name)


def test_a_mask_that_says_no_session_and_space_serves_all(roots):
    found = find_mask("label-lesion_roi", "--lesion-mask", roots, "1", "a", "ACPC")
    assert found is not None
    assert found.path.name == "sub-1_label-lesion_roi.nii"


def test_who_has_none_gets_none(roots):
    assert find_mask("label-lesion_roi", "--lesion-mask", roots, "9", None, "ACPC") is None
    assert find_mask("desc-brain_mask", "--include-mask", roots, "1", "b", "MNI152Lin") is None


def test_several_are_an_error_until_an_entity_decides(roots):
    with pytest.raises(DatasetError, match="fits several files: sub-2_acq-x"):
        find_mask("label-lesion_roi", "--lesion-mask", roots, "2", None, None)
    found = find_mask("acq-y_label-lesion_roi", "--lesion-mask", roots, "2", None, None)
    assert found is not None
    assert "acq-y" in found.path.name


def test_a_path_takes_the_labels(roots, tmp_path):
    pattern = f"{tmp_path}/lesions/sub-{{subject}}/anat/sub-{{subject}}_label-lesion_roi.nii"
    found = find_mask(pattern, "--lesion-mask", roots, "1", None, None)
    assert found is not None
    assert (found.dataset, found.path.name) == ("", "sub-1_label-lesion_roi.nii")
    assert find_mask(pattern, "--lesion-mask", roots, "2", None, None) is None
    with pytest.raises(DatasetError, match="names a session, and sub-1 has none"):
        find_mask(f"{tmp_path}/{{session}}.nii", "--lesion-mask", roots, "1", None, None)
    with pytest.raises(MissingInputError, match=r"--include-mask: there is no file .*gone\.nii"):
        find_mask(f"{tmp_path}/gone.nii", "--include-mask", roots, "1", None, None)
