"""What the source itself must keep to; the direction of imports is checked by import-linter."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "bot", "webhooks", "worker", "cli")
MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}

TRANSACTIONS = {"in_transaction", "atomic", "bulk_create", "bulk_update"}
MAY_OPEN_TRANSACTIONS = {"jobs/database/unit.py", "jobs/database/sqlite.py", "jobs/database/asyncpg.py"}
MAY_SEE_THE_ENVIRONMENT = {
    "jobs/settings.py": "reads the settings",
    "worker/preparation.py": "hands the few variables that borg needs on to it",
    "worker/borg_access.py": "hands the few variables that borg needs on to it",
    "worker/supervisor.py": "gets the descriptors of its pipes in it",
    "worker/ask.py": "hands the few variables that a program needs on to it",
    "webhooks/apprise_calls.py": "hands the few variables that lead outside on to the process that sends",
}
SHELLS = {"create_subprocess_shell", "system", "popen", "getoutput", "getstatusoutput"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(node):
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def root_of(node):
    """The first name of a chain such as `Job.filter(…).update`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return getattr(node, "id", None)


def is_status(keyword):
    return keyword.arg == "status" or (keyword.arg is None and "status" in strings(keyword.value))


def strings(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def status_writes(tree):
    """Lines that write the column `status`; of the tables only `jobs` has one."""
    for node in calls(tree):
        rows = name_of(node.func) in {"update", "update_from_dict"} or (
            root_of(node.func) == "Job" and name_of(node.func) in {"Job", "create", "get_or_create", "update_or_create"}
        )
        if rows and (
            any(map(is_status, node.keywords)) or any("status" in strings(argument) for argument in node.args)
        ):
            yield node.lineno
        if name_of(node.func) == "setattr" and "status" in strings(node):
            yield node.lineno
    # A row can only be meant where the table is known: mypy has every argument annotated.
    if list(named(tree, {"Job"})):
        yield from (
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "status" and isinstance(node.ctx, ast.Store)
        )


def shells(tree):
    for node in calls(tree):
        if name_of(node.func) in SHELLS and root_of(node.func) in {"os", "asyncio", "subprocess", *SHELLS}:
            yield node.lineno
        if any(keyword.arg == "shell" and getattr(keyword.value, "value", True) for keyword in node.keywords):
            yield node.lineno


def environment_uses(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and root_of(node) == "os" and node.attr in {"environ", "environb", "getenv"}:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in {"environ", "getenv"})


def named(tree, names):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and name_of(node) in names:
            yield node.lineno


def offenders(find, allowed=()):
    return [f"{path}:{line}" for path, tree in MODULES.items() if path not in allowed for line in find(tree)]


def test_only_the_lifecycle_writes_the_status_of_a_job():
    assert list(status_writes(MODULES["jobs/lifecycle.py"])), "the scan finds nothing where something is"
    assert offenders(status_writes, {"jobs/lifecycle.py"}) == []


@pytest.mark.parametrize(
    "source",
    [
        "Job.filter(id=1).update(status=x)",
        "rows.update(status=x)",
        "rows.update(**{'status': x})",
        "Job.create(status=x)",
        "Job(status=x)",
        "job: Job = y; job.status = x",
        "job.update_from_dict({'status': x})",
        "setattr(job, 'status', x)",
    ],
)
def test_scan_finds_a_write_of_the_status(source):
    assert list(status_writes(ast.parse(source)))


def test_only_the_unit_of_work_opens_transactions():
    assert offenders(lambda tree: named(tree, TRANSACTIONS), MAY_OPEN_TRANSACTIONS) == []


def test_no_child_process_has_a_shell():
    assert offenders(shells) == []


@pytest.mark.parametrize(
    "source", ["subprocess.run(x, shell=True)", "os.system(x)", "asyncio.create_subprocess_shell(x)", "run(shell=y)"]
)
def test_scan_finds_a_shell(source):
    assert list(shells(ast.parse(source)))


def test_only_the_settings_look_at_the_environment():
    assert offenders(environment_uses, MAY_SEE_THE_ENVIRONMENT) == []


def test_no_exception_for_the_environment_is_left_over():
    unused = [path for path in MAY_SEE_THE_ENVIRONMENT if path not in MODULES or not [*environment_uses(MODULES[path])]]
    assert unused == []


def test_no_module_is_long():
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_function_is_long():
    long = [
        f"{path}:{node.name}"
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def test_no_module_has_a_name_that_says_nothing():
    assert [path for path in MODULES if NAMES_THAT_SAY_NOTHING & {*Path(path).with_suffix("").parts}] == []


@pytest.mark.parametrize("directory", ["tests/unit", "tests/integration", "tests/faults"])
def test_no_test_shares_its_name_with_another(directory):
    doubled = []
    for path in sorted((ROOT / directory).glob("test_*.py")):
        names = [node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
        doubled += [f"{path.name}:{name}" for name in names if names.count(name) > 1]
    assert doubled == []


def test_migrations_are_one_chain():
    """Two that were written side by side would both be the newest: renumber one and have it depend on the other."""
    paths = sorted((ROOT / "jobs/database/migrations").glob("0*.py"))
    behind = [re.search(r"dependencies = \[\('jobs', '(\w+)'\)\]", path.read_text()) for path in paths[1:]]
    assert [found and found[1] for found in behind] == [path.stem for path in paths[:-1]]
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
