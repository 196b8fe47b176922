"""The rooms whose code is mutated, and the tests that are asked."""


def tests(start: str, names: str) -> list[str]:
    """The test files of these names, which begin with `start`."""
    return [f"tests/{start}{name}.py" for name in names.split()]


AUDIT = """summary unequal_twins confirmation evidence allocation plan records record_edges recommend report rounds identity
    openness catalogue sending scenario_edges matrix_grids run outlook untried embedded
    rounds_by_hand settings_at_the_edge audit_by_hand"""
# These kill processes or wait for them, and a machine that is busy may fail them.
WAITING = """killed_at_any_moment_and_started_again_the_table_is_the_same a_timeout_is_a_record
    killed_it_leaves_no_worker_and_started_again_the_table_is_the_same ctrl_c_keeps_what_is_finished_and_exits_130 a_dead_process_costs_its_own_trial_only"""
RULES = "rules rules_at_the_edge rules_by_geometry rules_by_hand rules_contract rules_hostile"
SERVERS = "missing_clients fields_at_the_edge server_checkpoint server_randomness weighting engine"

ROOMS = {  # room -> folder and tests
    # without tests of whole commands, of processes that are killed, and of the browser
    "audit": (
        "auditing",
        [
            *tests("auditing/test_", AUDIT),
            *(f"--deselect=tests/auditing/test_run.py::test_{name}" for name in WAITING.split()),
        ],
    ),
    "search": ("search", ["tests/search"]),
    "defences": (
        "defences",
        ["tests/defences", *tests("scenarios/test_", "acceptance central"), "tests/test_contracts.py"],
    ),
    "aggregators": ("federated/aggregators", tests("federated/test_", f"{RULES} {SERVERS}")),
    "certify": ("certify", ["tests/certify", *tests("attacks/test_", "kkt influence")]),
}

# A default, or another value that is computed on import: the catalogue holds the fields of all plugins.
ON_IMPORT = "tests/auditing/test_catalogue.py::test_the_file_is_what_the_registry_says"
