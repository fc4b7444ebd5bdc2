"""Pieces made one ahead: in order, once, no more than one, and with their errors in their place."""

import threading
import time

import pytest

from unish.utils.prefetch import prefetch


@pytest.mark.parametrize("count", [0, 1, 5])
def test_pieces_come_in_order(count):
    assert list(prefetch(lambda number: number**2, range(count))) == [number**2 for number in range(count)]


def test_one_piece_is_made_while_another_is_used_and_no_more():
    begun = [threading.Event() for _ in range(4)]
    pieces = prefetch(lambda number: begun[number].set() or number, range(4))
    assert not begun[0].is_set()
    assert next(pieces) == 0 and begun[1].wait(10)
    time.sleep(0.05)
    assert not begun[2].is_set()
    pieces.close()


def test_an_error_comes_when_it_is_the_pieces_turn():
    def make(number):
        if number == 1:
            raise ValueError(number)
        return number

    pieces = prefetch(make, range(3))
    assert next(pieces) == 0
    with pytest.raises(ValueError, match="1"):
        next(pieces)
