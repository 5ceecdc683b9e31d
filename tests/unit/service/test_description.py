"""The description of the API holds: whatever it allows is answered, and as it says."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.cli.project import write_config
from tests.unit.service.conftest import serving

HOST = {"host": "127.0.0.1"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_whatever_is_asked_is_answered_as_described(project):
    models = {
        side: {"embedder": f"tests.unit.service.models:{side}_model"} for side in ("old", "new")
    }
    models["new"]["options"] = {}
    write_config(project.parent, **models)
    with serving(project) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=HOST)
        operations = [each.ok() for each in schema.get_all_operations()]
        assert len(operations) == 20
        for operation in operations:
            ask(operation)


def ask(operation):
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def asked(case):
        case.call_and_validate(checks=CHECKS, headers=HOST)

    asked()
