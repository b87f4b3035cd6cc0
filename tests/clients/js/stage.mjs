// The stage of every scenario: actors are unmodified socket.io-clients on two nodes, each with a log of all that it heard.
// Environment: NODES (comma list of URLs), TRANSPORT (websocket | polling | upgrade), JWT_SECRET.
//
// Absence is shown by a marker: a later event on the same channel, before which the unwanted one would have come.
// There is no sleeping here.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { io } from 'socket.io-client';
import { token } from './token.mjs';

export const NODES = process.env.NODES.split(',');
export const TRANSPORT = process.env.TRANSPORT;
export const PATIENCE_MS = 10_000;

const TRANSPORTS = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] }[TRANSPORT];
assert.ok(TRANSPORTS, `TRANSPORT is ${TRANSPORT}; websocket, polling or upgrade are known`);

export const ISO_DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

/** Scenes of one file run side by side; they share nothing but the cluster. */
export const together = { concurrency: 8 };

export const unique = (word) => `${word}-${randomBytes(6).toString('hex')}`;

/** Whether `actual` has everything that `wanted` has, deeply; a function in `wanted` decides for itself. */
export function matches(actual, wanted) {
  if (typeof wanted === 'function') return Boolean(wanted(actual));
  if (wanted instanceof RegExp) return typeof actual === 'string' && wanted.test(actual);
  if (wanted === null || typeof wanted !== 'object' || Array.isArray(wanted)) return isDeepStrictEqual(actual, wanted);
  if (actual === null || typeof actual !== 'object') return false;
  return Object.entries(wanted).every(([name, value]) => matches(actual[name], value));
}

/** Asserts `matches`, and shows both sides when it fails. */
export function assertMatches(actual, wanted, what = 'value') {
  assert.ok(matches(actual, wanted), `${what} does not match\n  came: ${show(actual)}\n  wanted: ${show(wanted)}`);
}

const show = (value) => JSON.stringify(value, (_, v) => (typeof v === 'function' || v instanceof RegExp ? String(v) : v));

/** One case. Its actors are sent home when it ends; when it fails, what they heard is shown. */
export function scene(name, body) {
  test(`${name} (${TRANSPORT})`, { timeout: 3 * PATIENCE_MS }, async () => {
    const stage = new Stage();
    try {
      await body(stage);
    } catch (error) {
      error.message += `\n${stage.transcript()}`;
      throw error;
    } finally {
      stage.clear();
    }
  });
}

class Stage {
  #users = new Map();
  #actors = [];

  /** The same word is the same user within a scene, so a word that enters twice is a user with two tabs. */
  user(word) {
    if (!this.#users.has(word)) this.#users.set(word, unique(word));
    return this.#users.get(word);
  }

  /** A room name that nobody else uses, and that the cluster creates when it is first joined. */
  room(word = 'room') {
    return unique(`auto:${word}`);
  }

  /** An actor that is not connected yet: `claims`, `auth`, `options` go into token, handshake and client, `url` is a detour. */
  actor(word, { node = 0, url = NODES[node], claims = {}, auth = {}, options = {}, namespace = '' } = {}) {
    const id = this.user(word);
    const socket = io(url + namespace, {
      transports: TRANSPORTS,
      auth: { token: token({ sub: id, ...claims }), ...auth },
      forceNew: true,
      reconnection: false,
      timeout: PATIENCE_MS,
      ...options,
    });
    return this.cast(new Actor(`${word}@${node}`, id, socket));
  }

  /** An actor of the scene's own making, sent home like the others. */
  cast(actor) {
    this.#actors.push(actor);
    return actor;
  }

  /** An actor that is connected and authenticated. Over an upgrade, those on node 1 wait for it; the others race it. */
  async enter(word, settings = {}) {
    const actor = this.actor(word, settings);
    await actor.heard('authenticated');
    if (TRANSPORT === 'upgrade' && settings.node === 1) await actor.upgraded();
    return actor;
  }

  /** Enters and joins `room`. */
  async member(word, room, settings) {
    const actor = await this.enter(word, settings);
    actor.joined = await actor.done('room:join', { roomName: room });
    return actor;
  }

  clear() {
    for (const actor of this.#actors) actor.goHome();
  }

  transcript() {
    const line = (actor) => [`--- ${actor.label} (${actor.id}) heard:`, ...actor.log.slice(-40).map((entry) => `  ${show(entry)}`)];
    return this.#actors.flatMap(line).join('\n');
  }
}

export class Actor {
  /** Everything heard, in order: [event, ...arguments]. */
  log = [];
  #waiting = new Set();

  constructor(label, id, socket) {
    this.label = label;
    this.id = id;
    if (socket) this.attach(socket);
  }

  /** Listens to this socket from now on. */
  attach(socket) {
    this.socket = socket;
    socket.onAny((...entry) => this.note(...entry));
    socket.on('connect', () => this.note('connect'));
    socket.on('connect_error', (error) => this.note('connect_error', { message: error.message, data: error.data }));
    socket.on('disconnect', (reason) => this.note('disconnect', reason));
  }

  note(...entry) {
    this.log.push(entry);
    for (const check of this.#waiting) check();
  }

  goHome() {
    this.socket.disconnect();
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** The whole ack. */
  ask(event, ...args) {
    return this.socket.timeout(PATIENCE_MS).emitWithAck(event, ...args);
  }

  /** The data of an ack that says success. */
  async done(event, payload) {
    const ack = await this.ask(event, payload);
    assert.equal(ack.success, true, `${event} by ${this.label}: ${show(ack)}`);
    return ack.data;
  }

  /** The error of an ack that says `code`. */
  async refused(code, event, payload) {
    const ack = await this.ask(event, payload);
    assertMatches(ack, { success: false, error: { code, message: (text) => typeof text === 'string' && text !== '' } }, `ack of ${event}`);
    return ack.error;
  }

  /** Emits without an ack. */
  tell(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** The first argument of the first such event, heard already or to come; not looking at the log's first `from` entries. */
  async heard(event, wanted, from) {
    return (await this.entry(event, wanted, from))[1];
  }

  /** The log's entry of the first such event, heard already or to come. */
  entry(event, wanted = () => true, from = 0) {
    const fits = ([name, payload]) => name === event && matches(payload, wanted);
    return new Promise((resolve, reject) => {
      let next = from;
      const check = () => {
        while (next < this.log.length) {
          const entry = this.log[next++];
          if (fits(entry)) {
            settle();
            return resolve(entry);
          }
        }
      };
      const timer = setTimeout(() => {
        settle();
        reject(new Error(`${this.label} did not hear ${event} ${show(wanted)}`));
      }, PATIENCE_MS);
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }

  /** The payloads of all such events heard so far. */
  all(event, wanted = () => true) {
    return this.log.filter(([name, payload]) => name === event && matches(payload, wanted)).map(([, payload]) => payload);
  }

  /** Asserts that no such event was heard; say a marker first. */
  neverHeard(event, wanted = () => true) {
    assert.deepEqual(this.all(event, wanted), [], `${this.label} heard ${event}`);
  }

  /** Where in the log such an event stands first, or -1. */
  position(event, wanted = () => true) {
    return this.log.findIndex(([name, payload]) => name === event && matches(payload, wanted));
  }

  /** Resolves once the transport is WebSocket. */
  upgraded() {
    const engine = this.socket.io.engine;
    if (engine.transport.name === 'websocket') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.label} was not upgraded`)), PATIENCE_MS);
      engine.once('upgrade', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** POST to the administration of a node, as an application's server does: status and JSON. */
export async function post(path, body, node = 0) {
  const response = await fetch(NODES[node] + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-API-Key': process.env.API_KEY },
    body: JSON.stringify(body),
  });
  return [response.status, await response.json()];
}

/** Says something in the room; when it returns, all that was told there before is in every listener's log. */
export async function marker(room, speaker, ...listeners) {
  const content = unique('marker');
  await speaker.done('message:send', { roomName: room, content });
  await Promise.all([speaker, ...listeners].map((actor) => actor.heard('message:new', { roomName: room, content })));
}
