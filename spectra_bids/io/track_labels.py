"""A labelling of streamlines by the regions at their ends, as files.

X_tracklabels.npz
    labels (S,)         label of each streamline, 0 = unlabelled
    ends (S, 2)         region at its first and last point, 0 = none
    pairs (K, 2)        regions of label 1 ... K
    regions (R,)        all regions of the volume;  region_names (R,)
    name, parameters, dilation, tractogram, volume      text (parameters: JSON), and mm
X_tracklabels.tsv       a row per label: region_a region_b name_a name_b n_streamlines share
X_connectivity.tsv      counts between regions, a row and a column each
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.bundle import Bundle
from spectra_bids.errors import InputDataError, MissingInputError
from spectra_bids.geometry.endings import EndPairs, end_regions, pair_ends
from spectra_bids.geometry.labels import LabelVolume

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Labeling:
    """One labelling of one tractogram.

    Parameters
    ----------
    name : str
        Family of atlases, as "Lausanne".
    parameters : mapping
        What tells versions of the atlas apart: scale, dilation of the volume ...
    dilation : float, mm
        Search radius about the ends.
    pairs : EndPairs
    regions : (R,) int64
        All regions of the volume, rising.
    names : tuple of str
        Of the regions.
    tractogram, volume : str
        File names.

    """

    name: str
    parameters: Mapping[str, Any]
    dilation: float
    pairs: EndPairs
    regions: NDArray[np.int64]
    names: tuple[str, ...]
    tractogram: str = ""
    volume: str = ""

    def region_name(self, region: int) -> str:
        """Name of a region."""
        return {int(r): n for r, n in zip(self.regions, self.names, strict=True)}.get(region, f"label {region}")

    def table(self) -> pd.DataFrame:
        """A row per label."""
        import pandas as pd

        names = dict(zip(self.regions.tolist(), self.names, strict=True))
        a, b = self.pairs.pairs.T.tolist() if len(self.pairs.pairs) else ([], [])
        counts = self.pairs.counts
        return pd.DataFrame(
            {
                "label": np.arange(1, len(counts) + 1),
                "region_a": a,
                "region_b": b,
                "name_a": [names[x] for x in a],
                "name_b": [names[x] for x in b],
                "n_streamlines": counts,
                "share": counts / max(len(self.pairs.labels), 1),
            }
        )

    def connectivity(self) -> pd.DataFrame:
        """Counts between regions: columns region, name, then one per region (its number)."""
        import pandas as pd

        counts = pd.DataFrame(self.pairs.connectivity(self.regions), columns=[str(r) for r in self.regions])
        counts.insert(0, "name", list(self.names))
        counts.insert(0, "region", self.regions)
        return counts


def label_streamlines(
    bundle: Bundle,
    volume: LabelVolume,
    dilation: float = 0.0,
    *,
    name: str = "",
    parameters: Mapping[str, Any] | None = None,
    files: tuple[str, str] = ("", ""),
) -> Labeling:
    """Label the streamlines of a tractogram by their end regions.

    Parameters
    ----------
    bundle : Bundle
    volume : LabelVolume
        In the same space.
    dilation : float, mm
        As `end_regions`.
    name, parameters
        Of the labelling; the volume's source by default.
    files : (tractogram, volume)
        Their file names.

    """
    pairs = pair_ends(end_regions(bundle, volume, dilation))
    regions = np.unique(volume.data[volume.data != 0]).astype(np.int64)
    names = tuple(volume.name(int(region)) for region in regions)
    return Labeling(name or volume.source, dict(parameters or {}), dilation, pairs, regions, names, *files)


#: Column dictionary of the table of labels.
LABEL_COLUMNS = {
    "label": {"Description": "Number of the pair of regions; 0 in the .npz is a streamline without a label"},
    "region_a": {"Description": "Region at one end (the smaller number)"},
    "region_b": {"Description": "Region at the other end"},
    "name_a": {"Description": "Name of region_a"},
    "name_b": {"Description": "Name of region_b"},
    "n_streamlines": {"Description": "Streamlines that end in both regions, whichever end is first"},
    "share": {"Description": "Their share of all streamlines of the tractogram, unlabelled ones included"},
}


def labeling_bytes(labeling: Labeling) -> bytes:
    """Content of the .npz; equal input, equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        labels=labeling.pairs.labels.astype(np.int32),
        ends=labeling.pairs.ends.astype(np.int32),
        pairs=labeling.pairs.pairs.astype(np.int32),
        regions=labeling.regions.astype(np.int32),
        region_names=np.array(labeling.names, np.str_),
        name=np.array(labeling.name, np.str_),
        parameters=np.array(json.dumps(dict(labeling.parameters), sort_keys=True), np.str_),
        dilation=np.float64(labeling.dilation),
        tractogram=np.array(labeling.tractogram, np.str_),
        volume=np.array(labeling.volume, np.str_),
    )
    return buffer.getvalue()


def read_labeling(path: Path) -> Labeling:
    """A labelling from its .npz.

    Raises
    ------
    MissingInputError
        There is no such file.
    InputDataError
        It is no labelling.

    """
    if not path.is_file():
        raise MissingInputError(f"There is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            ends, labels = stored["ends"].astype(np.int64), stored["labels"].astype(np.int64)
            pairs = pair_ends(ends)
            if ends.shape != (len(labels), 2) or not np.array_equal(pairs.labels, labels):
                raise ValueError("labels and ends say different things")
            regions, names = stored["regions"].astype(np.int64), tuple(stored["region_names"].tolist())
            if len(regions) != len(names) or not np.isin(pairs.pairs, regions).all():
                raise ValueError("regions at the ends are not all listed")
            parameters = json.loads(str(stored["parameters"]))
            return Labeling(
                str(stored["name"]), parameters, float(stored["dilation"]), pairs, regions, names,
                str(stored["tractogram"]), str(stored["volume"]),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise InputDataError(
            f"{path} is no labelling of streamlines: {error}", "'spectra-bids label TRK DSEG' writes one"
        ) from error
