"""A short run of broken inputs through every reader; ``benchmarks/fuzz_readers.py`` is the long one."""

from __future__ import annotations

import shutil

import pytest

from tests.fuzz.readers import fuzz, readers

COUNT = 300
SLOW = 5.0  # seconds; a reader that a few bytes can hold up is a fault, whatever the machine


@pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")
def test_broken_inputs_are_refused_or_read_and_nothing_else() -> None:
    for name, (reader, seeds) in readers().items():
        for seed in seeds:
            reader(seed)  # the unbroken ones are read
        result = fuzz(reader, seeds, COUNT)
        assert result.inputs == COUNT
        assert not result.crashes, f"{name}: {result.crashes[0][1]!r}"
        assert 0 < result.refused < COUNT, f"{name}: {result.refused} refused"
        assert result.slowest < SLOW, f"{name}: {result.slowest:.1f} s"
