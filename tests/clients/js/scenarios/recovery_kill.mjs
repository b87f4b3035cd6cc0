// The node of some clients is killed: unmodified, they are back on the other one, with every message once and in order.
// Environment: PIDS; this scenario kills the first node.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, NODES, scene } from '../stage.mjs';

const CLIENTS = 10;
const MESSAGES = 200;

describe('recovery from the death of a node', () => {
  scene('every message reaches every client once, in order', async (stage) => {
    const room = stage.room();
    const speaker = await stage.member('speaker', room, { node: 1 });
    const settings = { auth: { recovery: true }, options: { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500 } };
    const crowd = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => stage.member(`listener-${i}`, room, settings)));
    for (const actor of crowd) actor.socket.io.uri = NODES[1];
    for (let i = 0; i < MESSAGES; i += 1) {
      if (i === MESSAGES / 4) process.kill(Number(process.env.PIDS.split(',')[0]), 'SIGKILL');
      await speaker.done('message:send', { roomName: room, content: `message ${i}` });
    }
    for (const actor of crowd) {
      const connected = await actor.heard('connected', undefined, actor.position('disconnect'));
      assertMatches(connected, { recovered: true });
      assert.equal(actor.socket.recovered, true);
    }
    await marker(room, speaker, ...crowd);
    const expected = Array.from({ length: MESSAGES + 1 }, (_, i) => i + 1);
    for (const actor of crowd) assert.deepEqual(actor.all('message:new').map(({ seq }) => seq), expected);
    speaker.neverHeard('user:left');
  });
});
