// A plain socket.io-client. `rejoin`: its application keeps the last position of each room and joins again with it.
// `recovery`: it has asked for the stock client's own recovery, and joins again only when that has not happened.
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { token } from '../token.mjs';

const ANSWER_MS = 4_000;
const AGAIN_MS = 100;
/** What nobody has reason to hear while nobody comes, goes or changes. */
const FLAPS = ['user:joined', 'user:left', 'presence:changed', 'room:count'];
const PASSING = ['UNAVAILABLE', 'RATE_LIMITED', 'NOT_A_MEMBER'];

export class StockClient {
  #nodes;
  #heard = new Map();
  #announced = [];
  #recoveries = [0, 0];
  #ready = false;
  #first;
  #arrived;
  #flaps = [];
  #moments = [];
  /** Where a room stood when it was first joined: the position, until something is heard. */
  #starts = new Map();

  /** `options` go over what the client is made with: a transport, an address of its own. */
  constructor(nodes, { user, node, rooms, mode, options = {} }) {
    this.#nodes = nodes;
    Object.assign(this, { user, node, rooms, mode });
    this.#first = new Promise((resolve) => (this.#arrived = resolve));
    for (const room of rooms) this.#heard.set(room, []);
    this.socket = io(nodes[node], {
      transports: ['websocket'],
      auth: { token: token({ sub: user }), ...(mode === 'recovery' ? { recovery: true } : {}) },
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      timeout: ANSWER_MS,
      ...options,
    });
    for (const event of FLAPS) this.socket.on(event, (payload) => this.#flaps.push([event, payload]));
    this.socket.on('server:draining', ({ reconnectInMs }) => this.#moments.push(reconnectInMs));
    this.socket.on('message:new', ({ roomName, epoch, seq, messageId }) => this.#heard.get(roomName).push([epoch, seq, messageId]));
    this.socket.on('room:reset', ({ roomName, reason }) => this.#announced.push([roomName, reason]));
    this.socket.on('connect', () => this.#arrive());
    this.socket.on('connect_error', () => this.#moveOn());
    this.socket.on('disconnect', () => {
      this.#ready = false;
      this.#moveOn();
    });
  }

  arrived() {
    return this.#first;
  }

  cut(awayMs) {
    const manager = this.socket.io;
    if (awayMs > 0) {
      manager.reconnectionDelay(awayMs).randomizationFactor(0);
      manager.once('reconnect_attempt', () => manager.reconnectionDelay(50).randomizationFactor(0.5));
    }
    manager.engine?.close();
  }

  async send(roomName, content, clientMessageId) {
    for (;;) {
      if (this.#ready) {
        const ack = await this.#ask('message:send', { roomName, content, clientMessageId });
        if (ack?.success) return ack.data;
        if (ack && !PASSING.includes(ack.error.code)) throw new Error(JSON.stringify(ack));
      }
      await sleep(AGAIN_MS);
    }
  }

  calm() {
    this.#flaps = [];
    this.#moments = [];
  }

  report() {
    return {
      heard: Object.fromEntries(this.#heard),
      announced: this.#announced,
      recoveries: this.#recoveries,
      flaps: this.#flaps,
      moments: this.#moments,
    };
  }

  /** The next attempt goes to the next node, as a balancer would send it. */
  #moveOn() {
    this.node = (this.node + 1) % this.#nodes.length;
    this.socket.io.uri = this.#nodes[this.node];
  }

  async #arrive() {
    const life = this.socket.id;
    if (this.mode === 'recovery' && this.socket.recovered) {
      this.#recoveries[0] += 1;
      this.#ready = true;
      return;
    }
    for (const roomName of this.rooms) {
      const last = this.#heard.get(roomName).at(-1) ?? this.#starts.get(roomName);
      const since = last && { epoch: last[0], seq: last[1] };
      const ack = await this.#join(life, { roomName, since });
      if (!ack) return; // lost meanwhile: the next arrival joins
      const { epoch, seq, messages = [], recovered } = ack.data;
      if (!since) this.#starts.set(roomName, [epoch, seq]);
      // Behind the ack may stand what came live while this turn waited for it: put in place by `seq`.
      if (since && recovered === false) this.#announced.push([roomName, ack.data.reason]);
      const heard = this.#heard.get(roomName);
      const live = heard.splice(heard.lastIndexOf(last) + 1);
      heard.push(...messages.map((m) => [m.epoch, m.seq, m.messageId]), ...live);
    }
    this.#recoveries[1] += 1;
    this.#ready = true;
    this.#arrived();
  }

  async #join(life, payload) {
    while (this.socket.id === life) {
      const ack = await this.#ask('room:join', payload);
      if (ack?.success) return ack;
      if (ack && !PASSING.includes(ack.error.code)) throw new Error(JSON.stringify(ack));
      await sleep(AGAIN_MS);
    }
    return null;
  }

  #ask(event, payload) {
    return this.socket.timeout(ANSWER_MS).emitWithAck(event, payload).catch(() => null);
  }
}
