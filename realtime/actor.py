"""Actor: one joined topic of one socket. Calls the Channel, one message at a time, and contains its crash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from django.core.exceptions import PermissionDenied

from .answers import FORBIDDEN, REFUSALS, blame, event_reply, join_reply, refusal, unavailable
from .attendance import Guest
from .exceptions import EngineUnavailable, Refused, ServerEnding
from .forgotten import tell_forgotten
from .framing import Burst
from .handlers import Channel, Handler, ReplyRef, Requirement
from .hub import Sink
from .logs import readable
from .mailbox import Mailbox
from .node import Node
from .order import Order
from .overheard import Ear, Outgoing, Overheard
from .payloads import encode_event
from .protocol.messages import JOIN, LEAVE, PRESENCE_STATE, Broadcast, Frame, Message, Payload, Ref, Reply
from .protocol.serializers import Serializer
from .protocol.session import Join
from .rechecks import Call
from .routing import Match
from .socket import Socket
from .workers import Unwanted

logger = logging.getLogger("realtime.channel")

# Why a channel ends, as its `terminate` is told.
LEFT, CLOSED, DRAINING, DISMISSED, DUPLICATE = "left", "closed", "draining", "dismissed", "duplicate join"
CRASH, RESYNC, REFUSED = "crash", "resync", "refused"
GONE = {CLOSED, DRAINING, DISMISSED}
TOO_OFTEN = {"reason": "crashes too often"}
AHEAD = 64  # what a channel may have to say behind broadcasts that are under way


class Client(Protocol):
    """What an actor needs of the socket it belongs to."""

    serializer: Serializer
    socket: Socket

    @property
    def user_key(self) -> str | None:
        """The primary key of its user, as text; None for nobody."""

    @property
    def outbox(self) -> Sink:
        """What the actor's topic writes to, once the client knows that it is in."""

    def send(self, frame: Frame) -> None:
        """Queue a frame. Never waits."""

    def crashed(self, topic: str) -> bool:
        """Take note that a channel has, and return whether the client may join that topic again at once."""

    def ended(self, actor: Actor, unread: list[Message]) -> None:
        """Forget the actor; `unread` came too late for it."""


class Actor(Mailbox[Message | Overheard]):
    """One joined topic of one socket, with its mailbox.

    It is the Port of its Channel and the Subscriber of the hub. The join is the first message of its mailbox, and makes
    the Channel; frames that come from the hub meanwhile are held until the client has its reply.
    """

    # One lives for each topic of each socket.
    __slots__ = (
        *("_client", "_close", "_ears", "_ending", "_entered", "_held", "_is_doubted", "_is_out", "_made", "_node"),
        *("_order", "_outgoing", "_previous", "channel", "guest", "id", "instance", "intercepts", "joined", "ref"),
        *("serializer", "sink", "topic"),
    )

    channel: Channel

    def __init__(self, join: Join[Match], client: Client, node: Node, previous: Actor | None) -> None:
        super().__init__(join.message)
        self.instance = join.instance
        self.topic = join.instance.topic
        self.id = node.new_id()
        self.serializer = client.serializer
        self._client = client
        self._node = node
        self._previous = previous
        self.joined = False
        self.ref: ReplyRef | None = None
        self.intercepts = bool(self.instance.route.channel.interceptors)
        self._outgoing = 0  # in the mailbox
        self._ears: dict[str, Ear] = {}
        self.guest: Guest | None = None
        self._held: list[Burst] = []
        self.sink: Sink = _Held(self._held)
        self._order = Order()
        self._made: list[Coroutine[Any, Any, None]] | None = None  # by the running handler, under DEBUG
        self._entered = False  # join has returned, so terminate is owed
        self._is_doubted = False  # it was looked at before it was in
        self._is_out = False  # told to go, or its socket is gone: no handler begins, and what one says is not sent
        self._ending: str | None = None
        self._close: dict[str, Any] | None = None  # the payload of a phx_close to send at the end
        self._wake()

    # For the socket

    def deliver(self, message: Message) -> None:
        """Hand over a message of this topic; it is read after those before it."""
        if len(self._items) >= self._node.settings.MAILBOX and message.event != LEAVE:
            overloaded = Reply("error", {"reason": "overloaded"})
            self.sink.put(Burst(self._reply(message.ref, overloaded)))
            return
        self._put(message)

    def end(self, reason: str) -> None:
        """End once the running handler has returned; a socket that is gone comes before every other reason."""
        if self._previous is not None and reason in GONE:
            self._previous.end(reason)
        if self._ending is None or (reason in GONE and self._ending not in GONE):
            self._ending = reason
            self._is_out = reason in GONE or self._is_out
        if reason == DUPLICATE and self.intercepts:
            self._deafen()
        self._wake()

    def expel(self, reason: str) -> None:
        """End it likewise, whatever handler runs, and tell the client why; it is not to rejoin.

        From now on it hears nothing, and a handler that does not return in time is cancelled.
        """
        if self._previous is not None:
            self._previous.expel(reason)
        self._is_out = True
        if self._ending in (None, DUPLICATE):
            self._ending, self._close = reason, {"reason": reason}
            if self.joined:
                self._deafen()
            self._wake()
            self._node.spawn(self.wait(self._node.settings.SHUTDOWN))

    def _deafen(self) -> None:
        """Hear nothing any more, and forget what was heard and not handled."""
        self._node.hub.unsubscribe(self.topic, self)
        for topic in list(self._ears):
            self.unsubscribe(topic)
        self._items = [item for item in self._items if isinstance(item, Message)]

    @property
    def was_replaced(self) -> bool:
        return self._ending == DUPLICATE

    # For the guard

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What is required to get in, and to stay."""
        kind = self.instance.route.channel
        return kind.requirements + kind.joiner.requirements

    async def recheck(self, call: Call) -> None:
        if self._previous is not None:
            await self._previous.recheck(call)
        if not self.joined:
            self._is_doubted = True
        elif self._ending in (None, DUPLICATE):
            try:
                await self._require(self.requirements, call)
            except Refused as refusal:
                self.expel(str(refusal))
            except PermissionDenied:
                self.expel(FORBIDDEN["reason"])
            except ServerEnding:
                pass  # it goes anyway
            except Exception:  # what cannot be found out is no reason to go
                logger.exception("%s failed to tell whether %r may stay", self._name, self.topic)

    # For the hub

    def hear(self, broadcast: Broadcast) -> None:
        """Pass a broadcast on to the client, through the channel's hands if it wants to see it or one before it."""
        if self._outgoing or not self.joined or broadcast.event in self.channel.interceptors:
            self._outgoing += 1
            self.inform(Outgoing(broadcast))
        else:
            self.sink.put(Burst(self.serializer.fastlane(broadcast)))

    def inform(self, item: Overheard) -> None:
        """Hand over what is no message of the client. None is skipped: who is too slow for them joins again."""
        if self.is_over:
            return
        self._put(item)
        if len(self._items) > self._node.settings.MAILBOX + AHEAD:
            self.resync()

    def resync(self) -> None:
        if self.joined and self._ending is None:  # else nothing has been promised to the client yet
            self._say(self.serializer.error(self.topic, self.instance.join_ref, {"reason": RESYNC}))
            self.end(RESYNC)

    # For the channel

    async def push(self, event: str, payload: Payload) -> None:
        if not (self.is_over or self._is_out):
            self._say(self.serializer.push(self.topic, event, payload, self.instance.tag))

    async def reply(self, ref: ReplyRef, reply: Reply) -> None:
        if not (self.is_over or self._is_out):
            self._answer(ref.value, reply)

    async def broadcast(self, event: str, payload: Payload, *, to_self: bool) -> None:
        sent = self._node.send(Broadcast(self.topic, event, payload, None if to_self else self.id), self)
        if self._may_go_on:
            self._order.after(sent)
        else:
            await sent

    @property
    def _may_go_on(self) -> bool:
        """Whether a handler may go on before its broadcast is through: what fails then makes its reply an error.

        Not in `join`, whose caller is not in yet, not for other tasks, whose failure is theirs, and not far ahead of an
        engine that is away or slow.
        """
        return (
            self.joined
            and asyncio.current_task() is self._task
            and len(self._order) < AHEAD
            and self._node.layer.is_open
        )

    async def stop(self, reason: str) -> None:
        if self._ending is None:
            self._close = {"reason": reason}
            self.end(reason)

    async def subscribe(self, topic: str) -> None:
        if topic not in self._ears:
            ear = self._ears[topic] = Ear(self, self._node.new_id())
            try:
                await self._node.hub.subscribe(topic, ear)
            except BaseException:
                self._ears.pop(topic, None)
                raise
            if self.is_over:  # meanwhile
                self.unsubscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        if ear := self._ears.pop(topic, None):
            self._node.hub.unsubscribe(topic, ear)

    def made(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._made is not None:
            self._made.append(coroutine)

    # The mailbox

    def _is_due(self) -> bool:
        """Return whether to end now: a join that has begun is answered first, unless nobody is there to hear it."""
        if self._ending == DUPLICATE:
            # What was sent before the new join was meant for this instance.
            return not any(isinstance(item, Message) for item in self._items)
        return self._ending in GONE or (self._ending is not None and self.joined)

    async def _handle(self, item: Message | Overheard) -> None:
        try:
            if not isinstance(item, Message):
                await self._overhear(item)
            elif item.event == JOIN:
                await self._join(item)
            elif item.event == LEAVE:
                await self._order.drained()
                self._node.hub.unsubscribe(self.topic, self)  # first: after the reply it hears nothing
                self._answer(item.ref, Reply("ok"))
                self._ending, self._close = LEFT, {}
            else:
                await self._event(item)
        except (Unwanted, ServerEnding):  # the latter from where there is nobody to answer
            logger.debug("%s does not handle %r any more", self, item.event)
        except EngineUnavailable as error:  # from after_join, or where there is nobody to answer
            self._end_without(error, item.event)
        except Exception as error:
            logger.exception("%s crashed on %r in %r", self._name, item.event, self.topic)
            self._crash(blame("channel_crash", error, debug=self._node.debug))

    def _end_without(self, error: BaseException, event: str) -> None:
        logger.warning("%s ended on %r in %r: %s", self._name, event, self.topic, error)  # it says all there is to know
        self._crash(unavailable(error))

    def _crash(self, reason: dict[str, Any]) -> None:
        if self._is_out:
            return  # it ends, and its client is not to join again for that
        self._node.hub.unsubscribe(self.topic, self)
        if self._client.crashed(self.topic):
            self._say(self.serializer.error(self.topic, self.instance.join_ref, reason))
            self._ending, self._close = CRASH, None
        else:
            self._ending, self._close = CRASH, TOO_OFTEN

    # Joins

    async def _join(self, message: Message) -> None:
        if self._previous is not None:
            await self._previous.wait(self._node.settings.SHUTDOWN)
        reply = await self._enter(message.payload)
        if self._ending in GONE:
            return
        self._answer_join(reply)
        if logger.isEnabledFor(logging.INFO):
            self._log(
                "JOINED" if reply.status == "ok" else "REFUSED",
                readable(message.payload if reply.status == "ok" else reply.response),
            )
        if self._ending is None and self.channel.greeter is not None:
            await self._call(self.channel.greeter, message.payload)
            self._order.then(self._greeted)

    def _greeted(self) -> None:
        """See whether what after_join has broadcast is through."""
        if (fault := self._order.fault()) and not self.is_over:
            self._end_without(fault, JOIN)
            self._wake()

    async def _enter(self, payload: Payload) -> Reply:
        """Ask the channel, then subscribe: what is broadcast after the reply was sent is never missed."""
        try:
            self._must_be_in()
            route = self.instance.route
            presences = route.channel.presence_hook
            if presences is not None:
                self.guest = Guest(self._node.attendance, self.topic, self.id, presences.fetcher)
            self.channel = route.channel(self._client.socket, self.topic, route.params, self)
            self.channel.assigns.update(route.assigns)
            await self._require(self.requirements)
            self._must_be_in()
            if self.channel.greeter is not None:
                self.channel.greeter.arguments(payload)  # what after_join could not take is refused here
            response = await self._call(self.channel.joiner, payload, **route.params)
            self._entered = True
            reply = join_reply(response, self.channel.joiner.name)
            self._must_be_in()
            await self._node.hub.subscribe(self.topic, self, spared=self._gets_state)
            if self.guest is not None:
                await self.guest.enter()
            self._must_be_in()
            return reply
        except Unwanted:
            return Reply("error", {**(self._close or {}), "retry": False})
        except REFUSALS as error:
            return self._refuse(REFUSED, refusal(error, self._name))
        except Exception as error:
            logger.exception("%s crashed in join of %r", self._name, self.topic)
            return self._refuse(CRASH, self._join_crashed(error))

    def _join_crashed(self, error: Exception) -> dict[str, Any]:
        response = blame("join crashed", error, debug=self._node.debug)
        if self._client.crashed(self.topic):
            return response
        self._close = TOO_OFTEN  # after the reply, on which clients would try again
        return {**response, "retry": False}

    def _refuse(self, ending: str, response: Any) -> Reply:
        if self._ending not in GONE:
            self._ending = ending
        return Reply("error", response)

    def _answer_join(self, reply: Reply) -> None:
        """Send the join's reply, the first frame of this instance, then the close of the one that it replaced."""
        self._client.send(self.serializer.reply(self.topic, self.instance.ref, self.instance.join_ref, reply))
        if self._previous is not None and self._previous.was_replaced:
            self._client.send(self.serializer.close(self.topic, self._previous.instance.join_ref, {}))
        self._previous = None
        self.joined = True
        self.sink = self._client.outbox
        self._node.hub.redirect(self.topic, self)
        if self._gets_state and self._ending is None:
            self._send_state()
        if not self._is_out:
            for burst in self._held:
                self.sink.put(burst)
        self._held = []
        if self._is_doubted:
            self._node.guard.ask(self._client.user_key)

    async def _require(self, requirements: tuple[Requirement, ...], call: Call | None = None) -> None:
        """Raises Refused where the user does not meet one of them."""
        call = call or self._node.workers.call
        for requirement in requirements:
            if not await call(requirement.test, self._client.socket.user):
                raise Refused(requirement.reason)

    @property
    def _gets_state(self) -> bool:
        presences = self.instance.route.channel.presence_hook
        return presences is not None and presences.state

    def _send_state(self) -> None:
        """Send who is here, and from now on what changes."""
        assert self.guest is not None
        roster = self.guest.roster
        self._client.send(self.serializer.push(self.topic, PRESENCE_STATE, roster.payload(), self.instance.tag))
        self._node.hub.inform(self.topic, self, roster.number)

    # Events

    async def _event(self, message: Message) -> None:
        handler = self.channel.handlers.get(message.event)
        if handler is None:
            self._answer(message.ref, Reply("error", {"reason": "unknown event"}))
            return
        self.ref = ReplyRef(message.ref)
        try:
            if handler.requirements:
                await self._require(handler.requirements)
                self._must_be_in()
            reply = event_reply(await self._call(handler, message.payload), handler.name)
        except REFUSALS as error:
            reply = Reply("error", refusal(error, self._name))
        finally:
            self.ref = None
        # Written now: should that fail, this channel crashes, and not whoever its broadcasts were on the way for.
        frame = None if reply is None else self._reply(message.ref, reply)
        self._order.then(self._handled, message.ref, frame)

    def _handled(self, ref: Ref, frame: Frame | None) -> None:
        """Answer a message whose broadcasts are through, or have failed."""
        if fault := self._order.fault():
            frame = self._reply(ref, Reply("error", unavailable(fault)))
        if frame is not None and not self._is_out:
            self._client.send(frame)

    def _answer(self, ref: Ref, reply: Reply) -> None:
        self._say(self._reply(ref, reply))

    def _reply(self, ref: Ref, reply: Reply) -> Frame:
        return self.serializer.reply(self.topic, ref, self.instance.tag, reply)

    def _say(self, frame: Frame) -> None:
        """Send a frame to this client, after the broadcasts made before it."""
        self._order.then(self._client.send, frame)

    # Broadcasts

    async def _overhear(self, item: Overheard) -> None:
        if isinstance(item, Outgoing):
            await self._pass_on(item.broadcast)
        else:
            await self._listen(item.broadcast)

    async def _pass_on(self, broadcast: Broadcast) -> None:
        """Send a broadcast of the topic as handle_out wants it."""
        handler = self.channel.interceptors.get(broadcast.event)
        try:
            if handler is None:  # it came after one that is intercepted
                self._client.send(self.serializer.fastlane(broadcast))
            elif (result := await self._call(handler, broadcast.payload)) is not None and not self._is_out:
                payload = encode_event(broadcast.event, result)
                self._client.send(self.serializer.push(self.topic, broadcast.event, payload, self.instance.tag))
        finally:
            self._outgoing -= 1  # only now: what comes meanwhile waits behind it

    async def _listen(self, broadcast: Broadcast) -> None:
        handler = self.channel.listeners.get(broadcast.event)
        if handler is None:
            logger.debug("%s has no handle_info for %r of %r", self._name, broadcast.event, broadcast.topic)
        elif broadcast.topic in self._ears:  # else it was unsubscribed from meanwhile
            await self._call(handler, broadcast.payload)

    # Handlers

    async def _call(self, handler: Handler, payload: Payload, **params: Any) -> Any:
        arguments = handler.arguments(payload)
        self._made = [] if self._node.debug else None
        result = await self._node.workers.run(
            handler.is_async, handler.function, (self.channel, *arguments), params, self._is_in
        )
        if self._made:
            await tell_forgotten(handler.name, self._made)
        self._made = None
        return result

    def _is_in(self) -> bool:
        return not self._is_out

    def _must_be_in(self) -> None:
        """Raises Unwanted where it was told to go while it waited for something."""
        if self._is_out:
            raise Unwanted

    # The end

    async def _finish(self) -> None:
        self._ending = self._ending or CLOSED  # it was cancelled
        if self._ending not in GONE:
            await self._order.drained()
        self._node.hub.unsubscribe(self.topic, self)
        if self.guest is not None:
            self.guest.end(fades=self._may_come_back)
        entered, self._entered = self._entered, False
        try:
            if entered:
                await self._terminate(self._ending)
        finally:  # in every case: `wait` cancels what takes too long
            if entered and self._ending != REFUSED:
                self._log("LEFT", self._ending)
            if self._close is not None:
                self._say(self.serializer.close(self.topic, self.instance.join_ref, self._close))
            for topic in list(self._ears):
                self.unsubscribe(topic)
            self._client.ended(self, [item for item in self._shut() if isinstance(item, Message)])

    @property
    def _may_come_back(self) -> bool:
        """Return whether the client may join again at once: it was not stopped, refused or told to go, nor has it left.

        A socket that floods, say, is closed as well, and comes back: the others are not to hear of it each time.
        """
        return self._close is None and self._ending not in (REFUSED, DISMISSED)

    async def _terminate(self, reason: str) -> None:
        terminate = type(self.channel).terminate
        if terminate is Channel.terminate:
            return
        try:
            call = self._node.workers.call(terminate, self.channel, reason)
            await asyncio.wait_for(call, self._node.settings.SHUTDOWN)
        except ServerEnding:
            logger.debug("%s cannot be told of its end any more", self)
        except Exception:
            logger.exception("%s failed to terminate on %r", self._name, self.topic)

    # private

    def _log(self, what: str, more: object) -> None:
        if self.instance.route.channel.log:
            logger.info("%s %s %s %s", what, self.topic, self._name, more)

    def __str__(self) -> str:
        return f"{self._name} on {self.topic!r}"

    @property
    def _name(self) -> str:
        return self.instance.route.channel.__name__


class _Held:
    """Keeps what comes before the client knows that it is in."""

    __slots__ = ("put",)

    def __init__(self, held: list[Burst]) -> None:
        self.put = held.append
