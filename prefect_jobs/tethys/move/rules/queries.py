"""Queries: filters of jobs, and what a set of jobs can do."""

import ast
from collections.abc import Iterator

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.kinds import Kinds, What
from prefect_jobs.tethys.move.rules.finding import Finding, fails, works
from prefect_jobs.tethys.move.rules.lookups import instead, is_known

_FILTERING = frozenset({"filter", "exclude", "get", "get_subclass"})
_WITH_FILTERS = frozenset({"list_jobs", "count_jobs", "get_job"})
#: What a QuerySet of Django has, and a set of jobs has not.
_MISSING = frozenset(
    {
        "aggregate",
        "annotate",
        "bulk_create",
        "bulk_update",
        "dates",
        "datetimes",
        "defer",
        "difference",
        "distinct",
        "earliest",
        "extra",
        "get_or_create",
        "in_bulk",
        "intersection",
        "iterator",
        "latest",
        "only",
        "prefetch_related",
        "raw",
        "select_for_update",
        "select_related",
        "union",
        "update",
        "update_or_create",
        "using",
        "values",
        "values_list",
    }
)
_METHODS = (
    "all, get, get_subclass, filter, exclude, order_by, reverse, select_subclasses, create, count, exists, first, "
    "last, delete, slices, or a loop"
)
_UNREADABLE = "the filters cannot be read from the code: see that each is a known one"


def check_queries(code: Code, kinds: Kinds) -> Iterator[Finding]:
    """Calls that ask for jobs."""
    for node in code.nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, method = kinds.of(node.func.value), node.func.attr
        if owner is None:
            continue
        if owner.what is What.SET:
            yield from _check_method(code, node, method)
        elif owner.what is What.MANAGER and method in _WITH_FILTERS:
            for keyword in node.keywords:
                if keyword.arg == "filters":
                    yield from _check_filters(keyword.value)


def _check_method(code: Code, node: ast.Call, method: str) -> Iterator[Finding]:
    if method in _MISSING:
        yield fails(node, f"a set of jobs has no {method}()", _METHODS)
    if method not in _FILTERING:
        return
    for argument in node.args:
        for part in ast.walk(argument):
            if isinstance(part, ast.Call) and code.imported_path(part.func).startswith("django.db.models"):
                yield fails(part, "conditions of Django do not filter jobs", "the filters as keywords")
                break
    for keyword in node.keywords:
        if keyword.arg is None:
            yield from _check_filters(keyword.value)
        elif not is_known(keyword.arg):
            yield _unknown(keyword, keyword.arg)


def _check_filters(node: ast.expr) -> Iterator[Finding]:
    match node:
        case ast.Constant(value=None):
            return
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    if not is_known(key.value):
                        yield _unknown(key, key.value)
                else:
                    yield from _check_filters(value) if key is None else [works(key, _UNREADABLE)]
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            for keyword in node.keywords:
                if keyword.arg is None:
                    yield from _check_filters(keyword.value)
                elif not is_known(keyword.arg):
                    yield _unknown(keyword, keyword.arg)
        case _:
            yield works(node, _UNREADABLE)


def _unknown(node: ast.expr | ast.keyword, lookup: str) -> Finding:
    return fails(node, f"{lookup}: jobs cannot be filtered by this", instead(lookup))
