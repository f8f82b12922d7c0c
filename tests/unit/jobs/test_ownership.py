"""Whose files are whose: by the operator's paths, else by the user if nobody else could have made them."""

from dataclasses import dataclass

import pytest

from agent.jobs.ownership import check_template, is_alone, own_parts, paths_of

TEMPLATES = ("/scratch/{job_id}", "/scratch/{user}/{job_id}", "/scratch/{array_job_id}/task-{array_task_id}")


@dataclass
class Job:
    id: int = 7
    array: int | None = None
    task: int | None = None
    uid: int = 4242
    user: str = "alice"


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_taken_as_it_is(template):
    assert check_template(template) == template


@pytest.mark.parametrize(
    "template",
    [
        "/scratch",
        "/scratch/{user}",
        "/scratch/{array_job_id}",
        "scratch/{job_id}",
        "/scratch/{job}/{job_id}",
        "/scratch/../{job_id}",
        "/scratch//{job_id}",
        "/scratch/{job_id}/",
        "/scratch/{job_id",
        "/scratch/{{job_id}}",
    ],
)
def test_what_could_be_several_jobs_or_another_path_is_refused(template):
    with pytest.raises(ValueError, match=r"."):
        check_template(template)


def test_a_job_has_the_paths_of_the_templates_that_fit_it():
    assert paths_of(Job(), TEMPLATES) == ("/scratch/7", "/scratch/alice/7")
    task = Job(id=9, array=7, task=2)
    assert paths_of(task, TEMPLATES) == ("/scratch/9", "/scratch/alice/9", "/scratch/7/task-2")


@pytest.mark.parametrize("user", ["", "..", ".", "a/b", "../root", "a\0b", "a b", "a\n"])
def test_p8_a_name_that_leads_elsewhere_gives_no_path(user):
    assert paths_of(Job(user=user), TEMPLATES) == ()


def test_a_users_only_job_is_alone_and_another_user_or_itself_is_no_company():
    assert is_alone(Job(), [Job(), Job(id=8, uid=1)])
    assert not is_alone(Job(), [Job(id=8)])


def test_root_is_never_alone():
    assert not is_alone(Job(uid=0), [])


@pytest.mark.parametrize(
    ("path", "shared"),
    [("/scratch/7", 1), ("/scratch/alice/7", 1), ("/scratch/7/task-2", 1), ("/scratch/a/b/c", 0), ("/etc", 0)],
)
def test_what_all_jobs_share_of_a_path_is_no_jobs_own(path, shared):
    assert own_parts(path, TEMPLATES) == shared


def test_a_directory_between_is_everybodys():
    assert own_parts("/scratch/jobs/7", ["/scratch/jobs/{job_id}"]) == 2
