"""dsi2's scans -> a BIDS data set.

    BIDS_OUT/dataset_description.json  README.md  participants.tsv  participants.json  sub-X/dwi/ (empty)
    BIDS_OUT/derivatives/dsi2/dataset_description.json  .bidsignore
    BIDS_OUT/derivatives/dsi2/sub-X/dwi/
        sub-X[_space-S]_desc-wholebrain_tractography.{trk,json}          what is indexed and labelled
        sub-X[_space-S]_desc-original_tractography.{trk,json}            what dsi2's own tractogram was made of
        sub-X[_space-S]_desc-wholebrain_index.npz                        voxel -> streamlines
        sub-X[_space-S]_seg-N[_scale-K][_desc-P]_dseg.{nii.gz,tsv,json}  label volume and its regions
        sub-X[_space-S]_seg-N[_scale-K][_desc-P]_tracklabels.{npz,tsv,json}  _connectivity.tsv
        sub-X[_space-S]_seg-N[_scale-K][_desc-P]_dsi2labels.npy          dsi2's own labels

A tractogram whose file is named like a tract (AF_L.trk) is that bundle: desc-AFL.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectra_bids import __version__
from spectra_bids.bridges.dsi2 import (
    LocalData,
    Scan,
    TrackLabels,
    column_name,
    missing_files,
    read_local_data,
    read_numpy_labels,
)
from spectra_bids.bridges.track_files import (
    labeling_entities,
    tractogram_stem,
    write_index,
    write_labeling,
)
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.names import is_known, label, plain
from spectra_bids.dataset.outputs import (
    BIDS_VERSION,
    sha256,
    write_bytes,
    write_json,
    write_table,
    write_text,
    writing,
)
from spectra_bids.errors import InputDataError, MissingInputError, OutputError, TractogramError
from spectra_bids.geometry.labels import LabelVolume
from spectra_bids.geometry.voxels import index_voxels
from spectra_bids.io.contents import Tractogram, VoxelGrid, read_tractogram
from spectra_bids.io.label_names import read_names
from spectra_bids.io.labels import read_labels
from spectra_bids.io.track_labels import label_streamlines
from spectra_bids.io.writing import write_tractogram

#: dsi2's names of spaces -> BIDS labels; DSI Studio's QSDR template is ICBM 2009a.
SPACES = {"qsdr": "MNI152NLin2009aAsym", "mni": "MNI152", "native": "", "subject": "", "": ""}
#: dsi2's names of tracking parameters -> keys of the sidecar.
_KEYS = {
    "software": "Software",
    "reconstruction": "ReconstructionMethod",
    "study": "Study",
    "length_min": "MinimumLength",
    "length_max": "MaximumLength",
    "cutoff_angle": "AngularThreshold",
    "qa_threshold": "QAThreshold",
    "gfa_threshold": "GFAThreshold",
    "smoothing": "Smoothing",
}
_UNITS = {"MinimumLength": "mm", "MaximumLength": "mm", "AngularThreshold": "degree"}
_IGNORED = (
    "*_index.npz\n*_tracklabels.*\n*_connectivity.tsv\n*_dsi2labels.*\n*_tractography.*\n*_dseg.*\ngroup\n*.html\n"
)
_README = """# Scans of a dsi2 project

Taken in by `spectra-bids import-dsi2`. Tractograms, label volumes and what was made of them stand in
`derivatives/dsi2`; images are not part of it.
"""
_REFERENCE = ("control", "controls", "healthy", "hc", "ctrl", "cn", "normal")


@dataclass(frozen=True)
class Imported:
    """What was made of one scan; shares of unlabelled streamlines by labelling (NaN where there is no volume)."""

    scan_id: str
    label: str
    tractogram: str
    n_streamlines: int
    n_voxels: int
    labelings: tuple[tuple[str, int, float], ...]


def import_dsi2(
    json_file: Path,
    out: Path,
    root: Path | None = None,
    *,
    space: str = "",
    dilation: float = 0.0,
    with_index: bool = True,
    force: bool = False,
) -> tuple[LocalData, tuple[Imported, ...]]:
    """Write a BIDS data set from a local_data.json.

    Parameters
    ----------
    json_file, out : Path
    root : Path, optional
        What relative paths start from.
    space : str
        BIDS label of the space of all tractograms, in place of what `trk_space` says.
    dilation : float, mm
        Search radius about the ends of streamlines for our own labels.
    with_index : bool
        Write the index of voxels.
    force : bool
        Write into a folder that is not empty.

    Raises
    ------
    MissingInputError
        Files are not there: the message lists all; nothing has been written.
    InputDataError
        The JSON or a file's content is wrong.
    OutputError
        The folder is not empty.

    """
    data = read_local_data(json_file, root)
    missing = missing_files(data)
    if missing:
        lines = "".join(f"\n  {line}" for line in missing)
        raise MissingInputError(
            f"{json_file} names {len(missing)} files that are not there; nothing was written:{lines}",
            "Paths are relative to the JSON file's folder, or to --root",
        )
    spaces = [_space(scan, space) for scan in data.scans]
    _require_distinct_labelings(data)
    if out.is_dir() and any(out.iterdir()) and not force:
        raise OutputError(f"{out} is not empty", "Choose a new folder, or add --force to write into this one")
    derivative = out / "derivatives" / "dsi2"
    made = tuple(
        _write_scan(scan, derivative, label_, dilation, with_index)
        for scan, label_ in zip(data.scans, spaces, strict=True)
    )
    for scan in data.scans:  # everybody of participants.tsv has a folder, as BIDS wants it
        (out / f"sub-{scan.label}" / "dwi").mkdir(parents=True, exist_ok=True)
    _write_root(data, out)  # last: a data set without participants.tsv is one that was not finished
    return data, made


def _space(scan: Scan, given: str) -> str:
    """BIDS label of a scan's space; empty for its own."""
    if given:
        return label(given, "space")
    known = SPACES.get(scan.trk_space.lower())
    if known is not None:
        return known
    if not re.fullmatch(r"[A-Za-z0-9]+", scan.trk_space):
        raise InputDataError(
            f"scan {scan.scan_id!r}: trk_space must be qsdr, MNI, native, or a BIDS label. Got {scan.trk_space!r}",
            "Give the label of the space: --space MNI152NLin2009cAsym",
        )
    return scan.trk_space


def _require_distinct_labelings(data: LocalData) -> None:
    for scan in data.scans:
        seen: dict[str, int] = {}
        for k, labels in enumerate(scan.track_labels):
            other = seen.setdefault(labeling_entities(labels.name, dict(labels.parameters)), k)
            if other != k:
                raise InputDataError(
                    f"scan {scan.scan_id!r}: track_labels[{other}] and [{k}] have the same name and parameters",
                    "Tell them apart by a parameter, such as scale or dilation",
                )


def _write_scan(scan: Scan, derivative: Path, space: str, dilation: float, with_index: bool) -> Imported:
    folder = derivative / f"sub-{scan.label}" / "dwi"
    start = f"sub-{scan.label}" + (f"_space-{space}" if space else "")
    volumes = [None if labels.volume is None else _labels(labels, scan) for labels in scan.track_labels]
    source = scan.tractogram
    if source is None:
        for labels, volume in zip(scan.track_labels, volumes, strict=True):
            _write_dseg(folder / f"{start}{labeling_entities(labels.name, dict(labels.parameters))}", labels, volume)
        return Imported(scan.scan_id, scan.label, "", 0, 0, ())
    grid = next((Volume(v.data.astype(np.float32), v.affine) for v in volumes if v is not None), None)
    tractogram, unplaced = _read(source, grid)
    bundle = tractogram.bundle
    name = _bundle_name(source)
    main = _place(source, folder / f"{start}_desc-{name}", tractogram, unplaced, scan, space)
    if scan.trk is not None and scan.trk != source and scan.trk.is_file():
        _place(scan.trk, folder / f"{start}_desc-original", *_read(scan.trk, grid), scan, space)
    n_voxels = 0
    if with_index:
        n_voxels = _write_index(folder / f"{start}_desc-{name}_index.npz", tractogram, volumes, main)
    found = []
    for labels, volume in zip(scan.track_labels, volumes, strict=True):
        stem = folder / f"{start}{labeling_entities(labels.name, dict(labels.parameters))}"
        _write_dseg(stem, labels, volume)
        n_labels, share = 0, float("nan")
        if volume is not None:
            ours = label_streamlines(
                bundle, volume, dilation, name=labels.name, parameters=labels.parameters,
                files=(main, f"{stem.name}_dseg.nii.gz"),
            )  # fmt: skip
            write_labeling(stem, ours)
            n_labels, share = len(ours.pairs.pairs), ours.pairs.unlabelled_share
        _write_numpy(stem, labels, bundle, source, main)
        if volume is not None or labels.numpy_made:
            found.append((stem.name.removeprefix(start).removeprefix("_"), n_labels, share))
    return Imported(scan.scan_id, scan.label, main, bundle.n_streamlines, n_voxels, tuple(found))


def _write_index(path: Path, tractogram: Tractogram, volumes: Sequence[LabelVolume | None], main: str) -> int:
    """Index of the voxels of the first label volume, else of the image that was tracked on; number of voxels."""
    volume = next((v for v in volumes if v is not None), None)
    grid = tractogram.grid
    if volume is not None:
        i, j, k = volume.data.shape
        grid = VoxelGrid(volume.affine, (i, j, k))
    if grid is None:
        return 0  # a .tck without a label volume: no voxels are known
    index = index_voxels(tractogram.bundle, grid.affine, grid.shape)
    write_index(path, index, main)
    return len(index.voxels)


def _labels(labels: TrackLabels, scan: Scan) -> LabelVolume:
    """The label volume, named by its graphml, or by the table beside it."""
    assert labels.volume is not None
    try:
        return read_labels([labels.volume], labels.graphml, labels.name)
    except InputDataError as error:
        raise type(error)(f"scan {scan.scan_id!r}: {error.message}", error.hint) from error


def _bundle_name(path: Path) -> str:
    """Desc of a tractogram: the tract that its file is named after, else wholebrain."""
    stem = re.sub(r"^sub-[A-Za-z0-9]+_", "", tractogram_stem(path))
    return plain(stem) if is_known(stem) else "wholebrain"


def _read(source: Path, grid: Volume | None) -> tuple[Tractogram, bool]:
    """A tractogram, and whether its header does not say where it lies, so that the label volume has to.

    Old versions of DSI Studio and TrackVis write such headers.
    """
    try:
        return read_tractogram(source), False
    except TractogramError:
        if grid is None:
            raise
        return read_tractogram(source, grid), True


def _place(source: Path, stem: Path, tractogram: Tractogram, unplaced: bool, scan: Scan, space: str) -> str:
    """Copy a tractogram with its sidecar, or write it with the place that it lacked; returns its name."""
    ending = source.name[len(tractogram_stem(source)) :].lower()
    target = stem.with_name(f"{stem.name}_tractography{ending}")
    with source.open("rb") as content, writing(target) as file:
        if unplaced:
            write_tractogram(file, target, tractogram)
        else:
            shutil.copyfileobj(content, file)
    facts: dict[str, Any] = {_KEYS[key]: scan.tracking[key] for key in _KEYS if key in scan.tracking}
    units = {key: unit for key, unit in _UNITS.items() if key in facts}
    write_json(
        stem.with_name(f"{stem.name}_tractography.json"),
        {
            "Description": "Tractogram taken over from a dsi2 project",
            **({"SpatialReference": space} if space else {}),
            **({"TractographySpace": scan.trk_space} if scan.trk_space else {}),
            **facts,
            **({"Units": units} if units else {}),
            **({"TrackScalars": list(scan.track_scalars)} if scan.track_scalars else {}),
            "Streamlines": tractogram.bundle.n_streamlines,
            "SourceFile": source.name,
            "SourceSha256": sha256(source),
            **({"PlacedBy": "the first label volume: the source's header has no vox_to_ras"} if unplaced else {}),
            **({"PickledIndex": scan.pkl.name, "PickledIndexOpened": False} if scan.pkl is not None else {}),
        },
    )
    return target.name


def _write_dseg(stem: Path, labels: TrackLabels, volume: LabelVolume | None) -> None:
    """Label volume as it is, with regions and facts beside it."""
    facts = _facts(labels)
    if volume is not None and labels.volume is not None:
        import gzip

        raw = labels.volume.read_bytes()
        packed = raw if raw.startswith(b"\x1f\x8b") else gzip.compress(raw, mtime=0)
        write_bytes(stem.with_name(f"{stem.name}_dseg.nii.gz"), packed)
        facts |= {"SourceFile": labels.volume.name, "SourceSha256": sha256(labels.volume)}
        regions = np.unique(volume.data[volume.data != 0])
    else:
        regions = np.zeros(0, np.int64)
    if not len(regions) and labels.graphml is None:
        return
    names = volume.names if volume is not None else read_names(labels.graphml) if labels.graphml is not None else {}
    numbers = sorted({int(r) for r in regions} | {n for n in names if n > 0})
    rows = pd.DataFrame({"index": numbers, "name": [names.get(n, f"label {n}") for n in numbers]})
    write_table(stem.with_name(f"{stem.name}_dseg.tsv"), rows)
    write_json(stem.with_name(f"{stem.name}_dseg.json"), facts)


def _facts(labels: TrackLabels) -> dict[str, Any]:
    """What is said of a labelling."""
    names = {} if labels.graphml is None else {"NamesFile": labels.graphml.name}
    return {"Name": labels.name, "Parameters": dict(labels.parameters), "Notes": labels.notes, **names}


def _write_numpy(stem: Path, labels: TrackLabels, bundle: Bundle, source: Path, main: str) -> None:
    """dsi2's own labels, where it has made them: checked, and written without anything that runs when it is opened."""
    if labels.numpy is None or not labels.numpy_made:
        return
    import io

    values = read_numpy_labels(labels.numpy, bundle.n_streamlines, source)
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_bytes(stem.with_name(f"{stem.name}_dsi2labels.npy"), buffer.getvalue())
    facts = {
        "Description": "Labels that dsi2 gave to streamlines; their numbers are dsi2's own",
        "Tractogram": main,
        **_facts(labels),
        "SourceFile": labels.numpy.name,
        "SourceSha256": sha256(labels.numpy),
    }
    write_json(stem.with_name(f"{stem.name}_dsi2labels.json"), facts)


def _write_root(data: LocalData, out: Path) -> None:
    table, described = _people(data.scans)
    ours = {"Name": "spectra-bids", "Version": __version__}
    write_json(out / "dataset_description.json", {
        "Name": "Scans of a dsi2 project", "BIDSVersion": BIDS_VERSION, "DatasetType": "raw", "License": "n/a",
    })  # fmt: skip
    write_json(out / "derivatives" / "dsi2" / "dataset_description.json", {
        "Name": "Tractograms and labels of a dsi2 project", "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative",
        "License": "n/a", "GeneratedBy": [ours, {"Name": "dsi2"}],
    })  # fmt: skip
    write_text(out / "derivatives" / "dsi2" / ".bidsignore", _IGNORED)
    write_text(out / ".bidsignore", "derivatives\n")
    write_text(out / "README.md", _README)
    write_json(out / "participants.json", described)
    write_table(out / "participants.tsv", table)


def _people(scans: Sequence[Scan]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """participants.tsv and what its JSON says: a row per scan."""
    rows: list[dict[str, Any]] = []
    described: dict[str, Any] = {}
    for scan in scans:
        row: dict[str, Any] = {"participant_id": f"sub-{scan.label}", "scan_id": scan.scan_id, "group": scan.group}
        if "study" in scan.tracking:
            row["study"] = scan.tracking["study"]
        taken = set(row) | {"session_id", "study"}
        for name, value in scan.attributes.items():
            column = column_name(name)
            column = f"attribute_{column}" if column in taken else column
            if column in row:
                raise InputDataError(
                    f"scan {scan.scan_id!r}: two attributes make the column {column!r}, one is {name!r}"
                )
            row[column] = str(value).lower() if isinstance(value, bool) else _cell(value)
            described.setdefault(column, {"Description": f"dsi2 attribute {name!r}"})
        rows.append(row)
    table = pd.DataFrame(rows, dtype=object)  # whole numbers stay whole where others are missing
    groups = sorted(set(table["group"]), key=lambda g: (g.lower() not in _REFERENCE, g))
    head: dict[str, Any] = {
        "scan_id": {"Description": "Identifier of the scan in dsi2"},
        "group": {"Description": "dsi2's scan_group", "Levels": {g: g for g in groups}},
    }
    if "study" in table:
        head["study"] = {"Description": "Study that the scan was part of"}
    return table, {**head, **described}


def _cell(value: Any) -> Any:
    """A value as a cell of a TSV."""
    return " ".join(value.split()) if isinstance(value, str) else json.loads(json.dumps(value))
