"""Schemathesis asks what our OpenAPI document allows, and what it forbids."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sharpv.server.limits import Limits
from tests.server.running import NAME, chat_body

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PATHS = {
    "GET": ("/v1/models", "/health", "/metrics", "/v1/files/{file_id}"),
    "POST": ("/v1/chat/completions", "/v1/files"),
    "DELETE": ("/v1/files/{file_id}",),
}
OPERATIONS = [(method, path) for method, paths in PATHS.items() for path in paths]


@pytest.fixture(scope="module")
def fuzzed(start):
    return start(Limits(answer_tokens=4))


@pytest.fixture(scope="module")
def api(fuzzed):
    return schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")


def test_every_operation_is_asked(api):
    found = [(operation.ok().method.upper(), operation.ok().path) for operation in api.get_all_operations()]
    assert sorted(found) == sorted(OPERATIONS)


ASKED = [
    *(
        (*operation, GenerationMode.POSITIVE, 200 if "{" not in operation[1] else 404)
        for operation in OPERATIONS
    ),
    *(("POST", path, GenerationMode.NEGATIVE, 400) for path in PATHS["POST"]),
]
"""What is asked, how, and a status that must be among the answers."""


@pytest.mark.parametrize(("method", "path", "mode", "status"), ASKED)
def test_no_request_makes_it_fail_or_answer_as_it_does_not_document(api, fuzzed, method, path, mode, status):
    statuses = set()

    @given(case=api[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = NAME  # any other ends at once
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    ask()
    assert status in statuses
    assert fuzzed.post(chat_body())[0] == 200
