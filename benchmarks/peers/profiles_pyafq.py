"""Time pyAFQ's along-tract profiles on real-mni.   python profiles_pyafq.py TASK.json

As its AFQ profile step does it: Gaussian weights of a bundle once (100 nodes), then afq_profile for every map. Files
are read before the clock starts.
"""

import json
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

warnings.filterwarnings("ignore")

from AFQ._fixes import gaussian_weights  # noqa: E402
from dipy.stats.analysis import afq_profile  # noqa: E402
from task import report, timed  # noqa: E402

task = json.loads(Path(sys.argv[1]).read_text())
image = nib.load(task["map"])
fa, affine = image.get_fdata(), image.affine
bundles = [nib.streamlines.load(path).streamlines for path in task["subject"]]
maps = [fa, 1 - fa, fa**2, np.sqrt(np.abs(fa))]


def profiles(n_maps):
    """All bundles, one after the other."""
    for lines in bundles:
        weights = np.asarray(gaussian_weights(lines, n_points=100))
        for data in maps[:n_maps]:
            afq_profile(data, lines, affine, weights=weights, n_points=100)


one, four = (timed(lambda n=n: profiles(n), task["repeats"]) for n in (1, 4))
report(one=one, four=four)
