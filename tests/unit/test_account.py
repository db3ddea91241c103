"""The process that serves MiniStack."""

import gc
from collections.abc import Iterator

import pytest

from sandbox.calls.account import _keep


@pytest.fixture
def collecting() -> Iterator[None]:
    gc.callbacks.append(_keep)
    yield
    gc.callbacks.remove(_keep)
    gc.unfreeze()


def test_what_outlives_a_full_collection_is_not_walked_again(collecting: None) -> None:
    items = [[number] for number in range(1_000)]
    before = gc.get_freeze_count()
    gc.collect(1)
    assert gc.get_freeze_count() == before
    gc.collect()
    assert gc.get_freeze_count() >= before + len(items)
