"""Which filters of jobs will work."""

#: Fields of a job that can be filtered by.
FIELDS = frozenset(
    {
        "_status",
        "cached_status",
        "completion_time",
        "creation_time",
        "description",
        "execute_time",
        "extended_properties",
        "flow_run_id",
        "groups",
        "id",
        "label",
        "last_status_update",
        "name",
        "pk",
        "process_results_function",
        "remote_id",
        "schedule",
        "scheduler",
        "start_time",
        "status",
        "status_code",
        "status_message",
        "type",
        "user",
        "workspace",
    }
)
LOOKUPS = frozenset({"in", "lt", "lte", "gt", "gte", "contains", "icontains", "startswith", "isnull"})
_PROPERTIES = "extended_properties"
#: Lookups of Django that are written in another way.
_OTHER_WAYS = {"exact": "{0}=…", "range": "{0}__gte=…, {0}__lte=…"}
#: What names a user or a scheduler in Django.
_KEYS = {"user": frozenset({"username", "id", "pk"}), "scheduler": frozenset({"name"}), "groups": frozenset({"name"})}


def is_known(lookup: str) -> bool:
    """Whether a filter of jobs works."""
    field, _, rest = lookup.partition("__")
    if lookup == "user__username":
        return True
    if field == _PROPERTIES and rest:
        return all(rest.split("__"))
    return field in FIELDS and (not rest or rest in LOOKUPS) and not lookup.endswith("__")


def instead(lookup: str) -> str:
    """What to write instead of a filter that does not work."""
    field, _, rest = lookup.partition("__")
    if field not in FIELDS:
        return f"extended_properties__{lookup}=… if the value is kept there, or a field that every job has"
    key, _, after = rest.partition("__")
    if key in _KEYS.get(field, ()):
        if field == "user" and key != "username":
            return "user=…, a username or an object that has one"
        return f"{field}__{after}=…" if after in LOOKUPS else f"{field}=…"
    if rest in _OTHER_WAYS:
        return _OTHER_WAYS[rest].format(field)
    return "one of " + ", ".join(f"{field}__{each}" for each in sorted(LOOKUPS))
