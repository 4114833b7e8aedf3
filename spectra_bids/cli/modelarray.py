"""Tools that exchange data with ModelArray: `spectra-bids to-modelarray`, `spectra-bids export-results`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_bids.errors import InputDataError, MissingInputError, OutputError, UsageError, listed

if TYPE_CHECKING:
    from spectra_bids.bridges.modelarray import ModelArrayFile

log = logging.getLogger("spectra_bids")

_TO_EPILOG = """examples:
  spectra-bids to-modelarray --mask group_mask.nii.gz --cohort-file cohort_FA.csv --output FA.h5
  spectra-bids to-modelarray --from-profiles OUTPUT_DIR --profile 2D --output profiles.h5
"""

_EXPORT_EPILOG = """examples:
  spectra-bids export-results --mask group_mask.nii.gz --analysis-name mylm --input-hdf5 FA.h5 --output-dir FA_stats
  spectra-bids export-results --analysis-name mylm --input-hdf5 profiles.h5 --output-dir stats
"""


def to_modelarray(arguments: Sequence[str]) -> int:
    """`spectra-bids to-modelarray --mask MASK --cohort-file CSV --output H5`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids to-modelarray",
        description="Put images, or the profiles of an output directory, into an HDF5 file as R's ModelArray reads it. "
        "Voxels outside an image's own mask are NaN.",
        epilog=_TO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--mask", type=Path, metavar="NIFTI", help="group mask: voxels above 0 are the elements")
    parser.add_argument(
        "--cohort-file", "--cohort_file", type=Path, metavar="CSV",
        help="columns scalar_name, source_file, source_mask_file, in any order, among others",
    )  # fmt: skip
    parser.add_argument("--from-profiles", type=Path, metavar="OUT", help="OUTPUT_DIR of a run: elements are its cells")
    parser.add_argument("--profile", choices=("1D", "2D"), default="1D", help="which profiles (1D)")
    parser.add_argument(
        "--scalars", nargs="+", default=["*"], metavar="NAME", help="which scalars of the profiles (all)"
    )
    parser.add_argument("--output", type=Path, default=Path("modelarray.h5"), metavar="H5", help="file to write")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="of the stored values (float32)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that holds results, or is no such file")
    options = parser.parse_args(arguments)
    images = options.mask is not None or options.cohort_file is not None
    if images == (options.from_profiles is not None):
        raise UsageError("give --mask and --cohort-file, or --from-profiles", _TO_EPILOG.splitlines()[1].strip())
    if options.output.exists() and not options.force:
        _require_replaceable(options.output)
    return _from_images(options) if images else _from_profiles(options)


def _require_replaceable(output: Path) -> None:
    """OutputError unless a ModelArray file without results is there: results may have cost days of R."""
    from spectra_bids.bridges.modelarray import ModelArrayFile

    choose = "Choose another name with --output, or replace it with --force."
    try:
        with ModelArrayFile(output) as file:
            there = file.analyses
    except (InputDataError, MissingInputError) as error:
        raise OutputError(f"{output} is there already and is no file of ModelArray", choose) from error
    if there:
        raise OutputError(f"{output} is there already and holds results: {listed(there)}", choose)


def _from_images(options: argparse.Namespace) -> int:
    if options.mask is None or options.cohort_file is None:
        raise UsageError("--mask and --cohort-file belong together", _TO_EPILOG.splitlines()[1].strip())
    from spectra_bids.bridges.modelarray import read_cohort_file, write_voxels
    from spectra_bids.io.masks import read_mask

    mask = read_mask(options.mask)
    counts = write_voxels(options.output, mask, read_cohort_file(options.cohort_file), options.dtype)
    said = ", ".join(f"{scalar} ({n} inputs)" for scalar, n in counts.items())
    print(f"{options.output}: {mask.n} voxels, {said}")
    return 0


def _from_profiles(options: argparse.Namespace) -> int:
    import pandas as pd

    from spectra_bids.bridges.modelarray import write_cells
    from spectra_bids.dataset.outputs import write_bytes
    from spectra_bids.group.tables import read_cohort

    cohort = read_cohort(options.from_profiles, options.profile, tuple(options.scalars))
    people = cohort.sessions[["participant_id", "session_id"]]
    inputs = ["_".join(str(part) for part in row if part is not None) for row in people.itertuples(index=False)]
    write_cells(options.output, cohort.cells, cohort.values, inputs, options.dtype)
    named = people.assign(source_file=inputs)
    table = pd.concat([named.assign(scalar_name=scalar) for scalar in cohort.scalars])
    columns = ["scalar_name", "source_file", "participant_id", "session_id"]
    beside = options.output.with_name(f"{options.output.stem}_cohort.csv")
    write_bytes(beside, table[columns].to_csv(index=False, na_rep="n/a", lineterminator="\n").encode())
    print(f"{options.output}: {len(cohort.cells)} cells of {len(cohort.bundles)} bundles, {options.profile}; "
          f"{len(inputs)} inputs of {', '.join(cohort.scalars)}; who is who: {beside.name}")  # fmt: skip
    return 0


def export_results(arguments: Sequence[str]) -> int:
    """`spectra-bids export-results --mask MASK --analysis-name NAME --input-hdf5 H5 --output-dir DIR`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids export-results",
        description="Results of a ModelArray file as float32 NIfTI images, NaN outside the mask; where elements are "
        "cells of bundles, as a table. Of every p.value there is 1 - p as well, for viewers.",
        epilog=_EXPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--mask", type=Path, metavar="NIFTI", help="group mask that the file was made with")
    parser.add_argument("--analysis-name", "--analysis_name", required=True, metavar="NAME", help="name of the results")
    parser.add_argument(
        "--input-hdf5", "--input_hdf5", type=Path, required=True, metavar="H5", help="file that holds them"
    )
    parser.add_argument(
        "--output-dir", "--output_dir", type=Path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument("--no-compress", dest="compress", action="store_false", help="write .nii, not .nii.gz")
    options = parser.parse_args(arguments)
    from spectra_bids.bridges.modelarray import ModelArrayFile

    with ModelArrayFile(options.input_hdf5) as file:
        cells = file.cells()
        if (cells is None) == (options.mask is None):
            raise UsageError(
                f"{options.input_hdf5} holds voxels: give the --mask that it was made with"
                if cells is None
                else f"{options.input_hdf5} holds cells of bundles: they have no --mask",
            )
        if options.output_dir.exists():
            if not options.output_dir.is_dir():
                raise OutputError(f"{options.output_dir} is a file", "Name a folder with --output-dir.")
            log.warning(
                "WARNING: Output directory exists: %s. Files of the same names are overwritten, nothing is deleted",
                options.output_dir,
            )
        names = _export_maps(options, file) if cells is None else [_export_table(options, file)]
    for name in names:
        print(options.output_dir / name)
    return 0


def _export_maps(options: argparse.Namespace, file: ModelArrayFile) -> list[str]:
    """An image per result, and one of 1 - p for every p; their names."""
    from spectra_bids.bridges.modelarray import file_name
    from spectra_bids.dataset.outputs import write_bytes
    from spectra_bids.io.masks import map_bytes, read_mask

    mask = read_mask(options.mask)
    for scalar in file.scalars:
        file.require_mask(mask, file.n_elements(scalar))
    suffix = ".nii.gz" if options.compress else ".nii"
    written = []
    for result, values in file.results(options.analysis_name, mask.n):
        stem = file_name(options.analysis_name, result)
        maps = {stem: values}
        if "p.value" in result:
            maps[stem.replace("p.value", "1m.p.value")] = 1 - values
        for name, content in maps.items():
            write_bytes(options.output_dir / f"{name}{suffix}", map_bytes(content, mask, compress=options.compress))
            written.append(f"{name}{suffix}")
    return written


def _export_table(options: argparse.Namespace, file: ModelArrayFile) -> str:
    """The cells with a column per result; the table's name."""
    from spectra_bids.dataset.outputs import write_table

    cells = file.cells()
    assert cells is not None
    results = dict(file.results(options.analysis_name, len(cells)))
    kind = "2D" if "r" in cells else "1D"
    name = f"{options.analysis_name}_desc-profile{kind}_results.tsv"
    write_table(options.output_dir / name, cells.assign(**results))
    return name
