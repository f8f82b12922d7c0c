"""The checksum agrees with the published check value and with itself however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import checksum
from agent.errors import IntegrityMismatch

CHECK = 0xAE8B14860A799888  # of "123456789": the catalogue of parametrised CRC algorithms, CRC-64/NVME


def test_the_check_value_is_the_published_one():
    assert checksum.crc64nvme(b"123456789") == CHECK


def test_a_memoryview_counts_like_its_bytes():
    assert checksum.crc64nvme(memoryview(bytearray(b"..123456789"))[2:]) == CHECK


def test_nothing_has_the_checksum_zero():
    assert checksum.crc64nvme(b"") == checksum.crc64nvme(memoryview(b"")) == 0


@given(first=st.binary(), second=st.binary())
def test_a_run_cut_in_two_has_one_checksum_however_it_is_put_together(first, second):
    whole = checksum.crc64nvme(first + second)
    one, two = checksum.crc64nvme(first), checksum.crc64nvme(second)
    assert checksum.crc64nvme(second, one) == whole
    assert checksum.combine(one, two, len(second)) == whole


@given(st.integers(0, 2**64 - 1))
def test_a_checksum_survives_being_written_and_read(value):
    assert checksum.from_hex(checksum.to_hex(value)) == value
    assert checksum.from_base64(checksum.to_base64(value)) == value


def test_base64_is_big_endian_like_s3():
    assert checksum.to_base64(CHECK) == "rosUhgp5mIg="


@pytest.mark.parametrize("text", ["", "xyz", "00", "g" * 16, "0" * 17, "0" * 14 + "  "])
def test_what_is_not_sixteen_hex_digits_is_refused(text):
    with pytest.raises(IntegrityMismatch):
        checksum.from_hex(text)


@pytest.mark.parametrize("text", ["", "AAAA", "rosUhgp5mIg", "rosU hgp5mIg=", "é"])
def test_what_is_not_eight_bytes_of_base64_is_refused(text):
    with pytest.raises(IntegrityMismatch):
        checksum.from_base64(text)
