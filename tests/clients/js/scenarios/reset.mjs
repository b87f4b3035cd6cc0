// A room whose data Redis lost: its sockets are told to read it again, and it goes on.
// Environment: REDIS_PORTS (comma list, of each master); this scenario empties them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe } from 'node:test';
import { assertMatches, marker, scene } from '../stage.mjs';

async function emptyRedis(port) {
  const redis = connect(Number(port), '127.0.0.1');
  redis.write('FLUSHALL\r\n');
  const [answer] = await once(redis, 'data');
  redis.destroy();
  assert.equal(answer.toString(), '+OK\r\n');
}

describe('reset', () => {
  scene('everybody in a room whose data were lost hears room:reset', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    for (let i = 0; i < 3; i += 1) await marker(room, ann, bob);
    await Promise.all(process.env.REDIS_PORTS.split(',').map(emptyRedis));
    for (const actor of [ann, bob]) {
      const reset = await actor.heard('room:reset', { roomName: room });
      assertMatches(reset, { epoch: (epoch) => typeof epoch === 'string' && epoch !== ann.joined.epoch, seq: Number.isInteger, rev: Number.isInteger });
      assert.equal(typeof reset.reason, 'string');
      await actor.done('room:join', { roomName: room });
    }
    await marker(room, bob, ann);
    const { members } = await ann.done('room:members', { roomName: room });
    assert.deepEqual(members.map(({ userId }) => userId).sort(), [ann.id, bob.id].sort());
    for (const actor of [ann, bob]) {
      actor.neverHeard('user:left');
      actor.neverHeard('disconnect');
    }
  });
});
