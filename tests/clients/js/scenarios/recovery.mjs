// Recovery with the stock client and no code of its own: it shows its pid and its last offset by itself.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, NODES, scene, together } from '../stage.mjs';

const RECOVERS = { auth: { recovery: true }, options: { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 200 } };

const seqs = (actor, room) => actor.all('message:new', { roomName: room }).map(({ seq }) => seq);
const upTo = (last) => Array.from({ length: last }, (_, i) => i + 1);

/** The transport goes, and comes back to another node; what happens meanwhile is up to `body`. */
async function lose(actor, node, body) {
  const from = actor.log.length;
  actor.socket.io._reconnection = false;
  actor.socket.io.engine.close();
  await actor.entry('disconnect', undefined, from);
  await body();
  actor.socket.io.uri = NODES[node];
  actor.socket.io._reconnection = true;
  actor.socket.connect();
  const connected = await actor.heard('connected', undefined, from);
  return { connected, from };
}

describe('recovery', together, () => {
  scene('whoever comes back to any node is in its rooms, and hears what it missed once and in order', async (stage) => {
    const rooms = [stage.room('a'), stage.room('b')];
    const ann = await stage.enter('ann');
    const bob = await stage.enter('bob', RECOVERS);
    for (const room of rooms) {
      await ann.done('room:join', { roomName: room });
      await bob.done('room:join', { roomName: room });
      await marker(room, ann, bob);
    }
    let said = 1;
    for (const node of [1, 0, 1]) {
      const { connected } = await lose(bob, node, async () => {
        for (let i = 0; i < 4; i += 1) for (const room of rooms) await ann.done('message:send', { roomName: room, content: `${node} ${i}` });
      });
      assertMatches(connected, { recovered: true, reason: (reason) => reason === undefined });
      assert.equal(bob.socket.recovered, true);
      for (const room of rooms) await marker(room, ann, bob);
      said += 5;
      for (const room of rooms) assert.deepEqual(seqs(bob, room), upTo(said), 'no hole, and nothing twice');
    }
    // It is a member like before.
    await marker(rooms[0], bob, ann);
    ann.neverHeard('user:left');
    assert.equal(ann.all('user:joined', { userId: bob.id }).length, rooms.length);
  });

  scene('the offset is a second argument for those who recover, and for nobody else', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1, ...RECOVERS });
    await marker(room, ann, bob);
    const [, , offset] = await bob.entry('message:new');
    assert.equal(typeof offset, 'string');
    assert.equal((await ann.entry('message:new')).length, 2);
    assert.equal(ann.socket._pid, undefined);
    assert.ok(bob.socket._pid.length >= 20, 'a pid has 120 random bits');
    assertMatches(await ann.heard('connected'), { recovered: false, reason: (reason) => reason === undefined });
  });

  scene('a session without a message is recovered too', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, RECOVERS);
    const { connected } = await lose(bob, 1, () => ann.done('message:send', { roomName: room, content: 'the first' }));
    assert.equal(connected.recovered, true);
    await bob.heard('message:new', { content: 'the first' });
    assertMatches(await bob.heard('authenticated', undefined, bob.position('disconnect')), { rooms: [room] });
  });

  scene('a room that was left is not come back to, and a wanted end is no loss', async (stage) => {
    const [kept, left] = [stage.room('kept'), stage.room('left')];
    const ann = await stage.enter('ann');
    const bob = await stage.enter('bob', RECOVERS);
    for (const room of [kept, left]) for (const actor of [ann, bob]) await actor.done('room:join', { roomName: room });
    await bob.done('room:leave', { roomName: left });
    const { connected } = await lose(bob, 1, () => ann.done('message:send', { roomName: left, content: 'not for bob' }));
    assert.equal(connected.recovered, true);
    await marker(kept, ann, bob);
    bob.neverHeard('message:new', { roomName: left });
    const from = bob.log.length;
    bob.socket.disconnect();
    await bob.entry('disconnect', undefined, from);
    bob.socket.connect();
    assertMatches(await bob.heard('connected', undefined, from), { recovered: false, reason: 'session_unknown' });
    assert.equal(bob.socket.recovered, false);
  });

  scene('what cannot be recovered says why, and begins anew', async (stage) => {
    const room = stage.room();
    for (const [auth, reason] of [
      [{ pid: 'nobody-had-this-one', offset: 'aa.1' }, 'session_unknown'],
      [{ pid: 7 }, 'session_unknown'],
      [{ pid: 'x', offset: 'no offset' }, 'offset_unknown'],
    ]) {
      const actor = await stage.enter('ann', { auth: { recovery: true, ...auth } });
      assertMatches(await actor.heard('connected'), { recovered: false, reason });
      assert.notEqual(actor.socket._pid, auth.pid);
      await actor.done('room:join', { roomName: room });
    }
  });

  scene("another user's session is none", async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, RECOVERS);
    const mallory = await stage.enter('mallory', { auth: { recovery: true, pid: bob.socket._pid } });
    assertMatches(await mallory.heard('connected'), { recovered: false, reason: 'session_unknown' });
    await mallory.refused('NOT_A_MEMBER', 'message:send', { roomName: room, content: 'x' });
  });
});
