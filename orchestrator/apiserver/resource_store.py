"""The generic engine: every kind's create, read, update and delete, driven by its row and strategy.

No kind has code here. What differs comes from `Resource.strategy` (defaults, validity, grace), from
admission, and from `Companions`: keys that are written together with an object.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.object_meta import (
    GENERATE_NAME_ATTEMPTS_MAX,
    begin_object,
    keep_system_metadata,
    resource_version_required,
)
from orchestrator.api.patch.managed_fields import track_update
from orchestrator.api.resource import Resource
from orchestrator.apiserver.deletion import check_preconditions, plan_deletion, removable
from orchestrator.apiserver.request_context import DeleteOptions, RequestContext
from orchestrator.apiserver.storage import (
    ClaimRefused,
    Claims,
    Contention,
    KeyExists,
    KeyMissing,
    Storage,
)
from orchestrator.apiserver.stored import Stored, with_revision
from orchestrator.apiserver.watch_cache import WatchCache

Make: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject]]
"""Computes a new object from a copy of the present one; called again after a lost race."""

CLAIM_ATTEMPTS_MAX = 64
"""Times that a write is tried with other claims before it fails."""


class Admission(Protocol):
    """Completes or refuses objects, beyond what their kind's strategy knows."""

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None: ...

    async def admit_delete(self, context: RequestContext, name: str) -> None: ...


class Companions(Protocol):
    """What else a kind keeps in the store beside its objects."""

    completing: bool
    """Whether `claims` changes the new object."""

    async def lease(self, context: RequestContext) -> int:
        """The lease that limits a new object's life; 0 for none."""
        ...

    async def claims(
        self, context: RequestContext, new: JsonObject | None, old: JsonObject | None
    ) -> Claims | None:
        """The keys to take and give back for this change; may complete `new`."""
        ...


class NoCompanions:
    """The companions of nearly every kind."""

    completing = False

    async def lease(self, context: RequestContext) -> int:
        return 0

    async def claims(
        self, context: RequestContext, new: JsonObject | None, old: JsonObject | None
    ) -> Claims | None:
        return None


class _Remove(Exception):
    """Leaves an update: the object is to be removed, as nothing holds it any more."""

    def __init__(self, obj: JsonObject) -> None:
        super().__init__()
        self.object = obj
        self.revision = int(obj["metadata"]["resourceVersion"])


class ResourceStore:
    """All objects of one row. Refusals are `StatusError`s."""

    def __init__(
        self,
        resource: Resource,
        storage: Storage,
        cache: WatchCache,
        root: str,
        admission: Admission,
        companions: Companions | None = None,
    ) -> None:
        self.resource = resource
        self.storage = storage
        self.cache = cache
        self._root = root
        self._admission = admission
        self._companions = companions or NoCompanions()
        self._written_revision = 0
        """Of the latest change that was made here."""

    def known(self, key: bytes) -> Stored | None:
        """Return an object from the cache, if the cache has seen what was changed here."""
        return self.cache.get(key) if self.cache.revision >= self._written_revision else None

    def key(self, namespace: str, name: str) -> bytes:
        return f"{self._root}/{self.resource.storage_key(namespace, name)}".encode()

    async def get(self, namespace: str, name: str) -> Stored:
        """Read one object, linearizably; 404 where there is none."""
        stored = await self.storage.get(self.key(namespace, name))
        if stored is None:
            raise errors.not_found(self.resource, name)
        return stored

    async def create(self, context: RequestContext, obj: JsonObject) -> Stored:
        """Complete, check and store a new object; 409 where its name is taken."""
        check_namespace(context, obj)
        metadata = obj.get("metadata") or {}
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        for _ in range(GENERATE_NAME_ATTEMPTS_MAX):
            candidate = copy_json(obj) if generated else obj
            await self._complete(context, candidate)
            name = candidate["metadata"]["name"]
            try:
                return await self._put_new(context, self.key(context.namespace, name), candidate)
            except KeyExists:
                if not generated:
                    break
        else:
            raise errors.generate_name_conflict(self.resource, metadata["generateName"])
        refusal = errors.already_exists(self.resource, name)
        present = await self.storage.get(self.key(context.namespace, name))
        if present is not None and present.object["metadata"].get("deletionTimestamp"):
            refusal.message = f"object is being deleted: {refusal.message}"
        raise refusal

    async def update(
        self, context: RequestContext, make: Make, *, replacing: bool = False
    ) -> tuple[Stored, bool]:
        """Write what `make` makes of the object; return it and whether it was created.

        `replacing` is a PUT, which has rules of its own: kinds that demand a resourceVersion, and
        kinds that are created when they are missing. A write that empties the finalizers of a
        deleted object removes it.
        """

        async def change(present: JsonObject) -> JsonObject:
            new = await make(copy_json(present))
            self._check_update(context, new, present, replacing)
            if removable(self.resource, new):
                raise _Remove(present)
            return new

        key = self.key(context.namespace, context.name)
        try:
            stored, _ = await self._write(
                context, key, change, context.dry_run, self.cache.get(key)
            )
        except KeyMissing:
            allowed = self.resource.strategy.allow_create_on_update
            if not (replacing and allowed and not context.info.subresource):
                raise errors.not_found(self.resource, context.name) from None
            return await self.create(context, await make({})), True
        return stored, False

    async def rewrite(self, context: RequestContext, make: Make) -> Stored:
        """Write what a subresource's own rules make of the object, past the strategy's.

        An object that was deleted and that nothing holds any more goes.
        """

        async def change(present: JsonObject) -> JsonObject:
            new = await make(copy_json(present))
            if removable(self.resource, new):
                raise _Remove(present)
            return new

        key = self.key(context.namespace, context.name)
        try:
            stored, _ = await self._write(
                context, key, change, context.dry_run, self.cache.get(key)
            )
        except KeyMissing:
            raise errors.not_found(self.resource, context.name) from None
        return stored

    async def delete(
        self, context: RequestContext, name: str, options: DeleteOptions
    ) -> tuple[Stored, bool]:
        """Delete by the rules of `plan_deletion`; return the object and whether it is gone."""
        await self._admission.admit_delete(context, name)

        async def change(present: JsonObject) -> JsonObject:
            check_preconditions(self.resource, present, options)
            planned = plan_deletion(self.resource, copy_json(present), options, context.now)
            if planned is None:
                raise _Remove(present)
            return planned

        key = self.key(context.namespace, name)
        try:
            return await self._write(context, key, change, options.dry_run, self.cache.get(key))
        except KeyMissing:
            raise errors.not_found(self.resource, name) from None

    async def _complete(self, context: RequestContext, obj: JsonObject) -> None:
        """Fill in and check a new object: metadata, defaults, admission, the strategy's rules."""
        strategy = self.resource.strategy
        begin_object(
            obj,
            namespace=context.namespace,
            uid=str(uuid.uuid4()),
            now=context.now,
            random=random.SystemRandom(),
        )
        strategy.default(obj)
        # Before admission: what that adds is nobody's, and no apply may take it away.
        self._track(context, None, obj)
        await self._admission.admit_create(context, obj)
        strategy.prepare_for_create(obj)
        faults = strategy.validate(obj)
        if faults:
            raise errors.invalid(self.resource, obj["metadata"].get("name", ""), faults)
        for text in strategy.warnings(obj):
            context.warn(text)

    def _track(self, context: RequestContext, old: JsonObject | None, new: JsonObject) -> None:
        """Record whose the written fields are; server-side apply has done so itself."""
        if not context.applying:
            track_update(
                self.resource,
                old,
                new,
                manager=context.field_manager,
                now=context.now,
                subresource=context.info.subresource,
            )

    async def _put_new(self, context: RequestContext, key: bytes, obj: JsonObject) -> Stored:
        for _ in range(CLAIM_ATTEMPTS_MAX):
            candidate = copy_json(obj) if self._companions.completing else obj
            claims = await self._companions.claims(context, candidate, None)
            lease = 0 if context.dry_run else await self._companions.lease(context)
            try:
                return await self.storage.create(
                    key, candidate, lease=lease, claims=claims, dry_run=context.dry_run
                )
            except ClaimRefused:
                continue
        raise errors.internal(f"{self.resource.plural}: everything that was tried is taken")

    async def _write(
        self,
        context: RequestContext,
        key: bytes,
        change: Make,
        dry_run: bool,
        known: Stored | None,
    ) -> tuple[Stored, bool]:
        """Update under guard, or remove where `change` says so; (object, whether it is gone)."""
        claims: Claims | None = None

        async def claiming(present: JsonObject) -> JsonObject:
            nonlocal claims
            new = await change(present)
            claims = await self._companions.claims(context, new, present)
            return new

        for _ in range(CLAIM_ATTEMPTS_MAX):
            try:
                stored = await self.storage.update(
                    key, claiming, known=known, claims=lambda _new, _old: claims, dry_run=dry_run
                )
                self._note_write(stored.revision)
                return stored, False
            except _Remove as removal:
                given_back = await self._companions.claims(context, None, removal.object)
                outcome = await self.storage.delete(
                    key, removal.revision, claims=given_back, dry_run=dry_run
                )
                if isinstance(outcome, int):
                    self._note_write(outcome)
                    return with_revision(key, removal.object, outcome), True
            except ClaimRefused:
                pass
            except Contention:
                break
            known = None
        name = key.decode().rpartition("/")[2]
        raise errors.conflict(self.resource, name)

    def _note_write(self, revision: int) -> None:
        self._written_revision = max(self._written_revision, revision)

    def _check_update(
        self, context: RequestContext, new: JsonObject, old: JsonObject, replacing: bool
    ) -> None:
        """Complete and check the replacement of `old` by `new`, by the subresource's rules."""
        resource, strategy = self.resource, self.resource.strategy
        check_namespace(context, new)
        metadata, name = new.setdefault("metadata", {}), old["metadata"]["name"]
        metadata.setdefault("name", name)
        sent = metadata.get("resourceVersion") or ""
        if replacing and sent in ("", "0") and not strategy.allow_unconditional_update:
            raise errors.invalid(resource, name, [resource_version_required()])
        if sent not in ("", "0") and sent != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, name)
        keep_system_metadata(new, old)
        if metadata["uid"] != old["metadata"]["uid"]:
            text = (
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {old['metadata']['uid']}"
            )
            raise errors.conflict(resource, name, text)
        strategy.default(new)
        if context.info.subresource == "status":
            strategy.prepare_status_update(new, old)
            self._track(context, old, new)
            faults = strategy.validate_status_update(new, old)
        else:
            strategy.prepare_for_update(new, old)
            self._track(context, old, new)
            faults = strategy.validate_update(new, old)
        if faults:
            raise errors.invalid(resource, name, faults)
        for text in strategy.warnings(new):
            context.warn(text)


def check_namespace(context: RequestContext, obj: JsonObject) -> None:
    """Check or fill in the namespace of a sent object against the request's; 400 if they differ."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    if not context.resource.namespaced:
        return
    sent = metadata.get("namespace")
    if sent and sent != context.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = context.namespace
