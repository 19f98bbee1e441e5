"""Ids have one spelling and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexnode import ids


@settings(deadline=None)
@given(
    st.integers(0, ids.SHARD_MAX),
    st.integers(0, ids.EPOCH_MAX),
    st.integers(0, ids.SEQUENCE_MAX),
    st.integers(0, ids.INDEX_MAX),
)
def test_an_id_reads_back(shard: int, epoch: int, sequence: int, index: int) -> None:
    key = ids.make_key(sequence, index)
    text = ids.IdFormat(shard, epoch).format(key)
    assert len(text) == ids.ID_DIGITS
    assert ids.parse_id(text) == (shard, epoch, key)
    assert ids.split_key(key) == (sequence, index)
    assert ids.IdFormat(shard, epoch).key_of(text) == key
    assert ids.IdFormat(shard ^ 1, epoch).key_of(text) is None
    assert ids.IdFormat(shard, epoch ^ 1).key_of(text) is None


def test_the_format_is_frozen() -> None:
    # key = 5 * 4096 + 2 = 0x5002
    assert ids.IdFormat(1, 0x20).format(ids.make_key(5, 2)) == "0100200000000000005002"


@settings(deadline=None)
@given(st.integers(0, ids.SEQUENCE_MAX - 1), st.integers(0, ids.INDEX_MAX))
def test_ids_sort_by_age(sequence: int, index: int) -> None:
    id_format = ids.IdFormat(0, 1)
    text = id_format.format(ids.make_key(sequence, index))
    assert text < id_format.format(ids.make_key(sequence + 1, 0))


GOOD = "0000010000000000001000"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        "00000A0000000000001000",
        "0000_10000000000001000",
        "+000010000000000001000",
        "-000010000000000001000",
        " 000010000000000001000",
        "00000g0000000000001000",
        "0x00010000000000001000",
        "0000018000000000000000",  # the key's sign bit
        "000001-000000000000001",
        "000001+000000000000001",
        "000001 000000000000001",
        "000001000000000000000A",
        "000001000000000000100\n",
        "\u0660" * 22,  # ARABIC-INDIC DIGIT ZERO, which int() reads
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    assert ids.parse_id(GOOD).key == 0x1000
    with pytest.raises(ValueError, match="22 lower-case hex"):
        ids.parse_id(text)
    assert ids.IdFormat(0, 1).key_of(text) is None


@settings(deadline=None)
@given(st.text(max_size=24))
def test_no_text_is_read_as_what_it_does_not_spell(text: str) -> None:
    try:
        shard, epoch, key = ids.parse_id(text)
    except ValueError:
        return
    assert ids.IdFormat(shard, epoch).format(key) == text


@pytest.mark.parametrize(("sequence", "index"), [(-1, 0), (0, -1), (0, 4096), (1 << 51, 0)])
def test_a_key_outside_its_range_is_refused(sequence: int, index: int) -> None:
    with pytest.raises(ValueError, match="no key"):
        ids.make_key(sequence, index)


@pytest.mark.parametrize(("shard", "epoch"), [(256, 0), (-1, 0), (0, 65536), (0, -1)])
def test_a_shard_or_epoch_outside_its_range_is_refused(shard: int, epoch: int) -> None:
    with pytest.raises(ValueError, match="no ids"):
        ids.IdFormat(shard, epoch)
