"""Complete a file of numbered chunks."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from uploads._internal import conf
from uploads._internal.sessions.admission import check_open
from uploads._internal.sessions.complete import await_check, complete, complete_held
from uploads._internal.sessions.receive import receive
from uploads._internal.sessions.rules import ANY, Chunk, Rules
from uploads._internal.sessions.states import move_held
from uploads._internal.transfer.lease import acquire_lease, request_handover
from uploads._internal.transfer.transactions import durable, outside_transaction
from uploads.exceptions import ChunkSizeDiffers, UploadIncomplete
from uploads.models import Mode, State, UploadSession

MISSING_SHOWN = 20


@outside_transaction
def finalize(session: UploadSession, rules: Rules = ANY, *, numbers: Collection[int] | None = None) -> UploadSession:
    """Complete a session whose chunks are all stored; raise UploadIncomplete naming the missing ones.

    ``numbers`` are all chunk numbers that the client has sent, if it reports them. They are required if the size of the
    file is unknown.

    May be repeated, with the same result for as long as the row is kept.
    """
    if session.state == State.COMPLETED:
        return session
    if session.is_finishing:
        return complete(session)
    request_handover(session)
    check_open(session, Mode(session.mode))
    if session.file_size == 0 and session.mode == Mode.UNDECIDED:
        return receive(session, Chunk(iter(()), rules=rules))
    if session.mode != Mode.NUMBERED and not session.is_whole:
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing="")
    with acquire_lease(session) as lease:
        with durable():
            # Locked, so that no chunk is committed between the count and the end of the session.
            locked = UploadSession.objects.select_for_update().get(pk=session.pk)
            if numbers is not None and not locked.size_known:
                locked.file_size, locked.size_known = locked.bytes_stored, True
            if locked.mode == Mode.NUMBERED:
                _require_complete(locked, rules, numbers)
            move_held(
                lease,
                State.COMPLETING,
                keep=True,
                bytes_stored=locked.bytes_stored,
                file_size=locked.file_size,
                size_known=locked.size_known,
                layout=locked.layout,
                upload_id=locked.upload_id,
                attempts=1,
            )
        complete_held(lease, budget=conf.current().COMPLETION_BUDGET)
    return await_check(session)


def _require_complete(session: UploadSession, rules: Rules, numbers: Collection[int] | None) -> None:
    """Raise an error if chunks of a session to be completed are missing or wrong."""
    sizes = {row.number: row.size or 0 for row in session.numbered_chunks.filter(crc32__isnull=False)}
    last = max((*sizes, *(numbers or ())), default=0)
    missing = [*islice((number for number in range(1, last + 1) if number not in sizes), MISSING_SHOWN)]
    unnamed = [] if numbers is None else sorted(set(sizes).difference(numbers))[:MISSING_SHOWN]
    if missing or unnamed or session.bytes_stored != session.file_size:
        text = f"; chunks after {last} are missing"
        if missing or unnamed:
            kind = "missing chunks" if missing else "chunks that are stored, but not named"
            text = f"; {kind}: {', '.join(map(str, missing or unnamed))}"
        raise UploadIncomplete(stored=session.bytes_stored, total=session.file_size, missing=text)
    for number, size in sizes.items():
        if number != last:
            rules.require(size)
            if size != sizes[1]:
                raise ChunkSizeDiffers(number=number, size=size, expected=sizes[1])
