// Limits as a stock client meets them: run against a cluster with REALTIME_LIMITS=enforce and REALTIME_RATE_MESSAGES=120/5.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { assertMatches, scene, together } from '../stage.mjs';

describe('limits', together, () => {
  scene('who sends too much is told when to go on, and then goes on', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    const sends = Array.from({ length: 20 }, (_, i) => ann.ask('message:send', { roomName: room, content: `${i}` }));
    const acks = await Promise.all(sends);
    const refused = acks.filter((ack) => !ack.success);
    assert.ok(refused.length > 5 && refused.length < 20, `${refused.length} of 20 were refused`);
    for (const ack of refused) {
      assertMatches(ack, { error: { code: 'RATE_LIMITED', message: /./, retryAfterMs: (ms) => Number.isInteger(ms) && ms > 0 && ms <= 3_000 } });
    }
    await wait(Math.max(...refused.map((ack) => ack.error.retryAfterMs))); // the very time that was told
    await ann.done('message:send', { roomName: room, content: 'again' });
    await bob.heard('message:new', { content: 'again' });
    assert.equal(bob.all('message:new').length, acks.length - refused.length + 1, 'what was refused was not said');
  });
});
