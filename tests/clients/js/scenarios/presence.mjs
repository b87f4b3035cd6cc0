// Who is there, and how: told to those who share a room, derived from live connections.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, marker, scene, together, unique } from '../stage.mjs';

const PLAIN = { customStatus: null, customEmoji: null };

describe('presence', together, () => {
  scene('a first join tells the members who came and how, in this order', async (stage) => {
    const room = stage.room();
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const ann = await stage.member('ann', room);
    for (const listener of [near, far]) {
      assertMatches(await listener.heard('presence:changed', { userId: ann.id }), { status: 'online', ...PLAIN });
      const came = listener.position('user:joined', { userId: ann.id });
      assert.ok(came >= 0 && came < listener.position('presence:changed', { userId: ann.id }), 'user:joined comes first');
    }
  });

  scene('an update is acked, and told to the room, the other tabs and the teller', async (stage) => {
    const room = stage.room();
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const ann = await stage.member('ann', room);
    const tab = await stage.enter('ann', { node: 1 });
    for (const status of ['busy', 'away', 'online']) {
      const customStatus = { text: `I am ${status}`, emoji: '🌴' };
      assertMatches(await ann.done('presence:update', { status, customStatus }), { userId: ann.id, status });
      const told = { userId: ann.id, status, customStatus: `I am ${status}`, customEmoji: '🌴' };
      for (const listener of [near, far, ann, tab]) await listener.heard('presence:changed', told);
    }
  });

  scene('an update without a custom status clears it', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'out', emoji: '🍕' } });
    await bob.heard('presence:changed', { userId: ann.id, customStatus: 'out', customEmoji: '🍕' });
    await ann.done('presence:update', { status: 'busy' });
    await bob.heard('presence:changed', { userId: ann.id, status: 'busy', ...PLAIN });
  });

  scene('a custom status ends when it says', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    const expiresAt = new Date(Date.now() + 2_000).toISOString();
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'soon back', expiresAt } });
    await bob.heard('presence:changed', { userId: ann.id, customStatus: 'soon back' });
    const stands = bob.log.length;
    await bob.heard('presence:changed', { userId: ann.id, status: 'busy', ...PLAIN }, stands);
    const { presences } = await bob.done('presence:get', { userIds: [ann.id] });
    assertMatches(presences[0], { status: 'busy', ...PLAIN });
  });

  scene('another tab wipes neither status nor custom status', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room);
    const ann = await stage.member('ann', room);
    const mine = { status: 'busy', customStatus: 'deep work', customEmoji: '🎧' };
    await ann.done('presence:update', { status: 'busy', customStatus: { text: 'deep work', emoji: '🎧' } });
    await bob.heard('presence:changed', { userId: ann.id, ...mine });
    const tab = await stage.member('ann', room, { node: 1 });
    const get = async () => (await bob.done('presence:get', { userIds: [ann.id] })).presences[0];
    assertMatches(await get(), { userId: ann.id, ...mine });
    tab.socket.disconnect();
    await ann.done('presence:update', { status: 'away', customStatus: { text: 'later' } });
    await bob.heard('presence:changed', { userId: ann.id, status: 'away' });
    bob.neverHeard('presence:changed', ({ userId, status }) => userId === ann.id && status === 'offline');
    const statuses = bob.all('presence:changed', { userId: ann.id }).map(({ status }) => status);
    assert.deepEqual([...new Set(statuses)], ['online', 'busy', 'away'], 'nothing else in between');
  });

  scene('invisible looks offline, and speaks', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('presence:update', { status: 'offline' });
    await bob.heard('presence:changed', { userId: ann.id, status: 'offline' });
    assertMatches((await bob.done('presence:get', { userIds: [ann.id] })).presences[0], { userId: ann.id, status: 'offline' });
    await marker(room, ann, bob);
    bob.neverHeard('user:left');
  });

  scene('the last tab that goes makes the user offline', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room);
    const first = await stage.member('ann', room);
    const second = await stage.member('ann', room, { node: 1 });
    first.socket.disconnect();
    await second.done('presence:update', { status: 'away' });
    await bob.heard('presence:changed', { userId: second.id, status: 'away' });
    bob.neverHeard('presence:changed', { userId: second.id, status: 'offline' });
    bob.neverHeard('user:left', { userId: second.id });
    second.socket.disconnect();
    await bob.heard('presence:changed', { userId: second.id, status: 'offline' });
    await bob.heard('user:left', { userId: second.id, reason: 'disconnected' });
  });

  scene('strangers hear nothing of each other', async (stage) => {
    const [here, there] = [stage.room(), stage.room()];
    const ann = await stage.member('ann', here);
    const bob = await stage.member('bob', here, { node: 1 });
    const eve = await stage.member('eve', there);
    await ann.done('presence:update', { status: 'busy' });
    await bob.heard('presence:changed', { userId: ann.id, status: 'busy' });
    await ann.done('room:join', { roomName: there });
    await eve.heard('presence:changed', { userId: ann.id, status: 'busy' });
    const first = eve.log.findIndex(([, told]) => told?.userId === ann.id);
    assert.equal(eve.log[first][0], 'user:joined', 'the first that she hears of ann is that she came');
  });

  scene('presences are asked for, and unknown users are offline', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('presence:update', { status: 'away', customStatus: { text: 'tea', emoji: '🍵' } });
    const nobody = unique('nobody');
    const { presences } = await bob.done('presence:get', { userIds: [ann.id, nobody, bob.id] });
    assert.equal(presences.length, 3);
    const of = (id) => presences.find(({ userId }) => userId === id);
    assertMatches(of(ann.id), { status: 'away', customStatus: 'tea', customEmoji: '🍵' });
    assertMatches(of(nobody), { status: 'offline', ...PLAIN });
    assertMatches(of(bob.id), { status: 'online', ...PLAIN });
  });

  scene('who was there has a last seen', async (stage) => {
    const room = stage.room();
    const bob = await stage.member('bob', room, { node: 1 });
    const ann = await stage.member('ann', room);
    ann.socket.disconnect();
    await bob.heard('presence:changed', { userId: ann.id, status: 'offline' });
    await bob.heard('user:left', { userId: ann.id });
    const { presences } = await bob.done('presence:get', { userIds: [ann.id] });
    assertMatches(presences[0], { userId: ann.id, status: 'offline', lastSeen: ISO_DATE });
  });

  scene('a subscription answers with the presences, in the ack and as presence:bulk', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await ann.done('presence:update', { status: 'busy' });
    const isAnn = (presences) => presences.length === 1 && presences[0].userId === ann.id && presences[0].status === 'busy';
    assertMatches(await bob.done('presence:subscribe', { userIds: [ann.id] }), { presences: isAnn });
    await bob.heard('presence:bulk', { presences: isAnn });
    assertMatches(await bob.ask('presence:unsubscribe', { userIds: [ann.id] }), { success: true });
    await marker(room, bob, ann);
    ann.neverHeard('presence:bulk');
  });

  scene('at most 200 users are asked for in one call', async (stage) => {
    const ann = await stage.enter('ann');
    const userIds = Array.from({ length: 201 }, (_, i) => `user-${i}`);
    assert.equal((await ann.done('presence:get', { userIds: userIds.slice(1) })).presences.length, 200);
    for (const event of ['presence:get', 'presence:subscribe']) {
      const { error } = await ann.ask(event, { userIds });
      assert.ok(['INVALID_PAYLOAD', 'TOO_LARGE'].includes(error?.code), `${event}: ${JSON.stringify(error)}`);
    }
  });

  for (const [field, payload] of [
    ['status', {}],
    ['status', { status: 'invisible' }],
    ['status', { status: 'ONLINE' }],
    ['status', { status: 7 }],
    ['status', { status: 'x'.repeat(21) }],
    ['customStatus', { status: 'online', customStatus: 'text' }],
    ['customStatus', { status: 'online', customStatus: { text: 7 } }],
    ['customStatus', { status: 'online', customStatus: { text: 'x', expiresAt: 'tomorrow' } }],
  ]) {
    scene(`presence:update ${JSON.stringify(payload)} names ${field}`, async (stage) => {
      const ann = await stage.enter('ann');
      assertMatches(await ann.refused('INVALID_PAYLOAD', 'presence:update', payload), {
        message: new RegExp(field),
        details: { field: (name) => name.startsWith(field) },
      });
    });
  }
});
