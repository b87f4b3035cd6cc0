// Who gets in, what they are told first, and how long it lasts.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, NODES, scene, together, TRANSPORT, unique } from '../stage.mjs';
import { nowSeconds, token } from '../token.mjs';

const REFUSED = { message: 'Invalid token', data: { code: 'UNAUTHENTICATED' } };

describe('handshake', together, () => {
  for (const node of NODES.keys()) {
    scene(`connected comes before authenticated on node ${node}`, async (stage) => {
      const ann = await stage.enter('ann', { node });
      const socketId = ann.socket.id;
      assertMatches(await ann.heard('connected'), { socketId, serverTime: ISO_DATE, protocolVersion: '1.0', recovered: false });
      assert.deepEqual(await ann.heard('authenticated'), { userId: ann.id, sessionId: socketId, rooms: [] });
      const order = ann.log.map(([event]) => event).filter((event) => event !== 'connect');
      assert.deepEqual(order.slice(0, 2), ['connected', 'authenticated']);
    });
  }

  scene('the transport is the one that was asked for', async (stage) => {
    const ann = await stage.enter('ann');
    if (TRANSPORT === 'upgrade') await ann.upgraded();
    await ann.done('ping', {});
    assert.equal(ann.transport, TRANSPORT === 'polling' ? 'polling' : 'websocket');
  });

  scene('the session is the claim, when there is one', async (stage) => {
    const ann = await stage.enter('ann', { claims: { sessionId: 'session-7' } });
    assert.equal((await ann.heard('authenticated')).sessionId, 'session-7');
  });

  scene('authenticated names the live rooms of the user, whichever node holds them', async (stage) => {
    const [one, two] = [stage.room(), stage.room()];
    const first = await stage.member('ann', one);
    await first.done('room:join', { roomName: two });
    const second = await stage.enter('ann', { node: 1 });
    const { rooms } = await second.heard('authenticated');
    assert.deepEqual([...rooms].sort(), [one, two].sort());
  });

  for (const [claim, make] of [
    ['userId', (id) => ({ userId: id, sub: 'not-this' })],
    ['sub', (id) => ({ sub: id, 'https://hasura.io/jwt/claims': { 'x-hasura-user-id': 'not-this' } })],
    ['x-hasura-user-id', (id) => ({ 'https://hasura.io/jwt/claims': { 'x-hasura-user-id': id } })],
  ]) {
    scene(`the user is taken from ${claim}`, async (stage) => {
      const id = unique('claimed');
      const ann = await stage.enter('ann', { auth: { token: token(make(id)) } });
      assert.equal((await ann.heard('authenticated')).userId, id);
    });
  }

  scene('a token in the Authorization header is as good', async (stage) => {
    const extraHeaders = { authorization: `Bearer ${token({ sub: stage.user('ann') })}` };
    const ann = await stage.enter('ann', { auth: { token: undefined }, options: { extraHeaders } });
    assert.equal((await ann.heard('authenticated')).userId, ann.id);
  });

  scene('a device is taken, and odd ones hurt nobody', async (stage) => {
    const device = { type: 'web', os: 'Linux', browser: 'Firefox', version: '130' };
    const ann = await stage.enter('ann', { auth: { device } });
    assertMatches(await ann.ask('ping', {}), { success: true });
  });

  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  for (const [what, wanted, make] of [
    ['no token', { message: 'Authentication required', data: { code: 'UNAUTHENTICATED' } }, () => undefined],
    ['a text that is no token', REFUSED, () => 'user:ann'],
    ['a foreign signature', REFUSED, (sub) => token({ sub }, { key: 'not the secret of this cluster, 32 b' })],
    ['an expired token', REFUSED, (sub) => token({ sub, exp: nowSeconds() - 1 })],
    ['a token of tomorrow', REFUSED, (sub) => token({ sub, nbf: nowSeconds() + 86_400 })],
    ['algorithm none', REFUSED, (sub) => token({ sub }, { alg: 'none' })],
    ['an RS token against an HS secret', REFUSED, (sub) => token({ sub }, { alg: 'RS256', key: stranger })],
    ['no claim with a user', REFUSED, () => token({ sub: undefined, role: 'admin' })],
    ['an empty user', REFUSED, () => token({ sub: '' })],
    ['a user that is no text', REFUSED, () => token({ sub: 7 })],
  ]) {
    scene(`${what} is refused`, async (stage) => {
      const eve = stage.actor('eve', { auth: { token: make(stage.user('eve')) } });
      assertMatches(await eve.heard('connect_error'), wanted);
      assert.equal(eve.socket.connected, false);
    });
  }

  scene('an unknown namespace is refused', async (stage) => {
    const ann = stage.actor('ann', { namespace: '/nowhere' });
    assertMatches(await ann.heard('connect_error'), { message: 'Invalid namespace' });
  });

  scene('a token is refreshed', async (stage) => {
    const ann = await stage.enter('ann', { node: 1 });
    const exp = nowSeconds() + 7200;
    const answer = await ann.done('auth:refresh', { token: token({ sub: ann.id, exp }) });
    assert.deepEqual(answer, { userId: ann.id, expiresAt: new Date(exp * 1000).toISOString() });
    await ann.done('ping', {});
    assert.equal(ann.all('authenticated', { userId: ann.id }).length, 2);
  });

  scene('a refresh that fails is said twice, and the old token stays good', async (stage) => {
    const ann = await stage.enter('ann');
    await ann.refused('UNAUTHENTICATED', 'auth:refresh', { token: token({ sub: ann.id, exp: nowSeconds() - 1 }) });
    assertMatches(await ann.heard('auth:error'), { code: 'UNAUTHENTICATED', message: (text) => text.length > 0 });
    await ann.done('room:join', { roomName: stage.room() });
  });

  scene('a refresh cannot turn one user into another', async (stage) => {
    const ann = await stage.enter('ann');
    const ack = await ann.ask('auth:refresh', { token: token({ sub: unique('somebody-else') }) });
    assert.equal(ack.success, false);
    assert.equal(ann.all('authenticated').length, 1);
  });

  scene('an expired token ends the connection, a refreshed one lives on', async (stage) => {
    const claims = { exp: nowSeconds() + 3 };
    const stays = await stage.enter('stays', { claims });
    await stays.done('auth:refresh', { token: token({ sub: stays.id }) });
    const goes = await stage.enter('goes', { claims, node: 1 });
    assertMatches(await goes.heard('auth:error'), { code: 'UNAUTHENTICATED', message: (text) => text.length > 0 });
    assert.equal(await goes.heard('disconnect'), 'io server disconnect');
    await stays.done('ping', {});
    stays.neverHeard('auth:error');
  });

  scene('what is emitted before and at connect is answered', async (stage) => {
    const room = stage.room();
    const ann = stage.actor('ann');
    const early = ann.ask('room:join', { roomName: room });
    const atConnect = new Promise((resolve, reject) => {
      ann.socket.once('connect', () => ann.ask('message:send', { roomName: room, content: 'at once' }).then(resolve, reject));
    });
    assertMatches(await early, { success: true });
    assertMatches(await atConnect, { success: true, data: { seq: 1 } });
  });
});
