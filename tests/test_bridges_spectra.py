"""bridges.spectra: SPECTRA's profile files, found by pattern and read into arrays."""

from __future__ import annotations

import numpy as np
import pytest

from spectra_bids.bridges.spectra import (
    PATTERN,
    check_pattern,
    find_bundles,
    find_profiles,
    read_profile,
    read_profiles,
)
from spectra_bids.errors import InputDataError, UsageError


def write(path, ns=4, nr=2, **changed):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "ns": ns, "nr": nr, "s_len": 5.0, "r_len": 4.5,
        "profile_1d": np.arange(ns, dtype=float), "profile_2d": np.arange(ns * nr, dtype=float).reshape(ns, nr),
    }  # fmt: skip
    arrays.update(changed)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def people(*subjects, **columns):
    return [{"subject": s, **{k: v[i] for k, v in columns.items()}} for i, s in enumerate(subjects)]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{subject}/{bundle}.npz", "has no {map}"),
        ("{subject}/{map}.npz", "has no {bundle}"),
        ("{visit}/{bundle}_{map}.npz", "names {visit}"),
        ("{subject/{bundle}_{map}.npz", "cannot be read"),
    ],
)
def test_a_pattern_names_bundle_and_map_and_known_columns(pattern, said):
    with pytest.raises(UsageError, match="--pattern") as caught:
        check_pattern(pattern, ["site"])
    assert said in str(caught.value)
    check_pattern("{site}/" + PATTERN, ["site"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"profile_2d": None}, "it has no profile_2d"),
        ({"profile_1d": np.zeros(3)}, "profile_1d must have the shape"),
        ({"profile_2d": np.zeros((2, 4))}, "profile_2d must have the shape"),
        ({"profile_1d": np.array([None] * 4, dtype=object)}, "allow_pickle"),
    ],
)
def test_a_file_that_is_no_profile_is_named_with_what_is_wrong(tmp_path, changed, said):
    path = write(tmp_path / "AF_L_fa.npz", **changed)
    with pytest.raises(InputDataError, match=r"AF_L_fa\.npz") as caught:
        read_profile(path)
    assert said in str(caught.value)


def test_a_file_cut_short_is_named(tmp_path):
    path = write(tmp_path / "AF_L_fa.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputDataError, match=r"AF_L_fa\.npz"):
        read_profile(path)


def test_two_grids_name_both_files_and_shapes(tmp_path):
    one, two = write(tmp_path / "a.npz"), write(tmp_path / "b.npz", ns=5)
    with pytest.raises(InputDataError, match=r"b\.npz .*a\.npz.*\(4, 2\).*\(5, 2\)"):
        read_profiles([one, None, two])


def test_profiles_are_stacked_in_the_order_of_the_rows_and_nobody_is_nan(tmp_path):
    there = write(tmp_path / "b.npz", profile_1d=np.array([1, np.inf, 3, np.nan]))
    stack = read_profiles([None, there, None])
    assert stack.absent == (0, 2)
    assert np.isnan(stack.across[[0, 2]]).all()
    np.testing.assert_array_equal(stack.across[1], np.arange(8).reshape(4, 2))
    np.testing.assert_array_equal(stack.along[1], [1, np.nan, 3, np.nan])
    assert (stack.s_len, stack.r_len) == (5.0, 4.5)


def test_a_bundle_whose_name_begins_another_does_not_take_its_files(tmp_path):
    for name in ("CC_fa", "CC_1_fa", "CC_1_md", "AF_L_fa"):
        write(tmp_path / "sub-01" / f"{name}.npz")
    everybody = people("01")
    assert set(find_profiles(tmp_path, PATTERN, everybody, "CC")) == {"fa"}
    assert set(find_profiles(tmp_path, PATTERN, everybody, "CC_1")) == {"fa", "md"}
    assert set(find_bundles(tmp_path, PATTERN, everybody)) == {"AF_L", "CC", "CC_1"}


def test_a_map_with_an_underscore_is_found_when_it_is_named(tmp_path):
    write(tmp_path / "01" / "AF_L_dki_fa.npz")
    assert find_profiles(tmp_path, PATTERN, people("01"), "AF_L") == {}
    assert set(find_profiles(tmp_path, PATTERN, people("01"), "AF_L", ["dki_fa"])) == {"dki_fa"}


def test_the_subject_may_be_written_with_or_without_sub_and_names_are_no_globs(tmp_path):
    paths = [write(tmp_path / who / "AF*_fa.npz") for who in ("sub-01", "02", "[03]")]
    write(tmp_path / "3" / "AF*_fa.npz")
    assert find_profiles(tmp_path, PATTERN, people("01", "sub-02", "[03]"), "AF*") == {"fa": paths}
    assert find_profiles(tmp_path, PATTERN, people("01"), "AF?") == {}


def test_columns_of_the_metadata_may_stand_in_the_pattern(tmp_path):
    pattern = "{site}/{subject}/{visit}/{map}/{bundle}_{map}.npz"
    late = write(tmp_path / "A/7/v2/fa/AF_L_fa.npz")
    write(tmp_path / "A/7/v2/fa/AF_L_md.npz")  # the map is told twice, and differs
    rows = people("7", "7", site=["A", "A"], visit=["v1", "v2"])
    assert find_profiles(tmp_path, pattern, rows, "AF_L") == {"fa": [None, late]}
