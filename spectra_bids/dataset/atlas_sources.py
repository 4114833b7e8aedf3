"""Atlases that `spectra-bids atlas fetch` knows by name: address, checksum, licence, citation.

A checksum stands here only where somebody has published one: DIPY's fetcher for its two archives; of HCP1065, users
who made data sets of their own from the same address and size and wrote it down. Licence: the atlas's page (`page`).
"""

from __future__ import annotations

from dataclasses import dataclass

_HCP = "Derived from WU-Minn Human Connectome Project data, which asks for an acknowledgement of its own"
_YEH_2018 = (
    "Yeh et al. 2018, Population-averaged atlas of the macroscale human structural connectome and its network "
    "topology, NeuroImage 178, 57-68, doi:10.1016/j.neuroimage.2018.05.027"
)
_YEH_2022 = (
    "Yeh 2022, Population-based tract-to-region connectome of the human brain and its hierarchical topology, Nature "
    "Communications 13, 4933, doi:10.1038/s41467-022-32595-4"
)


@dataclass(frozen=True)
class AtlasSource:
    """An atlas that can be fetched, or is known to exist.

    Parameters
    ----------
    name : str
        What the user calls it.
    title : str
    url : str
        Archive; empty if no public address is known.
    checksum : str
        "sha256:..." or "md5:..."; empty if none is known: it is recorded at the first download.
    bytes : int
        Size of the archive; 0 if unknown.
    space : str
        BIDS label.
    license, citation, page : str
    note : str
        What else one must know.
    include, exclude : tuple of str
        Patterns of the archive's members that are bundles, or are none, in any case of letters.

    """

    name: str
    title: str
    url: str
    checksum: str
    bytes: int
    space: str
    license: str
    citation: str
    page: str
    note: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()


SOURCES: dict[str, AtlasSource] = {
    source.name: source
    for source in (
        AtlasSource(
            name="hcp1065",
            title="HCP1065 population-averaged tractography atlas",
            url="https://github.com/data-others/atlas/releases/download/hcp1065/hcp1065_avg_tracts_trk.zip",
            checksum="sha256:344aad4394f18b8926ed5e1bda911ad56e328c6cf75faa45e1302512ad779c67",
            bytes=587_869_457,
            space="MNI152NLin2009aAsym",
            license="CC BY-SA 4.0",
            citation=_YEH_2022,
            page="https://brain.labsolver.org/hcp_trk_atlas.html",
            note=f"{_HCP}. Cranial nerves are left out",
            exclude=("*cranial*", "*/CNII*", "*/CNIII*", "*/CNV*"),
        ),
        AtlasSource(
            name="hcp842",
            title="HCP842, 80 bundles, as curated for DIPY's RecoBundles",
            url="https://ndownloader.figshare.com/files/13638644",
            checksum="md5:78331d527a10ec000d4f33bac472e099",
            bytes=0,
            space="MNI152NLin2009aAsym",  # its README: "MNI space ICBM 2009a"
            license="CC BY-SA 4.0",
            citation=_YEH_2018,
            page="https://figshare.com/articles/Advanced_Atlas_of_80_Bundles_in_MNI_space/7375883",
            note=f"{_HCP}. About 300 MB by DIPY's word",
            include=("*/bundles/*",),
            exclude=("*/IF0F_*",),  # a second IFOF_R, spelled with a zero
        ),
        AtlasSource(
            name="hcp842core",
            title="HCP842, 30 of its bundles, for DIPY's RecoBundles",
            url="https://ndownloader.figshare.com/files/26842853",
            checksum="md5:f3922cdbea4216823798fade128d6782",
            bytes=0,
            space="MNI152NLin2009aAsym",
            license="CC BY-SA 4.0",
            citation=_YEH_2018,
            page="https://figshare.com/articles/Atlas_of_30_Human_Brain_Bundles_in_MNI_space/12089652",
            note=f"{_HCP}. About 207 MB by DIPY's word",
            include=("*/bundles/*",),
            exclude=("*/IF0F_*",),
        ),
        AtlasSource(
            name="enigma",
            title="ENIGMA tractometry atlas",
            url="",
            checksum="",
            bytes=0,
            space="",
            license="its providers'",
            citation="as its providers ask",
            page="https://enigma.ini.usc.edu",
            note="No public address is known to this program: register the folder that the working group gave you",
        ),
    )
}
