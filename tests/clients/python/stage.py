"""The stage of the Python scenarios: actors are unmodified python-socketio clients on two nodes, each with a log.

Environment: NODES (comma list of URLs), TRANSPORT (websocket | polling), JWT_SECRET.
Absence is shown by a marker, a later event on the same channel; there is no sleeping here.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import time

import socketio

NODES = os.environ["NODES"].split(",")
TRANSPORT = os.environ["TRANSPORT"]
PATIENCE_S = 10


def token(**claims):
    """A token signed with the cluster's secret, independently of the gateway's own code."""

    def segment(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"exp": int(time.time()) + 3600, **claims}
    body = segment(b'{"alg":"HS256","typ":"JWT"}') + b"." + segment(json.dumps(claims).encode())
    signature = hmac.new(os.environ["JWT_SECRET"].encode(), body, hashlib.sha256).digest()
    return (body + b"." + segment(signature)).decode()


def unique(word):
    return f"{word}-{secrets.token_hex(6)}"


def fits(payload, wanted):
    """Whether `payload` has everything that `wanted` has; a function decides for itself."""
    if callable(wanted):
        return wanted(payload)
    if isinstance(wanted, dict):
        return isinstance(payload, dict) and all(fits(payload.get(name), value) for name, value in wanted.items())
    return payload == wanted


class Actor:
    def __init__(self, word, user, websocket_options=None):
        self.word = word
        self.id = user
        self.log = []
        self._heard = asyncio.Condition()
        self.client = socketio.AsyncClient(reconnection=False, websocket_extra_options=websocket_options)
        self.client.on("*", self._note)
        self.client.on("disconnect", self._gone)

    async def _note(self, event, *args):
        async with self._heard:
            self.log.append((event, *args))
            self._heard.notify_all()

    async def _gone(self, reason=None):
        await self._note("disconnect", reason)

    async def connect(self, node, auth):
        await self.client.connect(NODES[node], transports=[TRANSPORT], auth=auth, wait_timeout=PATIENCE_S)

    async def ask(self, event, payload=None):
        """The whole ack."""
        return await self.client.call(event, payload, timeout=PATIENCE_S)

    async def done(self, event, payload=None):
        """The data of an ack that says success."""
        ack = await self.ask(event, payload)
        assert ack["success"] is True, f"{event} by {self.word}: {ack}"
        return ack.get("data")

    async def refused(self, code, event, payload=None):
        """The error of an ack that says `code`."""
        ack = await self.ask(event, payload)
        assert ack["success"] is False and ack["error"]["code"] == code, f"{event} by {self.word}: {ack}"
        return ack["error"]

    async def tell(self, event, payload=None):
        await self.client.emit(event, payload)

    def all(self, event, wanted=lambda _: True):
        return [entry[1] for entry in self.log if entry[0] == event and fits(entry[1], wanted)]

    async def heard(self, event, wanted=lambda _: True):
        """The first argument of the first such event, heard already or to come."""
        async with self._heard:
            try:
                await asyncio.wait_for(self._heard.wait_for(lambda: self.all(event, wanted)), PATIENCE_S)
            except asyncio.TimeoutError:
                raise AssertionError(f"{self.word} did not hear {event} {wanted}") from None
            return self.all(event, wanted)[0]

    def never_heard(self, event, wanted=lambda _: True):
        assert not self.all(event, wanted), f"{self.word} heard {event}: {self.all(event, wanted)}"


class Stage:
    def __init__(self):
        self._users = {}
        self._actors = []

    def room(self):
        return unique("auto:room")

    def user(self, word):
        """The same word is the same user, so a word that enters twice is a user with two tabs."""
        return self._users.setdefault(word, unique(word))

    async def enter(self, word, node=0, auth=None, websocket_options=None):
        user = self.user(word)
        actor = Actor(f"{word}@{node}", user, websocket_options)
        self._actors.append(actor)
        await actor.connect(node, {"token": token(sub=user)} if auth is None else auth)
        await actor.heard("authenticated")
        return actor

    async def member(self, word, room, node=0, websocket_options=None):
        actor = await self.enter(word, node, websocket_options=websocket_options)
        actor.joined = await actor.done("room:join", {"roomName": room})
        return actor

    async def clear(self):
        await asyncio.gather(*(actor.client.disconnect() for actor in self._actors))

    def transcript(self):
        lines = []
        for actor in self._actors:
            lines.append(f"--- {actor.word} ({actor.id}) heard:")
            lines.extend(f"  {entry}" for entry in actor.log[-40:])
        return "\n".join(lines)


async def marker(room, speaker, *listeners):
    """When this returns, all that was told in the room before is in every listener's log."""
    content = unique("marker")
    await speaker.done("message:send", {"roomName": room, "content": content})
    for listener in (speaker, *listeners):
        await listener.heard("message:new", {"roomName": room, "content": content})
