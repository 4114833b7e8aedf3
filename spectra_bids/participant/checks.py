"""What a session's input says of itself once it is loaded: errors where nothing can be measured, else warnings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spectra_bids.bundle import Bundle
from spectra_bids.dataset.atlases import Atlas
from spectra_bids.dataset.inputs import BundleFile
from spectra_bids.errors import InputDataError
from spectra_bids.geometry.registration import FAR_BUNDLE_MM, FAR_SESSION_MM, distances_to_atlas
from spectra_bids.io.tractograms import read_bundle
from spectra_bids.participant.registration import Distances
from spectra_bids.profiles import Profile


def require_streamlines(bundles: Mapping[str, Bundle], files: Mapping[str, BundleFile]) -> None:
    """InputDataError if all bundles are empty: some may be, that is what segmentation leaves where it finds none."""
    if not any(bundle.n_streamlines for bundle in bundles.values()):
        there = ", ".join(str(files[name].path) for name in list(bundles)[:3])
        raise InputDataError(
            f"there is no streamline in any of {len(bundles)} bundles: {there}{' ...' if len(bundles) > 3 else ''}",
            "Look at what the tracking or the segmentation of this subject says.",
        )


def without_streamlines(bundles: Mapping[str, Bundle], files: Mapping[str, BundleFile]) -> list[str]:
    """A warning that names the files without any streamline."""
    empty = [files[name].path.name for name, bundle in bundles.items() if not bundle.n_streamlines]
    return [f"no streamlines in {', '.join(empty)}"] if empty else []


def require_values(profiles: Mapping[str, Profile], maps: Mapping[str, Path]) -> list[str]:
    """Warnings for maps that have no value at any point of the bundles.

    Raises
    ------
    InputDataError
        If none of the maps has.

    """
    said = {}
    for scalar, path in maps.items():
        if profiles and not any(np.isfinite(found.bundle_mean[scalar]) for found in profiles.values()):
            said[scalar] = f"{path} has no value at any point of {len(profiles)} bundles"
    if len(said) == len(maps) and said:
        outside = np.mean([found.share_outside for found in profiles.values()])
        raise InputDataError(
            f"{'; '.join(said.values())}: {outside:.0%} of the points lie outside of the field of view, at the others "
            "the map is not a number",
            "Bundles and scalar maps must be in the same space: look at both in one viewer.",
        )
    return list(said.values())


def far_away(distances: Distances) -> list[str]:
    """A warning where the session as a whole, or a bundle, lies far from the atlas."""
    if distances.session_median > FAR_SESSION_MM:
        return [
            f"bundles lie {distances.session_median:.0f} mm (median) from the atlas, expected at most "
            f"{FAR_SESSION_MM:g}: look at the registration"
        ]
    far = [f"{name} ({distances.median[name]:.1f} mm)" for name, flag in distances.flag.items() if flag == "far_bundle"]
    return [f"far from the atlas (median distance above {FAR_BUNDLE_MM:g} mm): {', '.join(far)}"] if far else []


def without_lesion_mask(wanted: str, masks: Mapping[str, object]) -> list[str]:
    """A warning where a lesion mask is asked for and this session has none: a name may be misspelled for everybody."""
    absent = bool(wanted) and "lesion" not in masks
    return [f"no --lesion-mask {wanted} in the space of the maps: lesion_load is n/a"] if absent else []


def refuse_swapped_pairs(
    own: Mapping[str, Bundle], files: Mapping[str, BundleFile], distances: Distances, atlas: Atlas
) -> None:
    """InputDataError for a rec/org pair of which org lies in the atlas and rec does not."""
    for name, org in own.items():
        rec_mm = distances.median.get(name, 0.0)
        if rec_mm <= FAR_BUNDLE_MM or not len(org.points):
            continue
        org_mm = float(np.median(distances_to_atlas(org, read_bundle(atlas.bundles[name]))))
        if org_mm <= FAR_SESSION_MM:
            raise InputDataError(
                f"bundle {name}: {files[name].path} lies {rec_mm:.0f} mm (median) from the atlas, and "
                f"{files[name].org_path} {org_mm:.0f} mm: they look swapped",
                "rec_bundles holds the bundles in atlas space, org_bundles the same streamlines in the maps' space.",
            )
