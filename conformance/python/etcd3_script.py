"""Drives a cluster with Python's etcd3: what it does must work as it does against etcd.

Usage: etcd3_script.py HOST:PORT HOST:PORT …   (exit code 0 if all is well)
"""

import sys
import threading
import time

import etcd3


def connect(endpoint):
    host, port = endpoint.rsplit(":", 1)
    return etcd3.client(host=host, port=int(port), timeout=10)


def keys_and_ranges(client):
    client.put("py/a", "1")
    client.put("py/b", "2")
    client.put("py/c", b"\x00\xff")
    value, meta = client.get("py/a")
    assert value == b"1" and meta.key == b"py/a" and meta.version == 1, (value, meta)
    assert client.get("py/none") == (None, None)
    found = [(meta.key, value) for value, meta in client.get_prefix("py/")]
    assert found == [(b"py/a", b"1"), (b"py/b", b"2"), (b"py/c", b"\x00\xff")], found
    found = [meta.key for _, meta in client.get_prefix("py/", sort_order="descend", sort_target="key")]
    assert found == [b"py/c", b"py/b", b"py/a"], found
    found = [meta.key for _, meta in client.get_range("py/a", "py/c")]
    assert found == [b"py/a", b"py/b"], found
    assert client.put_if_not_exists("py/a", "other") is False
    assert client.replace("py/a", "1", "11") is True
    assert client.get("py/a")[0] == b"11"
    assert client.delete("py/c") is True
    assert client.delete("py/c") is False
    assert client.delete_prefix("py/").deleted == 2


def transactions(client):
    client.put("py/txn", "x")
    succeeded, responses = client.transaction(
        compare=[client.transactions.value("py/txn") == "x", client.transactions.version("py/txn") > 0],
        success=[client.transactions.put("py/txn", "y"), client.transactions.get("py/txn")],
        failure=[client.transactions.put("py/txn", "z")],
    )
    assert succeeded and responses[1][0][0] == b"y", (succeeded, responses)
    succeeded, _ = client.transaction(
        compare=[client.transactions.create("py/txn") == 0],
        success=[client.transactions.put("py/txn", "z")],
        failure=[client.transactions.delete("py/txn")],
    )
    assert not succeeded and client.get("py/txn") == (None, None)


def watches(client, other):
    seen = []
    done = threading.Event()

    def note(response):
        for event in response.events:
            seen.append((type(event).__name__, event.key, event.value))
            if len(seen) == 3:
                done.set()

    watch_id = client.add_watch_prefix_callback("py/watch/", note)
    other.put("py/watch/1", "a")
    other.put("py/watch/2", "b")
    other.delete("py/watch/1")
    assert done.wait(10), seen
    assert seen == [
        ("PutEvent", b"py/watch/1", b"a"),
        ("PutEvent", b"py/watch/2", b"b"),
        ("DeleteEvent", b"py/watch/1", b""),
    ], seen
    client.cancel_watch(watch_id)


def leases(client):
    lease = client.lease(3)
    client.put("py/lease", "here", lease)
    assert client.get("py/lease")[0] == b"here"
    info = client.get_lease_info(lease.id)
    assert info.grantedTTL == 3 and list(info.keys) == [b"py/lease"], info
    assert list(lease.refresh())[0].TTL == 3
    deadline = time.monotonic() + 15
    while client.get("py/lease")[0] is not None:
        assert time.monotonic() < deadline, "the key of a lease outlives it"
        time.sleep(0.1)
    lease = client.lease(600)
    client.put("py/lease", "again", lease)
    lease.revoke()
    assert client.get("py/lease")[0] is None


def locks(client, other):
    lock = client.lock("py", ttl=10)
    assert lock.acquire(timeout=5)
    # Waiting for a held lock is broken in etcd3 with newer versions of tenacity, so look at its key.
    assert lock.is_acquired()
    assert other.put_if_not_exists(lock.key, "mine") is False, "a lock has two holders"
    assert lock.release()
    again = other.lock("py", ttl=10)
    assert again.acquire(timeout=5)
    assert again.release()


def cluster(client, count):
    members = list(client.members)
    assert len(members) == count and all(member.client_urls for member in members), members
    status = client.status()
    assert status.leader is not None and status.version, status
    for number in range(5):
        client.put("py/compact", str(number))
    newest = client.get("py/compact")[1].mod_revision
    client.compact(newest - 1)
    assert client.hash() is not None


def main():
    endpoints = sys.argv[1:]
    clients = [connect(endpoint) for endpoint in endpoints]
    for name, run in [
        ("keys and ranges", lambda: [keys_and_ranges(client) for client in clients]),
        ("transactions", lambda: [transactions(client) for client in clients]),
        ("watches", lambda: watches(clients[0], clients[-1])),
        ("leases", lambda: leases(clients[0])),
        ("locks", lambda: locks(clients[0], clients[-1])),
        ("cluster", lambda: cluster(clients[0], len(clients))),
    ]:
        run()
        print("ok", name, flush=True)
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
