"""Tools that stand in first place: `spectra-bids demo OUT`, `spectra-bids atlas build DERIVATIVES OUT` ..."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path


def demo(arguments: Sequence[str]) -> int:
    """`spectra-bids demo OUT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids demo",
        description="Make a small cohort with a planted effect out of what is installed, and take it through both "
        "levels. Pseudo-subjects on a study atlas; the scalar is not FA. Needs neither data nor R.",
    )
    parser.add_argument("out", type=Path, help="folder for the cohort and the results")
    parser.add_argument("--n-procs", "--nprocs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    options = parser.parse_args(arguments)
    from spectra_bids.cli.environment import writable_environment

    with writable_environment(None, options.out / "results"):
        from spectra_bids.demo.run import run_demo

        return run_demo(options.out, options.n_procs)


def atlas(arguments: Sequence[str]) -> int:
    """`spectra-bids atlas {list,fetch,status,register,build,path}`."""
    from spectra_bids.cli.atlas import atlas as run

    return run(arguments)


def validate(arguments: Sequence[str]) -> int:
    """`spectra-bids validate OUT`."""
    parser = argparse.ArgumentParser(
        prog="spectra-bids validate",
        description="Check an output directory: names, descriptions, columns, grids and their checksums, what stands "
        "alone. Prints errors and warnings; exit status 0, or 16 if there is an error.",
    )
    parser.add_argument("out", type=Path, help="OUTPUT_DIR of a run")
    options = parser.parse_args(arguments)
    from spectra_bids.dataset.validate import validate as check
    from spectra_bids.errors import DatasetError

    found = check(options.out)
    for finding in found:
        print(finding)
    errors = sum(f.level == "error" for f in found)
    print(f"{errors} errors, {len(found) - errors} warnings in {options.out}")
    return DatasetError.exit_status if errors else 0


def slurm(arguments: Sequence[str]) -> int:
    """`spectra-bids slurm BIDS_DIR OUTPUT_DIR ...`."""
    from spectra_bids.cli.slurm import slurm as run

    return run(arguments)


def import_afq(arguments: Sequence[str]) -> int:
    """`spectra-bids import-afq PROFILES [SUBJECTS] OUT`."""
    from spectra_bids.cli.imports import import_afq as run

    return run(arguments)


def plot(arguments: Sequence[str]) -> int:
    """`spectra-bids plot OUT -o FILE`."""
    from spectra_bids.cli.plot import plot as run

    return run(arguments)


def convert(arguments: Sequence[str]) -> int:
    """`spectra-bids convert IN OUT`."""
    from spectra_bids.cli.tractograms import convert as run

    return run(arguments)


def merge(arguments: Sequence[str]) -> int:
    """`spectra-bids merge DIR OUT`."""
    from spectra_bids.cli.tractograms import merge as run

    return run(arguments)


def write_back(arguments: Sequence[str]) -> int:
    """`spectra-bids write-back OUT -o DIR`."""
    from spectra_bids.cli.tractograms import write_back as run

    return run(arguments)


def to_modelarray(arguments: Sequence[str]) -> int:
    """`spectra-bids to-modelarray --mask MASK --cohort-file CSV --output H5`."""
    from spectra_bids.cli.modelarray import to_modelarray as run

    return run(arguments)


def export_results(arguments: Sequence[str]) -> int:
    """`spectra-bids export-results --mask MASK --analysis-name NAME --input-hdf5 H5 --output-dir DIR`."""
    from spectra_bids.cli.modelarray import export_results as run

    return run(arguments)


def voxels(arguments: Sequence[str]) -> int:
    """`spectra-bids voxels OUT --design TABLE --mask MASK --formula FORMULA`."""
    from spectra_bids.cli.voxels import voxels as run

    return run(arguments)


def review(arguments: Sequence[str]) -> int:
    """`spectra-bids review OUT`."""
    from spectra_bids.cli.voxels import review as run

    return run(arguments)


def export(arguments: Sequence[str]) -> int:
    """`spectra-bids export OUT --format FORMAT`."""
    from spectra_bids.cli.export import export as run

    return run(arguments)


def import_tractseg(arguments: Sequence[str]) -> int:
    """`spectra-bids import-tractseg OUT ...`."""
    from spectra_bids.cli.imports import import_tractseg as run

    return run(arguments)


def import_dsi2(arguments: Sequence[str]) -> int:
    """`spectra-bids import-dsi2 local_data.json BIDS_OUT`."""
    from spectra_bids.cli.dsi2 import import_dsi2 as run

    return run(arguments)


def index(arguments: Sequence[str]) -> int:
    """`spectra-bids index TRK --ref NII`."""
    from spectra_bids.cli.dsi2 import index as run

    return run(arguments)


def label(arguments: Sequence[str]) -> int:
    """`spectra-bids label TRK DSEG`."""
    from spectra_bids.cli.track_labels import label as run

    return run(arguments)


def ltpa(arguments: Sequence[str]) -> int:
    """`spectra-bids ltpa DERIVATIVE OUT ...`."""
    from spectra_bids.cli.ltpa import ltpa as run

    return run(arguments)


def selftest(arguments: Sequence[str]) -> int:
    """`spectra-bids selftest [OUT]`."""
    from spectra_bids.cli.selftest import selftest as run

    return run(arguments)


def _logged(tool: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    """The tool with warnings on standard error, and a home, for the libraries it uses."""

    def job(arguments: Sequence[str]) -> int:
        from spectra_bids.cli.environment import some_home

        some_home()
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        return tool(arguments)

    return job


#: Name in first place -> tool.
TOOLS: dict[str, Callable[[Sequence[str]], int]] = {
    "demo": _logged(demo),
    "atlas": _logged(atlas),
    "validate": validate,
    "slurm": _logged(slurm),
    "plot": _logged(plot),
    "selftest": _logged(selftest),
    "import-afq": _logged(import_afq),
    "convert": _logged(convert),
    "merge": _logged(merge),
    "write-back": _logged(write_back),
    "to-modelarray": _logged(to_modelarray),
    "export-results": _logged(export_results),
    "voxels": _logged(voxels),
    "review": _logged(review),
    "export": _logged(export),
    "import-tractseg": _logged(import_tractseg),
    "import-dsi2": _logged(import_dsi2),
    "index": _logged(index),
    "label": _logged(label),
    "ltpa": _logged(ltpa),
}
