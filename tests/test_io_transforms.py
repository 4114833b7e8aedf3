"""ITK transforms on points: direction, LPS, inversion, composite files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial import cKDTree

from spectra_bids.errors import MissingInputError, TransformError
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.io.transforms import is_affine, map_points

MATRIX = np.array([[1.1, 0.02, 0.0], [-0.03, 0.95, 0.1], [0.01, -0.08, 1.02]])
SHIFT = np.array([3.0, -7.0, 11.0])
CENTRE = np.array([1.0, 2.0, -4.0])
FLIP = np.array([-1.0, -1.0, 1.0])
POINTS = np.random.default_rng(0).uniform(-40, 40, (50, 3))


def in_lps(points: np.ndarray) -> np.ndarray:
    """ITK's definition, written out: M (x - c) + c + t in LPS, handed out in RAS."""
    return ((points * FLIP - CENTRE) @ MATRIX.T + CENTRE + SHIFT) * FLIP


def text(n: int = 1) -> str:
    one = "#Transform {}\nTransform: AffineTransform_double_3_3\nParameters: {}\nFixedParameters: {}\n"
    parts = [one.format(k, " ".join(map(str, [*MATRIX.ravel(), *SHIFT])), " ".join(map(str, CENTRE))) for k in range(n)]
    return "#Insight Transform File V1.0\n" + "".join(parts)


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    path = tmp_path / "sub-01_from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.txt"
    path.write_text(text())
    return path


def composite(path: Path, field: np.ndarray, origin: np.ndarray, spacing: float) -> Path:
    """An ANTs composite: an affine and a displacement field (I, J, K, 3) in LPS; ITK applies the field first."""
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup")
        for k, (kind, values, fixed) in enumerate(
            (
                ("CompositeTransform_double_3_3", [], []),
                ("AffineTransform_double_3_3", [*MATRIX.ravel(), *SHIFT], CENTRE),
                (
                    "DisplacementFieldTransform_double_3_3",
                    np.moveaxis(field, -1, 0).ravel(order="F"),
                    [*field.shape[:3], *origin, *[spacing] * 3, *np.eye(3).ravel()],
                ),
            )
        ):
            item = group.create_group(str(k))
            item.create_dataset("TransformType", data=np.array([kind.encode()]))
            if k:
                item.create_dataset("TransformParameters", data=np.asarray(values, float))
                item.create_dataset("TransformFixedParameters", data=np.asarray(fixed, float))
    return path


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        map_points(POINTS, tmp_path / "a.txt", False)


@pytest.mark.parametrize("name", ["a.txt", "a.mat", "a.h5"])
def test_a_file_that_is_no_transform_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(TransformError, match=f"{name} cannot be read as an ITK transform"):
        is_affine(tmp_path / name)


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text().replace(" ".join(map(str, MATRIX.ravel())), " ".join(["0"] * 9)))
    with pytest.raises(TransformError, match="finite and invertible"):
        map_points(POINTS, path, False)


def test_an_affine_means_what_itk_says_in_ras(affine: Path) -> None:
    got = map_points(POINTS, affine, False)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, in_lps(POINTS), atol=1e-4)
    assert is_affine(affine)


def test_the_inverse_undoes_the_affine(affine: Path) -> None:
    np.testing.assert_allclose(map_points(map_points(POINTS, affine, False), affine, True), POINTS, atol=1e-4)


def test_several_affines_of_a_file_are_applied_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text(2))
    np.testing.assert_allclose(map_points(POINTS, path, False), in_lps(in_lps(POINTS)), atol=1e-4)
    np.testing.assert_allclose(map_points(map_points(POINTS, path, False), path, True), POINTS, atol=1e-4)


def test_a_matlab_file_means_the_same_as_the_text(tmp_path: Path, affine: Path) -> None:
    content = {"AffineTransform_double_3_3": np.r_[MATRIX.ravel(), SHIFT][:, None], "fixed": CENTRE[:, None]}
    savemat(tmp_path / "a.mat", content, format="4")
    np.testing.assert_allclose(
        map_points(POINTS, tmp_path / "a.mat", False), map_points(POINTS, affine, False), atol=1e-4
    )


def test_a_composite_applies_the_field_first_and_then_the_affine(tmp_path: Path) -> None:
    # A displacement linear in LPS coordinates is interpolated without error.
    origin, spacing, n = np.array([-60.0, -60.0, -60.0]), 10.0, 13
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1) * spacing + origin
    slope = np.array([[0.02, 0.01, 0.0], [0.0, -0.03, 0.02], [0.01, 0.0, 0.05]])
    path = composite(tmp_path / "a.h5", grid @ slope.T + [1.0, -2.0, 3.0], origin, spacing)
    lps = POINTS * FLIP
    expected = in_lps((lps + lps @ slope.T + [1.0, -2.0, 3.0]) * FLIP)
    np.testing.assert_allclose(map_points(POINTS, path, False), expected, atol=1e-3)
    assert not is_affine(path)


def test_outside_the_field_only_the_affine_acts(tmp_path: Path) -> None:
    path = composite(tmp_path / "a.h5", np.full((4, 4, 4, 3), 5.0), np.zeros(3), 1.0)
    far = np.array([[100.0, 100, 100], [-100, 50, 0]])
    np.testing.assert_allclose(map_points(far, path, False), in_lps(far), atol=1e-3)


def test_a_field_cannot_be_inverted(tmp_path: Path) -> None:
    path = composite(tmp_path / "a.h5", np.zeros((4, 4, 4, 3)), np.zeros(3), 1.0)
    with pytest.raises(TransformError, match="displacement field, which cannot be inverted") as caught:
        map_points(POINTS, path, True)
    assert "slr" in caught.value.hint


def test_points_move_opposite_to_images_on_real_data(shared_data: Path) -> None:
    # Median and 95th percentile distance to the atlas, mm, as measured once with nitransforms and SciPy alone.
    derivatives = shared_data / "real-qsirecon" / "derivatives"
    transform = next(derivatives.rglob("*_xfm.txt"))
    pairs = []
    for atlas in sorted((shared_data / "atlas-hcp1065").glob("*.trk")):
        name = atlas.stem.replace("_", "")
        pairs += [
            (cKDTree(read_bundle(atlas).points), read_bundle(f).points) for f in derivatives.rglob(f"*bundle-{name}_*")
        ]
    assert len(pairs) == 18
    moves = {
        (6.9, 23.9): lambda p: p,
        (2.2, 8.6): lambda p: map_points(p, transform, True),
        (21.7, 51.2): lambda p: map_points(p, transform, False),
    }
    for expected, move in moves.items():
        distances = np.concatenate([tree.query(move(points))[0] for tree, points in pairs])
        np.testing.assert_allclose(np.percentile(distances, [50, 95]), expected, atol=0.051)
