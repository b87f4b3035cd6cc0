// Joining, leaving, who is there; and what the others are told of it.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, marker, scene, together } from '../stage.mjs';

const { PRIVATE_ROOM, SECRET_ROOM } = process.env;

describe('rooms', together, () => {
  scene('a join is acked with the room, and told to the others on both nodes', async (stage) => {
    const room = stage.room();
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const ann = await stage.member('ann', room);
    assertMatches(ann.joined, {
      roomName: room,
      type: 'channel',
      role: 'member',
      memberCount: 3,
      epoch: (epoch) => typeof epoch === 'string' && epoch !== '',
      seq: 0,
      rev: Number.isInteger,
    });
    const told = { roomName: room, userId: ann.id, timestamp: ISO_DATE, rev: ann.joined.rev };
    assertMatches(await near.heard('user:joined', { userId: ann.id }), told);
    assertMatches(await far.heard('user:joined', { userId: ann.id }), told);
    await marker(room, near, far, ann);
    ann.neverHeard('user:joined', { userId: ann.id });
  });

  scene('the ack of a join names the members', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    await bob.done('presence:update', { status: 'busy' });
    await bob.heard('presence:changed', { userId: bob.id, status: 'busy' });
    const ann = await stage.member('ann', room);
    const members = new Map(ann.joined.members.map((member) => [member.userId, member]));
    assert.deepEqual([...members.keys()].sort(), [ann.id, bob.id].sort());
    assertMatches(members.get(bob.id), { status: 'busy', joinedAt: ISO_DATE });
    assertMatches(members.get(ann.id), { status: 'online', joinedAt: ISO_DATE });
  });

  scene('rev counts the changes of membership without a gap', async (stage) => {
    const room = stage.room();
    const watcher = await stage.member('watcher', room);
    const ann = await stage.member('ann', room, { node: 1 });
    const bob = await stage.member('bob', room);
    await ann.done('room:leave', { roomName: room });
    await bob.done('room:leave', { roomName: room });
    await watcher.heard('user:left', { userId: bob.id });
    const revs = watcher.log.filter(([event]) => event === 'user:joined' || event === 'user:left').map(([, { rev }]) => rev);
    const first = watcher.joined.rev;
    assert.deepEqual(revs, [first + 1, first + 2, first + 3, first + 4]);
  });

  scene('a second tab and a rejoin are quiet', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.member('ann', room);
    const again = await ann.done('room:join', { roomName: room });
    const tab = await stage.member('ann', room, { node: 1 });
    assertMatches(again, { memberCount: 2, rev: ann.joined.rev });
    assertMatches(tab.joined, { memberCount: 2, rev: ann.joined.rev });
    await marker(room, ann, bob, tab);
    assert.equal(bob.all('user:joined', { userId: ann.id }).length, 1);
  });

  scene('two joins at once are one membership', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.enter('ann');
    await Promise.all([ann.done('room:join', { roomName: room }), ann.done('room:join', { roomName: room })]);
    await marker(room, ann, bob);
    assert.equal(bob.all('user:joined', { userId: ann.id }).length, 1);
    assert.equal(ann.all('message:new').length, 1);
  });

  scene('who leaves is told to the others, and hears nothing more', async (stage) => {
    const room = stage.room();
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const ann = await stage.member('ann', room);
    assert.deepEqual(await ann.ask('room:leave', { roomName: room }), { success: true });
    const told = { roomName: room, timestamp: ISO_DATE, rev: Number.isInteger, reason: 'left' };
    assertMatches(await near.heard('user:left', { userId: ann.id }), told);
    assertMatches(await far.heard('user:left', { userId: ann.id }), told);
    await near.done('message:send', { roomName: room, content: 'behind her back' });
    await ann.done('room:join', { roomName: room });
    await marker(room, far, ann, near);
    ann.neverHeard('message:new', { content: 'behind her back' });
  });

  scene('leaving on one tab keeps the other', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room);
    const first = await stage.member('ann', room);
    const second = await stage.member('ann', room, { node: 1 });
    await first.done('room:leave', { roomName: room });
    await marker(room, second, bob);
    bob.neverHeard('user:left', { userId: second.id });
    first.neverHeard('message:new');
    await second.done('room:leave', { roomName: room });
    assertMatches(await bob.heard('user:left', { userId: second.id }), { reason: 'left' });
  });

  scene('leaving a room that one is not in is told to nobody', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.enter('ann');
    await ann.ask('room:leave', { roomName: room });
    await marker(room, bob);
    bob.neverHeard('user:left');
  });

  scene('who disconnects is told to the others once', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.member('ann', room);
    ann.socket.disconnect();
    assertMatches(await bob.heard('user:left', { userId: ann.id }), { roomName: room, timestamp: ISO_DATE, reason: 'disconnected' });
    const { memberCount } = await bob.done('room:join', { roomName: room });
    assert.equal(memberCount, 1);
    await marker(room, bob);
    assert.equal(bob.all('user:left', { userId: ann.id }).length, 1);
  });

  scene('a client whose transport is lost comes back by itself, and nobody sees it', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.member('ann', room, { options: { reconnection: true, reconnectionDelay: 10 } });
    const before = ann.log.length;
    ann.socket.io.engine.close(); // the transport alone; the client does not say goodbye
    await ann.heard('disconnect', undefined, before);
    await ann.heard('authenticated', undefined, before);
    await ann.done('room:join', { roomName: room });
    await marker(room, ann, bob);
    bob.neverHeard('user:left');
    assert.equal(bob.all('user:joined', { userId: ann.id }).length, 1);
    bob.neverHeard('presence:changed', { userId: ann.id, status: 'offline' });
  });

  scene('members are listed in pages', async (stage) => {
    const room = stage.room();
    const cast = await Promise.all(['ann', 'bob', 'cat', 'dan', 'eve'].map((word, i) => stage.member(word, room, { node: i % 2 })));
    const whole = await cast[0].done('room:members', { roomName: room });
    const ids = cast.map((actor) => actor.id).sort();
    assert.deepEqual(whole.members.map((member) => member.userId).sort(), ids);
    for (const member of whole.members) assertMatches(member, { status: 'online', joinedAt: ISO_DATE });
    assert.equal(whole.cursor ?? null, null);

    const paged = [];
    let cursor;
    for (let pages = 0; pages < 10; pages += 1) {
      const page = await cast[1].done('room:members', { roomName: room, limit: 2, ...(cursor && { cursor }) });
      assert.ok(page.members.length <= 2, `a page of 2 has ${page.members.length}`);
      paged.push(...page.members.map((member) => member.userId));
      cursor = page.cursor;
      if (!cursor) break;
    }
    assert.deepEqual(paged.sort(), ids);
  });

  scene('a room that nobody made is not found', async (stage) => {
    const ann = await stage.enter('ann');
    const roomName = 'nobody-made-this';
    await ann.refused('ROOM_NOT_FOUND', 'room:join', { roomName });
    await ann.refused('ROOM_NOT_FOUND', 'message:send', { roomName, content: 'hello?' });
    await ann.refused('ROOM_NOT_FOUND', 'typing:start', { roomName });
  });

  scene('private rooms are forbidden and secret ones not found, unless one is invited', async (stage) => {
    const ann = await stage.enter('ann', { node: 1 });
    await ann.refused('FORBIDDEN', 'room:join', { roomName: PRIVATE_ROOM });
    await ann.refused('ROOM_NOT_FOUND', 'room:join', { roomName: SECRET_ROOM });
  });

  for (const [what, suffix] of [
    ['braces, colons and stars', ':{a}:*?[b]'],
    ['letters of the world', ' Größe 日本語 🎉'],
    ['names of JavaScript', '__proto__'],
    ['quotes and backslashes', `"'\\\\"`],
  ]) {
    scene(`a room's name may have ${what}`, async (stage) => {
      const room = stage.room() + suffix;
      const ann = await stage.member('ann', room);
      const bob = await stage.member('bob', room, { node: 1 });
      assert.equal(bob.joined.roomName, room);
      await marker(room, bob, ann);
    });
  }

  scene('a room name of 255 bytes is the longest', async (stage) => {
    const ann = await stage.enter('ann');
    const longest = stage.room().padEnd(253, 'x') + 'é';
    assert.equal(Buffer.byteLength(longest), 255);
    await ann.done('room:join', { roomName: longest });
    const error = await ann.refused('INVALID_PAYLOAD', 'room:join', { roomName: `${longest}x` });
    assertMatches(error, { message: /roomName/, details: { field: 'roomName' } });
  });
});
