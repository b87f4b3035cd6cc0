// Both peers do what the bench relies on: two processes of each on one Redis, by every transport, with unmodified clients.
import assert from 'node:assert/strict';
import { after, before as first, describe, test } from 'node:test';
import { COMMANDS, before, connect, enter, startPeer, startRedis, stopAll, token } from './stage.mjs';

const TRANSPORTS = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] };
const ISO_DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

let redis;
first(async () => {
  redis = await startRedis();
});
after(async () => {
  await stopAll();
  await redis.stop();
});

for (const name of Object.keys(COMMANDS)) {
  describe(name, () => {
    let peers;
    first(async () => {
      peers = await Promise.all([startPeer(name, redis), startPeer(name, redis)]);
    });
    after(async () => {
      assert.deepEqual(await Promise.all(peers.map((peer) => peer.stop())), [0, 0], 'exit codes after SIGTERM');
      assert.deepEqual(peers.map((peer) => peer.complaints), ['', '']);
    });

    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      test(`events reach both processes (${transport})`, () => talk(peers, `${name}-${transport}`, transports));
    }

    test('tokens of others are refused', async () => {
      for (const bad of [token('mallory', 'another secret, as long as the right one'), 'nonsense', undefined]) {
        const socket = connect(peers[0], bad, ['websocket']);
        const error = await before('a refusal', (found) => socket.once('connect_error', found));
        assert.deepEqual([error.message, error.data], ['Invalid token', { code: 'UNAUTHENTICATED' }]);
      }
    });
  });
}

/** Alice and carol on the first process, bob on the second; dora is in no room. */
async function talk([here, there], room, transports) {
  const actors = await Promise.all(
    [[here, 'alice'], [there, 'bob'], [here, 'carol'], [there, 'dora']].map(([peer, user]) => enter(peer, user, transports)),
  );
  const [alice, bob, carol, dora] = actors;
  const { socket } = alice;
  assert.deepEqual(alice.authenticated, { userId: 'alice', sessionId: socket.id, rooms: [] });
  if (transports.length > 1) {
    await before('the upgrade', (found) => {
      const isThere = () => socket.io.engine.transport.name === 'websocket' && found();
      socket.io.engine.once('upgrade', isThere);
      isThere();
    });
  }

  const members = [];
  for (const [userId, { ask }] of Object.entries({ alice, bob, carol })) {
    members.push({ userId, status: 'online' });
    const { data } = await ask('room:join', { roomName: room });
    data.members.sort((one, other) => one.userId.localeCompare(other.userId));
    assert.deepEqual(data, { roomName: room, memberCount: members.length, members }, 'the members of both nodes');
  }
  await alice.heard('user:joined', ({ userId }) => userId === 'carol');

  const said = await alice.ask('message:send', { roomName: room, content: 'hello' });
  const { messageId, epoch, seq, timestamp } = said.data;
  assert.deepEqual(said, { success: true, data: { messageId, epoch, seq, timestamp } });
  assert.equal(messageId, `${epoch}-${seq}`);
  assert.match(timestamp, ISO_DATE);
  const message = { roomName: room, userId: 'alice', content: 'hello', messageId, epoch, seq, timestamp };
  assert.ok(alice.log.some(([event]) => event === 'message:new'), 'the sender hears it before the ack');
  for (const { heard } of [alice, bob, carol]) {
    assert.deepEqual(await heard('message:new'), message);
  }

  assert.deepEqual(await alice.ask('typing:start', { roomName: room }), { success: true });
  const status = { userId: 'alice', status: 'busy', customStatus: null, customEmoji: null };
  assert.deepEqual(await alice.ask('presence:update', { status: 'busy' }), { success: true, data: status });
  for (const { heard } of [bob, carol]) {
    const { users, ...typing } = await heard('typing:event');
    assert.deepEqual([typing, users.map(({ userId }) => userId)], [{ roomName: room }, ['alice']]);
    assert.match(users[0].startedAt, ISO_DATE);
    assert.deepEqual(await heard('presence:changed'), status);
  }

  // A stranger is refused, changes nobody's picture of her, and has heard nothing when all the others have heard the last word.
  const refused = await dora.ask('message:send', { roomName: room, content: 'hello' });
  assert.equal(refused.error.code, 'NOT_A_MEMBER');
  assert.equal((await dora.ask('presence:update', { status: 'away' })).success, true);
  assert.equal((await dora.ask('room:join', null)).error.code, 'INVALID_PAYLOAD');
  await bob.ask('message:send', { roomName: room, content: 'the last word' });
  for (const { heard } of [alice, bob, carol]) {
    await heard('message:new', ({ content }) => content === 'the last word');
  }
  const names = ({ log }) => log.map(([event]) => event).filter((event) => event !== 'user:joined');
  const joins = ({ log }) => log.filter(([event]) => event === 'user:joined').length;
  assert.deepEqual([alice, bob, carol, dora].map(joins), [2, 1, 0, 0], 'the others hear of a join');
  assert.deepEqual(names(alice), ['authenticated', 'message:new', 'message:new']);
  const all = ['authenticated', 'message:new', 'typing:event', 'presence:changed', 'message:new'];
  assert.deepEqual([names(bob), names(carol), names(dora)], [all, all, ['authenticated']]);
  actors.forEach((actor) => actor.socket.disconnect());
}

for (const [how, wanted] of [
  ['0', {}],
  ['1', { server_no_context_takeover: true, client_no_context_takeover: true }],
  ['takeover', {}],
]) {
  test(`node compresses when it is told to (DEFLATE=${how})`, async () => {
    const peer = await startPeer('node', redis, { DEFLATE: how });
    const client = await enter(peer, 'alice', ['websocket']);
    const { 'permessage-deflate': agreed } = client.socket.io.engine.transport.ws._extensions;
    assert.equal(agreed !== undefined, how !== '0');
    assert.deepEqual({ ...agreed?.params }, wanted);
    await client.ask('room:join', { roomName: how });
    const content = 'long enough to be worth it, '.repeat(100);
    await client.ask('message:send', { roomName: how, content });
    assert.equal((await client.heard('message:new')).content, content);
    client.socket.disconnect();
    assert.equal(await peer.stop(), 0);
  });
}
