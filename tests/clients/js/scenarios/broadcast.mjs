// What an application's server says over HTTP: stock clients hear it as the event that it is, on both nodes, each once.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, post, scene, together, unique } from '../stage.mjs';

/** Two rooms: ada in the first, bob in both, and both on different nodes; eve in the second. */
async function cast(stage) {
  const [first, second] = [stage.room('first'), stage.room('second')];
  const ada = await stage.member('ada', first);
  const bob = await stage.member('bob', first, { node: 1 });
  await bob.done('room:join', { roomName: second });
  const eve = await stage.member('eve', second);
  return { first, second, ada, bob, eve };
}

describe('broadcast', together, () => {
  scene('all who are in a room hear it, on whichever node it was asked, and it is no text of the gateway', async (stage) => {
    const { first, ada, bob, eve, second } = await cast(stage);
    const payload = { messageId: unique('m'), emoji: '🎉', numbers: [1.5, 1e21, -0], nested: { null: null } };
    for (const node of [0, 1]) {
      const told = await post('/api/broadcast', { eventType: 'reaction:added', rooms: [first], payload: { ...payload, node } }, node);
      assert.deepEqual(told, [200, { recipientCount: 2 }]);
      for (const actor of [ada, bob]) {
        const entry = await actor.entry('reaction:added', { node });
        assert.deepEqual(entry, ['reaction:added', JSON.parse(JSON.stringify({ ...payload, node }))]);
      }
    }
    await marker(second, eve, bob);
    eve.neverHeard('reaction:added');
  });

  scene('whoever is in several of the rooms hears it once, and is counted once', async (stage) => {
    const { first, second, ada, bob, eve } = await cast(stage);
    const rooms = [first, second, first, stage.room('nowhere')];
    for (const round of [1, 2, 3]) {
      const told = await post('/api/broadcast', { eventType: 'channel:update', rooms, payload: { round } }, round % 2);
      assert.deepEqual(told, [200, { recipientCount: 3 }]);
    }
    await marker(first, ada, bob);
    await marker(second, eve, bob);
    for (const actor of [ada, bob, eve]) {
      assert.deepEqual(actor.all('channel:update').map(({ round }) => round), [1, 2, 3], actor.label);
    }
  });

  scene('it stands in the order of the room', async (stage) => {
    const { first, ada, bob } = await cast(stage);
    for (let round = 0; round < 20; round++) {
      const { seq } = await ada.done('message:send', { roomName: first, content: `before ${round}` });
      await post('/api/broadcast', { eventType: 'message:update', rooms: [first], payload: { round, seq } }, round % 2);
      await ada.done('message:send', { roomName: first, content: `after ${round}` });
    }
    await marker(first, ada, bob);
    for (const actor of [ada, bob]) {
      const heard = actor.log.filter(([event]) => event === 'message:new' || event === 'message:update');
      const words = heard.map(([event, { content, round }]) => (event === 'message:new' ? content : `update ${round}`));
      const wanted = Array.from({ length: 20 }, (_, n) => [`before ${n}`, `update ${n}`, `after ${n}`]).flat();
      assert.deepEqual(words.slice(0, -1), wanted, actor.label);
    }
  });

  scene('the same id again says nothing, and gets the same answer, on any node', async (stage) => {
    const { first, second, ada, bob, eve } = await cast(stage);
    const event = { eventType: 'thread:reply', rooms: [first, second], payload: { n: 1 }, eventId: unique('event') };
    const answers = await Promise.all([0, 1, 0, 1].map((node) => post('/api/broadcast', event, node)));
    for (const answer of answers) assert.deepEqual(answer, [200, { recipientCount: 3 }]);
    await ada.done('room:leave', { roomName: first });
    const late = await post('/api/broadcast', { ...event, rooms: [second], payload: { n: 2 } }, 1);
    assert.deepEqual(late, [200, { recipientCount: 3 }], 'what the first time came to');
    await marker(second, eve, bob);
    for (const actor of [ada, bob, eve]) assert.deepEqual(actor.all('thread:reply'), [{ n: 1 }], actor.label);
  });

  scene('a batch says what became of each, and wrong ones hold nobody up', async (stage) => {
    const { first, second, ada, bob, eve } = await cast(stage);
    const timestamp = new Date().toISOString();
    const [status, batch] = await post('/api/broadcast/batch', {
      events: [
        { eventType: 'read_receipt:update', roomNames: [first], payload: { n: 1 }, timestamp },
        { eventType: 'message:new', roomNames: [first], payload: { n: 2 }, timestamp },
        { eventType: 'notification', rooms: [second], payload: { n: 3 } },
        { eventType: 'notification', roomNames: [stage.room('nowhere')], payload: { n: 4 } },
        { eventType: 'notification', roomNames: [first, second], payload: { n: 5 } },
      ],
    });
    assert.equal(status, 200);
    assert.equal(batch.recipientCount, 2 + 2 + 0 + 3);
    assertMatches(batch.results, (results) => results.length === 5);
    assert.deepEqual([0, 2, 3, 4].map((n) => batch.results[n]), [2, 2, 0, 3].map((recipientCount) => ({ recipientCount })));
    assertMatches(batch.results[1].error, { code: 'INVALID_PAYLOAD', status: 400, field: 'events[1].eventType' });
    await marker(first, ada, bob);
    await marker(second, eve, bob);
    const numbers = (actor) => actor.all('notification').map(({ n }) => n);
    assert.deepEqual([ada, bob, eve].map(numbers), [[5], [3, 5], [3, 5]]);
    assert.deepEqual(ada.all('read_receipt:update'), [{ n: 1 }]);
    ada.neverHeard('message:new', ({ n }) => n === 2);
  });

  scene('names of the gateway and of Socket.IO are refused', async (stage) => {
    const { first, ada } = await cast(stage);
    const names = [
      'connected', 'authenticated', 'auth:error', 'user:joined', 'user:left', 'room:count', 'room:reset', 'message:new',
      'typing:event', 'presence:changed', 'presence:bulk', 'pong', 'error', 'server:draining', 'connect', 'connect_error',
      'disconnect', 'disconnecting', 'newListener', 'removeListener',
    ];
    for (const eventType of names) {
      const [status, problem] = await post('/api/broadcast', { eventType, rooms: [first], payload: {} });
      assert.equal(status, 400, eventType);
      assertMatches(problem, { code: 'INVALID_PAYLOAD', field: 'eventType' }, eventType);
    }
    await marker(first, ada);
    assert.ok(ada.socket.connected);
  });
});
