"""Joining bundles and scalar maps on session, acquisition, run and space; duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from spectra_bids.dataset.joining import BundleFile, ScalarFile, join, space_class
from spectra_bids.dataset.names import canonical
from spectra_bids.errors import DatasetError, NothingSelectedError


def bundle(label: str, dataset: str = "d", group: str | None = None, org: bool = False, **entities: str) -> BundleFile:
    path = Path(dataset) / ("_".join(f"{k}-{v}" for k, v in entities.items()) + f"_{label}.trk")
    known = {"extension": ".trk", **entities}
    return BundleFile(canonical(label), label, path, group, Path("org.trk") if org else None, known, dataset)


def scalar(name: str, dataset: str = "d", **entities: str) -> ScalarFile:
    model, param = name.split("_")
    path = Path(dataset) / ("_".join(f"{k}-{v}" for k, v in entities.items()) + f"_{name}.nii.gz")
    return ScalarFile(name, model, param, path, entities.get("space"), dataset, "", entities)


def labels(files: tuple[BundleFile, ...]) -> list[str]:
    return [f.label for f in files]


def joined(
    bundles: list[BundleFile], scalars: list[ScalarFile], session: str | None = None, wanted: tuple[str, ...] = ("*",)
) -> tuple[list[str], list[str], str | None, tuple[str, ...]]:
    left, right, space, notes = join(bundles, scalars, session, wanted)
    return labels(left), [s.path.as_posix() for s in right], space, notes


def test_no_scalar_map_is_answered_with_those_there_are() -> None:
    maps = [scalar("tensor_fa"), scalar("dki_mk")]
    with pytest.raises(NothingSelectedError, match=r"Got odi; there are: dki_mk, tensor_fa") as caught:
        joined([bundle("AF_L")], maps, wanted=("fa", "odi"))
    assert "tensor_fa" in caught.value.hint
    with pytest.raises(NothingSelectedError, match="there are: none"):
        joined([bundle("AF_L")], [])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("fa",), ["dki_fa", "tensor_fa"]),
        (("FA",), ["dki_fa", "tensor_fa"]),
        (("tensor_fa",), ["tensor_fa"]),
        (("mk", "tensor_fa"), ["dki_mk", "tensor_fa"]),
        (("*",), ["dki_fa", "dki_mk", "tensor_fa"]),
    ],
)
def test_scalars_are_selected_by_parameter_by_name_or_all(wanted: tuple[str, ...], expected: list[str]) -> None:
    maps = [scalar(x) for x in ("tensor_fa", "dki_mk", "dki_fa")]
    assert [s.name for s in join([bundle("AF_L")], maps, None, wanted)[1]] == expected


def test_a_session_gets_its_own_files_and_only_else_those_without_session() -> None:
    maps = [scalar("tensor_fa", session="1"), scalar("tensor_fa", session="2"), scalar("tensor_fa")]
    bundles = [bundle("AF_L", session="2"), bundle("CST_L", session="1"), bundle("UF_L")]
    assert joined(bundles, maps, "2")[:2] == (["AF_L"], ["d/session-2_tensor_fa.nii.gz"])
    assert joined(bundles, maps, None)[:2] == (["UF_L"], ["d/_tensor_fa.nii.gz"])
    assert joined([bundle("UF_L")], maps[:2], "1")[:2] == (["UF_L"], ["d/session-1_tensor_fa.nii.gz"])


def test_bundles_and_maps_of_the_same_run_and_acquisition_join() -> None:
    maps = [scalar("tensor_fa", run="1", acquisition="hi"), scalar("tensor_fa", run="2", acquisition="hi")]
    assert joined([bundle("AF_L", run="2", acquisition="hi")], maps)[1] == ["d/run-2_acquisition-hi_tensor_fa.nii.gz"]


def test_several_runs_are_an_error_that_names_them() -> None:
    maps = [scalar("tensor_fa", run=r) for r in "12"]
    bundles = [bundle("AF_L", run=r) for r in "12"]
    with pytest.raises(DatasetError, match="Got bundles of run-1, run-2 and scalar maps of run-1, run-2") as caught:
        joined(bundles, maps)
    assert "--bids-filter-file" in caught.value.hint


def test_an_entity_that_one_side_leaves_out_does_not_part_them() -> None:
    left, right, _, notes = joined([bundle("AF_L")], [scalar("tensor_fa", run="1")])
    assert (left, len(right)) == (["AF_L"], 1)
    assert "acq and run" in notes[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, None),
        ("ACPC", "ACPC"),
        ("T1w", "ACPC"),
        ("MNI152NLin6Asym", "MNI152NLin2009cAsym"),
        ("RASMM", None),
    ],
)
def test_spaces_that_agree_join(one: str | None, other: str | None) -> None:
    left = {"space": one} if one else {}
    right = {"space": other} if other else {}
    bundles, maps, space, notes = joined([bundle("AF_L", **left)], [scalar("tensor_fa", **right)])
    assert (len(bundles), len(maps), space, notes) == (1, 1, other, ())


@pytest.mark.parametrize(("one", "other"), [("ACPC", "MNI152NLin6Asym"), ("T1w", "dwi"), ("MNIInfant", "MNI152Lin")])
def test_spaces_that_do_not_agree_are_an_error(one: str, other: str) -> None:
    assert space_class(one) != space_class(other)
    with pytest.raises(DatasetError, match=f"Got bundles in {one} and scalar maps in {other}"):
        joined([bundle("AF_L", space=one)], [scalar("tensor_fa", space=other)])


def test_bundles_without_a_space_never_join_maps_in_mni_space() -> None:
    with pytest.raises(DatasetError, match=r"bundles in \(none said\)"):
        joined([bundle("AF_L")], [scalar("tensor_fa", space="MNI152NLin6Asym")])


def test_a_side_without_space_joins_native_maps_with_a_note() -> None:
    _, maps, space, notes = joined([bundle("AF_L")], [scalar("tensor_fa", space="ACPC")])
    assert (len(maps), space) == (1, "ACPC")
    assert "says its space" in notes[0]


def test_bundles_in_several_spaces_are_taken_where_the_maps_are() -> None:
    bundles = [bundle("AF_L", space=s) for s in ("MNI152NLin6Asym", "ACPC")]
    left, _, space, _ = join(bundles, [scalar("tensor_fa", space="ACPC")], None, ("*",))
    assert [b.entities["space"] for b in left] == ["ACPC"]
    assert space == "ACPC"


def test_of_two_mni_templates_the_maps_own_is_preferred() -> None:
    bundles = [bundle("AF_L", space=s) for s in ("MNI152NLin2009cAsym", "MNI152NLin6Asym")]
    left, _, space, notes = join(bundles, [scalar("tensor_fa", space="MNI152NLin6Asym")], None, ("*",))
    assert [b.entities["space"] for b in left] == ["MNI152NLin6Asym"]
    assert (space, notes) == ("MNI152NLin6Asym", ())


def test_where_both_exist_in_native_and_in_mni_space_native_is_used_and_noted() -> None:
    spaces = ("MNI152NLin6Asym", "ACPC")
    maps = [scalar("tensor_fa", space=s) for s in spaces]
    left, _, space, notes = join([bundle("AF_L", space=s) for s in spaces], maps, None, ("*",))
    assert ([b.entities["space"] for b in left], space) == (["ACPC"], "ACPC")
    assert "several spaces" in notes[0]


def test_a_recobundles_pair_joins_maps_of_any_space() -> None:
    for space in (None, "ACPC", "T1w"):
        entities: Mapping[str, str] = {"space": space} if space else {}
        left, right, got, _ = joined([bundle("AF_L", org=True)], [scalar("tensor_fa", **entities)])
        assert (left, len(right), got) == (["AF_L"], 1, space)


def test_a_bundle_in_two_data_sets_is_an_error_that_names_both() -> None:
    with pytest.raises(DatasetError, match=r"afleft is in two data sets, 'one' .*AF_L\.trk.* and 'two' .*LeftArcuate"):
        joined([bundle("AF_L", "one"), bundle("LeftArcuate", "two")], [scalar("tensor_fa")])


def test_a_bundle_twice_in_one_data_set_is_decided_by_path_and_noted() -> None:
    twice = [bundle("AF_L", model="gqi"), bundle("AF_L", model="csd")]
    for order in (twice, twice[::-1]):
        left, _, _, notes = join(order, [scalar("tensor_fa")], None, ("*",))
        assert [b.entities["model"] for b in left] == ["csd"]
        assert "more than once: model-csd_AF_L.trk of d was used, model-gqi_AF_L.trk" in notes[0]


def test_a_file_of_its_own_goes_before_a_group_without_a_note() -> None:
    left, _, _, notes = join([bundle("AF_L", group="AF_L"), bundle("AF_L")], [scalar("tensor_fa")], None, ("*",))
    assert [b.group for b in left] == [None]
    assert notes == ()


def test_a_map_in_two_data_sets_is_an_error_if_it_was_asked_for_and_a_note_if_not() -> None:
    maps = [scalar("tensor_fa", "one"), scalar("tensor_fa", "two")]
    with pytest.raises(DatasetError, match="scalar map tensor_fa is in two data sets, 'one'"):
        joined([bundle("AF_L")], maps, wanted=("fa",))
    _, right, _, notes = joined([bundle("AF_L")], maps)
    assert right == ["one/_tensor_fa.nii.gz"]
    assert "of two was not" in notes[0]


def test_without_bundles_the_maps_still_have_a_space() -> None:
    maps = [scalar("tensor_fa", space="ACPC"), scalar("tensor_fa", space="MNI152NLin6Asym")]
    left, right, space, _ = joined([], maps)
    assert (left, len(right), space) == ([], 1, "ACPC")


def test_the_result_does_not_depend_on_the_order_of_files() -> None:
    bundles = [bundle(x, space=s) for x in ("UF_L", "AF_L", "CST_R") for s in ("ACPC", "MNI152Lin")]
    maps = [scalar(x, space=s) for x in ("tensor_md", "tensor_fa") for s in ("MNI152Lin", "ACPC")]
    assert join(bundles, maps, None, ("*",)) == join(bundles[::-1], maps[::-1], None, ("*",))
