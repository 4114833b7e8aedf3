"""io.label_names: every format that atlases come with, found beside the volume; messages for what is none."""

from __future__ import annotations

import json

import pytest

from spectra_bids.errors import AtlasError, MissingInputError
from spectra_bids.io.label_names import find_names, read_names, volume_stem

XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<atlas version="1.0"><header><name>A</name><type>{}</type><images>
<imagefile>/JHU/JHU-ICBM-prob-1mm</imagefile><summaryimagefile>/JHU/JHU-ICBM-labels-1mm</summaryimagefile>
</images></header><data>
<label index="0" x="1" y="2" z="3">Anterior thalamic radiation L</label>
<label index="1" x="1" y="2" z="3">Anterior thalamic radiation R</label>
</data></atlas>
"""
CASES = {
    "dseg.tsv": ("index\tname\tcolor\n1\tLeft SLF\t#ff0000\n2\tRight SLF\t#00ff00\n", {1: "Left SLF", 2: "Right SLF"}),
    "hemi.tsv": (
        "index\tname\themi\n1\tSLF\tL\n2\tSLF\tright\n3\tFornix\t\n4\tUF_L\tL\n",
        {1: "SLF L", 2: "SLF R", 3: "Fornix", 4: "UF_L"},
    ),
    "label.csv": ("label,region\n7,Insula\n9,\"Gyrus, angular\"\n", {7: "Insula", 9: "Gyrus, angular"}),
    "swapped.csv": ("name,id\nInsula,7\n", {7: "Insula"}),
    "bare.csv": ("1,One\n2,Two\n", {1: "One", 2: "Two"}),
    "FreeSurferColorLUT.txt": (
        "#No. Label Name:    R   G   B   A\n\n0   Unknown    0 0 0 0\n2  Left-Cerebral-White-Matter  245 245 245 0\n",
        {0: "Unknown", 2: "Left-Cerebral-White-Matter"},
    ),
    "fs.lut": ("17 Left-Hippocampus 220 216 20\n18 Area_4 0 0 0\n", {17: "Left-Hippocampus", 18: "Area_4"}),
    "dsi.txt": ("1 Arcuate_Fasciculus_L\n2 Area 4\n", {1: "Arcuate_Fasciculus_L", 2: "Area 4"}),
    "itksnap.txt": (
        '# ITK\n 0 0 0 0 0 0 0 "Clear Label"\n 3 0 255 0 1 1 1 "Label 3 (L)"\n',
        {0: "Clear Label", 3: "Label 3 (L)"},
    ),
    "label.xml": (XML.format("Label"), {0: "Anterior thalamic radiation L", 1: "Anterior thalamic radiation R"}),
    "prob.xml": (XML.format("Probabilistic"), {1: "Anterior thalamic radiation L", 2: "Anterior thalamic radiation R"}),
    "map.json": (json.dumps({"1": "One", "2": "Two"}), {1: "One", 2: "Two"}),
    "turned.json": (json.dumps({"One": 1, "Two": 2}), {1: "One", 2: "Two"}),
    "rows.json": (json.dumps([{"index": 1, "name": "One"}, {"index": 2, "name": "Two"}]), {1: "One", 2: "Two"}),
    "inside.json": (json.dumps({"Name": "A", "LabelMap": {"1": "One"}}), {1: "One"}),
    "bom.tsv": ("\ufeffindex\tname\n1\tGyrus  frontalis\u00a0superior\n", {1: "Gyrus frontalis superior"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), CASES.items(), ids=CASES)
def test_every_format_gives_numbers_and_names(tmp_path, name, content):
    text, expected = content
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_names(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "index\tcolour\n1\tred\n", "expected columns 'index' and 'name'. It has: index, colour"),
        ("a.tsv", "index\tname\nx\tA\n", "row 2: index must be a whole number. Got 'x'"),
        ("a.tsv", "index\tname\n1\tA\n1\tB\n", "gives label 1 two names: A and B"),
        ("a.tsv", "index\tname\n", "names no label"),
        ("a.tsv", "", "names no label"),
        ("a.txt", "Left SLF\n", "expected 'number name ...' in every line. Got 'Left SLF'"),
        ("a.xml", "<atlas>", "cannot be read as a table of label names"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><atlas/>', "entities are not expanded"),
        ("a.json", "{", "cannot be read as a table of label names"),
        ("a.json", '{"Manufacturer": "X"}', "names no label"),
    ],
)
def test_what_is_no_table_is_named_with_what_was_expected(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(AtlasError) as caught:
        read_names(tmp_path / name)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.exit_status == 65


def test_a_table_that_is_not_there_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="no table of label names"):
        read_names(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("volume", "table"),
    [
        ("atlas.nii.gz", "atlas.tsv"),
        ("atlas.nii", "atlas.txt"),
        ("tpl-MNI_res-01_atlas-A_dseg.nii.gz", "tpl-MNI_atlas-A_dseg.tsv"),
        ("sub-01_space-MNI_seg-aparc_dseg.nii.gz", "seg-aparc_dseg.tsv"),
        ("JHU/JHU-ICBM-labels-1mm.nii.gz", "JHU-labels.xml"),
    ],
)
def test_the_table_beside_a_volume_is_found_by_name(tmp_path, volume, table):
    for name in (volume, table):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(XML.format("Label") if name.endswith(".xml") else "1\tA\n")
    assert find_names(tmp_path / volume) == tmp_path / table


def test_other_tables_and_ordinary_sidecars_are_left_alone(tmp_path):
    for name in ("tpl-MNI_atlas-B_dseg.tsv", "tpl-MNI_res-02_atlas-A_dseg.tsv", "other.xml", "readme.txt"):
        (tmp_path / name).write_text(XML.format("Label"))
    volume = tmp_path / "tpl-MNI_res-01_atlas-A_dseg.nii.gz"
    (tmp_path / "tpl-MNI_res-01_atlas-A_dseg.json").write_text('{"Resolution": "1 mm", "Sources": ["a"]}')
    assert find_names(volume) is None
    assert volume_stem(volume) == "tpl-MNI_res-01_atlas-A_dseg"


def test_of_two_tables_the_closer_one_counts(tmp_path):
    for name in ("atlas-A_dseg.tsv", "tpl-MNI_atlas-A_dseg.tsv"):
        (tmp_path / name).write_text("1\tA\n")
    assert find_names(tmp_path / "tpl-MNI_res-01_atlas-A_dseg.nii").name == "tpl-MNI_atlas-A_dseg.tsv"
