"""Who asks while things break tells what was lost from what may be lost."""

import asyncio
import contextlib

from benchmarks.witness import BROKEN, EXCUSED, WRONG, Question, Witness, learn

QUESTION = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"


def answer(body: bytes, status: int = 200) -> bytes:
    """A whole HTTP answer."""
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@contextlib.asynccontextmanager
async def serving(serve):
    """The port of a server that runs ``serve`` for each connection, and waits for all of them."""
    running = set()

    async def tracked(reader, writer):
        running.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(tracked, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*running)


async def asked(replies, on_request=lambda _witness, _port: None, clients=1):
    """A witness that stopped after a server had given these replies, in turn.

    A reply of None breaks the connection; readiness is always answered 200.
    """
    waiting, told = list(replies), asyncio.Event()
    witness = None

    async def serve(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(answer(b""))
                continue
            await reader.readexactly(2)
            if witness is not None:
                on_request(witness, writer.get_extra_info("peername")[1])
            if len(waiting) == 1:
                told.set()
            reply = waiting.pop(0) if waiting else answer(b"right")
            if reply is None:
                return
            writer.write(reply)

    async with serving(serve) as port:
        questions = [Question(QUESTION, b"right")]
        witness = Witness(port, questions)
        witness.start(clients)
        await told.wait()
        await witness.stop()
    return witness


def test_answers_are_counted_by_status():
    """A refusal is an answer."""
    witness = asyncio.run(asked([answer(b"right"), answer(b"busy", 503), answer(b"right")]))
    assert witness.outcomes["503"] == 1
    assert witness.outcomes["200"] >= 2
    assert witness.details == []


def test_an_answer_that_is_not_the_right_one_is_told():
    """Somebody else's, for instance."""
    witness = asyncio.run(asked([answer(b"wrong"), answer(b"right")]))
    assert witness.outcomes[WRONG] == 1
    assert "wrong" in witness.details[0]


def test_a_connection_that_breaks_loses_its_request():
    """Unless somebody killed what was at its end."""
    witness = asyncio.run(asked([None, answer(b"right")]))
    assert (witness.outcomes[BROKEN], witness.outcomes[EXCUSED]) == (1, 0)


def test_what_a_killed_frontend_held_is_excused():
    """By the ports of its connections, named before it is killed."""
    witness = asyncio.run(
        asked([None, answer(b"right")], lambda witness, port: witness.excuse([port]))
    )
    assert (witness.outcomes[BROKEN], witness.outcomes[EXCUSED]) == (0, 1)


def test_readiness_that_does_not_fit_the_next_answer_is_a_lie():
    """Ready, and then 503, on one connection."""
    witness = asyncio.run(asked([answer(b"busy", 503)] * 2, clients=0))
    assert witness.lies == {"ready 200, answer 503": 2}
    assert witness.probes == 2


def test_right_answers_are_learnt_from_the_pod():
    """Before anything happens to it."""

    async def serve(reader, writer):
        await reader.readuntil(b"hi")
        writer.write(answer(b"right"))
        await reader.read()

    async def ask():
        async with serving(serve) as port:
            return await learn(port, [QUESTION])

    assert asyncio.run(ask()) == [Question(QUESTION, b"right")]
