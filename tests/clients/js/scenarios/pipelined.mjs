// A join and a message sent right behind it, without waiting: delivered every time.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { scene, together, TRANSPORT } from '../stage.mjs';

const TIMES = 1_000;
const CONNECTIONS = 20;

describe('pipelined', together, () => {
  scene(`join and send without waiting are delivered ${TIMES} times out of ${TIMES}`, async (stage) => {
    const cast = await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => stage.enter(`speaker${i}`, { node: i % 2 })));
    const rooms = Array.from({ length: TIMES }, (_, i) => ({ roomName: stage.room(), speaker: cast[i % CONNECTIONS] }));
    for (const { roomName, speaker } of rooms) {
      speaker.tell('room:join', { roomName });
      speaker.tell('message:send', { roomName, content: 'right behind' });
    }
    await Promise.all(rooms.map(({ roomName, speaker }) => speaker.heard('message:new', { roomName, content: 'right behind' })));
    for (const speaker of cast) {
      speaker.neverHeard('error');
      assert.equal(speaker.all('message:new').length, TIMES / CONNECTIONS);
    }
  });

  scene(`the events of one connection run in their order (${TRANSPORT})`, async (stage) => {
    const room = stage.room();
    const ann = await stage.enter('ann', { node: 1 });
    const acks = [];
    const steps = [
      ['message:send', { roomName: room, content: 'before' }],
      ['room:join', { roomName: room }],
      ['message:send', { roomName: room, content: 'within' }],
      ['room:leave', { roomName: room }],
      ['message:send', { roomName: room, content: 'after' }],
    ];
    await Promise.all(steps.map(async ([event, payload], i) => (acks[i] = await ann.ask(event, payload))));
    assert.deepEqual(acks.map((ack) => ack.error?.code ?? 'ok'), ['ROOM_NOT_FOUND', 'ok', 'ok', 'ok', 'NOT_A_MEMBER']);
  });
});
