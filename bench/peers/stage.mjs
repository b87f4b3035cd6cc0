// What the peers' test stands on: a Redis of its own, peers on free ports, and unmodified clients. Everything ends with it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import jwt from 'jsonwebtoken';
import { io } from 'socket.io-client';

const SECRET = 'a secret for tests alone, 32 bytes and more';
const PATIENCE_MS = 20_000;

const children = new Set();

/** How each peer is started. */
export const COMMANDS = {
  node: [process.execPath, here('node.mjs')],
  bun: [here('bun'), here('bun.mjs')],
};

export const token = (user, secret = SECRET) => jwt.sign({ sub: user }, secret, { expiresIn: '1h' });

/** Starts a Redis; its `stop` ends it and takes its directory away. */
export async function startRedis() {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'peers-redis-'));
  const redis = run('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', directory]);
  await line(redis, /Ready to accept connections/);
  const stop = async () => {
    await end(redis);
    await rm(directory, { recursive: true });
  };
  return { url: `redis://127.0.0.1:${port}`, stop };
}

/** Starts a peer; `complaints` is all that it wrote to its standard error. */
export async function startPeer(name, redis, environment = {}) {
  const port = await freePort();
  const [program, ...args] = COMMANDS[name];
  const env = { ...process.env, PORT: port, REDIS_URL: redis.url, JWT_SECRET: SECRET, ...environment };
  const child = run(program, args, { env });
  const peer = { url: `http://127.0.0.1:${port}`, complaints: '', stop: () => end(child) };
  child.stderr.on('data', (bytes) => (peer.complaints += bytes));
  await line(child, /^listening$/, () => peer.complaints);
  return peer;
}

/** A client that is connected, and keeps all that it hears: `heard(event, matches)` waits for it. */
export async function enter(peer, user, transports) {
  const socket = connect(peer, token(user), transports);
  const log = [];
  let look = () => {};
  socket.onAny((event, payload) => {
    log.push([event, payload]);
    look();
  });
  const heard = (event, matches = () => true) =>
    before(`${user} to hear ${event}`, (found) => {
      look = () => {
        const entry = log.find(([name, payload]) => name === event && matches(payload));
        if (entry) found(entry[1]);
      };
      look();
    });
  const ask = (event, payload) => socket.timeout(PATIENCE_MS).emitWithAck(event, payload);
  return { socket, log, heard, ask, authenticated: await heard('authenticated') };
}

/** A client on its own connection that does not come back by itself. */
export const connect = (peer, auth, transports) =>
  io(peer.url, { auth: { token: auth }, transports, forceNew: true, reconnection: false });

/** What `wait` resolves with; an error that names it when it takes too long. */
export function before(what, wait) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
    wait((value) => {
      clearTimeout(late);
      resolve(value);
    });
  });
}

/** Whatever still runs, because a test failed before it could stop it. */
export const stopAll = () => Promise.all([...children].map(end));

function run(program, args, options) {
  const child = spawn(program, args, options);
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await once(server.close(), 'close');
  return port;
}

/** Until a program has written such a line. */
async function line(child, pattern, why = () => '') {
  const lines = createInterface({ input: child.stdout });
  const [how] = await Promise.race([
    before(`${child.spawnfile} to be ready`, (found) => lines.on('line', (text) => pattern.test(text) && found(['ready']))),
    once(child, 'exit'),
  ]);
  if (how !== 'ready') throw new Error(`${child.spawnfile} ended by itself (${how}): ${why()}`);
}

/** Its exit code, once it has ended by SIGTERM; null when it had to be killed. */
async function end(child) {
  if (children.has(child)) {
    const ended = once(child, 'exit');
    const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    child.kill('SIGTERM');
    await ended;
    clearTimeout(late);
  }
  return child.exitCode;
}

function here(file) {
  return fileURLToPath(new URL(file, import.meta.url));
}
