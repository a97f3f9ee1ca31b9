"""Calls: jobs, their functions, tables and their actions."""

import ast
from collections.abc import Iterator

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.kinds import Kind, Kinds, What
from prefect_jobs.tethys.move.names import ACTION, APP_CLASS, TABLE
from prefect_jobs.tethys.move.rules.finding import Finding, fails, works
from prefect_jobs.tethys.move.rules.imports import CREATE_JOB

_RESULTS = "process_results_function"
_OLD = frozenset({"run_btn", "delete_btn", "status_actions", "show_resubmit_btn", "show_log_btn"})
_KEYWORDS = frozenset(
    {
        "actions",
        "attributes",
        "bordered",
        "classes",
        "column_fields",
        "condensed",
        "data_table_options",
        "delay_loading_status",
        "enable_data_table",
        "hover",
        "jobs",
        "monitor_url",
        "refresh_interval",
        "results_url",
        "reverse_sort",
        "show_actions",
        "show_detailed_status",
        "show_status",
        "sort",
        "striped",
    }
)
_CALLBACKS = frozenset({"callback_or_url", "enabled_callback"})
_CALLBACK_POSITIONS = slice(1, 3)
_WITHOUT_CONDOR = frozenset({"BasicJob", "DaskJob"})


def check_calls(code: Code, kinds: Kinds) -> Iterator[Finding]:
    """Calls whose receiver is one of ours."""
    for node in code.nodes:
        if isinstance(node, ast.Assign):
            yield from _check_assignment(kinds, code, node)
        if not isinstance(node, ast.Call):
            continue
        ours = code.ours(node.func)
        name = ours.name if ours is not None and not ours.rest else None
        if name == TABLE:
            yield from _check_table(code, kinds, node)
        elif name == ACTION:
            yield from _check_action(code, kinds, [*node.args], {each.arg: each.value for each in node.keywords})
        elif (kind := kinds.of(node)) is not None and kind.what is What.JOB:
            yield from _check_new_job(code, kinds, node)
        if isinstance(node.func, ast.Attribute):
            yield from _check_method(kinds, node, node.func)


def _check_table(code: Code, kinds: Kinds, node: ast.Call) -> Iterator[Finding]:
    for keyword in node.keywords:
        if keyword.arg is None:
            yield works(keyword.value, f"the keywords of {TABLE} cannot be read from the code")
        elif keyword.arg in _OLD:
            yield works(keyword, f"{keyword.arg}: works with a DeprecationWarning", "actions=[…]")
        elif keyword.arg not in _KEYWORDS:
            yield fails(keyword, f"{TABLE} takes no {keyword.arg}", f"one of {', '.join(sorted(_KEYWORDS))}")
        elif keyword.arg == "actions":
            actions = kinds.value(keyword.value)
            if isinstance(actions, ast.List | ast.Tuple):
                for action in actions.elts:
                    yield from _check_listed_action(code, kinds, action)


def _check_listed_action(code: Code, kinds: Kinds, action: ast.expr) -> Iterator[Finding]:
    match action:
        case ast.Constant(value="log"):
            yield works(action, "the action 'log' works with a DeprecationWarning", "'logs'")
        case ast.Tuple() | ast.List():
            yield from _check_action(code, kinds, action.elts, {})
        case ast.Dict():
            keys = [str(key.value) if isinstance(key, ast.Constant) else None for key in action.keys]
            yield from _check_action(code, kinds, [], dict(zip(keys, action.values, strict=True)))


def _check_action(
    code: Code, kinds: Kinds, positional: list[ast.expr], keywords: dict[str | None, ast.expr]
) -> Iterator[Finding]:
    callbacks = [*positional[_CALLBACK_POSITIONS], *(value for key, value in keywords.items() if key in _CALLBACKS)]
    for callback in callbacks:
        if reason := _not_importable(code, kinds, callback):
            yield works(callback, f"{reason} works in a single process only", "a function of a module")


def _check_new_job(code: Code, kinds: Kinds, node: ast.Call) -> Iterator[Finding]:
    for keyword in node.keywords:
        if keyword.arg == _RESULTS:
            yield from _check_results(code, kinds, keyword.value)
        elif keyword.arg == "template_name":
            yield fails(keyword, "template_name: there are no job templates", CREATE_JOB)


def _check_assignment(kinds: Kinds, code: Code, node: ast.Assign) -> Iterator[Finding]:
    for target in node.targets:
        if isinstance(target, ast.Attribute) and target.attr == _RESULTS and _is_job(kinds.of(target.value)):
            yield from _check_results(code, kinds, node.value)


def _check_results(code: Code, kinds: Kinds, function: ast.expr) -> Iterator[Finding]:
    if reason := _not_importable(code, kinds, function):
        message = f"{reason} cannot be the {_RESULTS}: another process cannot import it"
        yield fails(function, message, "a function of a module")


def _check_method(kinds: Kinds, node: ast.Call, function: ast.Attribute) -> Iterator[Finding]:
    if function.attr == "set_jobs_templates":
        yield fails(node, "set_jobs_templates: there are no job templates", CREATE_JOB)
    elif function.attr == "job_templates":
        owner = kinds.of(function.value)
        if owner is not None and (owner.what is What.MANAGER or owner.name == APP_CLASS):
            yield fails(node, "job_templates: there are no job templates", CREATE_JOB)
    elif function.attr == "execute":
        owner = kinds.of(function.value)
        if owner is None or owner.what is not What.JOB or owner.name in _WITHOUT_CONDOR:
            return
        for keyword in node.keywords:
            if keyword.arg == "options" and isinstance(kinds.value(keyword.value), ast.List | ast.Tuple):
                yield fails(keyword, "options takes no list", 'a dict of submit commands: {"priority": 5}')


def _is_job(kind: Kind | None) -> bool:
    return kind is not None and kind.what is What.JOB


def _not_importable(code: Code, kinds: Kinds, function: ast.expr) -> str:
    """What a function is that other processes cannot import; empty if they can, or if that is not clear."""
    value = kinds.value(function)
    if isinstance(value, ast.Lambda):
        return "a lambda"
    if kinds.is_local(function):
        return "a function inside a function"
    if isinstance(value, ast.Call) and code.imported_path(value.func) == "functools.partial":
        return "a partial"
    return ""
