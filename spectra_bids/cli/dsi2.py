"""Tools on tractograms as dsi2 has them: take a project in, index voxels, label streamlines by their ends."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spectra_bids.geometry.voxels import VoxelIndex

log = logging.getLogger("spectra_bids")

#: Options whose value may start with a minus sign, which argparse takes for an option.
_PLACES = ("--voxel", "--sphere")


def joined_places(arguments: Sequence[str]) -> list[str]:
    """`--sphere -30,4,12,6` as `--sphere=-30,4,12,6`."""
    out: list[str] = []
    for word in arguments:
        if out and out[-1] in _PLACES and word.startswith("-") and word[1:2].isdigit():
            out[-1] = f"{out[-1]}={word}"
        else:
            out.append(word)
    return out


def numbers(text: str, count: int, flag: str) -> tuple[float, ...]:
    """Numbers separated by commas; UsageError unless there are `count`."""
    from spectra_bids.errors import UsageError

    try:
        found = tuple(float(part) for part in text.split(","))
        if len(found) != count or not all(abs(x) < 1e9 for x in found):
            raise ValueError
    except ValueError:
        example = "i,j,k" if count == 3 else "x,y,z,radius"
        raise UsageError(f"{flag} takes {count} numbers, {example}, without blanks. Got {text!r}") from None
    return found


def voxel(text: str, flag: str = "--voxel") -> tuple[int, int, int]:
    """Whole numbers i,j,k."""
    from spectra_bids.errors import UsageError

    found = numbers(text, 3, flag)
    if any(x != int(x) for x in found):
        raise UsageError(f"{flag} takes whole numbers, i,j,k, counted from 0. Got {text!r}")
    return int(found[0]), int(found[1]), int(found[2])


def require_radius(radius: float, flag: str) -> None:
    """UsageError unless a distance is 0 or more."""
    from spectra_bids.errors import UsageError

    if not 0 <= radius < 1e6:
        raise UsageError(f"{flag} takes a distance in mm, 0 or more. Got {radius:g}")


def refuse_pickle(path: Path) -> None:
    """InputDataError if a file is a pickle, by its name."""
    from spectra_bids.errors import InputDataError

    if path.suffix.lower() in (".pkl", ".pickle"):
        raise InputDataError(
            f"{path} is a pickle, which can run any program when it is opened: it is not opened",
            "Give the tractogram itself (.trk); its index is made from it",
        )


_IMPORT_EPILOG = """examples:
  spectra-bids import-dsi2 local_data.json study
  spectra-bids import-dsi2 local_data.json study --root /data/dsi2 --dilation 3
then:
  spectra-bids ltpa study/derivatives/dsi2 out --labeling NAME --sphere x,y,z,r --formula "value ~ group"
"""


def import_dsi2(arguments: Sequence[str]) -> int:
    """`spectra-bids import-dsi2 local_data.json BIDS_OUT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids import-dsi2",
        description="Make a BIDS data set of the scans of a dsi2 project: tractograms, label volumes and covariates "
        "under BIDS names, the index of voxels, and labels of streamlines by their end regions. Files that are missing "
        "are listed before anything is written; pickle files are never opened.",
        epilog=_IMPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("json_file", type=Path, metavar="local_data.json", help="dsi2's list of scans")
    parser.add_argument("out", type=Path, metavar="BIDS_OUT", help="folder to make")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what relative paths start from (the JSON's folder)")
    parser.add_argument("--space", default="", metavar="LABEL", help="space of all tractograms, in place of trk_space")
    parser.add_argument(
        "--dilation", type=float, default=0.0, metavar="MM", help="an end in no region takes one within MM (0)"
    )
    parser.add_argument("--no-index", action="store_true", help="write no index of voxels")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    options = parser.parse_args(arguments)
    from spectra_bids.bridges.dsi2_dataset import import_dsi2 as run

    require_radius(options.dilation, "--dilation")
    data, made = run(
        options.json_file,
        options.out,
        options.root,
        space=options.space,
        dilation=options.dilation,
        with_index=not options.no_index,
        force=options.force,
    )
    for warning in data.warnings:
        print(f"Note: {warning}")
    for scan in made:
        said = "no tractogram"
        if scan.tractogram:
            said = f"{scan.n_streamlines} streamlines" + (f" in {scan.n_voxels} voxels" if scan.n_voxels else "")
        print(f"sub-{scan.label}: {said}")
        for name, n_labels, share in scan.labelings:
            text = "dsi2's own labels alone" if share != share else f"{n_labels} pairs, {share:.1%} unlabelled"
            print(f"  {name}: {text}")
    print(f"{len(made)} scans are in {options.out}")
    return 0


_INDEX_EPILOG = """examples:
  spectra-bids index sub-01.trk --ref fa.nii.gz -o sub-01_index.npz
  spectra-bids index sub-01_index.npz --sphere -24,-12,30,6
  spectra-bids index sub-01.trk --ref fa.nii.gz --mask roi.nii.gz --save through.trk --ids through.txt
"""


def index(arguments: Sequence[str]) -> int:
    """`spectra-bids index TRK --ref NII`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids index",
        description="Which streamlines pass through which voxels of an image: exactly, whatever the step of the "
        "streamlines. The index is stored as CSR arrays (.npz: voxels, offsets, streamlines, n_streamlines, shape, "
        "affine), or asked at once. Of several places, streamlines that pass through all of them are given.",
        epilog=_INDEX_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "tractogram", type=Path, metavar="TRK", help="streamlines (.trk, .tck, .trx ...), or an index .npz"
    )
    parser.add_argument("--ref", type=Path, metavar="NII", help="image whose voxels are meant; default: a .trk's own")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="index to write; default: TRK_index.npz if nothing is asked"
    )
    parser.add_argument("--voxel", action="append", default=[], metavar="i,j,k", help="a voxel, counted from 0")
    parser.add_argument("--sphere", action="append", default=[], metavar="x,y,z,r", help="a sphere, mm RAS+")
    parser.add_argument("--mask", action="append", default=[], type=Path, metavar="NII", help="voxels that are not 0")
    parser.add_argument(
        "--ids", type=Path, metavar="FILE", help="write ids to a text file, one per line, and print none"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the streamlines that pass (.trk .tck .trx .tt.gz)"
    )
    parser.add_argument("--force", action="store_true", help="replace files of --ids, --save and -o that are there")
    options = parser.parse_args(joined_places(arguments))
    return _index(options)


def _index(options: argparse.Namespace) -> int:
    from spectra_bids.errors import UsageError

    asked = bool(options.voxel or options.sphere or options.mask)
    if not asked and (options.ids or options.save):
        raise UsageError("--ids and --save need a place: --voxel, --sphere or --mask")
    _spare(options)
    found, tractogram = _made_or_read(options)
    if options.output is None and not asked and options.tractogram.suffix == ".npz":
        print(f"{found.n_streamlines} streamlines in {len(found.voxels)} voxels of {found.shape}: ask with --voxel, "
              "--sphere or --mask")  # fmt: skip
    elif options.output is not None or not asked:
        _store(options, found, tractogram)
    if not asked:
        return 0
    ids = _asked(options, found)
    print(f"{len(ids)} of {found.n_streamlines} streamlines pass")
    if options.ids is not None:
        from spectra_bids.dataset.outputs import write_text

        write_text(options.ids, "".join(f"{i}\n" for i in ids.tolist()))
    elif len(ids):
        print(" ".join(map(str, ids.tolist())))
    if options.save is not None:
        _save(options.save, tractogram, found, ids)
    return 0


def _spare(options: argparse.Namespace) -> None:
    """UsageError or OutputError where a file to write is an input, or is there already and no index."""
    from spectra_bids.errors import OutputError, SpectraError, UsageError
    from spectra_bids.io.voxel_index import read_index

    if options.output is not None and options.output.suffix != ".npz":
        raise UsageError(f"-o names the index, which ends in .npz. Got {options.output}")
    inputs = {path.resolve() for path in (options.tractogram, options.ref, *options.mask) if path is not None}
    for flag, path in (("-o", options.output), ("--ids", options.ids), ("--save", options.save)):
        if path is None or not path.exists():
            continue
        if path.resolve() in inputs:
            raise UsageError(f"{flag} {path} would replace an input", "Choose another name")
        if options.force:
            continue
        try:
            old_index = flag == "-o" and bool(read_index(path))
        except SpectraError:
            old_index = False
        if not old_index:
            raise OutputError(f"{path} is there already", "Choose another name, or replace it with --force")


def _made_or_read(options: argparse.Namespace) -> tuple[VoxelIndex, Path | None]:
    """The index, and the tractogram that it is of, if that is there."""
    from spectra_bids.errors import UsageError
    from spectra_bids.geometry.voxels import index_voxels
    from spectra_bids.io.contents import read_tractogram
    from spectra_bids.io.tractograms import split_group
    from spectra_bids.io.volumes import read_volume
    from spectra_bids.io.voxel_index import read_index

    path = options.tractogram
    refuse_pickle(path)
    if path.suffix == ".npz":
        if options.ref is not None:
            raise UsageError("--ref belongs to a tractogram: an index has its image's grid")
        found, name = read_index(path)
        # only a file beside the index, never a path that it names
        beside = path.parent / Path(name).name if name else None
        return found, beside if beside is not None and split_group(beside)[0].exists() else None
    reference = None if options.ref is None else read_volume(options.ref)
    tractogram = read_tractogram(path, reference)
    if reference is not None:
        i, j, k = reference.data.shape
        return index_voxels(tractogram.bundle, reference.affine, (i, j, k)), path
    if tractogram.grid is None:
        raise UsageError(f"{path} does not say which image it lies in", "Give the image: --ref NII")
    return index_voxels(tractogram.bundle, tractogram.grid.affine, tractogram.grid.shape), path


def _store(options: argparse.Namespace, found: VoxelIndex, tractogram: Path | None) -> None:
    from spectra_bids.bridges.track_files import tractogram_stem, write_index

    name = "" if tractogram is None else tractogram.name
    target = options.output
    if target is None:
        assert tractogram is not None
        target = tractogram.with_name(f"{tractogram_stem(tractogram)}_index.npz")
    write_index(target, found, name)
    if found.n_streamlines and not len(found.voxels):
        log.warning("No streamline passes through the image: is it in the space of %s?", options.tractogram)
    print(f"{found.n_streamlines} streamlines in {len(found.voxels)} voxels: {target}")


def _asked(options: argparse.Namespace, found: VoxelIndex) -> NDArray[np.int64]:
    """Ids of the streamlines through every place that was named."""
    from functools import reduce

    import numpy as np

    from spectra_bids.errors import UsageError
    from spectra_bids.io.volumes import read_volume

    parts = []
    for text in options.voxel:
        try:
            parts.append(found.at_voxel(voxel(text)))
        except ValueError as error:
            raise UsageError(f"--voxel {text}: {error}") from error
    for text in options.sphere:
        *centre, radius = numbers(text, 4, "--sphere")
        if radius < 0:
            raise UsageError(f"--sphere: a radius is at least 0 mm. Got {radius:g}")
        parts.append(found.in_sphere(np.array(centre), radius))
    for path in options.mask:
        mask = read_volume(path)
        require_grid(path, mask.data.shape, mask.affine, found.shape, found.affine)
        parts.append(found.in_mask(np.nan_to_num(mask.data) != 0))
    return reduce(np.intersect1d, parts)


def require_grid(
    path: Path,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    wanted: tuple[int, ...],
    wanted_affine: NDArray[np.float64],
) -> None:
    """VolumeError unless a mask lies on the grid of an index."""
    import numpy as np

    from spectra_bids.errors import VolumeError

    if tuple(shape) != tuple(wanted) or not np.allclose(affine, wanted_affine, atol=1e-3):
        raise VolumeError(
            f"--mask {path} must lie on the grid of the index, {wanted}. Got {tuple(shape)}"
            + ("" if tuple(shape) != tuple(wanted) else " with another affine"),
            "Index the tractogram with the mask as --ref",
        )


def _save(path: Path, tractogram: Path | None, found: VoxelIndex, ids: NDArray[np.int64]) -> None:
    """Write the streamlines that were found, with what belongs to them."""
    from dataclasses import replace

    from spectra_bids.dataset.outputs import writing
    from spectra_bids.errors import InputDataError, UsageError
    from spectra_bids.io.contents import VoxelGrid, read_tractogram
    from spectra_bids.io.writing import losses, write_tractogram

    if tractogram is None:
        raise UsageError("--save needs the tractogram itself, or an index that stands beside it")
    grid = VoxelGrid(found.affine, found.shape)
    whole = read_tractogram(tractogram, grid.volume)
    if whole.bundle.n_streamlines != found.n_streamlines:
        raise InputDataError(
            f"{tractogram} has {whole.bundle.n_streamlines} streamlines, its index {found.n_streamlines}",
            "Make the index again",
        )
    part = whole.take(ids)
    part = part if part.grid is not None else replace(part, grid=grid)
    with writing(path) as file:
        write_tractogram(file, path, part)
    lost = "; ".join(losses(path, part))
    print(f"{len(ids)} streamlines: {path}" + (f" (left out: {lost})" if lost else ""))
