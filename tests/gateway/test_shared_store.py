"""Replicas share what they know of clients in Redis, sealed."""

import asyncio
import shutil
import socket
import subprocess
import time

import fakeredis
import numpy as np
import pytest
import redis

from honeykeras.gateway.backend import Model
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.policy import Accusation, Clients, Policy
from honeykeras.gateway.rates import Rates
from honeykeras.gateway.shared_store import SharedStore, pack, unpack
from honeykeras.gateway.standing import Standing

PREDICT = "/v1/models/digits:predict"
SECRET = bytes(range(32))


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def make_replica(run, make_gateway, server):
    """Makes gateways that share a Redis."""

    def make(policy=None, secret=SECRET):
        policy = policy or Policy()

        async def connect():
            client = fakeredis.FakeAsyncRedis(server=server)
            return SharedStore("redis://unused", secret, lambda: policy, client=client)

        return make_gateway(policy, store=run(connect()))

    return make


def accused_at(gateways, x, client="10.1.1.1"):
    """The number of the query at which a client is accused that sends inputs to gateways in turns."""
    for count, each in enumerate(x, 1):
        gateway = gateways[count % len(gateways)]
        gateway.predict(each[None], client)
        if gateway.watching.records[-1].accused:
            return count
    return None


def test_a_client_is_accused_at_the_same_query_by_two_replicas_as_by_one(make_replica, make_gateway, marked, digits):
    # One in three, so that it takes a while.
    mixed = np.concatenate([digits.test.x[:120].reshape(60, 2, 8, 8, 1), marked[:, None]], axis=1).reshape(-1, 8, 8, 1)
    alone = accused_at([make_gateway()], mixed)
    assert alone is not None
    assert alone > 3
    assert accused_at([make_replica(), make_replica()], mixed) == alone


def test_requests_at_once_are_all_counted(run, make_replica, digits):
    gateways = [make_replica(), make_replica()]

    async def ask():
        calls = [
            gateways[place % 2].guard.ask(Model("digits"), "", {"inputs": digits.test.x[place : place + 1]}, "me")
            for place in range(30)
        ]
        await asyncio.gather(*calls)

    run(ask())
    assert sorted(record.queries for gateway in gateways for record in gateway.watching.records) == list(range(1, 31))


def test_one_round_trip_a_request(run, make_replica, digits, monkeypatch):
    gateway = make_replica()
    trips = []
    swap = gateway.store._swap

    async def counted(**given):
        trips.append(given)
        return await swap(**given)

    gateway.store._swap = counted
    for place in range(5):
        gateway.predict(digits.test.x[place : place + 1])
    assert len(trips) == 5


def test_what_is_kept_is_sealed_and_names_nobody(run, make_replica, server, marked):
    gateway = make_replica()
    gateway.predict(marked[:5], "203.0.113.77")
    plain = fakeredis.FakeRedis(server=server)
    content = b"".join(key + b"".join(plain.hgetall(key).values()) for key in plain.keys("*"))
    assert b"203.0.113.77" not in content
    assert b"queries" not in content
    standing = dict(gateway.store.known())["203.0.113.77"]
    for ledger in standing.ledgers.values():
        for sums in ledger.sums.values():
            assert not sums.by_class.any() or sums.by_class.astype("<f4").tobytes()[:64] not in content
    assert plain.ttl(plain.keys("*")[0]) > 7 * 86400


def test_another_secret_opens_nothing(make_replica, marked):
    accused_at([make_replica()], marked)
    other = make_replica(secret=b"2" * 32)
    other.predict(marked[:1])
    assert other.watching.records[-1].queries == 1


def test_altered_is_as_if_it_were_not_there(make_replica, server, digits):
    make_replica().predict(digits.test.x[:3])
    plain = fakeredis.FakeRedis(server=server)
    (key,) = plain.keys("*")
    plain.hset(key, "sealed", plain.hget(key, "sealed")[:-1] + b"x")
    gateway = make_replica()
    gateway.predict(digits.test.x[:1])
    assert gateway.watching.records[-1].queries == 1


def test_a_ban_holds_with_all_replicas(make_replica, marked, digits):
    policy = Policy(accusation=Accusation(action="ban"))
    one, other = make_replica(policy), make_replica(policy)
    accused_at([one], marked)
    for gateway in (one, other):
        response = gateway.ask("POST", PREDICT, json={"instances": digits.test.x[:1].tolist()})
        assert response.status_code == 403


class TestOutage:
    def test_open(self, make_replica, server, digits):
        gateway = make_replica()
        gateway.predict(digits.test.x[:2])
        server.connected = False
        gateway.predict(digits.test.x[2:4])
        assert gateway.watching.records[-1].queries == 4
        assert not gateway._run(gateway.store.is_healthy())
        server.connected = True
        gateway.predict(digits.test.x[4:6])
        assert gateway.watching.records[-1].queries == 6

    def test_closed(self, make_replica, server, digits):
        gateway = make_replica(Policy(clients=Clients(without_store="closed")))
        gateway.predict(digits.test.x[:2])
        server.connected = False
        response = gateway.ask("POST", PREDICT, json={"instances": digits.test.x[:1].tolist()})
        assert response.status_code == 503
        assert response.json() == {"error": "The model is not available"}
        server.connected = True
        gateway.predict(digits.test.x[:1])
        assert gateway.watching.records[-1].queries == 3

    def test_without_its_data_replicas_tell_it_what_they_remember(self, make_replica, server, digits, marked):
        one, other = make_replica(), make_replica()
        accused_at([one, other], marked)
        fakeredis.FakeRedis(server=server).flushall()
        one.predict(digits.test.x[:1])
        assert one.watching.records[-1].accused
        other.predict(digits.test.x[:1])
        assert other.watching.records[-1].accused


def test_a_standing_is_packed_and_unpacked(run, make_gateway, marked):
    gateway = make_gateway()
    gateway.predict(marked)
    standing = dict(gateway.store.known())["10.1.1.1"]
    again = unpack(pack(standing))
    for name in ("queries", "flags", "first_seen", "last_seen", "accused_at", "accused_on", "banned_until"):
        assert getattr(again, name) == getattr(standing, name)
    np.testing.assert_array_equal(again.told.codes, standing.told.codes)
    np.testing.assert_array_equal(again.told.labels, standing.told.labels)
    assert again.evidence.accused_at == standing.evidence.accused_at
    assert again.evidence.statistic == pytest.approx(standing.evidence.statistic, rel=1e-3)
    assert unpack(pack(Standing())).queries == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
class TestReal:
    """The same with a real Redis, which is killed and comes back."""

    @pytest.fixture
    def port(self, tmp_path):
        self.folder = tmp_path
        self.process = None
        self.start()
        yield self.number
        self.process.kill()
        self.process.wait()

    def start(self):
        if self.process is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.number = free.getsockname()[1]
        options = ["--port", str(self.number), "--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.number)
        for _ in range(100):
            try:
                if client.ping():
                    return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("redis-server does not answer")

    def test_rates_are_counted_together_and_heed_an_outage(self, run, port):
        async def statuses(without_store, count):
            policy = Policy(clients=Clients(rate="3/minute", without_store=without_store))
            found = []
            for place in range(count):
                try:
                    await rates[place % 2].check(policy, "me")
                    found.append("OK")
                except RequestError as error:
                    found.append(error.code)
            return found

        async def connect():
            return [Rates(SECRET, f"redis://127.0.0.1:{port}/0") for _ in range(2)]

        rates = run(connect())
        assert run(statuses("open", 5)) == ["OK", "OK", "OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        assert b"me" not in b"".join(redis.Redis(port=port).keys("*"))
        self.process.kill()
        self.process.wait()
        assert run(statuses("open", 1)) == ["OK"]
        assert run(statuses("closed", 1)) == ["UNAVAILABLE"]
        for each in rates:
            run(each.close())

    def test_killed_and_started_anew(self, run, make_gateway, port, marked, digits):
        async def connect():
            return SharedStore(f"redis://127.0.0.1:{port}/0", SECRET, Policy)

        stores = [run(connect()) for _ in range(2)]
        gateways = [make_gateway(store=store) for store in stores]
        assert accused_at(gateways, marked) is not None
        self.process.kill()
        self.process.wait()
        gateways[0].predict(digits.test.x[:1])
        assert gateways[0].watching.records[-1].accused
        assert not run(stores[0].is_healthy())
        self.start()
        for gateway in gateways:
            gateway.predict(digits.test.x[:1])
            assert gateway.watching.records[-1].accused
        assert run(stores[0].is_healthy())
        for store in stores:
            run(store.close())
