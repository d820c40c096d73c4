"""Who a client is."""

import pytest

from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.identity import Caller, gathered, pseudonym
from honeykeras.gateway.identity import client_of as client_of_caller
from honeykeras.gateway.policy import Clients, digest_of

PROXY = "10.0.0.7"


def client_of(policy, peer, headers, certificate=None):
    return client_of_caller(policy, Caller(peer, gathered(headers.items()), certificate))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        # Anybody can say so.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (PROXY, "198.51.100.1", "198.51.100.1"),
        # What stands before the last address was sent by the client.
        (PROXY, "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        (PROXY, "198.51.100.1, 10.0.0.8", "198.51.100.1"),
        (PROXY, None, PROXY),
        (PROXY, "10.0.0.8", PROXY),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("2001:db8::2:3", None, "2001:db8::/64"),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
        ("local", None, "local"),
    ],
)
def test_by_address(peer, forwarded, expected):
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    assert client_of(Clients(trusted_proxies=["10.0.0.0/8"]), peer, headers) == expected


class TestByHeader:
    policy = Clients(identify="header", header="X-Client-ID", trusted_proxies=["10.0.0.0/8"])

    def test_that_a_proxy_sets(self):
        assert client_of(self.policy, PROXY, {"x-client-id": "alice"}) == "alice"

    @pytest.mark.parametrize(
        ("peer", "headers"),
        [
            ("203.0.113.9", {"x-client-id": "alice"}),
            (PROXY, {}),
            (PROXY, {"x-client-id": "a\nb"}),
            (PROXY, {"x-client-id": "a" * 300}),
        ],
    )
    def test_nobody_else_is_known(self, peer, headers):
        with pytest.raises(RequestError) as caught:
            client_of(self.policy, peer, headers)
        assert caught.value.http_status == 401


class TestByKey:
    policy = Clients(identify="key", keys={"alice": digest_of("secret"), "bob": digest_of("other")})

    @pytest.mark.parametrize("headers", [{"authorization": "Bearer other"}, {"x-api-key": "other"}])
    def test_of_its_own(self, headers):
        assert client_of(self.policy, "203.0.113.9", headers) == "bob"

    @pytest.mark.parametrize("headers", [{}, {"authorization": "Basic secret"}, {"x-api-key": digest_of("secret")}])
    def test_nobody_else_is_known(self, headers):
        with pytest.raises(RequestError) as caught:
            client_of(self.policy, "203.0.113.9", headers)
        assert caught.value.code == "UNAUTHENTICATED"
        assert "secret" not in str(caught.value)


def test_pseudonyms_are_the_same_each_time_and_another_under_another_secret():
    names = [pseudonym(secret, client) for secret in (b"1" * 32, b"2" * 32) for client in ("a", "b")]
    assert len(set(names)) == 4
    assert names[0] == pseudonym(b"1" * 32, "a")


class TestTwice:
    """What a client sent stands beside what a proxy added, and is not taken for it."""

    def test_addresses_are_those_of_the_last_list(self):
        headers = gathered([("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1")])
        policy = Clients(trusted_proxies=["10.0.0.0/8"])
        assert client_of_caller(policy, Caller(PROXY, headers)) == "198.51.100.1"

    @pytest.mark.parametrize(
        ("policy", "name"),
        [(TestByHeader.policy, "x-client-id"), (TestByKey.policy, "x-api-key"), (TestByKey.policy, "authorization")],
    )
    def test_names_and_keys_are_of_nobody(self, policy, name):
        value = "Bearer secret" if name == "authorization" else "secret"
        with pytest.raises(RequestError):
            client_of_caller(policy, Caller(PROXY, gathered([(name, value), (name, value)])))


class TestByCertificate:
    policy = Clients(identify="certificate")

    def test_that_was_shown(self):
        assert client_of(self.policy, "203.0.113.9", {}, "alice") == "alice"

    @pytest.mark.parametrize("certificate", [None, "", "a\nb"])
    def test_nobody_else_is_known(self, certificate):
        with pytest.raises(RequestError):
            client_of(self.policy, PROXY, {"x-client-id": "alice"}, certificate)
