// A node that shuts down says so to its sockets, and they come back by themselves on the other node.
// Environment: PIDS, the process ids of NODES; this scenario ends the first.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, NODES, scene } from '../stage.mjs';

describe('drain', () => {
  scene('every socket hears server:draining, and loses its transport only', async (stage) => {
    const room = stage.room();
    const stays = await stage.member('stays', room, { node: 1 });
    const moves = await stage.member('moves', room, { options: { reconnection: true, reconnectionDelay: 50 } });
    moves.socket.on('server:draining', () => {
      moves.socket.io.uri = NODES[1]; // what a load balancer does
    });
    process.kill(Number(process.env.PIDS.split(',')[0]), 'SIGTERM');
    assertMatches(await moves.heard('server:draining'), { reconnectInMs: (ms) => Number.isInteger(ms) && ms >= 0 });
    const reason = await moves.heard('disconnect');
    assert.notEqual(reason, 'io server disconnect', 'a stock client would not come back');
    const before = moves.log.length;
    await moves.heard('connected', undefined, before);
    await moves.done('room:join', { roomName: room });
    await marker(room, moves, stays);
    stays.neverHeard('server:draining');
    stays.neverHeard('user:left', { userId: moves.id });
  });
});
