// The client: one stock socket, and the parts that make its events ordered, recoverable and sent once. It wires; the rules are
// in the parts.

import { io, type Socket } from 'socket.io-client';
import { Emitter } from './emitter.js';
import { RealtimeError } from './errors.js';
import { Outbox } from './outbox.js';
import { Room, type RoomPort } from './room.js';
import { Tokens } from './token.js';
import { Typing } from './typing.js';
import type { Ack, ClientEvents, Draft, Events, History, HistoryRange, Joined, Options, Position, RoomReset, Sent } from './types.js';
import type { Message, ServerEvents, WireError } from './types.js';

const ACK_TIMEOUT_MS = 10_000;
const RECONNECT_MS = 500;
const RECONNECT_MAX_MS = 5_000;
const JITTER = 0.5;
const MAX_QUEUED = 1_000;
const MAX_TRIES = 10;
/** The gateway knows a repeat for five minutes; the last try must arrive within them. */
const GIVE_UP_MS = 4 * 60_000;
const TYPING_IDLE_MS = 2_500;

const CLOSED = { code: 'CLOSED', message: 'the client was closed' };
const LEFT = { code: 'LEFT', message: 'the room was left' };

export class RealtimeClient {
  /** The stock socket, for every other event of the gateway. */
  readonly socket: Socket<ServerEvents, ClientEvents>;
  readonly #options: Options;
  readonly #ackTimeoutMs: number;
  readonly #emitter = new Emitter();
  readonly #rooms = new Map<string, Room>();
  readonly #outbox: Outbox;
  readonly #typing: Typing;
  readonly #tokens: Tokens;
  #userId: string | undefined;
  /** The token was not believed, so the next one must be fresh. */
  #refused: WireError | undefined;
  /** A fresh token was shown after a refusal: one that is refused again ends it. */
  #triedFresh = false;
  #drainUntilMs = 0;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#ackTimeoutMs = options.ackTimeoutMs ?? ACK_TIMEOUT_MS;
    this.socket = io(options.url, {
      path: options.path ?? '/socket.io/',
      transports: [...(options.transports ?? ['websocket', 'polling'])],
      auth: (show) => void this.#authenticate(show),
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: options.reconnectionDelayMs ?? RECONNECT_MS,
      reconnectionDelayMax: options.reconnectionDelayMaxMs ?? RECONNECT_MAX_MS,
      randomizationFactor: JITTER,
    });
    this.#typing = new Typing(
      { tell: (event, place) => void (this.#isReady(place.roomName) && this.socket.emit(event, place)) },
      options.typingIdleMs ?? TYPING_IDLE_MS,
    );
    this.#tokens = new Tokens({
      getToken: options.getToken,
      refresh: (token) => this.#ask((reply) => this.#timed().emit('auth:refresh', { token }, reply)),
      isConnected: () => this.socket.connected,
      refused: (error) => this.#emitter.emit('unauthenticated', error),
    });
    this.#outbox = new Outbox(
      {
        send: (roomName, draft) => this.#ask((reply) => this.#timed().emit('message:send', { roomName, ...draft }, reply)),
        isReady: (roomName) => this.#isReady(roomName),
        rejoin: (roomName) => this.#rooms.get(roomName)?.resume(),
      },
      {
        maxQueued: options.maxQueued ?? MAX_QUEUED,
        maxTries: options.maxTries ?? MAX_TRIES,
        giveUpAfterMs: options.giveUpAfterMs ?? GIVE_UP_MS,
      },
    );
    this.#listen();
    this.socket.connect();
  }

  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    return this.#emitter.on(name, listener);
  }

  /** Joins, and stays: after every reconnect too, until `leave`. `since` goes on where an earlier page ended. */
  async join(roomName: string, { since }: { since?: Position } = {}): Promise<Joined> {
    const known = this.#rooms.get(roomName);
    const room = known ?? new Room(roomName, this.#port(), since);
    this.#rooms.set(roomName, room);
    const joined = room.joined();
    if (this.socket.connected) room.resume();
    return joined;
  }

  /** Up to where the room's messages were told; to be kept for `join`'s `since`. */
  position(roomName: string): Position | undefined {
    return this.#rooms.get(roomName)?.position;
  }

  /** Leaves; sends that wait in the room are rejected with LEFT. */
  async leave(roomName: string): Promise<void> {
    if (!this.#rooms.has(roomName)) return;
    this.#forget(roomName, new RealtimeError(LEFT));
    if (!this.socket.connected) return; // without a join after the reconnect, it is left
    answer(await this.#ask((reply) => this.#timed().emit('room:leave', { roomName }, reply)));
  }

  /** Says something, once: repeated over reconnects until the gateway has acked it. Own messages come by `message`, too. */
  send(roomName: string, draft: Draft): Promise<Sent> {
    if (!this.#rooms.has(roomName)) {
      const message = `join ${roomName} first`;
      return Promise.reject(new RealtimeError({ code: 'NOT_A_MEMBER', message }));
    }
    this.#typing.stop(place(roomName, draft.threadId));
    return this.#outbox.send(roomName, { ...draft, clientMessageId: draft.clientMessageId ?? newId() });
  }

  /** A page of the past; what `message` has told is not touched. */
  async history(roomName: string, range: HistoryRange = {}): Promise<History> {
    return answer(await this.#ask((reply) => this.#timed().emit('message:history', { roomName, ...range }, reply)));
  }

  /** To be called at every key. */
  typing(roomName: string, threadId?: string): void {
    if (this.#isReady(roomName)) this.#typing.typing(place(roomName, threadId));
  }

  stopTyping(roomName: string, threadId?: string): void {
    this.#typing.stop(place(roomName, threadId));
  }

  /** Connects again after `unauthenticated`, or after the gateway ended the connection on purpose. */
  connect(): void {
    this.#triedFresh = false;
    this.socket.connect();
  }

  /** Ends the connection and everything that waits. */
  close(): void {
    clearTimeout(this.#drainTimer);
    this.#tokens.disconnected();
    this.#typing.forget();
    for (const roomName of [...this.#rooms.keys()]) this.#forget(roomName, new RealtimeError(CLOSED));
    this.socket.disconnect();
  }

  #port(): RoomPort {
    return {
      join: (roomName, since, reply) => {
        const payload = since ? { roomName, since: { epoch: since.epoch, seq: since.seq } } : { roomName };
        // Not by a promise: what comes live right behind the answer must find it told.
        this.#timed().emit('room:join', payload, (error, ack) => reply(error ? undefined : ack));
      },
      isConnected: () => this.socket.connected,
      message: (message) => this.#emitter.emit('message', message),
      reset: (reset) => this.#emitter.emit('reset', reset),
      ready: (roomName) => this.#outbox.ready(roomName),
      refused: (roomName, error) => this.#removed(roomName, error),
    };
  }

  #listen(): void {
    const heard = (news: Message | RoomReset): void => this.#rooms.get(news.roomName)?.heard(news);
    this.socket.on('message:new', heard);
    this.socket.on('room:reset', heard);
    this.socket.on('authenticated', ({ userId }) => {
      this.#userId = userId;
      this.#triedFresh = false;
    });
    this.socket.on('user:left', ({ roomName, userId, reason }) => {
      const sentAway = reason === 'kicked' || reason === 'banned';
      if (!sentAway || userId === undefined || userId !== this.#userId) return;
      this.#removed(roomName, new RealtimeError({ code: reason.toUpperCase(), message: 'a moderator ended the membership' }));
    });
    this.socket.on('auth:error', (error) => (this.#refused = error));
    this.socket.on('server:draining', ({ reconnectInMs }) => this.#drain(reconnectInMs));
    this.socket.on('connect', () => this.#connected());
    this.socket.on('disconnect', (reason) => this.#disconnected(reason));
    this.socket.on('connect_error', (error) => {
      if (this.socket.active) return; // it passes, and the stock client tries again
      const code = codeOf(error);
      this.#refusedAt({ code, message: error.message });
    });
  }

  #connected(): void {
    clearTimeout(this.#drainTimer);
    this.#refused = undefined;
    this.#tokens.connected();
    for (const room of this.#rooms.values()) room.connected();
    this.#emitter.emit('connected');
  }

  #disconnected(reason: Socket.DisconnectReason): void {
    clearTimeout(this.#drainTimer);
    this.#waitOutDrain();
    this.#tokens.disconnected();
    this.#typing.forget();
    for (const room of this.#rooms.values()) room.disconnected();
    const refused = reason === 'io server disconnect' ? this.#refused : undefined;
    this.#emitter.emit('disconnected', { reason, comesBack: this.socket.active || refused !== undefined });
    if (refused) this.#refusedAt(refused);
  }

  /** Tries once with a fresh token, then leaves it to the application. */
  #refusedAt(error: WireError): void {
    if (error.code === 'UNAUTHENTICATED' && !this.#triedFresh) {
      this.#triedFresh = true;
      this.#refused = error;
      this.socket.connect();
      return;
    }
    for (const room of this.#rooms.values()) room.fail(new RealtimeError(error));
    this.#outbox.fail(new RealtimeError(error));
    this.#emitter.emit('unauthenticated', error);
  }

  async #authenticate(show: (auth: { token: string }) => void): Promise<void> {
    const engine = this.socket.io.engine;
    try {
      const token = await this.#tokens.forConnect(this.#refused !== undefined);
      // A transport that went meanwhile is followed by another, which asks by itself.
      if (engine === this.socket.io.engine && engine.readyState === 'open') show({ token });
    } catch {
      // The application has none now: as after a lost transport, the stock client waits, and asks again.
      engine.close();
    }
  }

  /** The node goes away: come back when it says, so that not everybody does at once. */
  #drain(reconnectInMs: number): void {
    this.#drainUntilMs = Date.now() + reconnectInMs;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = setTimeout(() => this.socket.io.engine.close(), reconnectInMs);
  }

  /** The stock client is about to choose when to reconnect: for this once the choice was the gateway's. */
  #waitOutDrain(): void {
    if (this.#drainUntilMs === 0) return;
    const manager = this.socket.io;
    manager.reconnectionDelay(Math.max(1, this.#drainUntilMs - Date.now())).randomizationFactor(0);
    this.#drainUntilMs = 0;
    manager.once('reconnect_attempt', () => {
      manager.reconnectionDelay(this.#options.reconnectionDelayMs ?? RECONNECT_MS).randomizationFactor(JITTER);
    });
  }

  #removed(roomName: string, error: RealtimeError): void {
    if (this.#forget(roomName, error)) this.#emitter.emit('removed', { roomName, code: error.code });
  }

  #forget(roomName: string, error: RealtimeError): boolean {
    this.#rooms.get(roomName)?.close(error);
    this.#typing.forget(roomName);
    this.#outbox.fail(error, roomName);
    return this.#rooms.delete(roomName);
  }

  #isReady(roomName: string): boolean {
    return this.socket.connected && (this.#rooms.get(roomName)?.isReady ?? false);
  }

  #timed() {
    return this.socket.timeout(this.#ackTimeoutMs);
  }

  /** The answer to what `emit` emits; `undefined` when there was none in time, or the transport went. */
  #ask<T>(emit: (reply: (error: Error | null, ack: Ack<T>) => void) => void): Promise<Ack<T> | undefined> {
    return new Promise((resolve) => emit((error, ack) => resolve(error ? undefined : ack)));
  }
}

function answer<T>(ack: Ack<T> | undefined): T {
  if (ack?.success) return ack.data;
  throw new RealtimeError(ack?.error ?? { code: 'UNAVAILABLE', message: 'no answer came' });
}

function codeOf(error: Error): string {
  const data: unknown = 'data' in error ? error.data : undefined;
  const named = typeof data === 'object' && data !== null && 'code' in data && typeof data.code === 'string';
  return named ? String(data.code) : 'UNAUTHENTICATED';
}

const place = (roomName: string, threadId?: string) => (threadId === undefined ? { roomName } : { roomName, threadId });

/** 128 random bits; not `crypto.randomUUID`, which a page over plain HTTP does not have. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
