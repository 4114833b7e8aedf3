"""Study atlases: which files are pooled, which streamlines are dropped, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra_bids.atlas_build import build_atlas, concatenate, pool, shares, spurious
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.atlases import read_atlas
from spectra_bids.demo.people import BUNDLES, load_people
from spectra_bids.errors import AtlasError, NothingSelectedError, OutputError
from spectra_bids.io.tractograms import read_bundle, write_bundle

FRAME = Volume(
    np.zeros((200, 200, 200), np.float32), np.array([[1, 0, 0, -100], [0, 1, 0, -100], [0, 0, 1, -100], [0, 0, 0, 1.0]])
)


def straight(n: int, seed: int = 0, length: float = 80.0) -> Bundle:
    """Parallel streamlines along y, 2 mm spread across, every other one reversed."""
    rng = np.random.default_rng(seed)
    y = np.linspace(-length / 2, length / 2, 30)
    lines = [np.stack([np.full(30, x), y, np.full(30, z)], 1) for x, z in 2 * rng.standard_normal((n, 2))]
    return Bundle.from_streamlines([line if k % 2 else line[::-1] for k, line in enumerate(lines)])


def write_dataset(root, space, people, names=BUNDLES):
    """People's bundles as a derivative data set; `space` is a label, or one per person."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "tracts", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "License": "CC0"})
    )
    spaces = [space] * len(people) if isinstance(space, str) else space
    for k, (person, label) in enumerate(zip(people, spaces, strict=True)):
        folder = root / f"sub-{k + 1}" / "dwi"
        folder.mkdir(parents=True)
        for name in names:
            infix = f"_space-{label}" if label else ""
            path = folder / f"sub-{k + 1}{infix}_tract-{name.replace('_', '')}_tractogram.trk"
            write_bundle(path, person[name], FRAME)
    return root


@pytest.fixture(scope="module")
def people():
    return load_people()


@pytest.mark.parametrize(
    ("available", "n", "expected"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 10, 10], 10, [4, 3, 3]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([0, 2, 100], 50, [0, 2, 48]),
        ([2, 3], 100, [2, 3]),
        ([0, 0], 5, [0, 0]),
    ],
)
def test_shares_are_even_and_gaps_are_filled_by_others(available, n, expected):
    assert shares(np.array(available), n).tolist() == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 300))
def test_shares_use_all_that_there_is_and_differ_by_one_at_most(available, n):
    have = np.array(available)
    got = shares(have, n)
    assert got.sum() == min(n, have.sum())
    assert (got <= have).all()
    unfilled = got[got < have]
    if len(unfilled):
        assert unfilled.min() >= got.max() - 1


def test_stray_and_broken_streamlines_are_spurious_and_the_others_are_not():
    good = straight(60)
    stray = Bundle.from_streamlines(
        [np.stack([np.linspace(-40, 40, 30), np.full(30, k), np.full(30, 5.0)], 1) for k in range(3)]
    )
    broken = Bundle.from_streamlines([good.points[:12], good.points[30:45]])
    found = spurious(concatenate([good, stray, broken]))
    assert np.flatnonzero(found).tolist() == [60, 61, 62, 63, 64]


def test_spurious_streamlines_do_not_depend_on_direction_or_order():
    bundle = concatenate([straight(40), straight(3, seed=1, length=20)])
    order = np.random.default_rng(0).permutation(bundle.n_streamlines)
    assert spurious(bundle).sum() == 3
    assert np.array_equal(spurious(bundle.reversed()), spurious(bundle))
    assert np.array_equal(spurious(bundle.take(order)), spurious(bundle)[order])


def test_two_streamlines_are_too_few_to_tell_which_is_spurious():
    assert not spurious(straight(2)).any()


def test_pooling_draws_evenly_without_repeating_a_streamline():
    bundles = [straight(50, seed=k) for k in range(3)]
    pooled, dropped = pool(bundles, 60, np.random.default_rng(0))
    everything = [b.points[o : o + 30].tobytes() for b in bundles for o in b.offsets[:-1]]
    drawn = [pooled.points[o : o + 30].tobytes() for o in pooled.offsets[:-1]]
    assert len(drawn) == len(set(drawn)) == 60
    assert dropped < 10
    origin = [everything.index(line) // 50 for line in drawn]
    assert np.bincount(origin).tolist() == [20, 20, 20]


def test_an_atlas_is_one_that_the_participant_level_can_read(tmp_path, people):
    root = write_dataset(tmp_path / "tracts", "MNI152NLin2009cAsym", people)
    summary = build_atlas(root, tmp_path / "atlas-mine", streamlines=100)
    atlas = read_atlas(tmp_path / "atlas-mine")
    assert atlas.name == "mine"
    assert atlas.space == "MNI152NLin2009cAsym"
    assert atlas.license == "CC0"
    assert sorted(atlas.bundles) == sorted(summary) == ["AFL", "CCForcepsMajor", "CSTR"]
    for name, path in atlas.bundles.items():
        assert read_bundle(path).n_streamlines == summary[name].streamlines == 100
        assert summary[name].subjects == 5


def test_equal_seeds_give_equal_atlases_and_other_seeds_do_not(tmp_path, people):
    root = write_dataset(tmp_path / "tracts", "MNI152NLin6Asym", people[:2])
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_atlas(root, tmp_path / name / "atlas", streamlines=20, random_seed=seed)
    content = {x: (tmp_path / x / "atlas" / "AFL.trk").read_bytes() for x in "abc"}
    assert content["a"] == content["b"] != content["c"]
    assert str(tmp_path) not in (tmp_path / "a" / "atlas" / "atlas.json").read_text()


def test_mni_labels_agree_and_the_most_common_one_names_the_atlas(tmp_path, people):
    spaces = ["MNI152NLin6Asym", "MNI152NLin2009cAsym", "MNI152NLin6Asym"]
    root = write_dataset(tmp_path / "tracts", spaces, people[:3], names=("AF_L",))
    build_atlas(root, tmp_path / "atlas")
    assert read_atlas(tmp_path / "atlas").space == "MNI152NLin6Asym"


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        (["MNI152NLin6Asym", "ACPC"], r"must share one space. Got ACPC \(1 files\), MNI152NLin6Asym \(1 files\)"),
        (["ACPC", "ACPC"], r"a space that all subjects share, such as MNI152NLin2009cAsym. Got ACPC \(2 files\)"),
        (["", ""], r"Got no space in the name \(2 files\)"),
    ],
)
def test_bundles_that_may_not_share_a_space_are_refused(tmp_path, people, spaces, message):
    root = write_dataset(tmp_path / "tracts", spaces, people[:2], names=("AF_L",))
    with pytest.raises(AtlasError, match=message) as caught:
        build_atlas(root, tmp_path / "atlas")
    assert "--space" in caught.value.hint
    assert not (tmp_path / "atlas").exists()


def test_a_space_given_is_taken_at_its_word_and_selects_files(tmp_path, people):
    root = write_dataset(tmp_path / "a", ["MNI152NLin6Asym", "ACPC"], people[:2], names=("AF_L",))
    assert build_atlas(root, tmp_path / "one", space="MNI152NLin6Asym")["AFL"].subjects == 1
    root = write_dataset(tmp_path / "b", "", people[:2], names=("AF_L",))
    assert build_atlas(root, tmp_path / "two", space="study")["AFL"].subjects == 2
    assert read_atlas(tmp_path / "two").space == "study"
    root = write_dataset(tmp_path / "c", "ACPC", people[:2], names=("AF_L",))
    with pytest.raises(AtlasError, match=r"Got 'MNI152NLin6Asym'; there are: ACPC \(2 files\)"):
        build_atlas(root, tmp_path / "three", space="MNI152NLin6Asym")


def test_a_data_set_without_bundles_is_refused(tmp_path, people):
    root = write_dataset(tmp_path / "tracts", "MNI152NLin6Asym", people[:1], names=())
    with pytest.raises(NothingSelectedError, match="There are no bundles in"):
        build_atlas(root, tmp_path / "atlas")


def test_an_atlas_is_not_written_over_something(tmp_path, people):
    root = write_dataset(tmp_path / "tracts", "MNI152NLin6Asym", people[:1], names=("AF_L",))
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "old.trk").write_text("x")
    with pytest.raises(OutputError, match="holds something"):
        build_atlas(root, tmp_path / "atlas")


def test_real_bundles_in_mni_space_make_an_atlas_of_all_nineteen_tracts(tmp_path, shared_data):
    summary = build_atlas(shared_data / "real-mni" / "derivatives" / "tractseg", tmp_path / "atlas", streamlines=200)
    assert len(summary) == 19
    assert {p.streamlines for p in summary.values()} == {200}
    assert read_atlas(tmp_path / "atlas").space == "MNI152NLin6Asym"


def test_real_native_bundles_are_refused(tmp_path, shared_data):
    with pytest.raises(AtlasError, match="Got no space in the name"):
        build_atlas(shared_data / "real-pyafq" / "derivatives" / "afq", tmp_path / "atlas")
