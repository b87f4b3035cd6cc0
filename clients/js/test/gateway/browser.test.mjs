// The module in Debian's Chromium, against real nodes (NODES, JWT_SECRET): a page on loopback joins, sends, loses its
// transport, and comes back with nothing lost.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { NODES, token, unique } from './token.mjs';

const HOME = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = `<!doctype html><title>page</title>
<script type="importmap">{"imports": {
  "socket.io-client": "/node_modules/socket.io-client/dist/socket.io.esm.min.js",
  "@nself/realtime-client": "/dist/index.js"
}}</script>
<script type="module">
  import { RealtimeClient } from '@nself/realtime-client';
  window.RealtimeClient = RealtimeClient;
</script>`;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Serves the built module and the stock client's own build, and nothing else. */
async function serve(t) {
  const server = createServer(async ({ url }, response) => {
    try {
      if (url === '/') return response.setHeader('content-type', 'text/html').end(PAGE);
      const path = normalize(url);
      assert.match(path, /^\/(dist|node_modules\/socket\.io-client\/dist)\/[\w.-]+\.js$/);
      response.setHeader('content-type', 'text/javascript').end(await readFile(join(HOME, path)));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return server.address().port;
}

test('a page in Chromium misses nothing', { timeout: 60_000 }, async (t) => {
  const port = await serve(t);
  const profile = await mkdtemp(join(tmpdir(), 'realtime-page-'));
  t.after(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
  });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.waitForFunction(() => window.RealtimeClient);
  const told = await page.evaluate(
    async ({ urls, tokens, room }) => {
      const told = { ann: [], bob: [], resets: [] };
      const heard = async (who, seq) => {
        while (told[who].length < seq) await new Promise((resolve) => setTimeout(resolve, 10));
      };
      const [ann, bob] = ['ann', 'bob'].map((name, n) => {
        const client = new window.RealtimeClient({ url: urls[n], getToken: () => tokens[n], reconnectionDelayMs: 50, reconnectionDelayMaxMs: 200 });
        client.on('message', ({ seq, content }) => told[name].push(`${seq} ${content}`));
        client.on('reset', (reset) => told.resets.push(reset));
        return client;
      });
      await Promise.all([ann.join(room), bob.join(room)]);
      await ann.send(room, { content: 'before' });
      for (let round = 0; round < 4; round += 1) {
        const gone = new Promise((resolve) => bob.on('disconnected', resolve));
        bob.socket.io.uri = urls[round % 2];
        bob.socket.io.engine.close();
        await gone;
        for (let i = 0; i < 5; i += 1) await ann.send(room, { content: `${round}.${i}` });
        await heard('bob', 1 + 5 * (round + 1));
      }
      const last = await bob.send(room, { content: 'after' });
      for (const who of ['ann', 'bob']) await heard(who, last.seq);
      ann.close();
      bob.close();
      return told;
    },
    { urls: NODES, tokens: [token(unique('ann')), token(unique('bob'))], room: unique('auto:page') },
  );
  assert.equal(told.bob.length, 22);
  assert.deepEqual(told.bob, told.ann);
  assert.deepEqual(told.resets, []);
});
