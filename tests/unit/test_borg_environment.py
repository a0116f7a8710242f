import pytest

from jobs.borg.environment import Question, environment

WORKER = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "LANG": "de_DE.UTF-8",
    "TMPDIR": "/var/tmp",
    "LOCUTUS_SECRET_KEY": "s3cret",
    "BORG_PASSPHRASE": "s3cret",
    "BORG_PASSCOMMAND": "cat s3cret",
    "BORG_RSH": "ssh -i other",
    "BORG_HOST_ID": "other",
    "LD_PRELOAD": "other.so",
}


def test_only_the_allowed_part_of_the_workers_environment_is_kept():
    built = environment(WORKER, base_dir=None, passphrase_given=False)
    assert {name: built[name] for name in ("PATH", "HOME", "LANG", "TMPDIR")} == {
        name: WORKER[name] for name in ("PATH", "HOME", "LANG", "TMPDIR")
    }
    assert built.keys().isdisjoint(WORKER.keys() - {"PATH", "HOME", "LANG", "TMPDIR"})
    assert "s3cret" not in " ".join(built.values())


@pytest.mark.parametrize("missing", ["TMPDIR", "LANG"])
def test_what_the_worker_lacks_or_has_empty_is_left_out(missing):
    assert missing not in environment(WORKER | {missing: ""}, base_dir=None, passphrase_given=False)


@pytest.mark.parametrize(("base_dir", "expected"), [("/data/borg", "/data/borg"), (None, None)])
def test_base_directory_is_passed_on_when_given(base_dir, expected):
    assert environment({}, base_dir=base_dir, passphrase_given=False).get("BORG_BASE_DIR") == expected


@pytest.mark.parametrize(("given", "answer"), [(True, "no"), (False, "yes")])
def test_plain_repository_is_only_trusted_where_no_passphrase_was_given(given, answer):
    built = environment({}, base_dir=None, passphrase_given=given)
    assert built["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] == answer


def test_times_exit_codes_and_names_are_the_same_everywhere():
    built = environment(WORKER, base_dir=None, passphrase_given=True)
    assert (built["TZ"], built["LC_ALL"], built["BORG_EXIT_CODES"]) == ("UTC", "C.UTF-8", "modern")


def test_questions_are_answered_yes_only_where_a_person_did():
    variables = {
        Question.RELOCATED: "BORG_RELOCATED_REPO_ACCESS_IS_OK",
        Question.UNENCRYPTED: "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
    }
    for accepted in ((), (Question.RELOCATED,), (Question.UNENCRYPTED,), tuple(Question)):
        built = environment({}, base_dir=None, passphrase_given=False, accepted=accepted)
        assert {question for question, name in variables.items() if built[name] == "yes"} == {*accepted}
        assert {built[name] for name in variables.values()} <= {"yes", "no"}
