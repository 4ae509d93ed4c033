from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.file_sets import FileSet

NUMBERS = st.sets(st.integers(1, 2**63 - 1))


@given(NUMBERS)
def test_a_set_reads_back_as_it_was(numbers: set[int]) -> None:
    back = FileSet.decode(FileSet(numbers).encode())
    assert list(back) == sorted(numbers)
    assert len(back) == len(numbers)


@given(NUMBERS, st.integers(1, 2**63 - 1))
def test_it_knows_what_it_holds(numbers: set[int], other: int) -> None:
    found = FileSet(numbers)
    assert all(number in found for number in numbers)
    assert (other in found) == (other in numbers)
    assert "1" not in found


@given(NUMBERS, st.integers(1, 5))
def test_batches_are_the_whole_in_order(numbers: set[int], size: int) -> None:
    batches = list(FileSet(numbers).batches(size))
    assert [number for batch in batches for number in batch] == sorted(numbers)
    assert all(0 < len(batch) <= size for batch in batches)


def test_a_million_in_a_row_are_small() -> None:
    assert len(FileSet(range(1, 1_000_001)).encode()) < 100_000


@pytest.mark.parametrize("encoded", [b"", b"nonsense", b"x\x9c\x03"])
def test_other_bytes_are_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="no file set"):
        FileSet.decode(encoded)
