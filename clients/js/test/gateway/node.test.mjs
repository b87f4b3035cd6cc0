// The module in Node, against real nodes (NODES, JWT_SECRET); run by tests/e2e/client_module.rs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RealtimeClient } from '../../dist/index.js';
import { NODES, token, unique } from './token.mjs';

const LIMIT = { timeout: 30_000, concurrency: 4 };

/** A client with what it was told, sent home at the end. */
function enter(t, { user = unique('user'), node = 0, getToken = () => token(user), ...options } = {}) {
  const client = new RealtimeClient({ url: NODES[node], getToken, transports: ['websocket'], reconnectionDelayMs: 50, reconnectionDelayMaxMs: 200, ...options });
  const told = [];
  const resets = [];
  const waiting = new Set();
  client.on('message', (message) => {
    told.push(message);
    for (const check of waiting) check();
  });
  client.on('reset', (reset) => resets.push(reset));
  t.after(() => client.close());
  const count = (wanted) =>
    new Promise((resolve) => {
      const check = () => told.length >= wanted && (waiting.delete(check), resolve());
      waiting.add(check);
      check();
    });
  return { client, user, told, resets, count };
}

const next = (client, event) =>
  new Promise((resolve) => {
    const off = client.on(event, (payload) => (off(), resolve(payload)));
  });

test('a room goes on where it ended, on another node, with nothing lost and nothing twice', LIMIT, async (t) => {
  const room = unique('auto:room');
  const [ann, bob] = [enter(t), enter(t)];
  await Promise.all([ann.client.join(room), bob.client.join(room)]);
  await ann.client.send(room, { content: '0' });
  await bob.count(1);
  for (let round = 1; round <= 5; round += 1) {
    bob.client.socket.io.uri = NODES[round % 2];
    const gone = next(bob.client, 'disconnected');
    bob.client.socket.io.engine.close();
    await gone;
    for (let i = 0; i < 10; i += 1) await ann.client.send(room, { content: `${round}.${i}` });
    await bob.count(1 + 10 * round);
  }
  assert.deepEqual(bob.told, ann.told);
  assert.deepEqual(bob.told.map(({ seq }) => seq), Array.from({ length: 51 }, (_, i) => i + 1));
  assert.deepEqual([...ann.resets, ...bob.resets], []);
});

test('what is sent while the transport goes is told once', LIMIT, async (t) => {
  const room = unique('auto:room');
  const [ann, bob] = [enter(t), enter(t, { node: 1 })];
  await Promise.all([ann.client.join(room), bob.client.join(room)]);
  const sends = [];
  for (let i = 0; i < 60; i += 1) {
    sends.push(ann.client.send(room, { content: String(i) }));
    // The packet is on its way, and its ack finds nobody.
    if (i % 20 === 10) setImmediate(() => ann.client.socket.io.engine.close());
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(sends);
  await Promise.all([ann.count(60), bob.count(60)]);
  const expected = Array.from({ length: 60 }, (_, i) => String(i));
  assert.deepEqual(bob.told.map(({ content }) => content), expected);
  assert.deepEqual(ann.told, bob.told);
});

test('a page that comes back later goes on by its position', LIMIT, async (t) => {
  const room = unique('auto:room');
  const ann = enter(t);
  await ann.client.join(room);
  await ann.client.send(room, { content: 'seen' });
  const since = ann.client.position(room);
  await ann.client.send(room, { content: 'missed' });
  const later = enter(t);
  const joined = await later.client.join(room, { since });
  assert.equal(joined.recovered, true);
  assert.deepEqual(later.told.map(({ content }) => content), ['missed']);
  const page = await later.client.history(room, { limit: 1 });
  assert.deepEqual(page.messages.map(({ content }) => content), ['missed']);
  assert.equal(page.more, true);
});

test('a token is refreshed before it ends, and the connection stays', LIMIT, async (t) => {
  const user = unique('user');
  const reasons = [];
  const ann = enter(t, { user, getToken: (reason) => (reasons.push(reason), token(user, reasons.length === 1 ? 3 : 3_600)) });
  await next(ann.client, 'connected');
  const id = ann.client.socket.id;
  await new Promise((resolve) => ann.client.socket.on('authenticated', () => reasons.includes('refresh') && resolve()));
  assert.deepEqual(reasons, ['connect', 'refresh']);
  assert.equal(ann.client.socket.id, id);
});

test('a token that is not believed is asked for once more, then it is told', LIMIT, async (t) => {
  const reasons = [];
  const fresh = enter(t, { user: 'fresh', getToken: (reason) => (reasons.push(reason), reason === 'refused' ? token('fresh') : 'a.b.c') });
  await next(fresh.client, 'connected');
  assert.deepEqual(reasons, ['connect', 'refused']);
  const stale = enter(t, { getToken: () => 'a.b.c' });
  const join = assert.rejects(stale.client.join('auto:any'), { code: 'UNAUTHENTICATED' });
  assert.equal((await next(stale.client, 'unauthenticated')).code, 'UNAUTHENTICATED');
  await join;
});

test('typing reaches the others throttled, and refusals have their codes', LIMIT, async (t) => {
  const room = unique('auto:room');
  const [ann, bob] = [enter(t), enter(t, { node: 1 })];
  await Promise.all([ann.client.join(room), bob.client.join(room)]);
  const typists = new Promise((resolve) => bob.client.socket.on('typing:event', resolve));
  for (let key = 0; key < 10; key += 1) ann.client.typing(room);
  assert.equal((await typists).users[0].userId, ann.user);
  await assert.rejects(ann.client.join('not-made'), { code: 'ROOM_NOT_FOUND' });
  await assert.rejects(ann.client.send('not-joined', { content: 'x' }), { code: 'NOT_A_MEMBER' });
  await assert.rejects(ann.client.send(room, { content: '' }), { code: 'INVALID_PAYLOAD' });
});
