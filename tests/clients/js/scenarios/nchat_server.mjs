// What nchat's server tells its clients through the gateway, which serves it by REALTIME_API_KEYS=NCHAT_API_KEY.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { directRoom, Nchat, NchatServer } from '../nchat.mjs';
import { assertMatches, NODES, scene, together, unique } from '../stage.mjs';
import { token } from '../token.mjs';

/** As tests/e2e/nchat.rs gives it to the nodes. */
const API_KEY = 'a key of the tests for nchat alone';

const server = new NchatServer(NODES[1], API_KEY);
const meta = () => ({ meta: { eventId: unique('event'), timestamp: new Date().toISOString(), serverVersion: '0.9.1' } });

async function enter(stage, word, node, ...rooms) {
  const id = stage.user(word);
  const actor = stage.cast(new Nchat(`${word}@${node}`, id, { url: NODES[node], token: token({ sub: id }) }));
  await actor.connect();
  await actor.heard('client:state', 'authenticated');
  for (const room of rooms) await actor.joinRoom(room);
  return actor;
}

describe("nchat's server", together, () => {
  scene('tells of what was stored, and hears how many that reached', async (stage) => {
    const channel = unique('channel:c');
    const thread = unique('thread:t');
    const ann = await enter(stage, 'ann', 0, channel, thread);
    const bob = await enter(stage, 'bob', 1, channel);
    const eve = await enter(stage, 'eve', 0, unique('channel:other'));
    for (const eventType of ['message:new', 'message:update', 'message:delete']) {
      const payload = { ...meta(), id: unique('m'), channelId: channel.slice(8), content: 'hello', user: { id: bob.id } };
      assert.equal(await server.broadcast(eventType, [channel, thread], payload), 2, 'each socket once');
      for (const actor of [ann, bob]) assert.deepEqual(await actor.heard(eventType, { id: payload.id }), payload);
      assert.equal(ann.all(eventType).length, 1);
      eve.neverHeard(eventType);
    }
  });

  scene('may not speak for the gateway', async (stage) => {
    const channel = unique('channel:c');
    const ann = await enter(stage, 'ann', 0, channel);
    for (const eventType of ['user:joined', 'presence:changed', 'authenticated', 'error', 'disconnect']) {
      await assert.rejects(server.broadcast(eventType, [channel], meta()), /400/, eventType);
    }
    await ann.send(channel, 'still here');
  });

  scene('notifies one user on every device, and nobody else', async (stage) => {
    const own = `user:${stage.user('ann')}`;
    const [ann, tab] = await Promise.all([enter(stage, 'ann', 0, own), enter(stage, 'ann', 1, own)]);
    const bob = await enter(stage, 'bob', 0);
    const payload = { id: unique('n'), type: 'mention', title: 'bob mentioned you', body: '…', createdAt: new Date().toISOString() };
    assert.equal(await server.broadcast('notification', [own], payload, unique('event')), 2);
    for (const actor of [ann, tab]) assert.deepEqual(await actor.heard('notification'), payload);
    bob.neverHeard('notification');
    assert.equal(await server.broadcast('notification', [`user:${unique('gone')}`], payload, unique('event')), 0);
  });

  scene('says an event once, however often it is asked to', async (stage) => {
    const channel = unique('channel:c');
    const ann = await enter(stage, 'ann', 0, channel);
    const payload = { ...meta(), messageId: 'm', emoji: '👍', totalCount: 1 };
    for (let tries = 0; tries < 2; tries += 1) assert.equal(await server.broadcast('reaction:add', [channel], payload), 1);
    await server.broadcast('reaction:remove', [channel], meta());
    await ann.heard('reaction:remove');
    assert.equal(ann.all('reaction:add').length, 1);
  });

  scene('tells what it collected, in its order', async (stage) => {
    const channel = unique('channel:c');
    const ann = await enter(stage, 'ann', 0, channel);
    const update = (name) => ({ eventType: 'channel:update', roomNames: [channel], payload: { ...meta(), updates: { name } } });
    const response = await server.broadcastBatch([update('one'), update('two'), update('three')]);
    assert.equal(response.status, 200);
    await ann.heard('channel:update', { updates: { name: 'three' } });
    assert.deepEqual(ann.all('channel:update').map(({ updates }) => updates.name), ['one', 'two', 'three']);
  });

  scene('is asked for its key', async (stage) => {
    const ann = await enter(stage, 'ann', 0, `user:${stage.user('ann')}`);
    await assert.rejects(new NchatServer(NODES[0], 'another').broadcast('x:y', [`user:${ann.id}`], {}), /401/);
    await assert.rejects(new NchatServer(NODES[0], '').broadcast('x:y', [`user:${ann.id}`], {}), /401/);
  });

  scene('invites into a direct room whose id names nobody', async (stage) => {
    const direct = unique('dm:d');
    const ann = await enter(stage, 'ann', 0, direct);
    const bob = await enter(stage, 'bob', 1);
    await bob.refused('FORBIDDEN', 'room:join', { roomName: direct });
    const path = `/api/rooms/${encodeURIComponent(direct)}/members/${encodeURIComponent(bob.id)}`;
    const response = await fetch(`${NODES[0]}${path}`, { method: 'PUT', headers: { 'X-API-Key': API_KEY } });
    assert.ok(response.ok, `${response.status} ${await response.text()}`);
    assertMatches(await bob.joinRoom(direct), { type: 'dm', memberCount: 2 });
    await ann.heard('user:joined', { roomName: direct, userId: bob.id });
    const eve = await enter(stage, 'eve', 0);
    await eve.refused('FORBIDDEN', 'room:join', { roomName: direct });
    await eve.refused('FORBIDDEN', 'room:join', { roomName: directRoom(ann.id, bob.id) });
  });
});
