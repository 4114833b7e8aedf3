"""Benchmark of the index voxel -> streamlines, beside DIPY's `streamline_mapping` on the same streamlines.

    python benchmarks/voxel_index.py [--streamlines 50000] [--spheres 100] [--step 0.1]

Streamlines are those of the real subject's bundles, repeated with shifts of 1 mm (standard deviation); voxels are its
FA map's. DIPY's mapping counts a voxel if a point lies in it, ours if a part of a segment does. So DIPY runs twice: on
the points as they are, which is less work and misses corners; and on points every `--step` voxels, which nearly is
what ours finds (resampling is not timed). Then spheres of 5 mm about random points of streamlines are asked for, ours
by `in_sphere`, DIPY's by union over the voxels. Each runs in a process of its own, with one thread; memory is the peak
above what the process had when the streamlines were loaded.

Correctness, in the same run: where both share a definition (points alone) voxel and id pairs must be equal; every pair
of DIPY's must be among ours; and the spheres' answers must be those of the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("SPECTRA_BIDS_TEST_DATA", HERE.parent.parent / "shared/data"))
DATA = SHARED / "real-mni/derivatives/tractseg/sub-tractseg/dwi"
RADIUS = 5.0


def make(folder: Path, n: int, step: float) -> None:
    """Points and offsets, as they are and resampled; image; centres of spheres."""
    from spectra_bids.bundle import Bundle
    from spectra_bids.io.tractograms import read_bundle
    from spectra_bids.io.volumes import read_volume

    rng = np.random.default_rng(0)
    bundles = [read_bundle(path) for path in sorted(DATA.glob("*_tractogram.trk"))]
    lines = [line for b in bundles for line in np.split(b.points, b.offsets[1:-1])]
    drawn = [lines[k] + rng.normal(0, 1, 3).astype(np.float32) for k in rng.permutation(np.arange(n) % len(lines))]
    image = read_volume(next(DATA.glob("*_dwimap.nii.gz")))
    inverse = np.linalg.inv(image.affine)
    whole = Bundle.from_streamlines(drawn)
    ijk = whole.points @ inverse[:3, :3].T + inverse[:3, 3]
    ids = whole.streamline_ids
    inside = ((ijk > -0.49) & (ijk < np.array(image.data.shape) - 0.51)).all(axis=1)  # DIPY knows no edge
    whole = whole.take(np.setdiff1d(np.arange(n), ids[~inside]))
    centres = whole.points[rng.integers(0, len(whole.points), 1000)]
    for name, bundle in (("plain", whole), ("fine", _fine(whole, step * np.linalg.norm(image.affine[:3, 0])))):
        np.savez(folder / f"{name}.npz", points=bundle.points, offsets=bundle.offsets, affine=image.affine,
                 shape=image.data.shape, centres=centres)  # fmt: skip


def _fine(bundle, step):
    """Every segment cut into pieces of at most `step` mm."""
    from spectra_bids.bundle import Bundle

    out = []
    for line in np.split(bundle.points.astype(np.float64), bundle.offsets[1:-1]):
        count = np.ceil(np.linalg.norm(np.diff(line, axis=0), axis=1) / step).astype(int).clip(1)
        of = np.repeat(np.arange(len(count)), count)
        part = (np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)) / count[of]
        cut = line[of] + part[:, None] * (line[of + 1] - line[of])
        out.append(np.vstack([cut, line[-1:]]).astype(np.float32))
    return Bundle.from_streamlines(out)


def child(who: str, source: Path, target: Path, n_spheres: int) -> None:
    """Index, ask, and report; pairs and answers go to a file."""
    sys.path.insert(0, str(HERE / "peers"))
    from task import timed

    stored = np.load(source)
    data = {key: stored[key] for key in stored.files}
    shape, made = tuple(data["shape"].tolist()), {}
    centres = data["centres"][:n_spheres].astype(float)
    build, ask, pairs = (_dipy if who == "dipy" else _ours)(data, shape, made)
    before = _peak(reset=True)
    spent = timed(build, 1)
    peak = _peak()
    answers = []
    asked = timed(lambda: answers.extend(ask(c) for c in centres), 1)
    flat, ids = pairs()
    sizes = np.array([len(a) for a in answers])
    np.savez(target, key=np.unique(flat * 2**32 + ids), answers=np.concatenate(answers), sizes=sizes)
    print("RESULT " + json.dumps({"build": spent["cpu"][0], "peak_mb": (peak - before) / 1e3,
                                  "sphere_ms": 1e3 * asked["cpu"][0] / len(centres)}))  # fmt: skip


def _peak(reset: bool = False) -> int:
    """Peak of resident memory, kB; after `reset` it starts again from what is in use (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1])


def _ours(data, shape, made):
    from spectra_bids.bundle import Bundle
    from spectra_bids.geometry.voxels import index_voxels

    bundle = Bundle(data["points"], data["offsets"])
    index_voxels(bundle.take(np.arange(5)), data["affine"], shape)  # what is imported late

    def build():
        made["index"] = index_voxels(bundle, data["affine"], shape)

    def pairs():
        index = made["index"]
        return np.repeat(index.voxels, np.diff(index.offsets)), index.streamlines

    return build, lambda centre: made["index"].in_sphere(centre, RADIUS), pairs


def _dipy(data, shape, made):
    from dipy.tracking.streamline import Streamlines
    from dipy.tracking.vox2track import streamline_mapping

    from spectra_bids.geometry.voxels import sphere_mask

    lines = Streamlines()
    lines._data, lines._offsets = data["points"], data["offsets"][:-1]
    lines._lengths = np.diff(data["offsets"])
    streamline_mapping(lines[:5], affine=data["affine"])

    def build():
        made["map"] = streamline_mapping(lines, affine=data["affine"])

    def ask(centre):
        found = set()
        for ijk in np.argwhere(sphere_mask(centre, RADIUS, data["affine"], shape)).tolist():
            found.update(made["map"].get(tuple(ijk), ()))
        return np.array(sorted(found), np.int64)

    def pairs():
        voxels = np.ravel_multi_index(np.array(list(made["map"])).T, shape)
        counts = [len(ids) for ids in made["map"].values()]
        return np.repeat(voxels, counts), np.concatenate([np.array(ids) for ids in made["map"].values()])

    return build, ask, pairs


def run(who: str, source: Path, n_spheres: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """A child's figures, and its pairs and answers."""
    target = source.with_name(f"{who}_{source.name}")
    words = [sys.executable, __file__, "--child", who, str(source), str(target), "--spheres", str(n_spheres)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    [line] = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    stored = np.load(target)
    return json.loads(line.removeprefix("RESULT ")), {key: stored[key] for key in stored.files}


def same_definition(source: Path, pairs: np.ndarray) -> None:
    """Points alone: each as a streamline of its own, ours gives DIPY's pairs exactly."""
    from spectra_bids.bundle import Bundle
    from spectra_bids.geometry.voxels import index_voxels

    data = np.load(source)
    points, ids = data["points"], np.repeat(np.arange(len(data["offsets"]) - 1), np.diff(data["offsets"]))
    index = index_voxels(Bundle(points, np.arange(len(points) + 1)), data["affine"], tuple(data["shape"].tolist()))
    own = np.unique(np.repeat(index.voxels, np.diff(index.offsets)) * 2**32 + ids[index.streamlines])
    differ = len(np.setxor1d(own, pairs))
    print(f"points alone: {len(pairs):,} pairs of voxel and streamline, {differ} differ from DIPY's")
    assert differ <= 1e-5 * len(pairs), "float32 rounding at faces explains a few, not so many"


def require_answers(source: Path, said: dict[str, np.ndarray]) -> None:
    """Every sphere's ids are those of the pairs of its voxels."""
    from spectra_bids.geometry.voxels import sphere_mask

    data = np.load(source)
    flat, ids = np.divmod(said["key"], 2**32)
    answers = np.split(said["answers"], np.cumsum(said["sizes"])[:-1])
    for centre, answer in zip(data["centres"].astype(float), answers, strict=False):
        mask = sphere_mask(centre, RADIUS, data["affine"], tuple(data["shape"].tolist()))
        assert np.array_equal(np.unique(ids[mask.ravel()[flat]]), answer), f"sphere at {centre}"


def main() -> None:
    """Run all, check, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streamlines", type=int, default=50_000)
    parser.add_argument("--spheres", type=int, default=100)
    parser.add_argument("--step", type=float, default=0.1, help="of the fine points, in voxels")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]), options.spheres)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.streamlines, options.step)
        counts = np.load(folder / "plain.npz")["offsets"]
        print(f"{len(counts) - 1:,} streamlines, {counts[-1]:,} points")
        tasks = {
            "ours, exact": ("ours", "plain.npz"),
            "DIPY, points as they are": ("dipy", "plain.npz"),
            f"DIPY, points every {options.step:g} voxel": ("dipy", "fine.npz"),
        }
        found = {label: run(who, folder / file, options.spheres) for label, (who, file) in tasks.items()}
        ours = found["ours, exact"]
        for label, (took, said) in found.items():
            missed = 1 - np.isin(ours[1]["key"], said["key"]).mean()
            beyond = len(np.setdiff1d(said["key"], ours[1]["key"]))
            ratio = {key: took[key] / ours[0][key] for key in took}
            print(f"{label:30s} index {took['build']:7.2f} s CPU ({ratio['build']:5.1f} x), memory "
                  f"{took['peak_mb']:7.0f} MB ({ratio['peak_mb']:4.1f} x), sphere {took['sphere_ms']:6.2f} ms "
                  f"({ratio['sphere_ms']:5.1f} x), misses {missed:.2%} of ours, {beyond} of its own")  # fmt: skip
            assert beyond <= 1e-5 * len(said["key"])
            require_answers(folder / "plain.npz", said)
        same_definition(folder / "plain.npz", found["DIPY, points as they are"][1]["key"])


if __name__ == "__main__":
    main()
