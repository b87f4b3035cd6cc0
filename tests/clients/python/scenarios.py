"""The wire contract as python-socketio sees it: the JavaScript scenarios in a shorter form, on two nodes."""

import asyncio
import os
import sys
import time
import traceback

import socketio

from stage import NODES, PATIENCE_S, TRANSPORT, Actor, Stage, marker, token, unique

SIDE_BY_SIDE = 6
SCENES = []


def scene(body):
    SCENES.append(body)
    return body


@scene
async def connected_comes_before_authenticated(stage):
    for node in range(len(NODES)):
        ann = await stage.enter("ann", node)
        connected = await ann.heard("connected")
        assert connected["socketId"] == ann.client.get_sid(), connected
        assert connected["protocolVersion"] == "1.0" and connected["recovered"] is False, connected
        hello = await ann.heard("authenticated")
        assert hello == {"userId": ann.id, "sessionId": connected["socketId"], "rooms": []}, hello
        assert [entry[0] for entry in ann.log][:2] == ["connected", "authenticated"]
        assert ann.client.transport() == TRANSPORT


@scene
async def bad_tokens_are_refused(stage):
    for auth in ({}, {"token": "user:ann"}, {"token": token(sub="ann", exp=int(time.time()) - 1)}, {"token": token(role="x")}):
        eve, refusals = Actor("eve", "eve"), []
        eve.client.on("connect_error", refusals.append)
        try:
            await asyncio.wait_for(eve.connect(0, auth), PATIENCE_S / 2)
        except (socketio.exceptions.ConnectionError, asyncio.TimeoutError):
            # The refusal is what counts: behind it this client waits for its last poll, now and then longer than that.
            assert len(refusals) == 1 and refusals[0]["data"]["code"] == "UNAUTHENTICATED", refusals
            continue
        raise AssertionError(f"{auth} got in")


@scene
async def a_token_is_refreshed(stage):
    ann = await stage.enter("ann", node=1)
    answer = await ann.done("auth:refresh", {"token": token(sub=ann.id)})
    assert answer["userId"] == ann.id and answer["expiresAt"].endswith("Z"), answer
    await ann.refused("UNAUTHENTICATED", "auth:refresh", {"token": "nonsense"})
    assert (await ann.heard("auth:error"))["code"] == "UNAUTHENTICATED"
    await ann.done("room:join", {"roomName": stage.room()})


@scene
async def an_expired_token_ends_the_connection(stage):
    ann = await stage.enter("ann", auth={"token": token(sub=stage.user("ann"), exp=int(time.time()) + 3)})
    assert (await ann.heard("auth:error"))["code"] == "UNAUTHENTICATED"
    await ann.heard("disconnect")


@scene
async def joins_and_leaves_are_told_to_the_others(stage):
    room = stage.room()
    near = await stage.member("near", room)
    far = await stage.member("far", room, node=1)
    ann = await stage.member("ann", room)
    tab = await stage.member("ann", room, node=1)
    assert ann.joined["type"] == "channel" and ann.joined["memberCount"] == 3, ann.joined
    assert {member["userId"] for member in ann.joined["members"]} == {near.id, far.id, ann.id}
    members = await far.done("room:members", {"roomName": room})
    assert {member["userId"] for member in members["members"]} == {near.id, far.id, ann.id}
    await ann.done("room:leave", {"roomName": room})
    await marker(room, tab, near, far)
    for listener in (near, far):
        assert len(listener.all("user:joined", {"userId": ann.id})) == 1
        listener.never_heard("user:left", {"userId": ann.id})
    assert await tab.done("room:leave", {"roomName": room}) is None
    for listener in (near, far):
        left = await listener.heard("user:left", {"userId": ann.id})
        assert left["reason"] == "left" and left["roomName"] == room, left
    await far.client.disconnect()
    left = await near.heard("user:left", {"userId": far.id})
    assert left["reason"] == "disconnected", left


@scene
async def rooms_have_doors(stage):
    ann = await stage.enter("ann")
    await ann.refused("ROOM_NOT_FOUND", "room:join", {"roomName": "nobody-made-this"})
    await ann.refused("FORBIDDEN", "room:join", {"roomName": os.environ["PRIVATE_ROOM"]})
    await ann.refused("ROOM_NOT_FOUND", "room:join", {"roomName": os.environ["SECRET_ROOM"]})
    await ann.done("room:join", {"roomName": os.environ["BROADCAST_ROOM"]})
    await ann.refused("FORBIDDEN", "message:send", {"roomName": os.environ["BROADCAST_ROOM"], "content": "x"})


@scene
async def a_message_reaches_everybody_once_in_one_order(stage):
    room = stage.room()
    cast = [await stage.member(word, room, node) for word, node in (("ann", 0), ("bob", 1), ("cat", 0))]
    extras = {"threadId": "t", "replyTo": "m", "metadata": {"deep": [None, True, 1.5, "é"]}}
    sent = await cast[0].done("message:send", {"roomName": room, "content": "hällo 🎉", **extras})
    for listener in cast:
        message = await listener.heard("message:new")
        assert message["content"] == "hällo 🎉" and message["userId"] == cast[0].id, message
        assert {name: message[name] for name in extras} == extras, message
        assert (message["messageId"], message["seq"], message["epoch"]) == (sent["messageId"], sent["seq"], sent["epoch"])
    await asyncio.gather(*(actor.done("message:send", {"roomName": room, "content": str(n)}) for actor in cast for n in range(30)))
    for listener in cast:
        await listener.heard("message:new", {"seq": 91})
    logs = [listener.all("message:new") for listener in cast]
    assert [message["seq"] for message in logs[0]] == list(range(1, 92))
    assert logs[0] == logs[1] == logs[2]


@scene
async def a_repeated_client_message_id_is_one_message(stage):
    room = stage.room()
    ann = await stage.member("ann", room)
    bob = await stage.member("bob", room, node=1)
    message = {"roomName": room, "content": "once", "clientMessageId": "mine"}
    first = await ann.done("message:send", message)
    again = await ann.done("message:send", message)
    assert again["messageId"] == first["messageId"] and again["duplicate"] is True, again
    await marker(room, ann, bob)
    assert len(bob.all("message:new", {"content": "once"})) == 1


@scene
async def a_message_right_behind_a_join_is_delivered(stage):
    ann = await stage.enter("ann", node=1)
    rooms = [stage.room() for _ in range(50)]
    for room in rooms:
        await ann.tell("room:join", {"roomName": room})
        await ann.tell("message:send", {"roomName": room, "content": "right behind"})
    for room in rooms:
        await ann.heard("message:new", {"roomName": room, "content": "right behind"})
    ann.never_heard("error")


@scene
async def typing_is_told_to_the_others_and_runs_out(stage):
    room = stage.room()
    ann = await stage.member("ann", room)
    bob = await stage.member("bob", room, node=1)

    def is_ann(users):
        return [user["userId"] for user in users] == [ann.id]

    await ann.done("typing:start", {"roomName": room})
    await bob.heard("typing:event", {"roomName": room, "users": is_ann})
    await ann.done("typing:stop", {"roomName": room})
    await bob.heard("typing:event", {"roomName": room, "users": []})
    await ann.done("typing:start", {"roomName": room, "threadId": "t", "roomType": "thread"})
    await bob.heard("typing:event", {"threadId": "t", "roomType": "thread", "users": is_ann})
    await bob.heard("typing:event", {"threadId": "t", "users": []})
    ann.never_heard("typing:event")


@scene
async def presence_is_told_to_those_who_share_a_room(stage):
    room = stage.room()
    ann = await stage.member("ann", room)
    bob = await stage.member("bob", room, node=1)
    elsewhere = stage.room()
    eve = await stage.member("eve", elsewhere)
    await ann.done("presence:update", {"status": "busy", "customStatus": {"text": "deep work", "emoji": "🎧"}})
    chosen = {"userId": ann.id, "status": "busy", "customStatus": "deep work", "customEmoji": "🎧"}
    await bob.heard("presence:changed", chosen)
    tab = await stage.member("ann", room, node=1)
    got = await bob.done("presence:get", {"userIds": [ann.id, unique("nobody")]})
    statuses = {presence["userId"]: presence["status"] for presence in got["presences"]}
    assert statuses.pop(ann.id) == "busy" and list(statuses.values()) == ["offline"], got
    subscribed = await bob.done("presence:subscribe", {"userIds": [ann.id]})
    assert [presence["status"] for presence in subscribed["presences"]] == ["busy"], subscribed
    await bob.heard("presence:bulk")
    await bob.done("presence:unsubscribe", {"userIds": [ann.id]})
    await ann.client.disconnect()
    await tab.client.disconnect()
    await bob.heard("presence:changed", {"userId": ann.id, "status": "offline"})
    await bob.heard("user:left", {"userId": ann.id})
    await stage.member("ann", elsewhere)
    await eve.heard("presence:changed", {"userId": ann.id})
    of_ann = [entry[0] for entry in eve.log if isinstance(entry[1], dict) and entry[1].get("userId") == ann.id]
    assert of_ann[0] == "user:joined", "the first that a stranger hears of her is that she came"


@scene
async def wrong_payloads_get_their_answer(stage):
    room = stage.room()
    ann = await stage.member("ann", room)
    for payload in (None, "text", 7, [], [[]], {}, {"roomName": ""}, {"roomName": "a\x00"}, {"roomName": "x" * 256}, {"roomName": []}):
        for event in ("room:join", "room:leave", "message:send", "typing:start"):
            await ann.refused("INVALID_PAYLOAD", event, payload)
    await ann.refused("INVALID_PAYLOAD", "presence:update", {"status": "invisible"})
    await ann.refused("INVALID_PAYLOAD", "message:send", {"roomName": room, "content": b"bytes"})
    await ann.refused("TOO_LARGE", "message:send", {"roomName": room, "content": "x" * 65_537})
    await ann.refused("UNKNOWN_EVENT", "no:such", {})
    await ann.tell("room:join", {"roomName": ""})
    error = await ann.heard("error")
    assert error["code"] == "INVALID_PAYLOAD" and error["details"]["field"] == "roomName", error
    assert await ann.ask("ping", {"timestamp": 5}) == {"success": True, "timestamp": 5}
    await ann.heard("pong", {"timestamp": lambda ms: isinstance(ms, int)})
    await marker(room, ann)


@scene
async def messages_go_compressed_to_who_asks_for_it(stage):
    room = stage.room()
    ann = await stage.member("ann", room, websocket_options={"compress": 15})
    bob = await stage.member("bob", room, node=1)
    if TRANSPORT == "websocket":
        assert [actor.client.eio.ws.compress for actor in (ann, bob)] == [15, 0]
    for length in (1, 500, 511, 512, 600, 1_024, 5_000, 50_000):
        for speaker in (ann, bob):
            content = ("say it again, \u00e9\u65e5 " * 4_000)[:length]
            sent = await speaker.done("message:send", {"roomName": room, "content": content})
            for listener in (ann, bob):
                heard = await listener.heard("message:new", {"roomName": room, "seq": sent["seq"]})
                assert heard["content"] == content, length
    await marker(room, ann, bob)


async def play(body, gate):
    name = f"{body.__name__} ({TRANSPORT})"
    stage = Stage()
    async with gate:
        try:
            await asyncio.wait_for(body(stage), 3 * PATIENCE_S)
        except Exception:  # every failure of a scene is that scene's result
            print(f"not ok - {name}\n{traceback.format_exc()}\n{stage.transcript()}", flush=True)
            return False
        finally:
            await stage.clear()
    print(f"ok - {name}", flush=True)
    return True


async def main():
    gate = asyncio.Semaphore(SIDE_BY_SIDE)
    results = await asyncio.gather(*(play(body, gate) for body in SCENES))
    print(f"\n# pass {sum(results)}\n# fail {len(results) - sum(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
