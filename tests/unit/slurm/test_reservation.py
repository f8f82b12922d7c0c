from datetime import UTC, datetime, timedelta

import pytest

from agent.slurm.command import Scontrol
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.reservation import BlockReservation, reservations
from tests.fakes.slurm import Scripted, said

START = datetime(2026, 11, 26, 11, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)
CREATED = said("Reservation created: hpc-agent-cr-1\n")
UPDATED = said("Reservation updated.\n")
NONE = said("No reservations in the system\n")


def line(name="hpc-agent-cr-1", *, start=START, nodes="n1", state="INACTIVE"):
    """A reservation as Slurm 22.05 prints it, in local time."""
    local = start.astimezone().replace(tzinfo=None).isoformat()
    return (
        f"ReservationName={name} StartTime={local} EndTime=2026-11-26T11:30:00 Duration=00:30:00 Nodes={nodes} "
        "NodeCnt=1 CoreCnt=4 Features=(null) PartitionName=(null) Flags=IGNORE_JOBS,SPEC_NODES TRES=cpu=4 Users=root "
        f"Groups=(null) Accounts=(null) Licenses=(null) State={state} BurstBuffer=(null) Watts=n/a "
        "MaxStartDelay=(null)\n"
    )


def ensuring(*answers):
    scripted = Scripted(list(answers))
    reservation = BlockReservation("cr-1", Scontrol(scripted, "scontrol"))
    return scripted, reservation.ensure("n1", start=START, length=HALF_AN_HOUR)


def test_reservations_are_read_with_their_start_in_utc():
    first, second = reservations(line() + line("maintenance", nodes="(null)", state="ACTIVE"))
    assert (first.name, first.start, first.nodes, first.is_active) == ("hpc-agent-cr-1", START, "n1", False)
    assert (second.name, second.nodes, second.is_active) == ("maintenance", "", True)


def test_no_reservation_is_none():
    assert list(reservations("No reservations in the system\n")) == []


async def test_p5_an_answer_without_a_time_says_nothing():
    _, ensured = ensuring(said("ReservationName=hpc-agent-cr-1 StartTime=soon\n"))
    with pytest.raises(SlurmUnavailable):
        await ensured


async def test_it_is_made_once_without_maint_and_for_root_only():
    scripted, ensured = ensuring(NONE, CREATED, said(line()))
    await ensured
    assert scripted.calls[1] == [
        "scontrol",
        "create",
        "reservation",
        "ReservationName=hpc-agent-cr-1",
        f"StartTime=uts{int(START.timestamp())}",
        "Nodes=n1",
        "Duration=30",
        "Users=root",
        "Flags=ignore_jobs",
    ]


async def test_one_that_is_right_is_left_alone():
    scripted, ensured = ensuring(said(line("other") + line()))
    await ensured
    assert len(scripted.calls) == 1


async def test_a_node_that_another_forestalled_joins_what_is_there():
    duplicate = said(err="Error creating the reservation: Duplicate reservation name", code=1)
    both = said(line(nodes="n[1-2]"))
    scripted, ensured = ensuring(NONE, duplicate, said(line(nodes="n2")), UPDATED, both, said("n1\nn2\n"))
    await ensured
    assert scripted.calls[3][1:] == ["update", "reservation", "ReservationName=hpc-agent-cr-1", "Nodes=n2,n1"]


async def test_an_extension_moves_it():
    old = said(line(start=START - timedelta(days=1)))
    scripted, ensured = ensuring(old, UPDATED, said(line()))
    await ensured
    assert scripted.calls[1][4] == f"StartTime=uts{int(START.timestamp())}"


async def test_one_that_has_begun_is_made_anew_because_slurm_moves_none():
    begun = said(line(start=START - timedelta(days=1), state="ACTIVE"))
    scripted, ensured = ensuring(begun, said(), CREATED, said(line()))
    await ensured
    assert [call[1] for call in scripted.calls] == ["show", "delete", "create", "show"]


async def test_p5_what_slurm_refuses_is_told_after_reading_back():
    refused = said(err="Error creating the reservation: Invalid user id", code=1)
    _, ensured = ensuring(NONE, refused, NONE, refused, NONE, refused)
    with pytest.raises(SlurmRefused, match="Invalid user id"):
        await ensured


async def test_deleting_what_is_gone_is_done():
    gone = said(err="delete_reservation ReservationName=x: Requested reservation is invalid", code=1)
    await BlockReservation("cr-1", Scontrol(Scripted([gone, NONE]), "scontrol")).delete()


async def test_a_deletion_that_fails_is_told():
    down = said(err="slurm_delete_reservation: Unable to contact slurm controller (connect failure)", code=1)
    with pytest.raises(SlurmUnavailable):
        await BlockReservation("cr-1", Scontrol(Scripted([down, said(line())]), "scontrol")).delete()
