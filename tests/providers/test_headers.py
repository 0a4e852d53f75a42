"""Which headers travel: what a policy lets through, and what none does."""

import pytest

from penstock.providers.headers import (
    NEVER,
    NEVER_BEGINNINGS,
    REMEMBERED,
    REQUEST_RULES,
    RESPONSE_RULES,
    HeaderPolicy,
    may_travel,
    rules,
)
from penstock.providers.settings import HeaderRules

REQUESTS = HeaderPolicy(REQUEST_RULES)
ANSWERS = HeaderPolicy(RESPONSE_RULES)
EVERYTHING = HeaderPolicy(HeaderRules(allow=["*"]))


def passed(policy, *names):
    return list(policy.passed([(name, "v") for name in names]))


def test_by_default_a_clients_own_headers_and_traces_go_upstream():
    names = ["x-team", "x-title", "http-referer", "x-client-request-id", "x-request-id", "traceparent", "tracestate"]
    assert passed(REQUESTS, *names) == names


@pytest.mark.parametrize(
    "name",
    [
        *(
            "user-agent",
            "referer",
            "baggage",
            "openai-organization",
            "openai-project",
            "openai-beta",
            "idempotency-key",
        ),
        *(
            "x-auth-request-access-token",
            "x-vault-token",
            "x-amzn-oidc-data",
            "x-goog-iap-jwt-assertion",
            "x-csrftoken",
        ),
        *("x-ms-client-principal", "x-openwebui-user-email", "x-forwarded-user", "x-client-ip", "x-functions-key"),
        *("x-hub-signature-256", "x-requested-with", "x-envoy-attempt-count"),
    ],
)
def test_by_default_nothing_goes_that_may_be_a_secret_or_a_person(name):
    assert passed(REQUESTS, name) == []


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key", "set-cookie"),
        *("host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *(
            "content-length",
            "content-type",
            "content-encoding",
            "expect",
            "accept-encoding",
            "accept",
            "sec-fetch-mode",
        ),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "origin", "if-none-match", "date"),
        *("x-stainless-lang", "x-penstock-timeouts", "x-session-id", "x-accel-redirect", "x-original-url"),
        *("x-http-method-override", "x-sendfile", "access-control-allow-origin", "openai-processing-ms", "x" * 129),
    ],
)
def test_nothing_lets_these_through(name):
    assert not may_travel(name)
    assert passed(EVERYTHING, name) == []
    for changes in ({"rename": {"x-a": name}}, {"rename": {name: "x-a"}}, {"add": {name: "v"}}):
        with pytest.raises(ValueError, match="is no header that can be set or passed on"):
            HeaderPolicy(HeaderRules(allow=["*"], **changes))


def test_what_never_travels_is_written_as_it_is_compared():
    assert all(name == name.lower() for name in (*NEVER, *NEVER_BEGINNINGS))


def test_of_an_answer_limits_and_own_headers_come_back_and_nothing_of_what_stands_before_the_upstream():
    names = ["x-ratelimit-remaining-tokens", "retry-after", "retry-after-ms", "x-should-retry", "x-model-version"]
    hidden = ["server", "set-cookie", "x-powered-by", "x-cache", "x-envoy-upstream-service-time", "cf-ray", "etag"]
    assert passed(ANSWERS, *names, *hidden) == names
    assert ANSWERS.passed([("x-request-id", "req_1")]) == {"x-upstream-request-id": "req_1"}


def test_patterns_are_of_whole_names_in_any_case_and_denying_beats_allowing():
    policy = HeaderPolicy(HeaderRules(allow=["X-*-Id", "abc", "a.c"], deny=["x-SECRET-*"]))
    names = ["x-a-id", "x--id", "x-secret-id", "x-id", "x-a-ids", "abc", "abcd", "axc", "a.c"]
    assert passed(policy, *names) == ["x-a-id", "x--id", "abc", "a.c"]


def test_renaming_and_adding():
    policy = HeaderPolicy(HeaderRules(allow=["x-*"], rename={"X-Team": "X-Cost-Centre"}, add={"X-Via": "penstock"}))
    assert policy.passed([("x-team", "blue"), ("x-other", "1")]) == {"x-cost-centre": "blue", "x-other": "1"}
    assert policy.added == {"x-via": "penstock"}


def test_a_policy_of_nothing_passes_nothing():
    assert passed(HeaderPolicy(HeaderRules()), "x-a", "traceparent") == []
    assert passed(HeaderPolicy(rules(REQUEST_RULES, HeaderRules(allow=[]))), "x-a", "traceparent") == []


def test_what_is_said_later_wins_member_by_member():
    said = rules(REQUEST_RULES, HeaderRules(allow=["a"], add={"x": "1"}), HeaderRules(add={"y": "2"}))
    assert (said.allow, said.add, said.deny) == (["a"], {"y": "2"}, REQUEST_RULES.deny)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\x00", "\xe9", " a", "a\t", "\x7f"])
def test_a_value_that_could_split_or_spoil_a_message_stays_here(value):
    assert EVERYTHING.passed([("x-a", value), ("x-b", "fine")]) == {"x-b": "fine"}
    with pytest.raises(ValueError, match="no header can carry the value of 'x-a'"):
        HeaderPolicy(HeaderRules(add={"x-a": value}))


@pytest.mark.parametrize("name", ["", "a b", "x:y", "x\r\ny", "é", "x[0]", '"'])
def test_names_and_patterns_that_no_header_has_are_refused(name):
    for wrong in ({"allow": [name]}, {"deny": [name]}):
        with pytest.raises(ValueError, match="is no name of a header"):
            HeaderPolicy(HeaderRules(**wrong))
    for wrong in ({"rename": {"x-a": name}}, {"rename": {name: "x-a"}}, {"add": {name: "v"}}):
        with pytest.raises(ValueError, match="is no header that can be set"):
            HeaderPolicy(HeaderRules(**wrong))


def test_what_is_remembered_of_made_up_names_is_bounded():
    policy = HeaderPolicy(REQUEST_RULES)
    for number in range(2 * REMEMBERED):
        assert passed(policy, f"x-{number}") == [f"x-{number}"]
    assert len(policy._known) == REMEMBERED
