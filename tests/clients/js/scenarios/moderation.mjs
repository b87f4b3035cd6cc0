// Acts on others in a room, each upon a socket of the other node: what the ack says, who hears what, and that it holds.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, marker, scene, together } from '../stage.mjs';

const { SECRET_ROOM } = process.env;

/** The admin on node 0, since she makes the room, and bob on node 1. */
async function cast(stage) {
  const room = stage.room();
  const ada = await stage.member('ada', room);
  const bob = await stage.member('bob', room, { node: 1 });
  return { room, ada, bob, onBob: { roomName: room, userId: bob.id } };
}

const receipt = (...sockets) => ({ nodes: sockets.map(([node, count]) => ({ node, sockets: count })) });
const inMs = (ms) => new Date(Date.now() + ms).toISOString();

/** Asks again until it is done: for what ends by time, and no event tells. */
async function eventually(actor, event, payload) {
  for (const deadline = Date.now() + 10_000; ; ) {
    const ack = await actor.ask(event, payload);
    if (ack.success) return ack.data;
    assert.ok(Date.now() < deadline, JSON.stringify(ack));
  }
}

describe('moderation', together, () => {
  scene('whoever makes a room by joining is its admin', async (stage) => {
    const { ada, bob } = await cast(stage);
    assert.equal(ada.joined.role, 'admin');
    assert.equal(bob.joined.role, 'member');
  });

  scene('a kick takes all tabs at once, everybody hears it once, and the kicked hear nothing more', async (stage) => {
    const { room, ada, bob, onBob } = await cast(stage);
    const tab = await stage.member('bob', room);
    const eve = await stage.member('eve', room, { node: 1 });
    const other = stage.room('other');
    await bob.done('room:join', { roomName: other });
    assert.deepEqual(await ada.done('room:kick', { ...onBob, reason: 'spam' }), receipt(['node-0', 1], ['node-1', 1]));
    const told = { roomName: room, userId: bob.id, reason: 'kicked', timestamp: ISO_DATE, rev: Number.isInteger };
    for (const actor of [ada, eve, bob, tab]) assertMatches(await actor.heard('user:left', { userId: bob.id }), told);
    await ada.done('presence:update', { status: 'busy' });
    await marker(room, ada, eve);
    await marker(other, bob);
    for (const actor of [bob, tab]) {
      await actor.refused('NOT_A_MEMBER', 'message:send', { roomName: room, content: 'still here' });
      await actor.refused('NOT_A_MEMBER', 'room:members', { roomName: room });
      actor.neverHeard('message:new', { roomName: room });
      actor.neverHeard('presence:changed', { userId: ada.id, status: 'busy' });
    }
    for (const actor of [ada, eve, bob, tab]) assert.equal(actor.all('user:left').length, 1);
    const again = await stage.enter('bob');
    assert.deepEqual((await again.heard('authenticated')).rooms, [other], 'the room is none of his any more');
    assert.deepEqual(await ada.done('room:kick', onBob), receipt());
    await bob.done('room:join', { roomName: room });
    await marker(room, ada, bob);
  });

  scene('a ban keeps out on every node, until it is lifted', async (stage) => {
    const { room, ada, bob, onBob } = await cast(stage);
    const eve = await stage.member('eve', room, { node: 1 });
    assert.deepEqual(await ada.done('room:ban', onBob), receipt(['node-1', 1]));
    for (const actor of [eve, bob]) assertMatches(await actor.heard('user:left', { userId: bob.id }), { reason: 'banned' });
    const near = await stage.enter('bob');
    for (const actor of [bob, near]) {
      await actor.refused('BANNED', 'room:join', { roomName: room });
      await actor.refused('BANNED', 'message:send', { roomName: room, content: 'x' });
      await actor.refused('BANNED', 'typing:start', { roomName: room });
      await actor.refused('BANNED', 'room:kick', { roomName: room, userId: ada.id });
    }
    assert.deepEqual(await ada.done('room:unban', onBob), receipt());
    await bob.done('room:join', { roomName: room });
    await marker(room, bob, ada, eve);
  });

  scene('the muted hear and are not heard, and what they type is taken back', async (stage) => {
    const { room, ada, bob, onBob } = await cast(stage);
    await bob.done('typing:start', { roomName: room });
    await ada.heard('typing:event', { users: (users) => users.length === 1 });
    const stands = ada.log.length;
    assert.deepEqual(await ada.done('room:mute', onBob), receipt(['node-1', 1]));
    await ada.heard('typing:event', { users: (users) => users.length === 0 }, stands);
    await bob.refused('MUTED', 'message:send', { roomName: room, content: 'x' });
    await bob.refused('MUTED', 'typing:start', { roomName: room });
    await marker(room, ada, bob);
    assert.deepEqual(await ada.done('room:unmute', onBob), receipt(['node-1', 1]));
    await marker(room, bob, ada);
  });

  scene('a ban and a mute run out', async (stage) => {
    const { room, ada, bob, onBob } = await cast(stage);
    await ada.done('room:mute', { ...onBob, until: inMs(500) });
    await bob.refused('MUTED', 'message:send', { roomName: room, content: 'x' });
    await eventually(bob, 'message:send', { roomName: room, content: 'at last' });
    await ada.heard('message:new', { content: 'at last' });
    await ada.done('room:ban', { ...onBob, until: inMs(500) });
    await bob.refused('BANNED', 'room:join', { roomName: room });
    await eventually(bob, 'room:join', { roomName: room });
    await marker(room, ada, bob);
  });

  scene('the end must be a date in the future', async (stage) => {
    const { ada, onBob } = await cast(stage);
    for (const until of ['soon', '', '2026-13-01', 4_102_444_800_000, {}, inMs(-1_000), '1969-01-01T00:00:00.000Z']) {
      for (const event of ['room:ban', 'room:mute']) {
        const error = await ada.refused('INVALID_PAYLOAD', event, { ...onBob, until });
        assertMatches(error, { message: /until/, details: { field: 'until' } });
      }
    }
  });

  scene('what is wrong in a payload is named', async (stage) => {
    const { ada, onBob } = await cast(stage);
    for (const event of ['room:kick', 'room:ban', 'room:unban', 'room:mute', 'room:unmute', 'room:role']) {
      for (const [field, value] of [['roomName', 7], ['userId', ''], ['userId', null], ['reason', 'x'.repeat(501)]]) {
        const error = await ada.refused('INVALID_PAYLOAD', event, { ...onBob, role: 'guest', [field]: value });
        assertMatches(error, { details: { field } }, `${event} ${field}`);
      }
    }
    for (const role of [undefined, 'owner', 3]) {
      assertMatches(await ada.refused('INVALID_PAYLOAD', 'room:role', { ...onBob, role }), { details: { field: 'role' } });
    }
  });

  scene('nobody acts on those of equal or higher role, on oneself, or without a role', async (stage) => {
    const { room, ada, bob } = await cast(stage);
    const eve = await stage.member('eve', room, { node: 1 });
    const dan = await stage.member('dan', room);
    const give = (actor, to, role) => [actor, 'room:role', { roomName: room, userId: to.id, role }];
    const done = ([actor, event, payload]) => actor.done(event, payload);
    const forbidden = ([actor, event, payload]) => actor.refused('FORBIDDEN', event, payload);
    await forbidden(give(bob, eve, 'guest'));
    await done(give(ada, bob, 'moderator'));
    await done(give(ada, eve, 'moderator'));
    for (const event of ['room:kick', 'room:ban', 'room:unban', 'room:mute', 'room:unmute']) {
      for (const [actor, on] of [[bob, eve], [bob, ada], [bob, bob], [dan, bob], [dan, dan], [ada, ada]]) {
        await forbidden([actor, event, { roomName: room, userId: on.id }]);
      }
    }
    await forbidden(give(bob, dan, 'moderator'));
    await done(give(bob, dan, 'guest'));
    await marker(room, dan, ada); // a guest speaks where a member does
    await done(give(ada, eve, 'admin'));
    await forbidden(give(ada, eve, 'member'));
    assert.equal((await eve.done('room:join', { roomName: room })).role, 'admin');
    await marker(room, ada, bob);
    ada.neverHeard('user:left');
  });

  scene('who is not in a room does not govern it, and does not learn of a secret one', async (stage) => {
    const { room, bob } = await cast(stage);
    const eve = await stage.enter('eve', { node: 1 });
    for (const event of ['room:kick', 'room:ban', 'room:unban', 'room:mute', 'room:unmute', 'room:role']) {
      const payload = { userId: bob.id, role: 'member' };
      await eve.refused('NOT_A_MEMBER', event, { ...payload, roomName: room });
      const secret = await eve.refused('ROOM_NOT_FOUND', event, { ...payload, roomName: SECRET_ROOM });
      const missing = await eve.refused('ROOM_NOT_FOUND', event, { ...payload, roomName: 'nobody-made-this' });
      assert.deepEqual(secret, missing);
    }
    for (const [event, more] of [['room:join'], ['room:leave'], ['room:members'], ['typing:start'], ['typing:stop'], ['message:send', { content: 'x' }]]) {
      const secret = await eve.refused('ROOM_NOT_FOUND', event, { ...more, roomName: SECRET_ROOM });
      const missing = await eve.refused('ROOM_NOT_FOUND', event, { ...more, roomName: 'nobody-made-this' });
      assert.deepEqual(secret, missing, event);
    }
  });
});
