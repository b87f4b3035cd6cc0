// Who types: told to the others, never stuck.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, marker, scene, together } from '../stage.mjs';

const nobody = (users) => users.length === 0;
const exactly = (...actors) => (users) => {
  const ids = users.map(({ userId }) => userId).sort();
  return ids.join() === actors.map(({ id }) => id).sort().join();
};

describe('typing', together, () => {
  scene('a start is told to the others on both nodes, not to the typist', async (stage) => {
    const room = stage.room();
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const ann = await stage.member('ann', room);
    const tab = await stage.member('ann', room, { node: 1 });
    assert.deepEqual(await ann.ask('typing:start', { roomName: room }), { success: true });
    const told = { roomName: room, users: (users) => users.length === 1 && users[0].userId === ann.id && ISO_DATE.test(users[0].startedAt) };
    assertMatches(await near.heard('typing:event'), told);
    assertMatches(await far.heard('typing:event'), told);
    assert.deepEqual(await ann.ask('typing:stop', { roomName: room }), { success: true });
    await near.heard('typing:event', { roomName: room, users: nobody });
    await far.heard('typing:event', { roomName: room, users: nobody });
    await marker(room, near, far, ann, tab);
    ann.neverHeard('typing:event');
    tab.neverHeard('typing:event');
  });

  scene('everybody who types is named', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    const cat = await stage.member('cat', room);
    ann.tell('typing:start', { roomName: room });
    await bob.heard('typing:event', { users: exactly(ann) });
    bob.tell('typing:start', { roomName: room });
    await cat.heard('typing:event', { users: exactly(ann, bob) });
    await ann.heard('typing:event', { users: exactly(ann, bob) });
    ann.tell('typing:stop', { roomName: room });
    await cat.heard('typing:event', { users: exactly(bob) });
  });

  scene('a repeated start is one mark, and keeps its beginning', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    for (let i = 0; i < 5; i += 1) await ann.done('typing:start', { roomName: room });
    await ann.done('typing:stop', { roomName: room });
    await bob.heard('typing:event', { users: nobody });
    for (const { users } of bob.all('typing:event')) assert.ok(users.length <= 1, 'one user is named twice');
    const beginnings = new Set(bob.all('typing:event').flatMap(({ users }) => users.map(({ startedAt }) => startedAt)));
    assert.equal(beginnings.size, 1);
  });

  scene('threads are apart', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('typing:start', { roomName: room, threadId: 'one' });
    await bob.heard('typing:event', { roomName: room, threadId: 'one', users: exactly(ann) });
    await ann.done('typing:start', { roomName: room });
    await bob.heard('typing:event', { roomName: room, threadId: undefined, users: exactly(ann) });
    await ann.done('typing:stop', { roomName: room, threadId: 'one' });
    await bob.heard('typing:event', { roomName: room, threadId: 'one', users: nobody });
    bob.neverHeard('typing:event', { threadId: undefined, users: nobody });
  });

  scene('the type of the room is handed back', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('typing:start', { roomName: room, roomType: 'thread', threadId: 't' });
    await bob.heard('typing:event', { roomName: room, roomType: 'thread', threadId: 't', users: exactly(ann) });
  });

  scene('a mark runs out, and the room is told', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('typing:start', { roomName: room });
    await bob.heard('typing:event', { users: exactly(ann) });
    await bob.heard('typing:event', { users: nobody });
    await marker(room, bob, ann);
    assert.equal(bob.all('typing:event').length, 2);
    ann.neverHeard('typing:event');
  });

  scene('who leaves or goes types no more', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    for (const goes of [
      (actor) => actor.done('room:leave', { roomName: room }),
      (actor) => actor.socket.disconnect(),
    ]) {
      bob.log.length = 0;
      const ann = await stage.member('ann', room);
      await ann.done('typing:start', { roomName: room });
      await bob.heard('typing:event', { users: exactly(ann) });
      await goes(ann);
      await bob.heard('typing:event', { users: nobody });
      await bob.heard('user:left', { userId: ann.id });
    }
  });

  scene('only a connection that has joined may type', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const eve = await stage.enter('eve');
    await eve.refused('NOT_A_MEMBER', 'typing:start', { roomName: room });
    await marker(room, bob);
    bob.neverHeard('typing:event');
  });

  for (const [field, payload] of [
    ['roomName', {}],
    ['roomName', { roomName: 7 }],
    ['threadId', { threadId: {} }],
  ]) {
    scene(`typing:start ${JSON.stringify(payload)} names ${field}`, async (stage) => {
      const room = stage.room();
      const ann = await stage.member('ann', room);
      const whole = field === 'roomName' ? payload : { roomName: room, ...payload };
      assertMatches(await ann.refused('INVALID_PAYLOAD', 'typing:start', whole), { message: new RegExp(field), details: { field } });
    });
  }
});
