"""The API server: Kubernetes' REST interface over TLS, its state in the etcd v3 API.

The path of a request, file by file:

1. `front` finds out who asks (`authentication`), whether they may (`authorization`) and whether
   there is room; it turns everything that goes wrong into a Status. What is no resource goes to
   `discovery`, `openapi`, `health` or `metrics`.
2. `request_info` has read the path; `resource_handler` finds the row of the resource table, reads
   the body (`body`), and picks the form of the answer (`negotiation`, `responses`).
3. `resource_store` is the engine: defaults and rules from the row's strategy, `admission`,
   `deletion`'s plan, and keys that are written together with an object (`service_allocation`,
   `event_leases`). Lists are in `listing` and `continue_token`, watches in `watching`, server-side
   apply in `applying`, all other subresources in `subresources` and `pod_log`.
4. `storage` writes by guarded transactions; `watch_cache` follows the store with one watch a kind
   and fans it out. Both deal in `stored` objects, which stay bytes until somebody looks inside.

`server` assembles all this; `bootstrap` makes the first objects; `compaction` bounds the history.
Nothing in here knows a kind by name but `admission`, `bootstrap`, `deletion` (namespaces and the
oldest controller's default), and the subresources of pods and namespaces.
"""
