"""The version of the borg that is there: asked once for a file, asked again for another."""

import pytest

from worker.borg_version import borg_version


def program(path, answer, status=0):
    path.write_text(f"#!/bin/sh\necho x >> {path}.calls\necho '{answer}'\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("answer", "version"),
    [("borg 1.2.4", "1.2.4"), ("borg 1.4.0", "1.4.0"), ("borg 2.0.0b14", "2.0.0b14"), ("hello", None), ("", None)],
)
async def test_version_is_what_the_program_says(tmp_path, answer, version):
    assert await borg_version(program(tmp_path / "borg", answer)) == version


async def test_file_is_asked_once_and_a_new_one_again(tmp_path):
    path = tmp_path / "borg"
    for _ in range(3):
        assert await borg_version(program(path, "borg 1.2.4") if not path.exists() else str(path)) == "1.2.4"
    assert (tmp_path / "borg.calls").read_text() == "x\n"
    program(path, "borg 1.4.10")
    assert await borg_version(str(path)) == "1.4.10"


async def test_missing_or_unusable_program_has_no_version(tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "broken").write_text("#!/nowhere/sh\n")
    (tmp_path / "broken").chmod(0o755)
    assert [await borg_version(str(tmp_path / name)) for name in ("nothing", "text", "broken")] == [None] * 3
