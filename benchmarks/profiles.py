"""Benchmark of profiles alone beside DIPY's buan_profile and pyAFQ, all in one run.

    python benchmarks/profiles.py [--repeats 5]

19 bundles x 1000 streamlines of real-mni, 1 and 4 maps. Ours are 1D and 2D together, on grids of about 5 mm; theirs are
1D, with 30 (buan_profile) and 100 nodes (pyAFQ). Every program runs in a process of its own, one after the other; files
are read before the clock starts. Needs the shared real data (SPECTRA_BIDS_TEST_DATA, default ../shared/data); pyAFQ is
left out where benchmarks/setup_peers.sh has not made it.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from engine import HERE, peer, print_machine, run

#: Bundles of real-mni, and the atlas bundle of each.
ATLAS = {
    "AFleft": "Association_ArcuateFasciculusL",
    "AFright": "Association_ArcuateFasciculusR",
    "CC2": "Commissure_CorpusCallosum_ForcepsMinor",
    "CC4": "Commissure_CorpusCallosum_Body",
    "CC7": "Commissure_CorpusCallosum_ForcepsMajor",
    "CGleft": "Association_CingulumL_FrontalParietal",
    "CGright": "Association_CingulumR_FrontalParietal",
    "CSTleft": "ProjectionBrainstem_CorticospinalTractL",
    "CSTright": "ProjectionBrainstem_CorticospinalTractR",
    "IFOleft": "Association_InferiorFrontoOccipitalFasciculusL",
    "IFOright": "Association_InferiorFrontoOccipitalFasciculusR",
    "ILFleft": "Association_InferiorLongitudinalFasciculusL",
    "ILFright": "Association_InferiorLongitudinalFasciculusR",
    "ORleft": "ProjectionBasalGanglia_OpticRadiationL",
    "ORright": "ProjectionBasalGanglia_OpticRadiationR",
    "SLFIIleft": "Association_SuperiorLongitudinalFasciculusL_2",
    "SLFIIright": "Association_SuperiorLongitudinalFasciculusR_2",
    "UFleft": "Association_UncinateFasciculusL",
    "UFright": "Association_UncinateFasciculusR",
}


def write_task(data, folder, repeats):
    """Which files are timed, for all programs alike."""
    stem = data / "real-mni/derivatives/tractseg/sub-tractseg/dwi/sub-tractseg_space-MNI152NLin6Asym_"
    task = {
        "map": f"{stem}model-tensor_param-fa_dwimap.nii.gz",
        "subject": [f"{stem}tract-{name}_tractogram.trk" for name in ATLAS],
        "atlas": [str(data / "atlas-hcp1065" / f"{name}.trk") for name in ATLAS.values()],
        "repeats": repeats,
    }
    (folder / "task.json").write_text(json.dumps(task))
    return folder / "task.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    data = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA") or HERE.parent.parent / "shared" / "data")
    if not (data / "real-mni").is_dir():
        print(f"left out: {data} has no real-mni; SPECTRA_BIDS_TEST_DATA can name another place")
        return
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(data, Path(folder), options.repeats)
        results = [
            ("spectra_bids, 1D + 2D", run([sys.executable, "profiles_ours.py", task])),
            ("DIPY buan_profile, 30 nodes, 1D", run([sys.executable, "profiles_dipy.py", task])),
        ]
        if python := peer("pyafq"):
            results.append(("pyAFQ, 100 nodes, 1D", run([python, "profiles_pyafq.py", task])))
    results = [(name, result) for name, result in results if result]
    ours = dict(results).get("spectra_bids, 1D + 2D")
    print_machine()
    print(f"19 bundles, medians of {options.repeats}; ratio: CPU seconds over ours")
    for key, title in (("one", "1 map"), ("four", "4 maps")):
        heads = ("wall, s", "(min", "max)", "CPU, s", "ratio", "peak MB")
        print(f"{title:34s}" + "".join(f"{head:>9s}" for head in heads))
        for name, r in results:
            wall, cpu = r[key]["wall"], median(r[key]["cpu"])
            ratio = cpu / median(ours[key]["cpu"]) if ours else float("nan")
            print(
                f"{name:34s}{median(wall):9.2f}{min(wall):9.2f}{max(wall):9.2f}{cpu:9.2f}{ratio:9.1f}{r['peak_mb']:9.0f}"
            )
    if ours:
        print(f"once per atlas, not counted above: 19 grids in {ours['grids']:.1f} s")


if __name__ == "__main__":
    main()
