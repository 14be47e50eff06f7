"""The master key: given or made, checked against what the store was sealed under."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import Settings
from penstock.core.master_key import FILE, KEY_BYTES, MasterKey, MasterKeyError, MasterKeys, parse
from penstock.store.memory import MemoryStore


@given(st.binary(), st.binary(), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_what_is_sealed_opens_only_as_it_was_sealed(plain: bytes, name: bytes, raw: bytes) -> None:
    key = MasterKey(raw)
    box = key.seal(plain, name)
    assert key.unseal(box, name) == plain
    assert key.seal(plain, name) != box
    for wrong in (box[:-1], box[:-1] + bytes((box[-1] ^ 1,)), b"", bytes(5)):
        with pytest.raises(MasterKeyError):
            key.unseal(wrong, name)
    with pytest.raises(MasterKeyError):
        key.unseal(box, name + b"x")
    with pytest.raises(MasterKeyError):
        MasterKey(os.urandom(KEY_BYTES)).unseal(box, name)


def test_the_ways_to_write_it() -> None:
    raw = os.urandom(KEY_BYTES)
    for text in (raw.hex().encode(), raw.hex().upper().encode() + b"\n", base64.b64encode(raw) + b"\n", raw):
        assert parse(text).check == MasterKey(raw).check
    for text in (b"", b"password", raw.hex()[:-2].encode(), b"z" * 64, base64.b64encode(raw + b"x")):
        with pytest.raises(MasterKeyError):
            parse(text)


async def test_it_is_made_when_needed_and_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    first = MasterKeys(Settings(), store, tmp_path)
    await first.verify(shared=False)
    assert not (tmp_path / FILE).exists()
    key = await first.get()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    again = MasterKeys(Settings(), store, tmp_path)
    await again.verify(shared=False)
    assert (await again.get()).check == key.check
    given = MasterKeys(Settings(master_key_file=str(tmp_path / FILE)), store, tmp_path / "elsewhere")
    await given.verify(shared=True)
    assert (await given.get()).unseal(key.seal(b"x", b"n"), b"n") == b"x"


async def test_another_key_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await MasterKeys(Settings(master_key=os.urandom(32).hex()), store, tmp_path).get()
    for settings in (Settings(), Settings(master_key=os.urandom(32).hex())):
        with pytest.raises(MasterKeyError, match="another master key"):
            await MasterKeys(settings, store, tmp_path).verify(shared=False)
        with pytest.raises(MasterKeyError, match="another master key"):
            await MasterKeys(settings, store, tmp_path).get()
    with pytest.raises(MasterKeyError, match="cannot be read"):
        await MasterKeys(Settings(master_key_file="/none"), store, tmp_path).verify(shared=False)
    with pytest.raises(MasterKeyError, match="64 hexadecimal digits"):
        await MasterKeys(Settings(master_key="secret"), MemoryStore(), tmp_path).verify(shared=False)


async def test_a_store_that_was_emptied_takes_the_key_anew(tmp_path: Path) -> None:
    store = MemoryStore()
    keys = MasterKeys(Settings(), store, tmp_path)
    key = await keys.get()
    await store.transact(lambda txn: txn.clear(b"", b"\xff"))
    keys.forget()
    assert await keys.get() is key
    with pytest.raises(MasterKeyError):
        await MasterKeys(Settings(master_key=os.urandom(32).hex()), store, tmp_path).verify(shared=False)
