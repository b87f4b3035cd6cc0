// What is wrong gets its answer, and nothing else happens.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, scene, together } from '../stage.mjs';

const text = (value) => typeof value === 'string' && value !== '';
const deep = (levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));

/** Every client event that takes a payload, with a field that it cannot do without. */
const NEEDS = [
  ['room:join', 'roomName'],
  ['room:leave', 'roomName'],
  ['room:members', 'roomName'],
  ['message:send', 'roomName'],
  ['typing:start', 'roomName'],
  ['typing:stop', 'roomName'],
  ['presence:update', 'status'],
  ['presence:subscribe', 'userIds'],
  ['presence:unsubscribe', 'userIds'],
  ['presence:get', 'userIds'],
  ['auth:refresh', 'token'],
  ['pong', 'timestamp'],
];

describe('errors', together, () => {
  for (const [event, field] of NEEDS) {
    scene(`${event} with every wrong payload is an INVALID_PAYLOAD`, async (stage) => {
      const ann = await stage.enter('ann');
      for (const args of [[], [null], ['text'], [7], [true], [[]], [[{}]], [deep(200)], [{ [field]: deep(200) }]]) {
        const ack = await ann.ask(event, ...args);
        assertMatches(ack, { success: false, error: { code: 'INVALID_PAYLOAD', message: text } }, `${event} ${JSON.stringify(args).slice(0, 40)}`);
      }
      const error = await ann.refused('INVALID_PAYLOAD', event, {});
      assertMatches(error, { message: new RegExp(field), details: { field } });
      assertMatches(await ann.ask('ping', {}), { success: true });
    });
  }

  for (const [what, roomName] of [
    ['empty', ''],
    ['no text', 7],
    ['null', null],
    ['an array', ['a']],
    ['too long', 'x'.repeat(256)],
    ['too long in bytes', 'é'.repeat(128)],
    ['with a control character', 'a\u0007b'],
    ['with a NUL', 'a\u0000'],
    ['with a C1 control character', 'a\u0085b'],
  ]) {
    scene(`a room name that is ${what} names roomName`, async (stage) => {
      const ann = await stage.enter('ann', { node: 1 });
      for (const [event, more] of [['room:join'], ['room:leave'], ['room:members'], ['message:send', { content: 'x' }], ['typing:start'], ['typing:stop']]) {
        const error = await ann.refused('INVALID_PAYLOAD', event, { roomName, ...more });
        assertMatches(error, { message: /roomName/, details: { field: 'roomName' } }, event);
      }
    });
  }

  scene('without an ack, the error is an event', async (stage) => {
    const ann = await stage.enter('ann');
    ann.tell('room:join', { roomName: '' });
    assertMatches(await ann.heard('error', { code: 'INVALID_PAYLOAD' }), { message: /roomName/, details: { field: 'roomName' } });
    ann.tell('message:send', { roomName: 'nobody-made-this', content: 'x' });
    assertMatches(await ann.heard('error', { code: 'ROOM_NOT_FOUND' }), { message: text });
  });

  scene('with an ack, the error is no event', async (stage) => {
    const ann = await stage.enter('ann');
    await ann.refused('INVALID_PAYLOAD', 'room:join', {});
    await ann.done('ping', {});
    ann.neverHeard('error');
  });

  scene('an unknown event is answered where an answer is asked for', async (stage) => {
    const ann = await stage.enter('ann');
    for (const event of ['no:such', '', 'toString', '__proto__', 'connected', 'authenticated', 'message:new', 'error', 'x'.repeat(10_000)]) {
      ann.tell(event, { any: 'thing' });
      await ann.refused('UNKNOWN_EVENT', event, { any: 'thing' });
      await ann.refused('UNKNOWN_EVENT', event);
    }
    ann.neverHeard('error');
  });

  scene('binary where text belongs is refused', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    await ann.refused('INVALID_PAYLOAD', 'message:send', { roomName: room, content: Buffer.from([1, 2, 3]) });
    await ann.refused('INVALID_PAYLOAD', 'room:join', Buffer.from('room'));
    await ann.done('ping', {});
  });

  scene('fields and arguments that nobody knows are left alone', async (stage) => {
    const room = stage.room();
    const ann = await stage.enter('ann');
    assertMatches(await ann.ask('room:join', { roomName: room, colour: 'red' }, 'a second argument', 3), { success: true });
  });

  scene('one connection that sends rubbish does not disturb the others', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    const eve = await stage.member('eve', room);
    for (let i = 0; i < 100; i += 1) {
      eve.tell(['room:join', 'message:send', 'typing:start', 'presence:update', 'pong', 'no:such'][i % 6], [i, deep(50), null][i % 3]);
    }
    for (let i = 0; i < 10; i += 1) await marker(room, ann, bob);
    await marker(room, eve, ann, bob);
    assert.equal(ann.all('message:new').length, 11);
  });

  scene('ping is answered thrice over: ack, echo and pong', async (stage) => {
    const ann = await stage.enter('ann', { node: 1 });
    assert.deepEqual(await ann.ask('ping', { timestamp: 12_345 }), { success: true, timestamp: 12_345 });
    const { timestamp } = await ann.heard('pong');
    assert.ok(Number.isInteger(timestamp) && timestamp > 1_600_000_000_000, `pong has the server's milliseconds: ${timestamp}`);
    assertMatches(await ann.ask('ping'), { success: true });
    ann.tell('ping');
    await ann.done('pong', { timestamp });
    assert.equal(ann.all('pong').length, 3);
  });

  scene('a pong is taken with any number', async (stage) => {
    const ann = await stage.enter('ann');
    for (const timestamp of [Date.now(), 0, -1, 1.5, 1e300]) await ann.ask('pong', { timestamp });
    assertMatches(await ann.ask('ping', {}), { success: true });
  });
});
