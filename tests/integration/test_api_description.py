"""The API does what its description says: whatever a client sends, the answer is one that stands there."""

import asyncio
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.fakes.gateway import ADMIN_TOKEN, served
from webhooks.app import description

# One method that no route has instead of six of them for each path: the same 405 answers each.
SETTINGS = '[phases.coverage]\nunexpected-methods = ["PATCH"]\n'
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_description_is_valid_openapi():
    OpenAPIV31SpecValidator(description()).validate()


async def test_whatever_is_sent_is_answered_as_described(opened_sqlite, tmp_path):
    async with served(opened_sqlite, tmp_path) as api:
        await api.repository()
        job = (await api.post("/api/backup/run", {"repository": "photos"})).json["job_id"]
        await api.post(f"/api/jobs/{job}/cancel")  # the log of one that runs would go on and on
        url = api.client._base_url / "api/openapi.json"
        (tmp_path / "schemathesis.toml").write_text(SETTINGS)
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", str(url),
            "--header", f"Authorization: Bearer {ADMIN_TOKEN}", "--checks", CHECKS, "--phases", "coverage",
            "--generation-deterministic", "--warnings", "off", "--no-color",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
