"""The policy that is kept with token vectors: what was saved comes back, and nothing else is taken for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import CorruptIndex, StorageError, UnsupportedVersion
from lsr.rerank import Policy, save_policy, saved_policy
from lsr.rerank.policy_file import FILE

POLICY = Policy(kappa=30, alpha=0.03, beta=4, weight=0.2)

policies = st.builds(
    Policy,
    kappa=st.integers(1, 10_000),
    alpha=st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
    beta=st.none() | st.integers(1, 1000),
    weight=st.none() | st.floats(0, 1),
)


@given(policies)
def test_what_was_saved_comes_back(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> None:
    folder = tmp_path_factory.mktemp("store")
    assert saved_policy(folder) is None
    save_policy(folder, POLICY)
    save_policy(folder, policy, {"measure": "nDCG@10"})
    assert saved_policy(folder) == policy
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_an_alpha_that_prunes_nothing_is_no_alpha(tmp_path: Path) -> None:
    save_policy(tmp_path, Policy(alpha=math.inf))
    assert saved_policy(tmp_path) == Policy()


def test_no_damaged_byte_goes_unnoticed(tmp_path: Path) -> None:
    save_policy(tmp_path, POLICY, {"measure": "nDCG@10", "k": 10})
    whole = (tmp_path / FILE).read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            (tmp_path / FILE).write_bytes(damaged)
            try:
                found = saved_policy(tmp_path)
            except (CorruptIndex, UnsupportedVersion):
                continue
            assert found == POLICY  # white space


@pytest.mark.parametrize(
    "values",
    [
        {"kappa": 0, "alpha": None, "beta": None, "weight": None},
        {"kappa": 10.5, "alpha": None, "beta": None, "weight": None},
        {"kappa": 10, "alpha": "0.1", "beta": None, "weight": None},
        {"kappa": 10, "alpha": True, "beta": None, "weight": None},
        {"kappa": 10, "alpha": None, "beta": None, "weight": math.nan},
        {"kappa": 10, "alpha": None, "beta": None, "weight": None, "gamma": 1},
        {"kappa": 10},
        [10],
        None,
    ],
)
def test_what_is_no_policy_is_refused_whatever_its_checksum(tmp_path: Path, values: object) -> None:
    body = {"magic": "lsr-rerank-policy", "version": 1, "policy": values}
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    (tmp_path / FILE).write_text(json.dumps({**body, "checksum": xxhash.xxh3_128_hexdigest(plain)}))
    with pytest.raises(
        CorruptIndex, match=r"policy\.json: damaged.*remove the file, or write it again with lsr tune --save"
    ):
        saved_policy(tmp_path)


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for content in (b"", b"[]", b"[" * 100_000, b"\xff", b'{"magic": "lsr-rerank-policy"}', b" " * 70_000):
        path.write_bytes(content)
        with pytest.raises(CorruptIndex, match="damaged"):
            saved_policy(tmp_path)
    path.write_text('{"magic": "lsr-rerank-policy", "version": 2, "checksum": "x"}')
    with pytest.raises(UnsupportedVersion, match="written by a newer lsr"):
        saved_policy(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        saved_policy(tmp_path)
