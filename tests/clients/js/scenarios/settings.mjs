// What other settings change: run against a cluster with REALTIME_PRESENCE_ROOM_LIMIT=2, REALTIME_CUSTOM_STATUS_SHAPE=object
// and REALTIME_ALLOW_ANONYMOUS=true.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, scene, together } from '../stage.mjs';

const crowd = (stage, room, words) => Promise.all(words.map((word, i) => stage.member(word, room, { node: i % 2 })));
const nameless = { auth: { token: undefined } };

const of = ({ id }, text) => ({ userId: id, customStatus: { text } });

describe('settings', together, () => {
  scene('a crowded room is told its count, not its people', async (stage) => {
    const room = stage.room();
    const [ann] = await crowd(stage, room, ['ann', 'bob', 'cat']);
    await ann.heard('room:count', { roomName: room, memberCount: 3 });
    const dan = await stage.member('dan', room, { node: 1 });
    assert.equal(dan.joined.memberCount, 4);
    assert.equal(dan.joined.members, undefined);
    await ann.heard('room:count', { roomName: room, memberCount: 4 });
    ann.neverHeard('user:joined', { userId: dan.id });
    ann.neverHeard('presence:changed', { userId: dan.id });
    const stands = ann.log.length;
    dan.socket.disconnect();
    await ann.heard('room:count', { roomName: room, memberCount: 3 }, stands);
    ann.neverHeard('user:left', { userId: dan.id });
  });

  scene('in a crowded room, only subscribers hear of a presence', async (stage) => {
    const room = stage.room();
    const [ann, bob, cat] = await crowd(stage, room, ['ann', 'bob', 'cat', 'dan']);
    const isAnn = (presences) => presences.length === 1 && presences[0].userId === ann.id;
    assertMatches(await bob.done('presence:subscribe', { userIds: [ann.id] }), { presences: isAnn });
    await bob.heard('presence:bulk', { presences: isAnn });
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'first' } });
    await bob.heard('presence:changed', of(ann, 'first'));
    await bob.done('presence:unsubscribe', { userIds: [ann.id] });
    await cat.done('presence:subscribe', { userIds: [ann.id] });
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'second' } });
    await cat.heard('presence:changed', of(ann, 'second'));
    await bob.done('presence:subscribe', { userIds: [ann.id] });
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'third' } });
    await bob.heard('presence:changed', of(ann, 'third'));
    bob.neverHeard('presence:changed', of(ann, 'second'));
  });

  scene('a custom status is an object', async (stage) => {
    const room = stage.room();
    const [ann, bob] = await crowd(stage, room, ['ann', 'bob']);
    await ann.done('presence:update', { status: 'away', customStatus: { text: 'tea', emoji: '🍵' } });
    const told = await bob.heard('presence:changed', { userId: ann.id, status: 'away' });
    assert.deepEqual(told.customStatus, { text: 'tea', emoji: '🍵' });
    assertMatches((await bob.done('presence:get', { userIds: [ann.id] })).presences[0].customStatus, { text: 'tea', emoji: '🍵' });
  });

  scene('who has no name listens in public rooms, and is silent', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room, { node: 1 });
    const ghost = stage.actor('ghost', nameless);
    await ghost.heard('connected');
    await ghost.done('room:join', { roomName: room });
    await ghost.refused('FORBIDDEN', 'message:send', { roomName: room, content: 'boo' });
    await marker(room, ann, ghost);
    ghost.neverHeard('authenticated');
    ann.neverHeard('message:new', { content: 'boo' });
    for (const joined of ann.all('user:joined')) assert.equal(joined.userId, undefined, 'a nameless one has no userId');
  });
});
