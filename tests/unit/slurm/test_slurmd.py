import pytest

from agent.slurm.slurmd import Slurmd, node_option, running


@pytest.mark.parametrize(
    ("line", "node"),
    [
        ("slurmd -D", ""),
        ("slurmd -D -N n1", "n1"),
        ("slurmd -Nn1", "n1"),
        ("slurmd -DN n1", "n1"),
        ("slurmd -DNn1 -s", "n1"),
        ("/opt/slurm/sbin/slurmd -D -s -N queue1-st-c7gd-1 --conf-server head:6817", "queue1-st-c7gd-1"),
        ("slurmd -f /etc/N.conf -L -N", ""),
        ("slurmd -f /etc/slurm.conf -N n1", "n1"),
        ("slurmd -f/etc/N -N n1", "n1"),
        ("slurmd -F -N n1", "n1"),
        ("slurmd -Ffeature=N -N n1", "n1"),
        ("slurmd --systemd -Z --conf-server=h -N n1", "n1"),
        ("slurmd -N", ""),
        ("slurmd", ""),
    ],
)
def test_the_node_name_is_read_from_the_command_line_as_slurmd_reads_it(line, node):
    assert node_option(line.split()) == node


def process(proc, pid, *argv, comm="slurmd", program="/usr/sbin/slurmd", uids=(0, 0, 0, 0)):
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in argv) + b"\0")
    (folder / "status").write_text(f"Name:\t{comm}\nUid:\t" + "\t".join(map(str, uids)) + "\nGid:\t0\t0\t0\t0\n")
    if program:
        (folder / "exe").symlink_to(program)


def test_a_running_slurmd_is_found_among_others(tmp_path):
    process(tmp_path, 1, "init", comm="systemd")
    process(tmp_path, 70, "slurmstepd: [1.batch]", comm="slurmstepd")
    process(tmp_path, 66, "slurmd", "-N", "n1", program="/opt/slurm/sbin/slurmd (deleted)")
    (tmp_path / "67").mkdir()  # ended while we look
    (tmp_path / "sys").mkdir()
    assert running(tmp_path) == [Slurmd(program="/opt/slurm/sbin/slurmd", node="n1")]


def test_no_slurmd_is_no_error(tmp_path):
    assert running(tmp_path / "nowhere") == []


@pytest.mark.parametrize("uids", [(1000, 1000, 1000, 1000), (1000, 0, 0, 0)])
def test_what_a_user_calls_slurmd_is_not_believed_p8(tmp_path, uids):
    process(tmp_path, 70, "/home/eve/sbin/slurmd", "-N", "n2", program="/home/eve/sbin/slurmd", uids=uids)
    assert running(tmp_path) == []


def test_slurmd_is_found_where_the_kernel_does_not_tell_its_program(tmp_path):
    process(tmp_path, 66, "/opt/slurm/sbin/slurmd", "-D", "-N", "n1", program="")
    process(tmp_path, 67, "slurmd", "-N", "n2", program="")
    assert running(tmp_path) == [Slurmd(program="", node="n2"), Slurmd(program="/opt/slurm/sbin/slurmd", node="n1")]


def test_a_slurmd_that_has_just_ended_is_none(tmp_path):
    process(tmp_path, 66, "", program="")
    assert running(tmp_path) == []
