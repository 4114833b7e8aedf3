"""Time our profiles, 1D and 2D together, on real-mni.   python profiles_ours.py TASK.json

Grids are built once per atlas, not per subject: their time is reported apart. Files are read before the clock starts.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from task import report, timed

from spectra_bids import Volume, build_grid, profile, read_bundle, read_volume

task = json.loads(Path(sys.argv[1]).read_text())
fa = read_volume(Path(task["map"]))
subject = [read_bundle(Path(path)) for path in task["subject"]]
atlas = [read_bundle(Path(path)) for path in task["atlas"]]
maps = [fa.data, 1 - fa.data, fa.data**2, np.sqrt(np.abs(fa.data))]
volumes = {f"map{i}": Volume(data, fa.affine) for i, data in enumerate(maps)}
start = time.perf_counter()
grids = [build_grid(bundle) for bundle in atlas]
grid_seconds = time.perf_counter() - start


def profiles(n_maps):
    """All bundles, 1D and 2D."""
    some = dict(list(volumes.items())[:n_maps])
    for bundle, grid in zip(subject, grids, strict=True):
        profile(bundle, grid, some)


one, four = (timed(lambda n=n: profiles(n), task["repeats"]) for n in (1, 4))
report(one=one, four=four, grids=grid_seconds)
