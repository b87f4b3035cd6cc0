// What a stock client is told last must reach it, wherever in its upgrade the end of its token finds it.
// Over `upgrade` alone, on a cluster of its own: how far a node is with its farewells is read from its metrics.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CHANGE, Gate, PROBE } from '../gate.mjs';
import { NODES, scene, unique } from '../stage.mjs';
import { nowSeconds } from '../token.mjs';

const CLIENTS = 20;
const ROUNDS = 20;
const REVOKED = { code: 'UNAUTHENTICATED', message: 'Token revoked' };
const EXPIRED = { code: 'UNAUTHENTICATED', message: 'Token expired' };
const REFUSED = { message: 'Invalid token', data: { code: 'UNAUTHENTICATED' } };

/** Ready with the command, which is done by then. */
async function revoke(...args) {
  const command = spawn(process.env.GATEWAY, ['revoke', ...args], {
    env: { REALTIME_REDIS_URL: process.env.REDIS_URL },
    stdio: 'ignore',
  });
  const [code] = await once(command, 'exit');
  assert.equal(code, 0, 'revoke');
}

/** How many sessions the nodes have closed because of their tokens. */
async function ended() {
  const metrics = await Promise.all(NODES.map(async (node) => (await fetch(`${node}/metrics`, { headers: { accept: 'text/plain' } })).text()));
  const count = (text) => Number(/^realtime_closes_total\{reason="token_expired"\} (\d+)$/m.exec(text)[1]);
  return metrics.map(count).reduce((sum, one) => sum + one, 0);
}

async function isSentAway(actor, error) {
  assert.deepEqual(await actor.heard('auth:error'), error);
  assert.equal(await actor.heard('disconnect'), 'io server disconnect');
}

/** Resolves when the actor has lost its connection, or got none. */
function over({ socket }) {
  return new Promise((resolve) => {
    socket.once('disconnect', resolve);
    socket.once('connect_error', resolve);
  });
}

/** Ends the tokens of clients that all stand before this message of their upgrade, and lets them go on afterwards. */
async function stopped(stage, message, claims, error, end) {
  const gates = await Promise.all(Array.from({ length: CLIENTS }, (_, n) => Gate.before(NODES[n % NODES.length])));
  try {
    const before = await ended();
    const actors = gates.map((gate, n) => stage.actor(`client-${n}`, { claims, url: gate.url }));
    await Promise.all(actors.map((actor) => actor.heard('authenticated')));
    await Promise.all(gates.map((gate) => gate.goOnTo(message)));
    await end();
    while ((await ended()) < before + CLIENTS);
    for (const gate of gates) gate.open();
    await Promise.all(actors.map((actor) => isSentAway(actor, error)));
  } finally {
    for (const gate of gates) gate.close();
  }
}

describe('farewell', () => {
  for (const [step, message] of [['been probed', PROBE], ['changed', CHANGE]]) {
    scene(`a token that is revoked before its client has ${step}`, async (stage) => {
      const jti = unique('token');
      await stopped(stage, message, { jti }, REVOKED, () => revoke('--token', jti));
    });

    scene(`a token that runs out before its client has ${step}`, async (stage) => {
      await stopped(stage, message, { exp: nowSeconds() + 6 }, EXPIRED, async () => {});
    });
  }

  scene('tokens that are revoked while their clients come, one after the other', async (stage) => {
    for (let round = 0; round < ROUNDS; round++) {
      const jti = unique('token');
      const comers = [];
      let isRevoked = false;
      const revoked = revoke('--token', jti).finally(() => {
        isRevoked = true;
      });
      while (!isRevoked) {
        const actor = stage.actor(`client-${round}-${comers.length}`, { claims: { jti }, node: comers.length % NODES.length });
        comers.push({ actor, isOver: over(actor) });
        for (let turns = 0; turns < 20; turns++) await turn();
      }
      await revoked;
      await Promise.all(
        comers.map(async ({ actor, isOver }) => {
          await isOver;
          if (actor.position('connect') < 0) assert.deepEqual(await actor.heard('connect_error'), REFUSED);
          else await isSentAway(actor, REVOKED);
        }),
      );
    }
  });
});
