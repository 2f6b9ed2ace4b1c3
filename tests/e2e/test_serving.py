"""A project as a developer runs it: runserver with its reloader and the embedded engine, stopped and killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.project import Project
from tests.servers import wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Project]:
    """One project for all of these tests. Whatever they killed, a minute after the last nothing may be left running."""
    with Project() as project:
        yield project
        wait_until(lambda: not project.engine_processes(), "the engine to end by itself", patience=60.0)


@pytest.fixture
def project(folder: Project) -> Iterator[Project]:
    folder.serve()
    yield folder
    folder.interrupt()
    assert "Traceback" not in folder.output
    assert "was destroyed" not in folder.output


async def enter(client: Client, ref: str = "1") -> None:
    """Join the lobby, and hear that one has."""
    await client.join("rooms:lobby", ref=ref)
    await client.until("user:entered")


async def chats(project: Project) -> None:
    """Say something and hear it, then hear another process."""
    async with Client(project.socket_url) as client:
        await enter(client)
        await client.send("1", "2", "rooms:lobby", "new:message", {"content": "hi", "username": "ada"})
        said = (await client.until("new:message"))[4]
        assert (said["content"], said["username"]) == ("hi", "ada")
        await hears_another_process(client, project)


async def hears_another_process(client: Client, project: Project) -> None:
    await asyncio.to_thread(project.manage, "broadcast", "rooms:lobby", "from:outside", "{}")
    await client.until("from:outside")


async def test_the_chat_runs_on_an_engine_that_nobody_started(project: Project) -> None:
    await chats(project)
    assert project.engine_processes().keys() == {"valkey", "supervisor"}


async def test_it_is_stopped_and_started_again_on_the_same_engine(project: Project) -> None:
    await chats(project)
    engine = project.engine_processes()
    project.interrupt()
    project.serve()
    await chats(project)
    assert project.engine_processes() == engine


async def save(project: Project) -> None:
    """Save a file again and again: the reloader does not see what was saved before its first look."""
    while True:
        (project.folder / "chatty" / "channels" / "rooms.py").touch()
        await asyncio.sleep(1)


@pytest.mark.parametrize("cause", ["a file is saved", "Ctrl-C"])
async def test_sockets_are_told_to_come_back(project: Project, cause: str) -> None:
    async with Client(project.socket_url) as idle, Client(project.socket_url) as joined:
        await enter(joined)
        ending = asyncio.create_task(asyncio.to_thread(project.interrupt) if cause == "Ctrl-C" else save(project))
        assert await joined.closed() == 4012
        assert await idle.closed() == 4012
        if cause == "Ctrl-C":
            await ending
        ending.cancel()
    if cause == "Ctrl-C":
        project.serve()


async def test_a_server_that_is_killed_is_started_again(project: Project) -> None:
    await chats(project)
    project.kill()
    project.serve()
    await chats(project)


@pytest.mark.parametrize("victim", ["valkey", "supervisor"])
async def test_an_engine_that_is_killed_comes_back_and_clients_are_told(project: Project, victim: str) -> None:
    async with Client(project.socket_url) as client:
        await enter(client)
        killed = project.engine_processes()
        os.kill(killed[victim], signal.SIGKILL)
        assert await client.until("phx_error") == ["1", "1", "rooms:lobby", "phx_error", {"reason": "resync"}]
        assert not set(project.engine_processes().values()) & set(killed.values())
        await enter(client, ref="2")
        await hears_another_process(client, project)


async def test_a_second_process_keeps_the_engine_and_its_clients(project: Project) -> None:
    with Project(project.folder) as other:
        other.serve()
        async with Client(other.socket_url) as client:
            await enter(client)
            engine = project.engine_processes()
            project.kill()
            await hears_another_process(client, other)
            assert project.engine_processes() == engine
            assert not any(frame[3] == "phx_error" for frame in client.frames)
            project.serve()
            await chats(project)
        other.interrupt()
