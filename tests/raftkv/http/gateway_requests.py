"""Requests of the JSON gateway that a real etcd and raftkv must answer alike, in this order.

The order matters: both sides begin empty, so that revisions are equal as well.
"""

import base64
import json
from dataclasses import dataclass


def b64(text: str | bytes) -> str:
    """Encode a key or value as the gateway wants it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@dataclass(frozen=True)
class Request:
    """A request; `text` is False where only the status is compared: the words are a library's."""

    path: str
    body: str
    text: bool = True
    method: str = "POST"

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body[:70]}"


def ask(path: str, text: bool = True, **body: object) -> Request:
    """Make a request of a JSON object."""
    return Request(path, json.dumps(body), text)


A, B, C, ALL = b64("a"), b64("b"), b64("c"), b64(b"\0")

KV = [
    ask("/v3/kv/range", key=A),
    ask("/v3/kv/put", key=A, value=b64("1")),
    ask("/v3/kv/put", key=A, value=b64("2"), prev_kv=True),
    ask("/v3beta/kv/put", key=B, value=b64("1")),
    ask("/v3/kv/put", key=b64("c-empty")),
    ask("/v3/kv/put", key=A, ignore_value=True),
    ask("/v3/kv/put", key=A, value=A, ignore_value=True),
    ask("/v3/kv/put", key=C, ignore_value=True),
    ask("/v3/kv/put", key=A, value=A, lease="12345"),
    ask("/v3/kv/put", key=A, lease=7, ignore_lease=True),
    ask("/v3/kv/put"),
    ask("/v3/kv/put", key=b64(b"\xff\x00\xfe"), value=b64(bytes(range(256)))),
    ask("/v3/kv/range", key=b64(b"\xff\x00\xfe")),
    ask("/v3/kv/range", key=A),
    ask("/v3/kv/range", key=ALL, range_end=ALL),
    ask("/v3/kv/range", key=ALL, rangeEnd=ALL, limit=1),
    ask("/v3/kv/range", key=ALL, range_end=ALL, limit="2", keys_only=True),
    ask("/v3/kv/range", key=ALL, range_end=ALL, count_only=True),
    ask("/v3/kv/range", key=ALL, range_end=ALL, sort_order="DESCEND", sort_target="MOD"),
    ask("/v3/kv/range", key=ALL, range_end=ALL, sort_order=2, sort_target=1),
    ask("/v3/kv/range", key=ALL, range_end=ALL, sortOrder="ASCEND", sortTarget="VALUE"),
    ask("/v3/kv/range", key=A, revision="2"),
    ask("/v3/kv/range", key=A, revision="9000"),
    ask("/v3/kv/range", key=A, revision=None, limit=None),
    ask("/v3/kv/range", key=A, serializable=True, unknown={"x": [1, {}]}),
    ask("/v3/kv/range", key=ALL, range_end=ALL, min_mod_revision="4", max_create_revision=5),
    ask("/v3/kv/range"),
    Request("/v3/kv/range", ""),
    Request("/v3/kv/range", "  \n"),
    Request("/v3/kv/range", json.dumps({"key": A}) + "\n"),
    ask("/v3/kv/deleterange", key=B, prev_kv=True),
    ask("/v3/kv/deleterange", key=B),
    ask("/v3/kv/deleterange"),
    ask(
        "/v3/kv/txn",
        compare=[{"key": A, "target": "VALUE", "value": b64("2")}],
        success=[
            {"request_put": {"key": C, "value": A, "prev_kv": True}},
            {"requestRange": {"key": C}},
            {"request_delete_range": {"key": b64("c-empty"), "prev_kv": True}},
        ],
        failure=[{"request_range": {"key": A}}],
    ),
    ask(
        "/v3/kv/txn",
        compare=[{"key": A, "target": "VERSION", "result": "LESS", "version": "1"}],
        success=[{"request_put": {"key": C, "value": A}}],
        failure=[
            {"request_range": {"key": ALL, "range_end": ALL, "limit": 2}},
            {"request_txn": {"success": [{"request_put": {"key": b64("nested")}}]}},
        ],
    ),
    ask("/v3/kv/txn", compare=[{"key": A, "target": "CREATE", "create_revision": "2"}]),
    ask("/v3/kv/txn", compare=[{"key": A, "target": 3, "result": 3, "value": A}]),
    ask("/v3/kv/txn"),
    ask("/v3/kv/txn", success=[{"request_put": {"key": A}}] * 2),
    ask("/v3/kv/txn", success=[{"request_range": {"key": A}}] * 129),
    ask("/v3/kv/txn", success=[{"request_put": {}}]),
    ask("/v3/kv/compaction", revision="3"),
    ask("/v3/kv/compaction", revision="3"),
    ask("/v3/kv/compaction", revision="4", physical=True),
    ask("/v3/kv/compaction", revision="4000"),
    ask("/v3/kv/range", key=A, revision="2"),
    ask("/v3/kv/put", key=A, value=b64("x" * 300_000)),
]

LEASE = [
    ask("/v3/lease/grant", TTL="100", ID="7587"),
    ask("/v3/lease/grant", TTL=100, ID=7587),
    ask("/v3/lease/grant", TTL="9000000001"),
    ask("/v3/kv/put", key=b64("leased"), value=A, lease="7587"),
    ask("/v3/kv/put", key=b64("leased"), value=B, ignore_lease=True),
    ask("/v3/lease/leases"),
    ask("/v3/kv/lease/leases"),
    ask("/v3/lease/timetolive", ID="1"),
    ask("/v3/kv/lease/timetolive", ID="1", keys=True),
    ask("/v3/lease/keepalive", ID="7587"),
    ask("/v3/lease/keepalive", ID="1"),
    ask("/v3/lease/revoke", ID="1"),
    ask("/v3/kv/lease/revoke", ID="7587"),
    ask("/v3/lease/revoke", ID="7587"),
    ask("/v3/kv/range", key=b64("leased")),
]

# One change of membership only: etcd drops a second that follows before the first is applied.
CLUSTER = [
    ask("/v3/cluster/member/remove", ID="1"),
    ask("/v3/cluster/member/add", peerURLs=["127.0.0.1"], text=False),
    ask("/v3/maintenance/alarm"),
    ask("/v3/maintenance/alarm", action="GET"),
    ask("/v3/maintenance/alarm", action="DEACTIVATE", alarm="NOSPACE"),
    ask("/v3/maintenance/defragment"),
    ask("/v3/maintenance/transfer-leadership", targetID="1"),
]

AUTH = [
    ask("/v3/auth/user/list"),
    ask("/v3/auth/role/list"),
    ask("/v3/auth/status"),
    ask("/v3/auth/authenticate", name="root", password="x"),
    ask("/v3/auth/enable"),
    ask("/v3/auth/user/add", name="root", password="secret"),
    ask("/v3/auth/user/add", name="root", password="secret"),
    ask("/v3/auth/user/add", name=""),
    ask("/v3/auth/enable"),
    ask("/v3/auth/role/add", name="reader"),
    ask("/v3/auth/role/add", name="reader"),
    ask("/v3/auth/role/grant", name="reader", perm={"permType": "READ", "key": A, "range_end": B}),
    ask("/v3/auth/role/get", role="reader"),
    ask("/v3/auth/role/get", role="nobody"),
    ask("/v3/auth/user/grant", user="root", role="reader"),
    ask("/v3/auth/user/get", name="root"),
    ask("/v3/auth/user/revoke", name="root", role="reader"),
    ask("/v3/auth/user/changepw", name="root", password="other"),
    ask("/v3/auth/user/delete", name="nobody"),
    ask("/v3/auth/role/revoke", role="reader", key=A, range_end=B),
    ask("/v3/auth/role/delete", role="reader"),
    ask("/v3/auth/user/delete", name="root"),
    ask("/v3/auth/disable"),
]

CONCURRENCY = [
    ask("/v3/lease/grant", TTL="100", ID="99"),
    ask("/v3/lock/lock", name=b64("mutex"), lease="99"),
    ask("/v3/lock/unlock", key=b64("mutex/63")),
    ask("/v3/election/leader", name=b64("election")),
    ask("/v3/election/campaign", name=b64("election"), lease="99", value=b64("me")),
    ask("/v3/election/leader", name=b64("election")),
    ask(
        "/v3/election/proclaim",
        leader={"name": b64("election"), "key": b64("election/63"), "rev": "1", "lease": "99"},
        value=b64("you"),
    ),
    ask("/v3/lease/revoke", ID="99"),
    ask("/v3/election/leader", name=b64("election")),
]

MALFORMED = [
    Request("/v3/kv/range", '{"key":"!!!"}', text=False),
    Request("/v3/kv/range", '{"key":"YQ', text=False),
    Request("/v3/kv/range", '{"key":1}', text=False),
    Request("/v3/kv/range", '{"key":"YQ==","limit":"x"}', text=False),
    Request("/v3/kv/range", '{"key":"YQ==","limit":1.5}', text=False),
    Request("/v3/kv/range", '{"key":"YQ==","limit":"99999999999999999999"}', text=False),
    Request("/v3/kv/range", '{"key":"YQ==","serializable":"yes"}', text=False),
    Request("/v3/kv/range", '{"key":"YQ==","sort_order":"NOPE"}', text=False),
    Request("/v3/kv/range", "[]", text=False),
    Request("/v3/kv/range", '"text"', text=False),
    Request("/v3/kv/range", "{", text=False),
    Request("/v3/kv/txn", '{"compare":{}}', text=False),
    Request("/v3/kv/nothing", "{}", text=False),
    Request("/v3/", "{}", text=False),
    Request("/v3/kv/range", "", text=False, method="GET"),
    Request("/v3/kv/range", "{}", text=False, method="PUT"),
    Request("/v3/kv/range", "{}", text=False, method="DELETE"),
    Request("/v4/kv/range", "{}", text=False),
]
