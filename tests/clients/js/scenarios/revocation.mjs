// Revocation as a stock client meets it: sent away wherever it is, kept out with what it had, let in with what is newer.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe } from 'node:test';
import { scene, together, unique } from '../stage.mjs';
import { nowSeconds, token } from '../token.mjs';

const revoke = (...args) =>
  execFileSync(process.env.GATEWAY, ['revoke', ...args], { env: { REALTIME_REDIS_URL: process.env.REDIS_URL } });

const ERROR = { code: 'UNAUTHENTICATED', message: 'Token revoked' };
const REFUSED = { message: 'Invalid token', data: { code: 'UNAUTHENTICATED' } };

async function isSentAway(actor) {
  assert.deepEqual(await actor.heard('auth:error'), ERROR);
  assert.equal(await actor.heard('disconnect'), 'io server disconnect');
}

describe('revocation', together, () => {
  scene('a revoked user is sent away from every node, and comes back with a newer token', async (stage) => {
    const claims = { iat: nowSeconds() };
    const [one, two] = [await stage.enter('ann', { claims }), await stage.enter('ann', { claims, node: 1 })];
    const bob = await stage.enter('bob', { claims });
    revoke('--user', one.id);
    await Promise.all([isSentAway(one), isSentAway(two)]);
    const again = stage.actor('ann', { claims, node: 1 });
    assert.deepEqual(await again.heard('connect_error'), REFUSED);
    await stage.enter('ann', { claims: { iat: nowSeconds() + 2 } });
    await bob.done('ping', {});
    bob.neverHeard('auth:error');
  });

  scene('a revoked token takes its own socket alone, and does not refresh another', async (stage) => {
    const jti = unique('token');
    const [one, two] = [await stage.enter('ann', { claims: { jti } }), await stage.enter('ann', { node: 1 })];
    revoke('--token', jti);
    await isSentAway(one);
    await two.refused('UNAUTHENTICATED', 'auth:refresh', { token: token({ sub: two.id, jti }) });
    assert.deepEqual(await two.heard('auth:error'), ERROR);
    await two.done('auth:refresh', { token: token({ sub: two.id }) });
  });
});
