// The rules of one room, against a port that notes what it is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Room } from '../../dist/room.js';

const message = (seq, epoch = 'e1') => ({ roomName: 'r', messageId: `${epoch}-${seq}`, epoch, seq, content: 'c', timestamp: 't' });

/** A room at e1/5 unless told otherwise, with what it asked for and said. */
function stage({ at = { epoch: 'e1', seq: 5 } } = {}) {
  const said = { told: [], resets: [], joins: [], refused: [], ready: 0 };
  const port = {
    join: (_, since, reply) => said.joins.push({ since, reply: (data) => reply({ success: true, data }), fail: reply }),
    isConnected: () => true,
    message: ({ epoch, seq }) => said.told.push(`${epoch}/${seq}`),
    reset: ({ reason, from, to }) => said.resets.push({ reason, from, to }),
    ready: () => (said.ready += 1),
    refused: (_, error) => said.refused.push(error.code),
  };
  const room = new Room('r', port);
  room.connected();
  said.joins.shift().reply({ roomName: 'r', ...at });
  return { room, ...said, said };
}

test('messages that follow are told, repeats are not', () => {
  const { room, told } = stage();
  for (const seq of [6, 7, 6, 5, 7, 8]) room.heard(message(seq));
  assert.deepEqual(told, ['e1/6', 'e1/7', 'e1/8']);
  assert.deepEqual(room.position, { epoch: 'e1', seq: 8 });
});

test('another epoch that goes on is no hole', () => {
  const { room, told, joins } = stage();
  room.heard(message(6, 'e2'));
  assert.deepEqual(told, ['e2/6']);
  assert.equal(joins.length, 0);
});

test('a gap is asked for, and what came meanwhile is told behind the answer', () => {
  const { room, told, joins, resets } = stage();
  room.heard(message(8));
  room.heard(message(9));
  assert.deepEqual(joins[0].since, { epoch: 'e1', seq: 5 });
  joins[0].reply({ epoch: 'e1', seq: 8, recovered: true, messages: [message(6), message(7), message(8)] });
  assert.deepEqual(told, ['e1/6', 'e1/7', 'e1/8', 'e1/9']);
  assert.deepEqual(resets, []);
});

test('what cannot be recovered is told by reset, once, and it goes on from there', () => {
  const { room, told, joins, resets } = stage();
  room.disconnected();
  room.connected();
  joins[0].reply({ epoch: 'e1', seq: 900, recovered: false, reason: 'history_trimmed' });
  room.heard(message(901));
  assert.deepEqual(resets, [{ reason: 'history_trimmed', from: { epoch: 'e1', seq: 5 }, to: { epoch: 'e1', seq: 900 } }]);
  assert.deepEqual(told, ['e1/901']);
});

test('an answer that says recovered and leaves something out is not believed', () => {
  const { room, joins, resets } = stage();
  room.disconnected();
  room.connected();
  joins[0].reply({ epoch: 'e1', seq: 8, recovered: true, messages: [message(6)] });
  assert.deepEqual(resets, [{ reason: 'gap', from: { epoch: 'e1', seq: 5 }, to: { epoch: 'e1', seq: 8 } }]);
});

test('an old answer changes nothing', () => {
  const { room, told, joins } = stage();
  room.disconnected();
  room.connected();
  room.disconnected();
  room.connected();
  joins[0].reply({ epoch: 'e1', seq: 6, recovered: true, messages: [message(6)] });
  assert.deepEqual(told, []);
  joins[1].reply({ epoch: 'e1', seq: 6, recovered: true, messages: [message(6)] });
  assert.deepEqual(told, ['e1/6']);
});

test('a reset moves the position forward, never back', () => {
  const { room, told, resets } = stage();
  room.heard({ roomName: 'r', epoch: 'e1', seq: 3, rev: 1, reason: 'members' });
  assert.deepEqual(room.position, { epoch: 'e1', seq: 5 });
  room.heard({ roomName: 'r', epoch: 'e2', seq: 0, rev: 1, reason: 'emptied' });
  room.heard(message(1, 'e2'));
  assert.deepEqual(resets.map(({ to }) => to), [{ epoch: 'e1', seq: 5 }, { epoch: 'e2', seq: 0 }]);
  assert.deepEqual(told, ['e2/1']);
});

test('too much during a join is asked for again', () => {
  const { room, told, joins } = stage();
  room.heard(message(7));
  for (let seq = 8; seq < 3_000; seq += 1) room.heard(message(seq));
  joins[0].reply({ epoch: 'e1', seq: 6, recovered: true, messages: [message(6)] });
  assert.deepEqual(joins[1].since, { epoch: 'e1', seq: 6 });
  assert.deepEqual(told, ['e1/6']);
});

test('a refusal ends it, and UNAVAILABLE does not', async () => {
  const { room, joins, said } = stage();
  const joined = room.joined();
  room.resume();
  joins[0].fail({ success: false, error: { code: 'UNAVAILABLE', message: 'm', retryAfterMs: 1 } });
  while (joins.length < 2) await new Promise((resolve) => setImmediate(resolve));
  joins[1].fail({ success: false, error: { code: 'BANNED', message: 'm' } });
  assert.deepEqual(said.refused, ['BANNED']);
  room.close(Object.assign(new Error('banned'), { code: 'BANNED' }));
  await assert.rejects(joined, { code: 'BANNED' });
});
