"""Classes: Django models that extend the job classes, and job templates of apps."""

import ast
from collections.abc import Iterator

from prefect_jobs.tethys.move.code import Code
from prefect_jobs.tethys.move.kinds import Kind, Kinds
from prefect_jobs.tethys.move.names import APP_CLASS, JOB_CLASSES
from prefect_jobs.tethys.move.rules.finding import Finding, fails
from prefect_jobs.tethys.move.rules.imports import CREATE_JOB

_RELATIONS = frozenset({"ForeignKey", "OneToOneField", "ManyToManyField"})


def check_classes(code: Code, kinds: Kinds) -> Iterator[Finding]:
    """Classes that extend ours, and relations of other tables to jobs."""
    inside: set[int] = set()
    for node in code.nodes:
        kind = kinds.of_class(node) if isinstance(node, ast.ClassDef) else None
        if isinstance(node, ast.ClassDef) and kind is not None:
            for finding, call in _fields(code, node, kind):
                inside.add(id(call))
                yield finding
            yield from _templates(node, kind)
    for node in code.nodes:
        if isinstance(node, ast.Call) and id(node) not in inside and _is_relation(code, kinds, node):
            message = "a relation to a job: jobs are not in the tables of the portal"
            yield fails(node, message, "models.IntegerField(…), and keep job.id in it")


def _fields(code: Code, node: ast.ClassDef, kind: Kind) -> Iterator[tuple[Finding, ast.Call]]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call):
                pass
            case _:
                continue
        if not _is_field(code, call):
            continue
        message = f"{node.name}.{name}: a class of jobs has no fields of its own"
        write = f'self.extended_properties["{name}"]' if kind.is_job_class else "a table of your own"
        yield fails(statement, message, write), call


def _templates(node: ast.ClassDef, kind: Kind) -> Iterator[Finding]:
    for statement in node.body:
        if kind.name == APP_CLASS and isinstance(statement, ast.FunctionDef) and statement.name == "job_templates":
            yield fails(statement, "there are no job templates", CREATE_JOB)


def _is_field(code: Code, call: ast.Call) -> bool:
    """Whether a call makes a field of a Django model: models.CharField(…), or a field that was imported."""
    name = _last_name(call.func)
    is_field = (name.endswith("Field") and name != "Field") or name in _RELATIONS
    return is_field and bool(code.imported_path(call.func))


def _is_relation(code: Code, kinds: Kinds, call: ast.Call) -> bool:
    if _last_name(call.func) not in _RELATIONS or not _is_field(code, call):
        return False
    target = call.args[0] if call.args else next((each.value for each in call.keywords if each.arg == "to"), None)
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        app, _, name = target.value.partition(".")
        return app == "tethys_compute" and name.lower() in {each.lower() for each in JOB_CLASSES}
    kind = kinds.of(target)
    return kind is not None and kind.is_job_class


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
