"""The body machines keep the shape of the core's decoders, whatever the cuts."""

import pytest

from penstock.protocol.errors import RemoteProtocolError
from penstock.providers.body import Counted, UntilEnd


def test_a_counted_body_at_every_cut():
    data = b"0123456789rest"
    for cut in range(len(data) + 1):
        body = Counted(10)
        pieces = body.feed(data[:cut]) + body.feed(data[cut:])
        assert b"".join(pieces) == b"0123456789"
        assert body.done
        assert body.unused == b"rest"
        assert body.close() == []


def test_a_piece_is_handed_on_without_copying():
    data = b"x" * 1000
    assert Counted(2000).feed(data)[0] is data
    assert UntilEnd().feed(data)[0] is data


def test_a_short_body_is_a_fault_at_the_end():
    body = Counted(10)
    body.feed(b"123")
    with pytest.raises(RemoteProtocolError) as caught:
        body.close()
    assert caught.value.kind == "truncated_body"


def test_a_body_of_nothing_is_done():
    assert Counted(0).done


def test_a_body_until_the_end_is_done_at_the_end():
    body = UntilEnd()
    assert body.feed(b"all of it") == [b"all of it"]
    assert not body.done
    assert body.close() == []
    assert body.done
