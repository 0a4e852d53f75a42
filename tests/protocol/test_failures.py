"""`dialects.failures`: errors in every shape that servers have, one way out."""

import json

import pytest

from penstock.protocol.chat import Failed
from penstock.protocol.dialects import failures

# status, body, expected (status, type, code, part of the message)
HTTP = {
    "openai": (
        401,
        b'{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}',
        (401, "invalid_request_error", "invalid_api_key", "Incorrect API key"),
    ),
    "vllm": (
        400,
        b'{"error":{"message":"The maximum context length is 10","type":"BadRequestError","code":400}}',
        (400, "BadRequestError", "context_length_exceeded", "maximum context length"),
    ),
    "old vllm": (
        404,
        b'{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}',
        (404, "NotFoundError", None, "The model `x` does not exist."),
    ),
    "mistral list": (
        422,
        b'{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stop"],"msg":"Extra"}]}}',
        (422, "invalid_request_error", "unprocessable_entity", "body.stop: Extra"),
    ),
    "fastapi text": (404, b'{"detail":"Not Found"}', (404, "invalid_request_error", None, "Not Found")),
    "fastapi list": (
        422,
        b'{"detail":[{"loc":["body","n",0],"msg":"bad","type":"x"},{"msg":"worse"}]}',
        (422, "invalid_request_error", "unprocessable_entity", "body.n.0: bad; worse"),
    ),
    "gemini list": (
        400,
        b'[{"error":{"code":400,"message":"Bad thing","status":"INVALID_ARGUMENT"}}]',
        (400, "invalid_request_error", None, "Bad thing"),
    ),
    "lm studio": (404, b'{"error":"Unexpected endpoint"}', (404, "invalid_request_error", None, "Unexpected endpoint")),
    "ollama": (404, b'{"error":"model \'x\' not found"}', (404, "invalid_request_error", None, "model 'x' not found")),
    "anthropic": (
        529,
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        (503, "overloaded_error", "upstream_error", "Overloaded"),
    ),
    "llama.cpp loading": (
        503,
        b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}',
        (503, "unavailable_error", "server_is_overloaded", "Loading model"),
    ),
    "llama.cpp context": (
        400,
        b'{"error":{"code":400,"message":"the request is too long","type":"exceed_context_size_error","n_ctx":8}}',
        (400, "exceed_context_size_error", "context_length_exceeded", "too long"),
    ),
    "quota": (
        429,
        b'{"error":{"message":"You exceeded your quota","type":"insufficient_quota","code":"insufficient_quota"}}',
        (429, "insufficient_quota", "insufficient_quota", "quota"),
    ),
    "only a message": (500, b'{"message":"boom","code":17}', (500, "server_error", "upstream_error", "boom")),
    "errors": (400, b'{"errors":["one",{"message":"two"}]}', (400, "invalid_request_error", None, "one; two")),
    "no words": (400, b'{"error":{"foo":1}}', (400, "invalid_request_error", None, '{"foo":1}')),
    "empty object": (502, b"{}", (502, "server_error", "upstream_error", "without saying which")),
    "a number": (500, b"17", (500, "server_error", "upstream_error", "without saying which")),
    "empty": (503, b"", (503, "service_unavailable_error", "server_is_overloaded", "status 503")),
    "plain": (502, b"upstream connect error\n", (502, "server_error", "upstream_error", "upstream connect error")),
    "html": (
        502,
        b"<html><head><title>502 Bad Gateway</title><style>p{}</style></head><body><h1>Oops &amp; sorry</h1>nginx",
        (502, "server_error", "upstream_error", "502 Bad Gateway: Oops & sorry nginx"),
    ),
    "html without a title": (500, b"<p>No</p>", (500, "server_error", "upstream_error", "No")),
    "html with its title only": (500, b"<title>Gone</title>", (500, "server_error", "upstream_error", "Gone")),
    "html whose head has no end": (
        500,
        b"<head><title>Oops<meta x></title><script>var a<BODY class=b><p>Sorry",
        (500, "server_error", "upstream_error", "Oops: Sorry"),
    ),
    "html cut in a script": (500, b"<p>No<script>if (a < b) {", (500, "server_error", "upstream_error", "No")),
    "no html": (500, b"1 < 2 and 3", (500, "server_error", "upstream_error", "1 < 2 and 3")),
    "bad utf-8": (500, b"caf\xe9", (500, "server_error", "upstream_error", "caf\ufffd")),
    "a redirect": (302, b"moved", (502, "invalid_request_error", None, "moved")),
    "parameter": (
        400,
        b'{"error":{"message":"no","type":"","param":"n","code":""}}',
        (400, "invalid_request_error", None, "no"),
    ),
}


@pytest.mark.parametrize("name", HTTP)
def test_c26_an_error_of_any_shape_keeps_its_status_and_its_words(name):
    status, body, (expected, kind, code, words) = HTTP[name]
    failed = failures.decode_error(status, [], body)
    assert (failed.status, failed.type, failed.code) == (expected, kind, code)
    assert words in failed.message


def test_c45_of_a_page_only_the_beginning_is_read_and_each_mark_once():
    page = "<p>Sorry" + " " * 5 * failures.MAX_MESSAGE
    assert failures.decode_error(500, [], (page + "</p>late").encode()).message == "Sorry"
    for broken, marks in (("<" * 9, 0), ("<a " * 9, 0), ("<script" * 9, 1), ("<head>" * 9, 1), ("<title>" * 9, 9)):
        assert len(failures._TAGS.findall(broken)) == marks
        assert len(failures._TITLE.findall(broken)) == broken.count("<title")


@pytest.mark.parametrize(
    "body", [b"[]", b"[[]]", b'{"error":[]}', b"null", b'{"error":{"error":{"message":5}}}', b"[" * 999]
)
def test_c31_nothing_is_raised_for_what_an_upstream_sends(body):
    assert failures.decode_error(500, [], body).message


def test_what_no_retry_can_mend_says_so():
    assert failures.decode_error(429, [], HTTP["quota"][1]).retry is False
    assert failures.decode_error(409).retry is False
    assert failures.decode_error(501).retry is False
    assert failures.decode_error(429).retry is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "3")], 3.0),
        ([("retry-after", "9"), ("retry-after-ms", "1500")], 1.5),
        ([("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], None),
        ([("retry-after", "inf")], None),
        ([], None),
    ],
)
def test_the_time_to_wait_is_kept(headers, seconds):
    assert failures.decode_error(429, headers, b"slow down").retry_after == seconds


def test_a_parameter_and_the_upstream_s_own_object_are_kept():
    failed = failures.decode_error(400, [], HTTP["parameter"][1])
    assert failed.param == "n"
    assert failed.native == {"message": "no", "type": "", "param": "n", "code": ""}


# JSON in a stream or a 200 answer -> status and code, or None where it is no error
FOUND = [
    ({"error": {"message": "m", "code": 502, "metadata": {}}, "choices": []}, (502, "upstream_error")),
    ({"error": {"message": "m", "code": "429"}}, (429, "rate_limit_exceeded")),
    (
        {"error": {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}},
        (400, "tool_use_failed"),
    ),
    ({"error": {"message": "m", "status": "RESOURCE_EXHAUSTED"}}, (429, "rate_limit_exceeded")),
    ({"error": {"message": "m", "type": "overloaded_error"}}, (503, "server_is_overloaded")),
    ({"error": {"message": "m", "type": "who knows"}}, (502, "upstream_error")),
    ({"error": "text"}, (502, "upstream_error")),
    ({"object": "error", "message": "m", "code": 40301}, (502, "upstream_error")),
    ({"type": "error", "code": "x", "message": "m"}, (502, "x")),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, (503, "server_is_overloaded")),
    ({"detail": "m"}, (502, "upstream_error")),
    ([{"error": {"code": 400, "message": "m"}}], (400, None)),
    ({"choices": [{"error": {"message": "m", "code": 503}}]}, (503, "server_is_overloaded")),
    ({"choices": [{"delta": {}, "finish_reason": "error"}]}, (502, "error")),
    (
        {"choices": [{"delta": {}, "finish_reason": "insufficient_system_resource"}]},
        (503, "insufficient_system_resource"),
    ),
    ({"choices": [{"delta": None, "finish_reason": "MALFORMED_FUNCTION_CALL"}]}, (502, "MALFORMED_FUNCTION_CALL")),
    ({"choices": [{"delta": {"content": "x"}, "finish_reason": "MALFORMED_FUNCTION_CALL"}]}, None),
    ({"choices": [{"delta": {}, "finish_reason": "stop"}, "odd"]}, None),
    ({"choices": "odd"}, None),
    ({"choices": [], "detail": "m"}, None),
    ({"error": None, "choices": []}, None),
    ({"error": {}, "usage": {}}, None),
    ([1, 2], None),
    ("text", None),
]


@pytest.mark.parametrize(("value", "expected"), FOUND)
def test_c22_an_error_in_band_is_found_and_classed(value, expected):
    failed = failures.find(value)
    assert (failed and (failed.status, failed.code)) == expected


def test_an_error_goes_out_as_openai_writes_it():
    status, body = failures.encode_error(Failed('say "no"', 404, "invalid_request_error", "model_not_found", "model"))
    assert status == 404
    assert json.loads(body) == {
        "error": {"message": 'say "no"', "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    }
