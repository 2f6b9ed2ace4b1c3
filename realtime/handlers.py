"""Channel: the class an author writes for a kind of topic, as a view is written for a kind of URL."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from functools import cached_property
from itertools import chain
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec
from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from .exceptions import Misconfigured, NotJoined
from .payloads import checked_topic, decoder, encode_event, encode_reply
from .protocol.messages import RESERVED_PREFIX, Payload, Ref, Reply

if TYPE_CHECKING:
    from .socket import Socket

Method = TypeVar("Method", bound=Callable[..., Any])


class ReplyRef(msgspec.Struct, frozen=True):
    """The message a reply is for; opaque, kept by whoever answers later."""

    value: Ref


class Port(Protocol):
    """What a channel needs of the actor it lives in.

    joined  has the client been told that it is in
    ref     the message being handled, None outside of handlers
    guest   what its presence is told to, if it has one
    """

    joined: bool
    ref: ReplyRef | None
    guest: Any

    async def push(self, event: str, payload: Payload) -> None: ...
    async def reply(self, ref: ReplyRef, reply: Reply) -> None: ...
    async def broadcast(self, event: str, payload: Payload, *, to_self: bool) -> None: ...
    async def stop(self, reason: str) -> None: ...
    async def subscribe(self, topic: str) -> None: ...
    def unsubscribe(self, topic: str) -> None: ...

    def made(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Take note of a push, reply or broadcast that is to be awaited."""


class PresenceHook(Protocol):
    """What an actor needs of the Presence on its Channel.

    state    is the client sent the whole after its join
    fetcher  what adds to the entries, if anything does
    """

    state: bool

    @property
    def fetcher(self) -> Callable[[str, dict[str, Any]], Any] | None: ...


def handle_in(*events: str) -> Callable[[Method], Method]:
    """Mark the method that answers these events of a client.

        @handle_in("new:message")
        async def new_message(self, message: Message): ...

    The annotation says what the payload must be: nothing (whatever came), dict, bytes (a binary push), or a Struct,
    dataclass or TypedDict; what does not fit is answered "bad payload" and the method is not called. Payloads come from
    strangers: check rights and lengths. Return a dict for reply ok, None for no reply, a Reply for another
    status, or raise Refused.
    """
    return _marking("handle_in", events)


def handle_out(*events: str) -> Callable[[Method], Method]:
    """Mark the method that sees these events of the topic before the client does: once for each joined client.

        @handle_out("new:message")
        async def only_mine(self, payload: dict):
            return payload if payload["to"] in (None, self.user.pk) else None

    Return the payload to send, or None to keep the event from this client. All other events go past it, encoded once
    for everybody; what comes after an intercepted one waits for it.
    """
    return _marking("handle_out", events)


def handle_info(*events: str) -> Callable[[Method], Method]:
    """Mark the method that hears these events of the topics that `self.subscribe` was called with.

    @handle_info("paid")
    async def paid(self, order: dict): ...
    """
    return _marking("handle_info", events)


def _marking(name: str, events: tuple[str, ...]) -> Callable[[Method], Method]:
    for event in events or ("",):
        if not isinstance(event, str) or not event or event.startswith(RESERVED_PREFIX):
            raise Misconfigured(f'{name} takes names of events, as in @{name}("new:message"), not {event!r}')

    def mark(method: Method) -> Method:
        method.__dict__[name] = events
        return method

    return mark


class Requirement(msgspec.Struct, frozen=True):
    """test    (user) -> whether it may; sync or async
    reason  what it is told if not
    """

    test: Callable[[Any], Any]
    reason: str


Target = TypeVar("Target", bound=Callable[..., Any])


def user_passes_test(test: Callable[[Any], Any], *, reason: str = "forbidden") -> Callable[[Target], Target]:
    """Let only those join a channel, or send an event, whose user passes a test; others are answered an error.

        @user_passes_test(lambda user: user.is_staff)
        class AdminChannel(Channel): ...

    It goes on a Channel class, on its join, or on a method of handle_in, above or below that.
    """

    def require(target: Target) -> Target:
        found = (*getattr(target, "requirements", ()), Requirement(test, reason))
        target.requirements = found  # type: ignore[attr-defined]
        return target

    return require


def permission_required(*permissions: str, reason: str = "forbidden") -> Callable[[Target], Target]:
    """The same for those who have all of these permissions: @permission_required("chat.add_message")."""
    if not permissions or not all(isinstance(name, str) for name in permissions):
        raise Misconfigured(f'permission_required takes permissions, as in "chat.add_message", not {permissions!r:.80}')
    return user_passes_test(lambda user: user is not None and user.has_perms(permissions), reason=reason)


def _noticed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let the port see what is made of an async method, so that a forgotten await can be noticed."""

    @functools.wraps(method)
    def call(self: Channel, *args: Any, **kwargs: Any) -> Any:
        coroutine = method(self, *args, **kwargs)
        self._port.made(coroutine)
        return coroutine

    return markcoroutinefunction(call)


class Handler:
    """How to call one method of an author: is it async, and what must its payload be."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.is_async = iscoroutinefunction(function)
        self.requirements: tuple[Requirement, ...] = ()

    @cached_property
    def takes_payload(self) -> bool:
        return len(inspect.signature(self.function).parameters) > 1

    @cached_property
    def kind(self) -> Any:
        """What the payload must be. Raises Misconfigured where the annotation cannot be resolved."""
        annotation = list(inspect.signature(self.function).parameters.values())[1].annotation
        if isinstance(annotation, str):  # from __future__ import annotations
            try:
                annotation = eval(annotation, inspect.unwrap(self.function).__globals__)
            except Exception as error:
                raise Misconfigured(f"the annotation of {self.name}'s payload cannot be resolved: {error}") from error
        return Any if annotation in (inspect.Parameter.empty, object) else annotation

    @cached_property
    def _convert(self) -> Callable[[Payload], Any]:
        return decoder(self.kind)

    def arguments(self, payload: Payload) -> tuple[Any, ...]:
        """Return what to call the method with. Raises Refused for a payload that does not fit."""
        return (self._convert(payload),) if self.takes_payload else ()


class Channel:
    """Handles one kind of topic. One instance lives for each joined topic of each socket.

    class RoomChannel(Channel):
        async def join(self, payload, room):        # the route's captured values come as keywords
            if room != "lobby":
                raise Refused("unauthorized")

    `join` must be written: nobody is let in by default. Its payload, as every payload, comes from a stranger.
    It returns None or the response of the join, or raises Refused. Methods may be sync or async; those of one
    channel run one at a time, in the order of the messages. An exception ends this channel only.

    topic    "rooms:lobby"
    socket   the socket it was joined over; `user` is the socket's
    params   the values captured by the route
    assigns  a dict for your own use, copied from the socket's at the join
    log      False keeps its joins and leaves out of the log
    """

    log: ClassVar[bool] = True
    requirements: ClassVar[tuple[Requirement, ...]] = ()
    handlers: ClassVar[dict[str, Handler]] = {}
    interceptors: ClassVar[dict[str, Handler]] = {}
    listeners: ClassVar[dict[str, Handler]] = {}
    joiner: ClassVar[Handler]
    greeter: ClassVar[Handler | None] = None
    presence_hook: ClassVar[PresenceHook | None] = None

    def __init__(self, socket: Socket, topic: str, params: dict[str, Any], port: Port) -> None:
        self.socket = socket
        self.topic = topic
        self.params = params
        self.assigns = dict(socket.assigns)
        self._port = port

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_requirements(cls)
        cls.handlers = _marked(cls, "handle_in")
        cls.interceptors = _marked(cls, "handle_out")
        cls.listeners = _marked(cls, "handle_info")
        cls.joiner = _handler(cls, "join")
        cls.greeter = Handler(cls.after_join) if cls.after_join is not Channel.after_join else None
        cls.presence_hook = _presence(cls)

    # What an author writes

    def _no_join(self, payload: Any, **params: Any) -> Any:
        raise Misconfigured(f"{type(self).__name__} has no join method: write one that lets in, or raises Refused")

    join: Callable[..., Any] = _no_join

    def after_join(self, payload: Any) -> Any:
        """Run when the client knows that it is in: the place for the first push or broadcast. Sync or async."""

    def terminate(self, reason: str) -> Any:
        """Run once when a channel that was joined ends, whatever the cause. Sync or async.

        reason  "left", "closed" (the socket is gone), "draining" (its server ends), "dismissed" (the socket was told to
                go), "duplicate join", "crash", "resync" (messages may have been lost, the client is told to rejoin),
                "refused" (the engine was away when `join` had returned), or what `stop` was given
        """

    # What an author calls

    @property
    def user(self) -> Any:
        return self.socket.user

    @property
    def ref(self) -> ReplyRef:
        """The message being handled; keep it to answer later. Raises NotJoined where there is none."""
        if self._port.ref is None:
            raise NotJoined(
                "there is no message to reply to: take self.ref inside an event handler, not in join or later"
            )
        return self._port.ref

    @_noticed
    async def push(self, event: str, payload: Any = None) -> None:
        """Send an event to this client only."""
        self._must_have_joined("push")
        await self._port.push(event, encode_event(event, payload))

    @_noticed
    async def reply(self, ref: ReplyRef, response: Any = None, *, status: str = "ok") -> None:
        """Answer the message that `ref` was taken from; from anywhere, and later if need be."""
        self._must_have_joined("reply")
        await self._port.reply(ref, encode_reply(status, {} if response is None else response))

    @_noticed
    async def broadcast(self, event: str, payload: Any = None) -> None:
        """Send an event to everybody on this topic; inside `join`, to those already there."""
        await self._port.broadcast(event, encode_event(event, payload), to_self=self._port.joined)

    @_noticed
    async def broadcast_from(self, event: str, payload: Any = None) -> None:
        """Send an event to everybody on this topic but this client."""
        await self._port.broadcast(event, encode_event(event, payload), to_self=False)

    async def subscribe(self, topic: str) -> None:
        """Hear another topic too: its events come to the methods marked with handle_info. Once for each is enough.

        Ends with the channel, or by `self.unsubscribe`. Raises InvalidTopic and EngineUnavailable.
        """
        await self._port.subscribe(checked_topic(topic))

    def unsubscribe(self, topic: str) -> None:
        """Hear it no more."""
        self._port.unsubscribe(topic)

    @_noticed
    async def stop(self, reason: str = "stopped") -> None:
        """End this channel once the running handler has returned; the client is told, and does not rejoin."""
        await self._port.stop(str(reason))

    # private

    def _must_have_joined(self, verb: str) -> None:
        if not self._port.joined:
            raise NotJoined(f"{verb} cannot be called inside join: the client is not in yet. Write after_join for that")


def _marked(cls: type, mark: str) -> dict[str, Handler]:
    """Return event -> handler for what a class and its bases mark, the nearest first."""
    names = {event: name for base in reversed(cls.__mro__) for event, name in _declared(base, mark).items()}
    return {event: _handler(cls, name) for event, name in names.items()}


def _handler(cls: type, name: str) -> Handler:
    """Return how to call a method. What its class or a base requires of it is required, whoever overrides it."""
    handler = Handler(getattr(cls, name))
    found = [getattr(vars(base)[name], "requirements", ()) for base in cls.__mro__ if name in vars(base)]
    handler.requirements = tuple(dict.fromkeys(chain.from_iterable(found)))
    return handler


def _check_requirements(cls: type) -> None:
    """Raises Misconfigured where a requirement stands on what no client asks for."""
    for name, value in vars(cls).items():
        is_asked_for = name == "join" or hasattr(value, "handle_in")
        if isinstance(value, FunctionType) and hasattr(value, "requirements") and not is_asked_for:
            raise Misconfigured(
                f"{cls.__name__}.{name}: permission_required and user_passes_test go on a Channel class, on join, or "
                "on a method of handle_in"
            )


def _declared(cls: type, mark: str) -> dict[str, str]:
    """Return event -> name of the method for what this very class marks."""
    found: dict[str, str] = {}
    for name, value in vars(cls).items():
        for event in getattr(value, "__dict__", {}).get(mark, ()):
            if event in found:
                raise Misconfigured(f"{cls.__name__} handles {event!r} twice: in {found[event]} and in {name}")
            found[event] = name
    return found


def _presence(cls: type) -> PresenceHook | None:
    """Return the Presence that a class or one above it has."""
    for base in cls.__mro__:
        names = [name for name, value in vars(base).items() if name != "presence_hook" and _is_presence(value)]
        if len(names) > 1:
            raise Misconfigured(f"{base.__name__} has more than one Presence: {', '.join(names)}")
        if names:
            found: PresenceHook = vars(base)[names[0]]
            return found
    return None


def _is_presence(value: object) -> bool:
    return not isinstance(value, type) and getattr(value, "is_presence", False)
