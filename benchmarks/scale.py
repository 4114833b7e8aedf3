"""Thousands of people in one output directory: time and memory of indexing and of the group level, and whether the cost
of a subject depends on how many there are.

    python benchmarks/scale.py [--subjects 2000] [--real 50] [--work DIR] [--mem 4G] [--keep]

1. make_cohort.py makes `--real` pseudo-subjects (19 bundles and one more, FA and a second map); they go through the
   participant level. Cost of the first and of the last ten, and of one more subject when all tables are there.
2. The others get session tables and sidecars of the same layout: those of a real one in turn, with an offset per
   subject, noise per cell, and cells that are missing at random.
3. `group --formula "value ~ group + age + sex + (1|site)"`, 1D and 2D, as a user runs it, in a process of its own: wall
   and CPU seconds, peak memory (ru_maxrss), size of the page; then the same command again, which has nothing to do.
4. A data set of `--subjects` subjects with 80 empty files each: find_sessions, and read_session of the first, the
   middle and the last five.

Bars: group level 5 min and 6 GB; indexing 0.5 s a subject; page 10 MB. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
FORMULA = "value ~ group + age + sex + (1|site)"
BUNDLES = tuple(
    f"{name}_{side}" for name in ("AF", "CG", "CST", "IFO", "ILF", "OR", "SLFII", "UF") for side in ("left", "right")
)
BUNDLES = (*BUNDLES, "CC_2", "CC_4", "CC_7")
SPACE = "MNI152NLin6Asym"
KINDS = ("bundle", "profile1D", "profile2D")
ROWS: list[tuple[str, str, str]] = []


def row(what: str, seen: str, bar: str = "") -> None:
    """A line of the table, printed at once."""
    ROWS.append((what, seen, bar))
    print(f"{what:<58} {seen:<44} {bar}", flush=True)


def run(*command: object) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (GB) of a process of its own."""
    words = [str(word) for word in command]
    began = time.perf_counter()
    process = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)}\nended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2


def app(*words: object) -> tuple[float, float, float]:
    return run(sys.executable, "-m", "spectra_bids", *words)


def planned(*words: object) -> str:
    """What --dry-run says of the whole run: CPU time and memory."""
    command = [sys.executable, "-m", "spectra_bids", *map(str, words), "--dry-run"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text.splitlines()[-1].split(": ", 1)[1].split(";")[0]


def in_words(figures: tuple[float, float, float]) -> str:
    return f"{figures[0]:.1f} s wall, {figures[1]:.1f} s CPU, {figures[2]:.2f} GB"


# --- 1. real subjects ----------------------------------------------------------------------------------------------


def make_real(bids: Path, atlas: Path, n: int) -> None:
    """Cohort of make_cohort.py with a twentieth bundle and a second map, and the atlas for it."""
    import nibabel as nib

    maker = SHARED.parent / "tools" / "make_cohort.py"
    run(sys.executable, maker, bids, "--n", n, "--sites", 40, "--bundles", *BUNDLES)
    for fa in sorted(bids.glob("derivatives/tracts/sub-*/dwi/*_param-fa_dwimap.nii.gz")):
        image = nib.load(fa)
        second = nib.Nifti1Image((1e-3 * (1.2 - np.asarray(image.dataobj))).astype("f4"), image.affine)
        nib.save(second, str(fa).replace("param-fa", "param-md"))
        seventh = Path(str(fa).replace("model-tensor_param-fa_dwimap.nii.gz", "tract-CC7_tractogram.trk"))
        if seventh.is_file():
            shutil.copy(seventh, str(seventh).replace("CC7", "Twentieth"))
    shutil.copytree(SHARED / "atlas-hcp1065", atlas)
    shutil.copy(atlas / "Commissure_CorpusCallosum_ForcepsMajor.trk", atlas / "Twentieth.trk")


def participant_level(bids: Path, atlas: Path, out: Path) -> None:
    command = (bids, out, "participant", "--atlas", atlas, "--n-procs", 1)
    estimate = planned(*command)
    figures = app(*command)
    pages = sorted(out.glob("sub-*.html"))
    row(f"participant level, {len(pages)} subjects, one process", in_words(figures))
    row("  as --dry-run said before", estimate)
    when = np.array([page.stat().st_mtime_ns for page in pages]) / 1e9
    step = np.diff(when)
    row("  a subject: median of the first and of the last ten",
        f"{np.median(step[:10]):.2f} and {np.median(step[-10:]):.2f} s wall")  # fmt: skip


# --- 2. synthetic tables -------------------------------------------------------------------------------------------


def make_synthetic(bids: Path, out: Path, n: int) -> None:
    """Session tables and sidecars of further subjects, and a participants.tsv of all."""
    rng = np.random.default_rng(0)
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    real = sorted(people["participant_id"])
    models = {sub: read_tables(out, sub) for sub in real}
    more = []
    for k in range(len(real), n):
        label, like = f"sub-{k + 1:04d}", real[k % len(real)]
        write_like(out, label, like, models[like], rng)
        more.append((label, ("control", "patient")[k % 2], round(rng.uniform(50, 80), 1), "FM"[rng.integers(2)],
                     f"site{rng.integers(40) + 1}"))  # fmt: skip
    table = pd.concat([people, pd.DataFrame(more, columns=people.columns)])
    table.to_csv(bids / "participants.tsv", sep="\t", index=False, float_format="%.1f")


def read_tables(out: Path, sub: str) -> dict[str, tuple[pd.DataFrame, str]]:
    stem = out / sub / "dwi" / f"{sub}_space-{SPACE}_desc-"
    found = {}
    for kind in KINDS:
        path = Path(f"{stem}{kind}_tractometry.tsv")
        found[kind] = (pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False),
                       path.with_suffix(".json").read_text())  # fmt: skip
    return found


def write_like(
    out: Path, label: str, like: str, tables: dict[str, tuple[pd.DataFrame, str]], rng: np.random.Generator
) -> None:
    folder = out / label / "dwi"
    folder.mkdir(parents=True, exist_ok=True)
    gain = 1 + 0.03 * rng.standard_normal()
    for kind, (model, facts) in tables.items():
        table = model.copy()
        for scalar in ("tensor_fa", "tensor_md"):
            table[scalar] *= gain * (1 + 0.05 * rng.standard_normal(len(table)))
            if kind != "bundle":
                table.loc[rng.random(len(table)) < 0.01, scalar] = np.nan
        path = folder / f"{label}_space-{SPACE}_desc-{kind}_tractometry.tsv"
        path.with_suffix(".json").write_text(facts.replace(like, label))
        table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n")


# --- 3. group level ------------------------------------------------------------------------------------------------


def group_level(bids: Path, out: Path, n: int, mem: str) -> bool:
    command = (bids, out, "group", "--formula", FORMULA, "--model-name", "scale", "--mem", mem)
    estimate = planned(*command)
    first = app(*command)
    size = [
        sum(p.stat().st_size for p in files) / 1e6
        for files in ([out / "model-scale.html"], out.glob("group/*.parquet"), out.glob("group/model-scale/*.tsv"))
    ]
    row(f"group level, {n} subjects, 1D and 2D, --mem {mem}", in_words(first), "5 min, 6 GB")  # fmt: skip
    row("  as --dry-run said before", estimate)
    row("  page, parquet, tables of the model", f"{size[0]:.1f}, {size[1]:.1f}, {size[2]:.1f} MB", "page 10 MB")
    summary = pd.read_csv(out / "group" / "model-scale" / "model-scale_desc-profile2D_summary.tsv", sep="\t")
    row("  cells of a 2D family, with a p value", f"{summary['n_cells'].max()}, {summary['n_valid'].min()}")
    row("the same command again", in_words(app(*command)))
    again = app(*command[:-4], "--model-name", "scale", "--mem", mem, "--alpha-cell", "0.05", "0.15")
    row("  with another --alpha-cell (fits are kept)", in_words(again))
    return first[0] <= 300 and first[2] <= 6 and size[0] <= 10


def one_more(bids: Path, atlas: Path, out: Path) -> None:
    """One subject done anew in a full output directory and in an empty one."""
    words = (bids, "participant", "--atlas", atlas, "--n-procs", 1, "--participant-label", "001", "--force")
    full = median(app(words[0], out, *words[1:])[1] for _ in range(3))
    with tempfile.TemporaryDirectory(dir=out.parent) as empty:
        app(words[0], empty, *words[1:])
        alone = median(app(words[0], empty, *words[1:])[1] for _ in range(3))
    row("one subject in the full output directory, in an empty one", f"{full:.2f} and {alone:.2f} s CPU")


# --- 4. indexing ---------------------------------------------------------------------------------------------------


def make_skeleton(root: Path, n: int) -> None:
    """A raw data set and derivatives (bundles, maps, preprocessing) of n subjects, 80 files each, all empty."""
    suffixes = {
        "": [f"dwi/{{}}_run-{k}_{s}" for k in (1, 2) for s in ("dwi.nii.gz", "dwi.bval", "dwi.bvec", "dwi.json")]
        + ["anat/{}_T1w.nii.gz", "anat/{}_T1w.json"],
        "derivatives/qsiprep": [f"anat/{{}}_from-{a}_to-{b}_mode-image_xfm.h5"
                                for a, b in (("ACPC", "MNI152NLin2009cAsym"), ("MNI152NLin2009cAsym", "ACPC"))]
        + [f"dwi/{{}}_space-ACPC_desc-preproc_{s}" for s in ("dwi.nii.gz", "dwi.bval", "dwi.bvec", "dwi.json")],
        "derivatives/qsirecon/derivatives/qsirecon-DSIStudio": [
            f"dwi/{{}}_space-ACPC_model-gqi_bundle-Bundle{k:02d}L_streamlines.{e}"
            for k in range(20) for e in ("tck.gz", "json")
        ],
        "derivatives/qsirecon/derivatives/qsirecon-DIPYDKI": [
            f"dwi/{{}}_space-ACPC_model-dki_param-{p}_dwimap.{e}"
            for p in ["fa", "md", "rd", "ad", "mk", "ak", "rk", "kfa", "mkt", "awf", "tortuosity"]
            for e in ("nii.gz", "json")
        ],
    }  # fmt: skip
    for place, files in suffixes.items():
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        kind = "derivative" if place else "raw"
        (folder / "dataset_description.json").write_text(
            json.dumps({"Name": "skeleton", "BIDSVersion": "1.10.0", "DatasetType": kind})
        )
        for k in range(n):
            sub = f"sub-{k + 1:04d}"
            for name in {f.split("/")[0] for f in files}:
                (folder / sub / name).mkdir(parents=True, exist_ok=True)
            for name in files:
                (folder / sub / name.format(sub)).touch()


def indexing(root: Path, n: int) -> bool:
    from spectra_bids.dataset.inputs import find_sessions, forget_index, read_session
    from spectra_bids.settings import RunSettings

    files = sum(len(names) for _, _, names in os.walk(root))
    settings = RunSettings(root, root / "out")
    began, cpu = time.perf_counter(), time.process_time()
    sessions = find_sessions(settings)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    row(f"find_sessions, {len(sessions)} subjects, {files} files", f"{wall:.2f} s wall, {used:.2f} s CPU")
    one = RunSettings(root, root / "out", participant_labels=(sessions[0][0],))
    began = time.perf_counter()
    find_sessions(one)
    row("  of one participant label", f"{time.perf_counter() - began:.3f} s wall")
    read_session(settings, *sessions[n // 3], ("*",))  # pybids is imported
    worst = 0.0
    for name, part in (("first", sessions[:5]), ("middle", sessions[n // 2 : n // 2 + 5]), ("last", sessions[-5:])):
        forget_index()
        seconds = []
        for subject, session in part:
            began, cpu = time.perf_counter(), time.process_time()
            found = read_session(settings, subject, session, ("*",))
            seconds.append((time.perf_counter() - began, time.process_time() - cpu))
            if len(found.bundles) != 20 or len(found.scalars) != 11 or len(found.transforms) != 2:
                raise SystemExit(f"sub-{subject}: not all inputs were found")
        wall, used = (median(values) for values in zip(*seconds, strict=True))
        worst = max(worst, wall)
        row(f"  read_session, median of the {name} five", f"{wall:.2f} s wall, {used:.2f} s CPU", "0.5 s")
    row("  peak memory of this process", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GB")
    return worst <= 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=2000)
    parser.add_argument("--real", type=int, default=50)
    parser.add_argument("--work", type=Path, help="folder for the data; what is there already is used again")
    parser.add_argument("--mem", default="4G")
    parser.add_argument("--keep", action="store_true", help="leave the data there")
    parser.add_argument("--only", choices=("tables", "group", "index"), help="one part")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="scale-"))
    bids, atlas, out, skeleton = work / "bids", work / "atlas", work / "out", work / "skeleton"
    good = True
    load = os.getloadavg()[0]
    row("this machine", f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} before the start")
    if options.only in (None, "tables") and not (work / "tables-made").exists():
        make_real(bids, atlas, options.real)
        participant_level(bids, atlas, out)
        make_synthetic(bids, out, options.subjects)
        (work / "tables-made").touch()
    if options.only in (None, "group"):
        shutil.rmtree(out / "group", ignore_errors=True)
        good &= group_level(bids, out, options.subjects, options.mem)
        one_more(bids, atlas, out)
    if options.only in (None, "index"):
        if not skeleton.exists():
            make_skeleton(skeleton, options.subjects)
        good &= indexing(skeleton, options.subjects)
    if options.work is None and not options.keep:
        shutil.rmtree(work)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
