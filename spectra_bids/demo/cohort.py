"""A cohort of pseudo-subjects with a planted effect, as a BIDS data set with derivatives, and a study atlas.

    OUT/                                   raw skeleton: participants.tsv + json, dataset_description.json, README.md
    OUT/truth.json                         what was planted, and the flaws that were made on purpose
    OUT/derivatives/demo/sub-XX/dwi/       sub-XX_space-<SPACE>_tract-<Bundle>_tractogram.trk
                                           sub-XX_space-<SPACE>_model-demo_param-wm_dwimap.nii.gz
    atlas/                                 <Bundle>.trk of the five people pooled + atlas.json

A pseudo-subject is one of five real people's bundles: streamlines drawn with replacement, each shifted a little, all
bent by one smooth random displacement u that bends the map too (map(x) = template(x + u(x)), streamlines y with
y + u(y) = p), in mixed directions. The map is m = t g (1 - a d) + noise with

    t  white-matter probability x T1w intensity of the MNI152 template, smoothed: it is NOT FA
    g  gain of the site (3 % SD) x of the subject (2 % SD) x age (-0.1 % a year)
    d  exp(-|x - c|^2 / (2 (8 mm)^2)) around one point c of one bundle, in group "patient" only; a = size of the effect
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spectra_bids import __version__
from spectra_bids.atlas_build import concatenate, write_atlas
from spectra_bids.bundle import Bundle, Volume
from spectra_bids.dataset.names import plain
from spectra_bids.dataset.outputs import write_json, write_table, write_text
from spectra_bids.demo.people import BUNDLES, N_PEOPLE, SPACE, load_template, people_in_template
from spectra_bids.errors import UsageError
from spectra_bids.geometry.centroid import centroid, orient
from spectra_bids.io.tractograms import write_bundle
from spectra_bids.io.volumes import write_volume

SCALAR = "demo_wm"
FORMULA = "value ~ group + age + sex + (1|site)"
STATEMENT = (
    "These are pseudo-subjects, not patients: each is one of five real people's bundles (packaged with DIPY), "
    "resampled and bent. The atlas is a study atlas of the same five people. The scalar map is white-matter "
    "probability x T1w intensity of the MNI152 template (packaged with nilearn) in arbitrary units; it is not FA. "
    "Nothing here says anything about a disease."
)

_RESOLUTION_MM = 3
_SMOOTHING_MM = 2.0
_N_SITES = 6
_STREAMLINES = 300
_FEW_STREAMLINES = 12
_SHIFT_MM = 1.5
_BEND_MM = 3.0
_BEND_SPACING_MM = 30.0
_SIGMA_MM = 8.0
_NOISE = 0.03


@dataclass(frozen=True)
class Truth:
    """What was planted.

    `point_mm` (3,) mm RAS+ is the planted point c in atlas space, at `fraction` of the arc of the bundle's centroid
    from its low end; `effect` the relative change at c in group `group`, falling off with `sigma_mm`.
    """

    bundle: str
    fraction: float
    point_mm: tuple[float, float, float]
    effect: float
    sigma_mm: float
    scalar: str
    group: str
    n_subjects: int
    seed: int
    missing_bundle: tuple[str, str] | None
    few_streamlines: tuple[str, str] | None


@dataclass(frozen=True)
class _Material:
    """What every pseudo-subject is made of."""

    people: tuple[dict[str, Bundle], ...]
    template: Volume
    truth: Truth


@dataclass(frozen=True)
class _Subject:
    """One row of participants.tsv, the person behind it and the gain of its map."""

    label: str
    group: str
    age: float
    sex: str
    site: str
    person: int
    gain: float


def make_cohort(
    out: Path,
    atlas: Path,
    n: int = 24,
    seed: int = 0,
    effect: float = 0.12,
    bundle: str = "CST_R",
    fraction: float = 0.5,
    progress: Callable[[str], None] = lambda _: None,
) -> Truth:
    """Write a cohort of `n` pseudo-subjects to `out` and its study atlas to `atlas`.

    Parameters
    ----------
    out, atlas : Path
        Folders to make.
    n : int
        Pseudo-subjects, half of them patients; from 6 on, one lacks a bundle and one has too few streamlines in one.
    seed : int
        Equal seeds give equal bytes.
    effect : float
        Relative reduction at the planted point, 0 to 1.
    bundle, fraction : str, float
        Where it is planted: fraction of the centroid's arc length from the low end.
    progress : function of a text
        Called after each step, one more than there are subjects, with what was done.

    """
    if bundle not in BUNDLES:
        raise UsageError(f"The demonstration has the bundles {', '.join(BUNDLES)}. Got '{bundle}'")
    if n < 2:
        raise UsageError(f"A cohort with two groups needs at least 2 subjects. Got {n}")
    people = people_in_template(_RESOLUTION_MM)
    progress("five people's bundles placed in the template")
    pooled = {name: concatenate([person[name] for person in people]) for name in BUNDLES}
    curve, _ = orient(centroid(pooled[bundle]))
    flawed = n >= 6
    truth = Truth(
        bundle=plain(bundle),
        fraction=fraction,
        point_mm=_triple(curve[round(fraction * (len(curve) - 1))]),
        effect=-effect,
        sigma_mm=_SIGMA_MM,
        scalar=SCALAR,
        group="patient",
        n_subjects=n,
        seed=seed,
        missing_bundle=(f"sub-{n // 3:02d}", "AFL") if flawed else None,
        few_streamlines=(f"sub-{n // 2 + 1:02d}", "CCForcepsMajor") if flawed else None,
    )
    material = _Material(people, _template(), truth)
    _write_atlas(atlas, pooled)
    rng = np.random.default_rng(seed)
    subjects = _draw_subjects(n, rng)
    for subject in subjects:
        _write_subject(out / "derivatives" / "demo", out, subject, material, rng)
        progress(subject.label)
    _write_tables(out, subjects, truth)
    return truth


def _draw_subjects(n: int, rng: np.random.Generator) -> list[_Subject]:
    """Controls and patients in turn; a pair shares its person and site, so that neither differs between groups."""
    site_gain = 1 + 0.03 * rng.standard_normal(_N_SITES)
    out = []
    for i in range(n):
        site, age = (i // 2 + i // (2 * _N_SITES)) % _N_SITES, float(np.round(rng.uniform(50, 80), 1))
        gain = site_gain[site] * (1 + 0.02 * rng.standard_normal()) * (1 - 0.001 * (age - 65))
        out.append(
            _Subject(
                label=f"sub-{i + 1:02d}",
                group=("control", "patient")[i % 2],
                age=age,
                sex="FM"[int(rng.integers(2))],
                site=f"site{site + 1}",
                person=(i // 2) % N_PEOPLE,
                gain=float(gain),
            )
        )
    return out


def _write_subject(
    derivative: Path, raw: Path, subject: _Subject, material: _Material, rng: np.random.Generator
) -> None:
    """Map and bundles of one pseudo-subject."""
    truth, template = material.truth, material.template
    folder = derivative / subject.label / "dwi"
    folder.mkdir(parents=True, exist_ok=True)
    (raw / subject.label / "dwi").mkdir(parents=True, exist_ok=True)
    bend = _Bend.draw(template, rng)
    volume = Volume(_map(subject, material, bend, rng), template.affine)
    stem = f"{subject.label}_space-{SPACE}"
    write_volume(folder / f"{stem}_model-demo_param-wm_dwimap.nii.gz", volume)
    for name, bundle in material.people[subject.person].items():
        drawn = _draw_streamlines(bundle, bend, rng)
        if truth.few_streamlines == (subject.label, plain(name)):
            drawn = drawn.take(np.arange(_FEW_STREAMLINES))
        if truth.missing_bundle != (subject.label, plain(name)):
            write_bundle(folder / f"{stem}_tract-{plain(name)}_tractogram.trk", drawn, volume)


def _map(subject: _Subject, material: _Material, bend: _Bend, rng: np.random.Generator) -> NDArray[np.float32]:
    """The pseudo-subject's scalar map, (I, J, K)."""
    from scipy.ndimage import gaussian_filter

    truth, template = material.truth, material.template
    values = bend.pull(template.data) * subject.gain
    if subject.group == truth.group:
        centre = bend.push(np.array([truth.point_mm]))[0]
        distance = np.linalg.norm(_voxel_centres(template) - centre, axis=-1)
        values = values * (1 + truth.effect * np.exp(-0.5 * (distance / truth.sigma_mm) ** 2))
    noise = gaussian_filter(rng.standard_normal(values.shape), 0.6)
    # No noise where the template is empty: outside the head a map is 0, as files have it.
    return np.asarray(np.where(values > 0, values + _NOISE * noise, 0.0), dtype=np.float32)


def _draw_streamlines(bundle: Bundle, bend: _Bend, rng: np.random.Generator) -> Bundle:
    """Streamlines with replacement, each shifted a little, all bent, half of them reversed as real files are mixed."""
    drawn = bundle.take(rng.integers(bundle.n_streamlines, size=_STREAMLINES))
    shift = _SHIFT_MM * rng.standard_normal((drawn.n_streamlines, 3))
    bent = drawn.with_points(bend.push(drawn.points + shift[drawn.streamline_ids]))
    turn = rng.random(bent.n_streamlines) < 0.5
    source = np.where(turn[bent.streamline_ids], _mirror(bent), np.arange(len(bent.points)))
    return Bundle(bent.points[source], bent.offsets)


def _mirror(bundle: Bundle) -> NDArray[np.int64]:
    """Index of the point at the same place from the streamline's other end, (P,)."""
    return np.repeat(bundle.offsets[:-1] + bundle.offsets[1:] - 1, bundle.counts) - np.arange(len(bundle.points))


@dataclass(frozen=True)
class _Bend:
    """A smooth random displacement u on a volume's voxels: `field` (3, I, J, K) mm, cubic B-splines of random knots."""

    field: NDArray[np.float64]
    affine: NDArray[np.float64]

    @classmethod
    def draw(cls, like: Volume, rng: np.random.Generator) -> _Bend:
        """Displacement with a root mean square length of 3 mm."""
        from scipy.interpolate import BSpline

        bases = []
        for size in like.data.shape:
            step = _BEND_SPACING_MM / like.voxel_size
            knots = np.arange(-4, size // step + 6) * step
            bases.append(BSpline.design_matrix(np.arange(size, dtype=float), knots, 3).toarray())
        weights = rng.standard_normal((3, *(basis.shape[1] for basis in bases)))
        field = np.einsum("ia,jb,kc,xabc->xijk", *bases, weights, optimize=True)
        return cls(field * (_BEND_MM / np.sqrt((field**2).sum(axis=0).mean())), like.affine)

    def pull(self, data: NDArray[np.floating]) -> NDArray[np.float64]:
        """Image whose value at x is that of `data` at x + u(x), (I, J, K)."""
        from scipy.ndimage import map_coordinates

        to_voxels = np.linalg.inv(self.affine[:3, :3])
        at = np.indices(data.shape) + np.einsum("xy,yijk->xijk", to_voxels, self.field)
        return np.asarray(map_coordinates(data.astype(np.float64), at, order=1))

    def push(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where points p (P, 3) mm of the unbent image lie in the bent one: y with y + u(y) = p, by fixed point."""
        from scipy.ndimage import map_coordinates

        to_voxels = np.linalg.inv(self.affine)
        y = np.asarray(points, dtype=np.float64)
        for _ in range(8):  # u changes by at most a third of a step: 8 rounds leave < 0.01 mm
            at = (y @ to_voxels[:3, :3].T + to_voxels[:3, 3]).T
            y = points - np.stack([map_coordinates(u, at, order=1, mode="nearest") for u in self.field], axis=1)
        return y


def _template() -> Volume:
    """White-matter probability x T1w intensity of the MNI152 template, smoothed; 0 outside the head."""
    from scipy.ndimage import gaussian_filter

    white, t1w = (load_template(kind, _RESOLUTION_MM) for kind in ("white_matter", "t1w"))
    data = gaussian_filter(white.data * t1w.data, _SMOOTHING_MM / white.voxel_size)
    return Volume(np.where(data > 1e-3, data, 0.0).astype(np.float32), white.affine)


def _voxel_centres(volume: Volume) -> NDArray[np.float64]:
    """Voxel centres, (I, J, K, 3) mm RAS+."""
    ijk = np.moveaxis(np.indices(volume.data.shape), 0, -1)
    return np.asarray(ijk @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = np.round(point, 3).tolist()
    return (x, y, z)


def _write_atlas(atlas: Path, pooled: Mapping[str, Bundle]) -> None:
    write_atlas(
        atlas,
        pooled,
        {
            "Name": "Demo",
            "Label": "demo",
            "Space": SPACE,
            "License": "BSD-3-Clause (DIPY's packaged data)",
            "Description": f"Study atlas of {N_PEOPLE} people's bundles, placed in the template by white matter alone",
            "Sources": ["dipy/data/files/minimal_bundles.zip"],
        },
    )


def _write_tables(out: Path, subjects: list[_Subject], truth: Truth) -> None:
    """Data set descriptions, participants, what was planted."""
    derivative = out / "derivatives" / "demo"
    about = {
        "BIDSVersion": "1.10.0",
        "Authors": ["The spectra_bids developers"],
        "License": "BSD-3-Clause (bundles); ICBM's permissive licence (MNI152 template)",
    }
    write_json(
        out / "dataset_description.json",
        {"Name": "spectra_bids demonstration: pseudo-subjects, not patients", "DatasetType": "raw", **about},
    )
    write_json(
        derivative / "dataset_description.json",
        {
            "Name": "spectra_bids demonstration: pseudo-subjects' bundles, and a map that is not FA",
            "DatasetType": "derivative",
            **about,
            "GeneratedBy": [{"Name": "spectra-bids demo", "Version": __version__, "Description": STATEMENT}],
        },
    )
    for folder in (out, derivative):
        write_text(folder / "README.md", f"# Demonstration of spectra_bids\n\n{STATEMENT}\n")
    write_text(out / ".bidsignore", "truth.json\n")
    # Names of the tractography draft, which the validator does not know yet.
    write_text(derivative / ".bidsignore", "*_tractogram.trk\n*_dwimap.nii.gz\n*_dwimap.json\n")
    write_json(
        derivative / f"space-{SPACE}_model-demo_param-wm_dwimap.json",
        {
            "Description": "White-matter probability x T1w intensity of the MNI152 template; not FA",
            "Units": "arbitrary",
        },
    )
    rows = [(s.label, s.group, s.age, s.sex, s.site) for s in subjects]
    write_table(out / "participants.tsv", pd.DataFrame(rows, columns=["participant_id", "group", "age", "sex", "site"]))
    write_json(
        out / "participants.json",
        {
            "group": {
                "Description": "Pseudo-diagnosis",
                "Levels": {"control": "nothing planted", "patient": "carries the planted effect"},
            },
            "age": {"Description": "Age", "Units": "year"},
            "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
            "site": {"Description": "Pseudo-scanner", "Levels": {f"site{k + 1}": "" for k in range(_N_SITES)}},
        },
    )
    write_json(out / "truth.json", asdict(truth))
