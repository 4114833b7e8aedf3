"""Time DIPY's buan_profile (30 nodes) on real-mni.   python profiles_dipy.py TASK.json

One call per bundle and map, as its interface has it: every call assigns the points to nodes again. Files are read
before the clock starts.
"""

import json
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from dipy.stats.analysis import buan_profile
from task import report, timed

warnings.filterwarnings("ignore")
task = json.loads(Path(sys.argv[1]).read_text())
image = nib.load(task["map"])
fa, affine = image.get_fdata(), image.affine
subject = [nib.streamlines.load(path).streamlines for path in task["subject"]]
atlas = [nib.streamlines.load(path).streamlines for path in task["atlas"]]
maps = [fa, 1 - fa, fa**2, np.sqrt(np.abs(fa))]


def profiles(n_maps):
    """All bundles, one after the other."""
    for lines, model in zip(subject, atlas, strict=True):
        for data in maps[:n_maps]:
            buan_profile(model, lines, lines, data, affine, no_disks=30)


one, four = (timed(lambda n=n: profiles(n), task["repeats"]) for n in (1, 4))
report(one=one, four=four)
