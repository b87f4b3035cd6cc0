// Sends that wait, against a port whose answers the test gives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../../dist/outbox.js';

const refusal = (code) => ({ success: false, error: { code, message: 'm', retryAfterMs: 1 } });
const success = (seq) => ({ success: true, data: { messageId: `m${seq}`, epoch: 'e', seq, timestamp: 't' } });
const draft = (clientMessageId) => ({ content: 'c', clientMessageId });

function stage(limits = {}) {
  const state = { ready: true, tries: [], waiting: [], rejoins: 0 };
  const port = {
    send: (room, { clientMessageId }) => {
      state.tries.push(clientMessageId);
      const answer = state.waiting.shift();
      return Promise.resolve(typeof answer === 'function' ? answer() : answer);
    },
    isReady: () => state.ready,
    rejoin: () => (state.rejoins += 1),
  };
  const outbox = new Outbox(port, { maxQueued: 3, maxTries: 3, giveUpAfterMs: 60_000, ...limits });
  return { outbox, state };
}

test('sends of a room go out one after another, and a refused one is repeated before the next', async () => {
  const { outbox, state } = stage();
  state.waiting = [refusal('RATE_LIMITED'), refusal('UNAVAILABLE'), success(1), success(2)];
  const [one, two] = await Promise.all([outbox.send('r', draft('a')), outbox.send('r', draft('b'))]);
  assert.deepEqual(state.tries, ['a', 'a', 'a', 'b']);
  assert.deepEqual([one.seq, two.seq], [1, 2]);
});

test('what the gateway refuses for good is rejected, and the next goes on', async () => {
  const { outbox, state } = stage();
  state.waiting = [refusal('MUTED'), success(1)];
  const refused = outbox.send('r', draft('a'));
  const sent = outbox.send('r', draft('b'));
  await assert.rejects(refused, { code: 'MUTED' });
  assert.equal((await sent).seq, 1);
});

test('a lost transport costs no try, and the repeat has the same id', async () => {
  const { outbox, state } = stage({ maxTries: 1 });
  const lost = () => void (state.ready = false);
  state.waiting = [lost, success(1)];
  const sent = outbox.send('r', draft('a'));
  while (state.ready) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  state.ready = true;
  outbox.ready('r');
  assert.equal((await sent).seq, 1);
  assert.deepEqual(state.tries, ['a', 'a']);
});

test('tries, time and room in the queue are bounded', async () => {
  const { outbox, state } = stage({ giveUpAfterMs: 20 });
  state.waiting = [refusal('UNAVAILABLE'), refusal('UNAVAILABLE'), refusal('UNAVAILABLE')];
  await assert.rejects(outbox.send('r', draft('a')), { code: 'GAVE_UP' });
  state.waiting = [() => new Promise(() => {})];
  await assert.rejects(outbox.send('slow', draft('a')), { code: 'GAVE_UP' });
  state.ready = false;
  const waiting = ['a', 'b', 'c'].map((id) => outbox.send('r', draft(id)));
  await assert.rejects(outbox.send('r', draft('d')), { code: 'QUEUE_FULL' });
  outbox.fail(Object.assign(new Error('closed'), { code: 'CLOSED' }));
  for (const send of waiting) await assert.rejects(send, { code: 'CLOSED' });
});

test('whoever strayed joins again before the repeat', async () => {
  const { outbox, state } = stage();
  state.waiting = [refusal('NOT_A_MEMBER'), success(1)];
  const sent = outbox.send('r', draft('a'));
  while (state.rejoins === 0) await new Promise((resolve) => setImmediate(resolve));
  outbox.ready('r');
  assert.equal((await sent).seq, 1);
});
