// What goes by the clock, with the clock in the test's hand.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { endOf, renewalMs, Tokens } from '../../dist/token.js';
import { Typing } from '../../dist/typing.js';

const jwt = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

test('the end of a token is read, and renewal comes before it', () => {
  assert.equal(endOf(jwt({ exp: 100, name: 'ü?>' })), 100_000);
  for (const opaque of ['', 'a.b.c', jwt({}), jwt(null), jwt({ exp: 'x' })]) assert.equal(endOf(opaque), undefined);
  assert.equal(renewalMs(3_600_000, 0), 3_240_000);
  assert.equal(renewalMs(60_000, 0), 30_000);
  assert.equal(renewalMs(10_000, 0), 5_000);
  assert.equal(renewalMs(0, 10), 0);
});

test('a refused renewal is repeated once with a fresh token, then told', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const asked = [];
  let told;
  const refused = new Promise((resolve) => (told = resolve));
  const tokens = new Tokens({
    getToken: (reason) => (asked.push(reason), jwt({ exp: 60 })),
    refresh: async () => ({ success: false, error: { code: 'UNAUTHENTICATED', message: 'm' } }),
    isConnected: () => true,
    refused: told,
  });
  await tokens.forConnect(false);
  tokens.connected();
  t.mock.timers.tick(30_000);
  assert.equal((await refused).code, 'UNAUTHENTICATED');
  assert.deepEqual(asked, ['connect', 'refresh', 'refused']);
});

test('typing is told once a second, and ends by itself', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const told = [];
  const typing = new Typing({ tell: (event) => told.push(event) }, 2_500);
  for (let key = 0; key < 15; key += 1) {
    typing.typing({ roomName: 'r' });
    t.mock.timers.tick(100);
  }
  assert.deepEqual(told, ['typing:start', 'typing:start']);
  t.mock.timers.tick(2_500);
  assert.deepEqual(told.slice(2), ['typing:stop']);
  for (let key = 0; key < 5; key += 1) {
    typing.typing({ roomName: 'r' });
    typing.stop({ roomName: 'r' });
  }
  assert.deepEqual(told.slice(3), ['typing:start', 'typing:stop']);
  mock.reset();
});
