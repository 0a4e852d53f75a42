"""multipart/form-data: where the parts stand, and all that two readers could read in two ways."""

import tracemalloc

import pytest

from feeding import same_for_every_cut
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.multipart import Part, Parts, boundary_of, content_type

B = b"----x7"


def part(name, value, more=b"", head=b""):
    return b'Content-Disposition: form-data; name="%b"%b\r\n%b\r\n%b' % (name, more, head, value)


def form(*parts, boundary=B):
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, one) for one in parts) + b"--%b--\r\n" % boundary


def parsed(body, wanted=("model",), **limits):
    return same_for_every_cut(lambda: Parts(B, wanted, **limits), body, splits=300)


AUDIO = part(b"file", b"RIFF\x00\r\n--\r\n----\xff", b'; filename="a.wav"', b"Content-Type: audio/x-wav\r\n")
MODEL = part(b"model", b"whisper-1")


@pytest.mark.parametrize("order", [(AUDIO, MODEL), (MODEL, AUDIO)])
@pytest.mark.parametrize("lead", [b"", b"\r\n"])
def test_parts_in_any_order(order, lead):
    body = lead + form(*order)
    found = parsed(body)
    assert found.fault is None
    by_name = {one.name: one for one in found.results}
    model, file = by_name["model"], by_name["file"]
    assert (model.value, model.filename) == (b"whisper-1", None)
    assert body[model.start : model.end] == b"whisper-1"
    assert (file.value, file.filename) == (None, "a.wav")
    assert body[file.start : file.end] == b"RIFF\x00\r\n--\r\n----\xff"


def test_no_wanted_field_and_an_empty_one():
    at = form(part(b"prompt", b"")).index(b"\r\n\r\n") + 4
    assert parsed(form(part(b"prompt", b""))).results == [Part("prompt", None, at, at)]
    assert parsed(form(part(b"model", b""))).results[0].value == b""


def test_a_form_without_parts():
    assert parsed(b"------x7--").results is None
    assert parsed(b"------x7--").fault is None


@pytest.mark.parametrize(
    ("written", "name", "filename"),
    [
        (b'form-data; name="timestamp_granularities[]"', "timestamp_granularities[]", None),
        (b"Form-Data; NAME=file; filename=a.mp3", "file", "a.mp3"),
        (b'form-data; name="file"; filename="a \\"b\\".mp3"', "file", 'a \\"b\\".mp3'),
        (b'form-data; name="file"; filename="C:\\\\bc"', "file", "C:\\\\bc"),
        (b'form-data; name="file"; filename="a;b.mp3"', "file", "a;b.mp3"),
        (b'form-data; name="file"; filename="a%22b.mp3"', "file", "a%22b.mp3"),
        ('form-data; name="file"; filename="запись.mp3"'.encode(), "file", "запись.mp3"),
        (b"form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.mp3", "file", "UTF-8''%e2%82%ac.mp3"),
        (b'form-data; name="file"; filename="x"; filename*=UTF-8\'\'y', "file", "x"),
    ],
)
def test_names(written, name, filename):
    (found,) = parsed(form(b"content-disposition:%b\r\nContent-Transfer-Encoding: binary\r\n\r\nx" % written)).results
    assert (found.name, found.filename) == (name, filename)


SPOILT = {
    "text before the first delimiter": (b"hello\r\n" + form(MODEL), "bad_delimiter"),
    "another boundary": (form(MODEL, boundary=b"----x8"), "bad_delimiter"),
    "a longer boundary": (form(MODEL, boundary=b"----x78"), "bad_delimiter"),
    "text behind the last delimiter": (form(MODEL) + b"x", "bad_delimiter"),
    "a second form": (form(MODEL) + form(MODEL), "bad_delimiter"),
    "padding behind a delimiter": (form(MODEL).replace(b"x7\r\n", b"x7 \r\n"), "bad_delimiter"),
    "bare line ends": (form(MODEL).replace(b"\r\n", b"\n"), "bad_delimiter"),
    "a delimiter on a bare line": (form(part(b"file", b"x\n------x7\ny"), MODEL), "bad_delimiter"),
    "a delimiter in mid-line": (form(part(b"file", b"x------x7"), MODEL), "bad_delimiter"),
    "a delimiter right behind the headers": (form(b'Content-Disposition: form-data; name="a"\r\n'), "bad_delimiter"),
    "no headers": (form(b"\r\nx", MODEL), "bad_part"),
    "no name": (form(b"Content-Disposition: form-data\r\n\r\nx"), "bad_part"),
    "an empty name": (form(part(b"", b"x")), "bad_part"),
    "another disposition": (form(b'Content-Disposition: attachment; name="a"\r\n\r\nx'), "bad_part"),
    "no disposition": (form(b"Content-Type: text/plain\r\n\r\nx"), "bad_part"),
    "two dispositions": (form(part(b"a", b"x", head=b"content-disposition: form-data\r\n")), "bad_part"),
    "a folded header": (form(part(b"a", b"x", head=b" folded: x\r\n")), "bad_part"),
    "no colon": (form(part(b"a", b"x", head=b"folded\r\n")), "bad_part"),
    "a bare LF in the headers": (form(part(b"a", b"x", head=b"x: y\nz: 1\r\n")), "bad_part"),
    "NUL in the headers": (form(part(b"a", b"x", b"\x00")), "bad_part"),
    "two names": (form(part(b"a", b"x", b'; name="b"')), "bad_part"),
    "an extended name": (form(part(b"a", b"x", b"; name*=UTF-8''model")), "bad_part"),
    "a name in pieces": (form(part(b"a", b"x", b'; name*0="model"')), "bad_part"),
    "a file name in pieces": (form(part(b"a", b"x", b'; filename*0="a"')), "bad_part"),
    "another extended parameter": (form(part(b"a", b"x", b"; x*=utf-8''y")), "bad_part"),
    "a quote that some see open": (form(part(b"a", b"x", b'; filename="\\\\"; x="; name=model; y="')), "bad_part"),
    "a quote that some see closed": (form(part(b"a", b"x", b'; filename="\\"; name=model; y=\\""')), "bad_part"),
    "a quote that some see closed later": (form(part(b"a", b"x", b'; filename="; \\"; name=model"')), "bad_part"),
    "a model that is a file": (form(part(b"model", b"x", b'; filename="m"')), "bad_part"),
    "a model that is a file by another name": (form(part(b"model", b"x", b"; filename*=utf-8''m")), "bad_part"),
    "an escape in a name": (form(part(b"mo\\del", b"x")), "bad_part"),
    "broken parameters": (form(part(b"a", b"x", b"; filename=")), "bad_part"),
    "base64": (form(part(b"a", b"x", head=b"Content-Transfer-Encoding: base64\r\n")), "bad_part"),
    "a model twice": (form(MODEL, AUDIO, MODEL), "repeated_field"),
    "cut in a value": (form(AUDIO)[:-15], "truncated_body"),
    "cut in a header": (form(AUDIO)[:30], "truncated_body"),
    "cut in the last delimiter": (form(AUDIO)[:-3], "truncated_body"),
    "cut in its line end": (form(AUDIO)[:-1], "truncated_body"),
    "nothing": (b"", "truncated_body"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_two_readers_could_read_in_two_ways_is_refused_wherever_it_is_cut(what):
    body, kind = SPOILT[what]
    assert parsed(body).fault[0] == kind


def test_limits():
    body = form(part(b"a", b"1"), part(b"model", b"x" * 100))
    assert parsed(body, max_value_bytes=100, max_parts=2, max_header_bytes=46).fault is None
    assert parsed(body, max_value_bytes=99).fault == ("field_too_large", body.index(b"xx") + 99)
    assert parsed(body, max_parts=1).fault[0] == "too_many_parts"
    assert parsed(body, max_header_bytes=43).fault[0] == "part_header_too_large"
    spoilt = form(part(b"model", b"x" * 100 + b"------x7"))
    assert parsed(spoilt, max_value_bytes=90).fault[0] == "field_too_large"
    assert parsed(spoilt, max_value_bytes=200).fault == ("bad_delimiter", spoilt.index(b"x------x7") + 1)


def test_a_large_file_is_not_kept():
    machine = Parts(B, ("model",))
    head, _, tail = form(part(b"file", b"@"), MODEL).partition(b"@")
    machine.feed(head)
    piece = b"\r\n------x" * 4096
    tracemalloc.start()
    for _ in range(100):
        assert machine.feed(piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(piece)
    assert [one.name for one in machine.feed(tail)] == ["file", "model"]


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; Boundary="a b?c"', b"a b?c"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
    ],
)
def test_boundaries(header, boundary):
    assert boundary_of(header) == boundary
    assert boundary_of(content_type(boundary)) == boundary


def test_the_header_is_written_anew():
    assert content_type(b"----x7") == "multipart/form-data; boundary=----x7"
    assert content_type(b"a b?c") == 'multipart/form-data; boundary="a b?c"'


@pytest.mark.parametrize(
    "header",
    [
        "application/json",
        "multipart/mixed; boundary=abc",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a "',
        'multipart/form-data; boundary="a\\"b"',
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=a; boundary*=utf-8''b",
        "multipart/form-data; boundary=a; boundary*0=b",
        "multipart/form-data; boundary=a; x=b",
        "multipart/form-data; boundary=a; charset=utf-7",
    ],
)
def test_what_names_no_boundary(header):
    with pytest.raises(RemoteProtocolError) as caught:
        boundary_of(header)
    assert caught.value.kind == "bad_boundary"
