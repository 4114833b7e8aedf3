"""group.evidence: what the map step leaves is found again, joined over bundles, and out of date when it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectra_bids.dataset.names import map_file
from spectra_bids.group.evidence import StoredEvidence, is_written, permutation_key, write_arrays
from spectra_bids.group.exchange import Exchange
from spectra_bids.settings import DecisionSettings, PermutationSettings


def permutations(z: list[float], null: list[list[float]]) -> dict[str, np.ndarray]:
    """Arrays of a bundle for scalar fa, contrast 0; every statistic is z itself, no cell is in a cluster."""
    values, maxima = np.array(z), np.array(null)
    size = np.zeros(len(z))
    seen = {"z": values, "p": np.full(len(z), 0.5), "size": size, "mass": size, "tfce": values}
    return {f"fa.0.{k}": v for k, v in seen.items()} | {
        f"fa.0.null_{k}": maxima[0] for k in ("peak", "size", "mass", "tfce")
    }


def stored(out: Path, bundles: list[str], **decision: object) -> StoredEvidence:
    return StoredEvidence(out, "m", "1D", bundles, DecisionSettings(**decision), ["group"])  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", ["no sidecar", "another key", "no file", "no json"])
def test_arrays_count_only_with_their_sidecar_and_its_key(tmp_path, broken):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(3)}, "key", {"Note": "n"})
    assert is_written(path, "key")
    assert json.loads(path.with_suffix(".json").read_text()) == {"Note": "n", "SettingsHash": "key"}
    if broken == "no sidecar":
        path.with_suffix(".json").unlink()
    elif broken == "no file":
        path.unlink()
    elif broken == "no json":
        path.with_suffix(".json").write_text("{")
    assert not is_written(path, "other" if broken == "another key" else "key")


def test_equal_arrays_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, {"x": np.linspace(0, 1, 50), "y": np.eye(3)}, "key", {})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_family_is_corrected_over_all_bundles(tmp_path):
    """Nineteen permutations: a cell is compared with the larger of both bundles' maxima in each."""
    rest = [1.0] * 17
    parts = {"A": permutations([3.0, 0.5], [[4.0, 1.0, *rest]]), "B": permutations([5.0], [[1.0, 2.0, *rest]])}
    for bundle, arrays in parts.items():
        write_arrays(map_file(tmp_path, "m", bundle, "1D", "permutations", "npz"), arrays, "key", {})
    for statistic in ("max", "tfce"):
        chosen = PermutationSettings(19, statistic)
        fwe, alone = stored(tmp_path, ["A", "B"], mode="perm", permutation=chosen).permuted("fa", "group")
        np.testing.assert_allclose(fwe, [2 / 20, 20 / 20, 1 / 20])
        np.testing.assert_array_equal(alone, [0.5, 0.5, 0.5])
    cluster = PermutationSettings(19, "cluster")
    fwe, _ = stored(tmp_path, ["A", "B"], mode="perm", permutation=cluster).permuted("fa", "group")
    np.testing.assert_array_equal(fwe, [1, 1, 1])


def test_correlations_come_by_bundle(tmp_path):
    for k, bundle in enumerate("AB"):
        path = map_file(tmp_path, "m", bundle, "1D", "residuals", "npz")
        write_arrays(path, {"fa": np.full((2, 2), k), "md": np.zeros((2, 2))}, "key", {})
    found = stored(tmp_path, ["A", "B"]).correlations("fa")
    assert list(found) == ["A", "B"]
    assert found["B"][0, 1] == 1


def test_permutations_are_out_of_date_when_the_fits_their_number_seed_or_exchange_change():
    chosen = PermutationSettings(99, random_seed=1)
    site, people = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])
    keys = [
        permutation_key("fits", chosen, [Exchange(site, None, "")]),
        permutation_key("other", chosen, [Exchange(site, None, "")]),
        permutation_key("fits", PermutationSettings(100, random_seed=1), [Exchange(site, None, "")]),
        permutation_key("fits", PermutationSettings(99, random_seed=2), [Exchange(site, None, "")]),
        permutation_key("fits", chosen, [Exchange(site[::-1], None, "")]),
        permutation_key("fits", chosen, [Exchange(None, site, "")]),
        permutation_key("fits", chosen, [Exchange(site, None, "", people)]),
        permutation_key("fits", chosen, [Exchange(site, None, ""), Exchange(None, None, "")]),
    ]
    assert len(set(keys)) == len(keys)
    other_words = permutation_key("fits", PermutationSettings(99, "max", random_seed=1), [Exchange(site, None, "x")])
    assert other_words == keys[0]
