from types import SimpleNamespace

from app import handler

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 3000)


def test_it_greets_whom_it_is_told():
    assert handler({"name": "Ann"}, CONTEXT) == {"message": "Hello, Ann!"}


def test_it_greets_the_world_otherwise():
    assert handler({}, CONTEXT) == {"message": "Hello, world!"}
