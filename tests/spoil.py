"""Ways to break the input files of one subject; each returns the words that an error message about it must hold."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from spectra_bids.io.trk import HEADER, read_trk

SPACE = "MNI152NLin2009aSym"
Words = tuple[str, ...]


class Patient(NamedTuple):
    """A subject of the embedded cohort, `folder` its dwi, whose files may be broken."""

    folder: Path
    label: str

    def bundle(self, name: str = "CSTR", ending: str = ".trk") -> Path:
        return self.folder / f"sub-{self.label}_space-{SPACE}_tract-{name}_tractogram{ending}"

    def map(self, model: str = "demo", param: str = "wm") -> Path:
        return self.folder / f"sub-{self.label}_space-{SPACE}_model-{model}_param-{param}_dwimap.nii.gz"

    def replaced(self, ending: str, content: bytes = b"") -> Path:
        """The bundle CSTR in another format."""
        self.bundle().unlink()
        path = self.bundle(ending=ending)
        path.write_bytes(content)
        return path


# --- .trk ----------------------------------------------------------------------------------------------------------


def edit_trk(path: Path, **fields: object) -> Words:
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw[:1000], HEADER).copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.tobytes() + bytes(raw[1000:]))
    return (path.name,)


def cut(path: Path, size: int) -> Words:
    path.write_bytes(path.read_bytes()[:size])
    return path.name, "cut short"


def trk_cut_in_its_header(p: Patient) -> Words:
    return (*cut(p.bundle(), 500), "1000 bytes")


def trk_cut_in_its_body(p: Patient) -> Words:
    return (*cut(p.bundle(), 5000), "300 streamlines", "again")


def trk_of_zero_bytes(p: Patient) -> Words:
    p.bundle().write_bytes(b"")
    return p.bundle().name, "is empty"


def text_named_trk(p: Patient) -> Words:
    p.bundle().write_text("streamline,x,y,z\n" * 200)
    return p.bundle().name, "no TrackVis file", "TRACK"


def directory_named_trk(p: Patient) -> Words:
    p.bundle().unlink()
    p.bundle().mkdir()
    return p.bundle().name, "is a folder"


def trk_without_a_place(p: Patient) -> Words:
    return (
        *edit_trk(p.bundle(), version=1, dimensions=(5, 5, 5)),
        "was tracked on an image of (5, 5, 5)",
        "image that",
    )


def trk_with_a_singular_affine(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), vox_to_ras=np.diag([2, 2, 0, 1])), "must be invertible")


def trk_with_a_nan_affine(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), vox_to_ras=np.diag([2, 2, np.nan, 1])), "must be invertible")


def trk_with_negative_voxels(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), voxel_sizes=(-2, 2, 2)), "Voxel sizes", "positive")


def trk_with_an_odd_voxel_order(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), voxel_order=b"RRR"), "voxel_order")


def trk_that_counts_two_billion(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), n_count=2**31 - 1), "2147483647 streamlines")


def trk_with_an_endless_streamline(p: Patient) -> Words:
    raw = bytearray(p.bundle().read_bytes())
    raw[1000:1004] = struct.pack("<i", 2**31 - 1)
    p.bundle().write_bytes(raw)
    return p.bundle().name, "2147483647 points"


def trk_with_a_negative_streamline(p: Patient) -> Words:
    raw = bytearray(p.bundle().read_bytes())
    raw[1000:1004] = struct.pack("<i", -5)
    p.bundle().write_bytes(raw)
    return p.bundle().name, "-5 points"


def trk_with_32767_scalars(p: Patient) -> Words:
    return (*edit_trk(p.bundle(), n_scalars=32767), "damaged")


def _points(p: Patient, value: float) -> Words:
    raw = bytearray(p.bundle().read_bytes())
    raw[1004:1016] = struct.pack("<fff", value, value, value)
    p.bundle().write_bytes(raw)
    return p.bundle().name, "1 of", "NaN or Inf"


def trk_with_nan_points(p: Patient) -> Words:
    return _points(p, np.nan)


def trk_with_infinite_points(p: Patient) -> Words:
    return _points(p, np.inf)


def trk_gz_cut_short(p: Patient) -> Words:
    path = p.replaced(".trk.gz", gzip.compress(p.bundle().read_bytes()))
    return cut(path, 3000)


def trk_gz_bomb(p: Patient) -> Words:
    content = p.bundle().read_bytes()[:1000] + bytes(400_000_000)
    path = p.replaced(".trk.gz", gzip.compress(content, 1))
    return path.name, "unpacks to more than"


def no_streamlines_at_all(p: Patient) -> Words:
    for name in ("AFL", "CCForcepsMajor", "CSTR"):
        raw = p.bundle(name).read_bytes()[:1000]
        p.bundle(name).write_bytes(raw)
        edit_trk(p.bundle(name), n_count=0)
    return "no streamline in any", p.bundle("AFL").name


# --- .tck, .tt.gz --------------------------------------------------------------------------------------------------


def tck_bytes(p: Patient, kind: str = "Float32LE") -> bytes:
    bundle = read_trk(p.bundle(), p.bundle().read_bytes())
    rows = [np.r_[x, [[np.nan] * 3]] for x in np.split(bundle.points, bundle.offsets[1:-1])]
    head = f"mrtrix tracks\ndatatype: {kind}\ncount: {bundle.n_streamlines}\nfile: . 100\nEND\n".encode().ljust(100)
    return head + np.concatenate([*rows, [[np.inf] * 3]]).astype("<f4").tobytes()


def tck_cut_in_its_body(p: Patient) -> Words:
    return cut(p.replaced(".tck", tck_bytes(p)), 9000)


def tck_cut_in_its_header(p: Patient) -> Words:
    path = p.replaced(".tck", tck_bytes(p)[:30])
    return path.name, "END"


def tck_of_unknown_numbers(p: Patient) -> Words:
    path = p.replaced(".tck", tck_bytes(p, "Int128"))
    return path.name, "datatype", "Int128"


def tck_with_nan_within_a_streamline(p: Patient) -> Words:
    raw = bytearray(tck_bytes(p))
    raw[100:104] = struct.pack("<f", np.nan)
    path = p.replaced(".tck", bytes(raw))
    return path.name, "1 of", "NaN or Inf"


def tck_without_streamlines(p: Patient) -> Words:
    raw = tck_bytes(p)[:100].replace(b"count: 300", b"count: 0  ") + np.full(3, np.inf, "<f4").tobytes()
    for name in ("AFL", "CCForcepsMajor"):
        p.bundle(name).unlink()
    return p.replaced(".tck", raw).name, "no streamline in any"


def tck_gz_cut_short(p: Patient) -> Words:
    return cut(p.replaced(".tck.gz", gzip.compress(tck_bytes(p))), 4000)


def tinytrack_of_noise(p: Patient) -> Words:
    path = p.replaced(".tt.gz", gzip.compress(np.random.default_rng(0).bytes(3000)))
    return path.name, "DSI Studio"


# --- .trx ----------------------------------------------------------------------------------------------------------


def trx_members(p: Patient) -> dict[str, bytes]:
    bundle = read_trk(p.bundle(), p.bundle().read_bytes())
    header = {"NB_VERTICES": len(bundle.points), "NB_STREAMLINES": bundle.n_streamlines}
    header |= {"DIMENSIONS": [1, 1, 1], "VOXEL_TO_RASMM": np.eye(4).tolist()}
    return {
        "header.json": json.dumps(header).encode(),
        "positions.3.float32": bundle.points.tobytes(),
        "offsets.uint64": bundle.offsets.astype("<u8").tobytes(),
    }


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def trx(p: Patient, method: int = zipfile.ZIP_STORED, **members: bytes | None) -> Path:
    """A TRX of the bundle with some members (`__` for `.`) replaced, added or left out."""
    content: dict[str, bytes | None] = {**trx_members(p), **{k.replace("__", "."): v for k, v in members.items()}}
    return p.replaced(".trx", zipped({k: v for k, v in content.items() if v is not None}, method))


def header_json(p: Patient, **changes: object) -> bytes:
    return json.dumps(json.loads(trx_members(p)["header.json"]) | changes).encode()


def trx_cut_short(p: Patient) -> Words:
    return cut(trx(p), 4000)


def trx_of_zero_bytes(p: Patient) -> Words:
    return p.replaced(".trx").name, "no TRX archive"


def trx_without_a_header(p: Patient) -> Words:
    return trx(p, header__json=None).name, "header.json"


def trx_whose_header_is_no_json(p: Patient) -> Words:
    return trx(p, header__json=b"{NB_VERTICES: 3").name, "header.json"


def trx_whose_header_is_a_list(p: Patient) -> Words:
    return trx(p, header__json=b"[1, 2]").name, "header.json", "NB_VERTICES"


def trx_with_absurd_counts(p: Patient) -> Words:
    return trx(p, header__json=header_json(p, NB_STREAMLINES=10**15)).name, "offsets", "1000000000000001 rows"


def trx_with_negative_counts(p: Patient) -> Words:
    return trx(p, header__json=header_json(p, NB_VERTICES=-1)).name, "NB_VERTICES"


def trx_with_falling_offsets(p: Patient) -> Words:
    offsets = np.frombuffer(trx_members(p)["offsets.uint64"], "<u8").copy()
    offsets[5] = 10**6
    return trx(p, offsets__uint64=offsets.tobytes()).name, "Offsets", "rise"


def trx_with_nan_points(p: Patient) -> Words:
    points = np.frombuffer(trx_members(p)["positions.3.float32"], "<f4").copy()
    points[0] = np.nan
    return trx(p, positions__3__float32=points.tobytes()).name, "1 of", "NaN or Inf"


def trx_without_streamlines(p: Patient) -> Words:
    for name in ("AFL", "CCForcepsMajor"):
        p.bundle(name).unlink()
    nothing = header_json(p, NB_VERTICES=0, NB_STREAMLINES=0)
    path = trx(p, header__json=nothing, positions__3__float32=b"", offsets__uint64=bytes(8))
    return path.name, "no streamline in any"


def trx_of_objects(p: Patient) -> Words:
    return trx(p, positions__3__float32=None, positions__3__object=bytes(800)).name, "positions.3.object"


def trx_of_no_columns(p: Patient) -> Words:
    return trx(p, positions__3__float32=None, positions__0__float32=b"").name, "positions.0.float32"


def trx_zip_bomb(p: Patient) -> Words:
    """Forty million points, 480 MB, in 2 MB."""
    n = 40_000_000
    path = p.replaced(".trx")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("header.json", json.dumps({"NB_VERTICES": n, "NB_STREAMLINES": 1}))
        archive.writestr("offsets.uint64", np.array([0, n], "<u8").tobytes())
        with archive.open("positions.3.float32", "w") as member:
            for _ in range(n * 12 // 4_000_000):
                member.write(bytes(4_000_000))
    return path.name, "positions.3.float32", "unpacks to 480000000 bytes"


def trx_that_declares_more_than_it_holds(p: Patient) -> Words:
    """The archive's directory says of a member of some kB that it has 4 GB."""
    path = trx(p, zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"header.json"))
    raw[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(raw)
    return path.name, "header.json", "unpacks to 4294967294 bytes"


def trx_in_a_trx(p: Patient) -> Words:
    inner = zipped(trx_members(p))
    for _ in range(5):
        inner = zipped({"nested.trx": inner}, zipfile.ZIP_DEFLATED)
    return p.replaced(".trx", inner).name, "header.json", "nested.trx"


def trx_with_a_password(p: Patient) -> Words:
    path = trx(p)
    raw = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := raw.find(signature, start + 1)) >= 0:
            raw[start + at] |= 1
    path.write_bytes(raw)
    return path.name, "encrypted"


def trx_packed_in_an_unknown_way(p: Patient) -> Words:
    path = trx(p)
    raw = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = -1
        while (start := raw.find(signature, start + 1)) >= 0:
            raw[start + at] = 77
    path.write_bytes(raw)
    return path.name, "cannot be read"


def trx_group_with_a_wrong_index(p: Patient) -> Words:
    group = np.array([0, 10**6], "<u4").tobytes()
    members = {**trx_members(p), "groups/CST_R.uint32": group}
    p.bundle().unlink()
    path = p.folder / f"sub-{p.label}_space-{SPACE}_desc-bundles_tractography.trx"
    path.write_bytes(zipped(members))
    return path.name, "CST_R", "1000000"


# --- .nii.gz -------------------------------------------------------------------------------------------------------


def edit_nifti(path: Path, **fields: object) -> Words:
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(content[:348]))
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content), 1))
    return (path.name,)


def nifti_cut_in_its_header(p: Patient) -> Words:
    p.map().write_bytes(gzip.compress(gzip.decompress(p.map().read_bytes())[:200]))
    return p.map().name, "NIfTI"


def nifti_cut_in_its_body(p: Patient) -> Words:
    p.map().write_bytes(p.map().read_bytes()[:3000])
    return p.map().name, "whole NIfTI"


def nifti_of_zero_bytes(p: Patient) -> Words:
    p.map().write_bytes(b"")
    return p.map().name, "0 bytes"


def nifti_that_is_not_packed(p: Patient) -> Words:
    p.map().write_bytes(b"this is text " * 100)
    return (p.map().name,)


def directory_named_nifti(p: Patient) -> Words:
    p.map().unlink()
    p.map().mkdir()
    return p.map().name, "is a folder"


def nifti_with_a_nan_affine(p: Patient) -> Words:
    return (*edit_nifti(p.map(), srow_x=[np.nan, 0, 0, 0]), "affine", "finite and invertible")


def nifti_with_a_nan_rotation(p: Patient) -> Words:
    fields = {"sform_code": 0, "qform_code": 1, "quatern_b": np.nan}
    return (*edit_nifti(p.map(), **fields), "affine", "finite and invertible")


def nifti_of_no_voxels(p: Patient) -> Words:
    return (*edit_nifti(p.map(), dim=[3, 0, 0, 0, 1, 1, 1, 1]), "no value", "outside")


def nifti_with_a_singular_affine(p: Patient) -> Words:
    return (*edit_nifti(p.map(), srow_y=[0, 0, 0, 0]), "affine", "invertible")


def nifti_without_a_place(p: Patient) -> Words:
    return (*edit_nifti(p.map(), sform_code=0, qform_code=0), "neither sform nor qform")


def nifti_of_four_dimensions(p: Patient) -> Words:
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 3), np.float32), np.eye(4)), p.map())
    return p.map().name, "three dimensions", "(5, 5, 5, 3)"


def nifti_of_colours(p: Patient) -> Words:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), p.map())
    return p.map().name, "real numbers"


def nifti_of_complex_numbers(p: Patient) -> Words:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)), p.map())
    return p.map().name, "real numbers", "complex64"


def nifti_of_absurd_size(p: Patient) -> Words:
    return (*edit_nifti(p.map(), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "(32767, 32767, 32767)")


def nifti_bomb(p: Patient) -> Words:
    """600 MB of zeros in 600 kB, and a header that asks for them."""
    content = bytearray(gzip.decompress(p.map().read_bytes())[:352])
    p.map().write_bytes(gzip.compress(bytes(content), 1))
    edit_nifti(p.map(), dim=[3, 600, 500, 500, 1, 1, 1, 1], datatype=16, bitpix=32)
    head = gzip.decompress(p.map().read_bytes())
    p.map().write_bytes(gzip.compress(head, 1) + gzip.compress(bytes(600_000_000), 1))
    return p.map().name, "(600, 500, 500)", "unpack"


def nifti_of_nan_alone(p: Patient) -> Words:
    image = nib.load(p.map())
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), p.map())
    return p.map().name, "no value", "bundle"


def nifti_somewhere_else(p: Patient) -> Words:
    image = nib.load(p.map())
    affine = image.affine.copy()
    affine[0, 3] += 1000
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), p.map())
    return p.map().name, "no value", "outside", "same space"


# --- links and rights ----------------------------------------------------------------------------------------------


def link_to_nothing(p: Patient) -> Words:
    p.bundle().unlink()
    p.bundle().symlink_to("../../.git/annex/objects/x.trk")
    return p.bundle().name, "datalad get"


def map_that_links_to_nothing(p: Patient) -> Words:
    p.map().unlink()
    p.map().symlink_to("../../.git/annex/objects/x.nii.gz")
    return p.map().name, "datalad get"


def link_to_itself(p: Patient) -> Words:
    p.bundle().unlink()
    p.bundle().symlink_to(p.bundle().name)
    return (p.bundle().name,)


def map_that_links_to_itself(p: Patient) -> Words:
    p.map().unlink()
    p.map().symlink_to(p.map().name)
    return (p.map().name,)


# --- names and spaces ----------------------------------------------------------------------------------------------


def bundles_in_another_space(p: Patient) -> Words:
    for name in ("AFL", "CCForcepsMajor", "CSTR"):
        os.rename(p.bundle(name), str(p.bundle(name)).replace(SPACE, "fsaverage"))
    return "one space", "fsaverage", SPACE


def one_bundle_in_two_runs(p: Patient) -> Words:
    for path in list(p.folder.iterdir()):
        for run in ("1", "2"):
            shutil.copy(path, str(path).replace("_space-", f"_run-{run}_space-"))
        path.unlink()
    return "one acquisition and run", "run-1", "run-2", "--bids-filter-file"


def no_map(p: Patient) -> Words:
    p.map().unlink()
    return "no scalar map", "-d NAME=PATH"


def bundles_of_no_atlas(p: Patient) -> Words:
    for name, new in (("AFL", "Foo"), ("CCForcepsMajor", "Bar"), ("CSTR", "Baz")):
        p.bundle(name).rename(p.bundle(new))
    return "no bundle of the atlas", "Bar, Baz, Foo"


# --- transforms and RecoBundles pairs ------------------------------------------------------------------------------


def _native(p: Patient, name: str, content: bytes) -> Path:
    """Files labelled ACPC, and a transform that should take them to MNI."""
    for path in list(p.folder.iterdir()):
        path.rename(str(path).replace(SPACE, "ACPC"))
    path = p.folder / f"sub-{p.label}_{name}"
    path.write_bytes(content)
    return path


def xfm_that_is_text(p: Patient) -> Words:
    path = _native(p, "from-MNI152NLin2009cAsym_to-ACPC_mode-image_xfm.txt", b"move it a bit to the left\n")
    return path.name, "ITK transform"


def xfm_that_is_no_hdf5(p: Patient) -> Words:
    path = _native(p, "from-MNI152NLin2009cAsym_to-ACPC_mode-image_xfm.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
    return path.name, "ITK transform"


def itk(matrix: str) -> bytes:
    head = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
    return f"{head}Parameters: {matrix} 0 0 0\nFixedParameters: 0 0 0\n".encode()


def xfm_that_is_singular(p: Patient) -> Words:
    path = _native(p, "from-MNI152NLin2009cAsym_to-ACPC_mode-image_xfm.txt", itk("1 0 0 0 1 0 0 0 0"))
    return path.name, "finite and invertible"


def xfm_of_nan(p: Patient) -> Words:
    path = _native(p, "from-MNI152NLin2009cAsym_to-ACPC_mode-image_xfm.txt", itk("1 0 0 0 nan 0 0 0 1"))
    return path.name, "finite and invertible"


def reco_pair(p: Patient) -> tuple[Path, Path]:
    """The bundle as a RecoBundles pair: rec in place, org 40 mm to the side, and the map with org."""
    folders = [p.folder / "rec_bundles", p.folder / "org_bundles"]
    raw = p.bundle().read_bytes()
    for name in ("AFL", "CCForcepsMajor", "CSTR"):
        p.bundle(name).unlink()
    paths = []
    for folder, shift in zip(folders, (0, 40), strict=True):
        folder.mkdir()
        paths.append(folder / f"sub-{p.label}_CST_R.trk")
        paths[-1].write_bytes(raw)
        affine = np.frombuffer(raw[:1000], HEADER)["vox_to_ras"][0].copy()
        affine[0, 3] += shift
        edit_trk(paths[-1], vox_to_ras=affine)
    image = nib.load(p.map())
    moved = image.affine.copy()
    moved[0, 3] += 40
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), p.map())
    return paths[0], paths[1]


def rec_and_org_that_differ(p: Patient) -> Words:
    rec, org = reco_pair(p)
    raw = org.read_bytes()
    (n,) = struct.unpack("<i", raw[1000:1004])
    org.write_bytes(raw[:1000] + raw[1004 + 12 * n :])
    edit_trk(org, n_count=299)
    return f"rec_bundles/{rec.name}", f"org_bundles/{org.name}", "300", "299"


def rec_and_org_swapped(p: Patient) -> Words:
    rec, org = reco_pair(p)
    a, b = rec.read_bytes(), org.read_bytes()
    rec.write_bytes(b)
    org.write_bytes(a)
    return f"rec_bundles/{rec.name}", "org_bundles", "swapped"


def rec_without_org(p: Patient) -> Words:
    _, org = reco_pair(p)
    org.unlink()
    return "rec_bundles", "no partner"
