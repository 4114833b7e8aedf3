"""A dsi2 project out of one real subject's bundles: people of two groups, label volumes of two scales, local_data.json.

Left inferior fronto-occipital and longitudinal fascicle and optic radiation run side by side at PLACE; in people of
group "tbi" a part of the first's streamlines is exchanged for streamlines of the second. Arcuate fascicle and
corticospinal tract pass elsewhere. Regions are balls about the ends of bundles.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from spectra_bids.bundle import Bundle
from spectra_bids.io.tractograms import read_bundle, write_bundle
from spectra_bids.io.volumes import read_volume

#: Sphere where three bundles lie side by side: x, y, z, radius (mm).
PLACE = (-30.0, -63.5, 3.0, 5.0)
#: Streamlines of each bundle in a control; of these so many change from the first to the second in tbi.
COUNTS = {"IFOleft": 60, "ILFleft": 60, "ORleft": 50, "AFleft": 40, "CSTleft": 40}
MOVED = 35
#: Region -> (bundle, which end along y, radius); the posterior ends of three bundles are one region.
REGIONS = {
    "lh.parsopercularis": ("AFleft", 1, 16.0),
    "lh.superiortemporal": ("AFleft", 0, 16.0),
    "lh.precentral": ("CSTleft", 2, 18.0),
    "Brain-Stem": ("CSTleft", -2, 16.0),
    "lh.rostralmiddlefrontal": ("IFOleft", 1, 20.0),
    "lh.temporalpole": ("ILFleft", 1, 18.0),
    "Left-Thalamus-Proper": ("ORleft", 1, 16.0),
    "lh.lateraloccipital": ("IFOleft", 0, 26.0),
}


def _bundles(real: Path) -> tuple[dict[str, Bundle], Path]:
    folder = real / "derivatives" / "tractseg" / "sub-tractseg" / "dwi"
    found = {name: read_bundle(next(folder.glob(f"*_tract-{name}_tractogram.trk"))) for name in COUNTS}
    return found, next(folder.glob("*_param-fa_dwimap.nii.gz"))


def _end(bundle: Bundle, which: int) -> np.ndarray:
    """Mean of the ends that are further to the front (1), back (0), top (2), bottom (-2)."""
    ends = np.stack([bundle.points[bundle.offsets[:-1]], bundle.points[bundle.offsets[1:] - 1]], axis=1)
    axis = 2 if abs(which) == 2 else 1
    pick = ends[:, :, axis].argmax(axis=1) if which > 0 else ends[:, :, axis].argmin(axis=1)
    return np.median(ends[np.arange(len(ends)), pick], axis=0)


def _write_labels(bundles: dict[str, Bundle], reference: Path, folder: Path, affine: np.ndarray, shape: tuple) -> None:
    """scale33: a ball per region; scale60: each cut in two at the height of its centre; graphml for both."""
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    xyz = ijk @ affine[:3, :3].T + affine[:3, 3]
    centres = {name: _end(bundles[b], which) for name, (b, which, _) in REGIONS.items()}
    far = np.stack([np.linalg.norm(xyz - centres[n], axis=-1) / REGIONS[n][2] for n in REGIONS])
    coarse = np.where(far.min(axis=0) <= 1, far.argmin(axis=0) + 1, 0).astype(np.uint8)
    heights = np.array([0.0, *(centres[n][2] for n in REGIONS)])
    fine = np.where(coarse > 0, 2 * coarse.astype(int) - (xyz[..., 2] > heights[coarse]), 0).astype(np.uint8)
    fine_names = [f"{name}_{k}" for name in REGIONS for k in (1, 2)]
    for scale, data, names in ((33, coarse, list(REGIONS)), (60, fine, fine_names)):
        nib.save(nib.Nifti1Image(data, affine), folder / f"scale{scale}.nii.gz")
        (folder / f"scale{scale}.graphml").write_text(graphml(names))


def graphml(names: list[str]) -> str:
    """Nodes as Connectome Mapper writes them."""
    nodes = "".join(
        f'<node id="{k}"><data key="d0">cortical</data><data key="d1">{name}</data><data key="d2">{k}</data></node>'
        for k, name in enumerate(names, start=1)
    )
    keys = "".join(
        f'<key attr.name="{name}" attr.type="string" for="node" id="d{k}"/>'
        for k, name in enumerate(("dn_region", "dn_name", "dn_correspondence_id"))
    )
    space = 'xmlns="http://graphml.graphdrawing.org/xmlns"'
    graph = f'<graph edgedefault="undirected">{nodes}</graph>'
    return f'<?xml version="1.0" encoding="utf-8"?><graphml {space}>{keys}{graph}</graphml>'


def make_project(real: Path, folder: Path, n: int = 16, moved: int = MOVED, seed: int = 0) -> Path:
    """Write a project of `n` people, half of them tbi; returns its local_data.json.

    .npy labels exist for the first person alone; there are no .pkl files: dsi2 makes both.
    """
    rng = np.random.default_rng(seed)
    bundles, reference = _bundles(real)
    grid = read_volume(reference)
    (folder / "atlases").mkdir(parents=True)
    _write_labels(bundles, reference, folder / "atlases", grid.affine, grid.data.shape)
    scans = []
    for k in range(n):
        tbi = k % 2 == 1
        sizes = {name: int(size + rng.integers(-6, 7)) for name, size in COUNTS.items()}
        if tbi:
            sizes["IFOleft"], sizes["ILFleft"] = sizes["IFOleft"] - moved, sizes["ILFleft"] + moved
        parts = [_drawn(bundles[name], size, rng) for name, size in sizes.items()]
        who = f"subj{k + 1:02d}"
        (folder / who).mkdir()
        whole = Bundle.from_streamlines([line for part in parts for line in part])
        write_bundle(folder / who / "QSDR.nsm.trk", whole, grid)
        scans.append(_scan(who, "tbi" if tbi else "control", rng))
        if k == 0:
            np.save(folder / who / f"{who}.scale33.npy", np.arange(whole.n_streamlines) % 7)
    path = folder / "local_data.json"
    path.write_text(json.dumps(scans, indent=2))
    return path


def _drawn(bundle: Bundle, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Streamlines drawn with replacement, each shifted a little."""
    picked = bundle.take(rng.integers(0, bundle.n_streamlines, size))
    lines = np.split(picked.points, picked.offsets[1:-1])
    return [line[:: 1 if rng.random() < 0.5 else -1] + rng.normal(0, 1, 3) for line in lines]


def _scan(who: str, group: str, rng: np.random.Generator) -> dict:
    labels = [
        {
            "name": "Lausanne",
            "parameters": {"scale": scale, "dilation": 2},
            "notes": "",
            "graphml_path": f"atlases/scale{scale}.graphml",
            "numpy_path": f"{who}/{who}.scale{scale}.npy",
            "volume_path": f"atlases/scale{scale}.nii.gz",
        }
        for scale in (33, 60)
    ]
    return {
        "scan_id": who,
        "scan_group": group,
        "study": "example study",
        "length_min": 10,
        "length_max": 400,
        "cutoff_angle": 55,
        "qa_threshold": 1.0,
        "gfa_threshold": 0,
        "smoothing": 0.0,
        "reconstruction": "qsdr",
        "trk_space": "qsdr",
        "software": "DSI Studio",
        "attributes": {"age": int(rng.integers(20, 60)), "handedness": "R", "weight": int(rng.integers(60, 95))},
        "trk_file": f"{who}/QSDR.nsm.trk",
        "pkl_path": f"{who}/{who}.pkl",
        "track_scalars": [],
        "track_labels": labels,
    }
