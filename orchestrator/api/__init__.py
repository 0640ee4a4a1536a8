"""What Kubernetes objects are: kinds, defaults, validation, patches, selectors, tables, schemas.

Nothing here performs I/O or knows a clock: objects are JSON dictionaries, and time and randomness
are arguments. The API server, the clients and the controllers share this package.

A request passes through it in this order:

1. `resources.BUILT_IN` names the kind: `Resource`, with its `strategy`.
2. `decode.decode_object(data, media_type, field_validation)` makes an object of a JSON, YAML or
   protobuf body: types checked, unknown and duplicate fields found, nulls dropped.
3. `object_meta.begin_object` (create) or `object_meta.keep_system_metadata` (update), then
   `strategy.default`, `patch.managed_fields.track_update`, `strategy.prepare_for_*` and
   `strategy.validate*`.
4. `patch.apply_patch(resource, media_type, data, obj)` for the four patch types;
   `patch.server_side_apply.apply(resource, live, applied, manager=…, force=…, now=…)` for apply.
5. `selectors.LabelSelector.parse(text).matches(labels)` and
   `selectors.FieldSelector.parse(text, resource).matches(strategy.fields(obj))`.
6. `scale.to_scale(resource, obj)` and `scale.with_scale(resource, obj, scale)` for `/scale`.
7. `table.to_table(resource, objects, now=…, include_object=…)` for `kubectl get`;
   `openapi.index(registry)` and `openapi.document(registry, group_version)` for explain.

Refusals are `errors.StatusError`.
"""
