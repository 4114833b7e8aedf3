"""Atlas folders: what must be there, names, matching."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectra_bids.dataset.atlases import Atlas, match, read_atlas
from spectra_bids.dataset.inputs import BundleFile
from spectra_bids.dataset.names import canonical
from spectra_bids.errors import AtlasError, MissingInputError

FACTS = {"Name": "Mine", "Space": "MNI152NLin2009cAsym", "License": "CC0"}


def make(path: Path, *files: str, facts: object = FACTS) -> Path:
    path.mkdir(parents=True)
    (path / "atlas.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    for file in files:
        (path / file).write_bytes(b"")
    return path


def of_subject(*labels: str) -> list[BundleFile]:
    return [BundleFile(canonical(x), x, Path(f"{x}.trk"), None, None, {}, "d") for x in labels]


def test_a_missing_folder_says_how_to_get_an_atlas(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError) as caught:
        read_atlas(tmp_path / "atlas-x")
    assert "atlas build" in caught.value.hint


def test_a_folder_without_atlas_json_is_no_atlas(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"atlas\.json") as caught:
        read_atlas(tmp_path)
    assert '"Space"' in caught.value.hint


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "must be JSON"),
        ([1], "Got no Name, Space, License"),
        ({"Name": "a", "License": "b"}, "Got no Space"),
    ],
)
def test_a_poor_atlas_json_says_what_is_absent(tmp_path: Path, facts: object, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        read_atlas(make(tmp_path / "a", "AF_L.trk", facts=facts))


def test_an_atlas_without_bundles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"one streamline file per bundle \(\.trk\.gz.*Got none"):
        read_atlas(make(tmp_path / "a", "notes.txt"))


@pytest.mark.parametrize(
    ("files", "message"),
    [(("AF_L.trk", "AFL.trx"), "are bundle AFL"), (("AF_L.trk", "ArcuateL.trk"), "are the same tract")],
)
def test_one_tract_twice_is_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        read_atlas(make(tmp_path / "a", *files))


@pytest.mark.parametrize(
    ("folder", "facts", "label"),
    [
        ("atlas-hcp1065", FACTS, "hcp1065"),
        ("my atlas_2", FACTS, "myatlas2"),
        ("x", {**FACTS, "Label": "hcp-842"}, "hcp842"),
        ("atlas-", FACTS, "Mine"),
    ],
)
def test_the_label_comes_from_the_folder_unless_it_is_given(
    tmp_path: Path, folder: str, facts: dict[str, str], label: str
) -> None:
    assert read_atlas(make(tmp_path / folder, "AF_L.trk", facts=facts)).label == label


def test_bundles_are_named_by_their_files_or_their_entities(tmp_path: Path) -> None:
    files = ("CST_R.tck.gz", "tpl-x_tract-ArcuateFasciculus_hemi-L_tractogram.trx", ".hidden.trk", "UF_L.trk")
    atlas = read_atlas(make(tmp_path / "a", *files))
    assert list(atlas.bundles) == ["CSTR", "UFL", "ArcuateFasciculusL"]
    assert atlas.bundles["CSTR"].name == "CST_R.tck.gz"


def test_matching_goes_through_the_tract_not_the_spelling() -> None:
    paths = {n: Path(n) for n in ("AssociationArcuateFasciculusL", "CommissureCorpusCallosumBody", "MyTract")}
    atlas = Atlas("a", "a", "MNI152", "CC0", paths)
    got = match(atlas, of_subject("LeftArcuate", "my_tract", "CST_L"))
    assert {k: v.label for k, v in got.items()} == {
        "AssociationArcuateFasciculusL": "LeftArcuate",
        "MyTract": "my_tract",
    }


def test_the_shared_atlas_has_its_nineteen_bundles(shared_data: Path) -> None:
    atlas = read_atlas(shared_data / "atlas-hcp1065")
    assert (atlas.name, atlas.label, atlas.space) == ("HCP1065", "hcp1065", "MNI152NLin2009aAsym")
    assert len(atlas.bundles) == 19
    for dialect in ("qsirecon", "pyafq", "tractseg"):
        rows = [r.split("\t") for r in (shared_data / "aliases.tsv").read_text().splitlines()]
        column = rows[0].index(dialect)
        assert len(match(atlas, of_subject(*(r[column] for r in rows[1:])))) == 19
