"""participant.registration: which route a session's bundles take to atlas space, and what each does to them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_io_transforms import composite

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.joining import SessionInputs, TransformFile
from spectra_bids.errors import MissingInputError, TransformError
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.participant.registration import choose_route, measure_distances, place, spaces_agree
from spectra_bids.settings import ProfileSettings

MNI = "MNI152NLin2009cAsym"


def inputs_with(*transforms: TransformFile) -> SessionInputs:
    return SessionInputs("01", None, "ACPC", (), (), transforms, ())


def atlas_in(space: str, bundles: dict[str, Path] | None = None) -> Atlas:
    return Atlas("Test", "test", space, "CC0", bundles or {})


def itk(path: Path, translation: tuple[float, float, float]) -> Path:
    """An ITK affine text file: identity and a translation, in LPS as ITK writes."""
    shift = " ".join(str(x) for x in translation)
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: 1 0 0 0 1 0 0 0 1 {shift}\nFixedParameters: 0 0 0\n"
    )
    return path


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (MNI, MNI, True),
        (MNI, "MNI152NLin6Asym", True),
        ("MNI152Lin", MNI, True),
        ("ACPC", MNI, False),
        ("MNIInfant", MNI, False),
        ("study", "study", True),
        (None, MNI, False),
        (None, None, False),
    ],
)
def test_spaces_agree_by_label_and_any_mni152_with_any_other(one, other, agree):
    assert spaces_agree(one, other) is agree
    assert spaces_agree(other, one) is agree


class Case(NamedTuple):
    """What is there and what is asked for -> the route."""

    route: str
    asked: str = "auto"
    space: str | None = "ACPC"
    transforms: tuple[str, ...] = ()
    words: str = ""


ROUTES = {
    "spaces agree": Case("none", space="MNI152NLin6Asym", transforms=("points",), words="used as they are"),
    "stored for points": Case("xfm", transforms=("affine", "points"), words="points moved by from-MNI"),
    "an affine can be inverted": Case("xfm", transforms=("affine",), words="the inverse of"),
    "a warp cannot": Case("slr", transforms=("warp",), words="without its inverse"),
    "a transform to elsewhere": Case("slr", transforms=("infant",)),
    "nothing": Case("slr"),
    "a space without a name": Case("slr", space=None),
    "none is asked for": Case("none", "none", transforms=("points",), words="used as they are"),
    "slr is asked for": Case("slr", "slr", transforms=("points",)),
    "slr though spaces agree": Case("slr", "slr", space=MNI),
    "xfm is asked for": Case("xfm", "xfm", transforms=("points",)),
}


@pytest.fixture
def stored(tmp_path):
    """Transforms by the names used in ROUTES."""
    warp = composite(tmp_path / "from-ACPC_to-MNI_warp.h5", np.zeros((4, 4, 4, 3)), np.zeros(3), 1.0)
    affine = itk(tmp_path / "from-ACPC_to-MNI.txt", (0, 0, 0))
    return {
        "points": TransformFile(itk(tmp_path / "from-MNI_to-ACPC.txt", (0, 0, 0)), MNI, "ACPC", False),
        "affine": TransformFile(affine, "ACPC", MNI, True),
        "warp": TransformFile(warp, "ACPC", MNI, True),
        "infant": TransformFile(affine, "MNIInfant", "ACPC", False),
    }


@pytest.mark.parametrize("case", ROUTES.values(), ids=ROUTES)
def test_the_route_follows_spaces_and_transforms(case, stored):
    inputs = inputs_with(*(stored[name] for name in case.transforms))
    route = choose_route(inputs, case.space, atlas_in(MNI), ProfileSettings(registration=case.asked))
    assert route.name == case.route
    assert case.words in " ".join(route.notes)
    assert (route.transform is not None) == (case.route == "xfm")


@pytest.mark.parametrize("there", [(), ("warp",), ("infant",)])
def test_xfm_without_a_usable_transform_is_an_error(there, stored):
    with pytest.raises(MissingInputError, match=r"no usable transform to MNI.*sub-01"):
        choose_route(
            inputs_with(*(stored[n] for n in there)), "ACPC", atlas_in(MNI), ProfileSettings(registration="xfm")
        )


def helix(n: int = 40, shift: tuple[float, float, float] = (0, 0, 0)) -> Bundle:
    """Streamlines around a bent curve, mm."""
    rng, t = np.random.default_rng(0), np.linspace(0, 1, 60)[:, None]
    core = np.c_[20 * np.sin(2 * t), 80 * t - 40, 15 * t**2]
    return Bundle.from_streamlines([core + rng.normal(0, 2, 3) + np.array(shift) for _ in range(n)])


@pytest.mark.parametrize("invert", [False, True])
def test_points_move_against_the_direction_of_images_and_lps_becomes_ras(invert, tmp_path):
    """ITK maps points of the output grid to the input: from-A_to-B in mode-image takes points of B to A."""
    path = itk(tmp_path / "x.txt", (1, 2, 3))
    source, target = ("ACPC", MNI) if invert else (MNI, "ACPC")
    inputs = inputs_with(TransformFile(path, source, target, invert))
    route = choose_route(inputs, "ACPC", atlas_in(MNI), ProfileSettings())
    moved, _ = place({"X": helix()}, route, inputs, atlas_in(MNI), 0)
    expected = np.array([-1, -2, 3]) * (-1 if invert else 1)
    np.testing.assert_allclose(moved["X"].points - helix().points, np.tile(expected, (2400, 1)), atol=1e-4)


@pytest.fixture
def atlas(tmp_path):
    """An atlas of one real-sized bundle on disk."""
    from spectra_bids.bundle import Volume
    from spectra_bids.io.tractograms import write_bundle

    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -100
    write_bundle(tmp_path / "X.trk", helix(), Volume(np.zeros((100, 100, 100), np.float32), affine))
    return atlas_in(MNI, {"X": tmp_path / "X.trk"})


def test_streamline_registration_brings_a_shifted_bundle_home_and_keeps_its_matrix(atlas):
    inputs = inputs_with()
    route = choose_route(inputs, "ACPC", atlas, ProfileSettings())
    shifted = {"X": helix(shift=(25, -10, 5)), "empty": Bundle.from_streamlines([])}
    far = measure_distances({"X": shifted["X"]}, atlas)
    moved, done = place(shifted, route, inputs, atlas, 0)
    near = measure_distances({"X": moved["X"]}, atlas)
    assert far.session_median > 8
    assert far.flag["X"] == "far_bundle"
    assert near.session_median < 1.5
    assert near.flag["X"] == "none"
    assert done.affine is not None
    assert moved["empty"].n_streamlines == 0


def test_nothing_to_register_is_an_error_that_names_the_subject(atlas):
    inputs = inputs_with()
    route = choose_route(inputs, "ACPC", atlas, ProfileSettings())
    with pytest.raises(TransformError, match="sub-01"):
        place({"X": Bundle.from_streamlines([])}, route, inputs, atlas, 0)


def test_distances_are_zero_on_the_atlas_itself(atlas):
    found = measure_distances({"X": read_bundle(atlas.bundles["X"])}, atlas)
    assert found.session_median == pytest.approx(0, abs=1e-4)
    assert found.p95["X"] == pytest.approx(0, abs=1e-4)


def test_without_any_bundle_there_is_no_distance(atlas):
    found = measure_distances({}, atlas)
    assert np.isnan(found.session_median)
    assert found.flag == {}
