// A client that behaves as nchat's does: the events that its services send, when they send them, and what they read of the
// answers. The socket.io-client is unmodified. Only its pace is another: what it does every ten seconds a test has no time for.
//
// What it does by itself is in the log as well, under `client:…`.
import { io } from 'socket.io-client';
import { Actor } from './stage.mjs';

const REQUEST_TIMEOUT_MS = 10_000;
const TYPING_THROTTLE_MS = 1_000;

/** What nchat waits, and what tests do. */
export const OWN_PACE = { pingMs: 10_000, heartbeatMs: 30_000, reconnectMs: 1_000, flushMs: 500, betweenMs: 100 };
export const TEST_PACE = { pingMs: 250, heartbeatMs: 250, reconnectMs: 50, flushMs: 100, betweenMs: 10 };

export class Nchat extends Actor {
  state = 'disconnected';
  states = [];
  rooms = new Map();
  members = new Map();
  presences = new Map();
  typists = new Map();
  queue = [];
  #url;
  #pace;
  #pinging;
  #beating;
  #flushing;
  #returning;
  #wasDisconnected = false;
  #pendingJoins = new Set();
  #managed = new Set();
  #subscribed = new Set();
  #status = 'online';
  #customStatus = null;
  #typedAt = new Map();
  #lastQueued = 0;

  constructor(label, id, { url, token, pace = TEST_PACE }) {
    super(label, id);
    this.#url = url;
    this.#pace = pace;
    /** Shown at the next connection. */
    this.token = token;
  }

  /** A new socket, as nchat makes one for each of its own attempts; the stock client makes the others. */
  connect() {
    this.#becomes('connecting');
    this.attach(
      io(this.#url, {
        transports: ['websocket', 'polling'],
        timeout: 20_000,
        reconnection: true,
        reconnectionAttempts: 10,
        reconnectionDelay: this.#pace.reconnectMs,
        reconnectionDelayMax: 30_000,
        auth: { token: this.token, device: { type: 'desktop', os: 'Linux', browser: 'Firefox' } },
        forceNew: true, // many clients in one process
      }),
    );
    const socket = this.#listen();
    return new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
      socket.once('error', ({ message }) => reject(new Error(message)));
    });
  }

  goHome() {
    clearInterval(this.#pinging);
    clearInterval(this.#beating);
    clearTimeout(this.#flushing);
    clearTimeout(this.#returning);
    this.socket?.disconnect();
  }

  /** A lost transport, as far as both sides can tell. */
  loseTransport() {
    this.socket.io.engine.close();
  }

  updateToken(token) {
    this.token = token;
    if (this.socket.connected) this.tell('auth:refresh', { token });
  }

  /** The data of an ack that says success; the message of any other is the error's. */
  request(event, payload) {
    return new Promise((resolve, reject) => {
      if (!this.socket.connected) return reject(new Error('Socket not connected'));
      const timer = setTimeout(() => reject(new Error(`Request timeout for event: ${event}`)), REQUEST_TIMEOUT_MS);
      this.socket.emit(event, payload, ({ success, data, error }) => {
        clearTimeout(timer);
        if (success) resolve(data);
        else reject(new Error(error?.message || 'Unknown error'));
      });
    });
  }

  // --- rooms and messages

  async joinRoom(roomName) {
    if (this.rooms.has(roomName)) return this.rooms.get(roomName);
    if (this.#pendingJoins.has(roomName)) throw new Error(`Join pending for room: ${roomName}`);
    this.#pendingJoins.add(roomName);
    try {
      const answer = await this.request('room:join', { roomName });
      const room = { name: answer.roomName, type: answer.type || 'channel', memberCount: answer.memberCount };
      this.rooms.set(roomName, room);
      if (answer.members) {
        const read = (member) => [member.userId, { ...member, joinedAt: new Date(member.joinedAt) }];
        this.members.set(roomName, new Map(answer.members.map(read)));
      }
      this.note('client:joined', roomName);
      return room;
    } finally {
      this.#pendingJoins.delete(roomName);
    }
  }

  leaveRoom(roomName) {
    this.tell('room:leave', { roomName });
    this.rooms.delete(roomName);
    this.members.delete(roomName);
  }

  /** Its second service of rooms, which joins the same rooms once more. */
  async manageRoom(roomName) {
    this.#managed.add(roomName);
    await this.request('room:join', { roomName });
    this.note('client:managed', roomName);
  }

  async send(roomName, content, { threadId, replyTo, metadata } = {}) {
    const { messageId } = await this.request('message:send', { roomName, content, threadId, replyTo, metadata });
    return messageId;
  }

  async #rejoin() {
    const names = [...this.rooms.keys()];
    this.rooms.clear();
    const joins = names.map((name) => this.joinRoom(name).catch(({ message }) => this.note('client:not joined', { name, message })));
    await Promise.all(joins);
  }

  // --- typing

  startTyping(roomName, roomType, { threadId, recipientId } = {}) {
    const key = typingKey({ roomName, roomType, threadId });
    if (Date.now() - (this.#typedAt.get(key) ?? 0) < TYPING_THROTTLE_MS) return;
    this.#typedAt.set(key, Date.now());
    this.tell('typing:start', { roomName, roomType, threadId, recipientId });
  }

  stopTyping(roomName, roomType, { threadId } = {}) {
    this.#typedAt.delete(typingKey({ roomName, roomType, threadId }));
    this.tell('typing:stop', { roomName, roomType, threadId });
  }

  // --- presence

  setStatus(status) {
    this.#status = status;
    this.#tellPresence();
  }

  setCustomStatus(customStatus) {
    this.#customStatus = customStatus;
    this.#tellPresence();
  }

  subscribeToUsers(userIds) {
    userIds.forEach((id) => this.#subscribed.add(id));
    this.tell('presence:subscribe', { userIds });
  }

  unsubscribeFromUsers(userIds) {
    userIds.forEach((id) => this.#subscribed.delete(id));
    this.tell('presence:unsubscribe', { userIds });
  }

  async fetchPresence(userIds) {
    const { presences } = await this.request('presence:get', { userIds });
    presences.forEach((presence) => this.#readPresence(presence));
    return this.presences;
  }

  #tellPresence() {
    if (!this.socket.connected) return;
    const customStatus = this.#customStatus && { text: this.#customStatus.text, emoji: this.#customStatus.emoji };
    this.tell('presence:update', { status: this.#status, ...(customStatus && { customStatus }) });
    this.note('client:heartbeat');
  }

  #readPresence({ userId, status, customStatus, lastSeen }) {
    this.presences.set(userId, { status, customStatus, lastSeenAt: lastSeen ? new Date(lastSeen) : undefined });
  }

  // --- what is said while there is no connection

  queueMessage(message) {
    const queued = { ...message, id: `q_${Date.now()}_${this.#lastQueued++}` };
    this.queue.push(queued);
    if (this.socket.connected) this.#flushSoon();
    return queued;
  }

  /** As it is sent at every attempt. */
  sendQueued({ id, channelId, content, type, attachments, threadId, mentions, clientMessageId }) {
    const payload = { channelId, content, type, attachments, threadId, mentions, clientMessageId: clientMessageId || id };
    return this.request('message:send', payload);
  }

  #flushSoon() {
    clearTimeout(this.#flushing);
    this.#flushing = setTimeout(() => this.#flush(), this.#pace.flushMs);
  }

  async #flush() {
    for (const message of [...this.queue]) {
      if (!this.socket.connected) return;
      try {
        const { messageId } = await this.sendQueued(message);
        this.queue = this.queue.filter((queued) => queued !== message);
        this.note('client:flushed', { id: message.id, messageId });
      } catch ({ message: cause }) {
        this.note('client:not flushed', { id: message.id, cause });
      }
      await new Promise((resolve) => setTimeout(resolve, this.#pace.betweenMs));
    }
  }

  // --- the connection

  #listen() {
    const { socket } = this;
    socket.on('connect', () => {
      this.#becomes('connected');
      this.#measure();
      this.#pinging = setInterval(() => this.#measure(), this.#pace.pingMs);
    });
    socket.on('disconnect', (reason) => {
      clearInterval(this.#pinging);
      this.#becomes('disconnected');
      // The stock client takes that for the end; nchat does not.
      if (reason === 'io server disconnect') {
        this.#returning = setTimeout(() => this.connect().catch(() => {}), this.#pace.reconnectMs); // the log has it
      }
    });
    socket.on('connect_error', () => this.#becomes('error'));
    socket.on('authenticated', () => this.#becomes('authenticated'));
    socket.on('user:joined', ({ roomName, userId, timestamp }) => {
      this.#membersOf(roomName).set(userId, { userId, joinedAt: new Date(timestamp) });
      const room = this.rooms.get(roomName);
      if (room) room.memberCount += 1;
    });
    socket.on('user:left', ({ roomName, userId }) => {
      this.members.get(roomName)?.delete(userId);
      const room = this.rooms.get(roomName);
      if (room) room.memberCount -= 1;
    });
    socket.on('presence:changed', (presence) => this.#readPresence(presence));
    socket.on('presence:bulk', ({ presences }) => presences.forEach((presence) => this.#readPresence(presence)));
    socket.on('typing:event', (told) => {
      const users = told.users.map(({ userId, startedAt }) => [userId, new Date(startedAt)]);
      this.typists.set(typingKey({ ...told, roomType: told.roomType || 'channel' }), new Map(users));
    });
    return socket;
  }

  #membersOf(roomName) {
    if (!this.members.has(roomName)) this.members.set(roomName, new Map());
    return this.members.get(roomName);
  }

  #measure() {
    this.socket.emit('ping', { timestamp: Date.now() }, (response) => {
      this.note('client:latency', Date.now() - response.timestamp);
    });
  }

  /** Each of its services listens to the state by itself. */
  #becomes(state) {
    if (this.state === state) return;
    this.state = state;
    this.states.push(state);
    this.note('client:state', state);
    if (state === 'disconnected') {
      this.#wasDisconnected = true;
      this.members.clear();
      this.typists.clear();
      this.#typedAt.clear();
      clearInterval(this.#beating);
      this.#beating = undefined;
    }
    if (state !== 'connected' && state !== 'authenticated') return;
    if (this.rooms.size > 0) this.#rejoin();
    if (this.#wasDisconnected) {
      this.#wasDisconnected = false;
      for (const name of this.#managed) this.manageRoom(name).catch(({ message }) => this.note('client:not joined', { name, message }));
    }
    if (!this.#beating) {
      this.#tellPresence();
      this.#beating = setInterval(() => this.#tellPresence(), this.#pace.heartbeatMs);
    }
    if (this.#subscribed.size > 0) this.tell('presence:subscribe', { userIds: [...this.#subscribed] });
    if (this.queue.length > 0) this.#flushSoon();
  }
}

/** Under what nchat keeps who types where. */
export function typingKey({ roomName, roomType, threadId }) {
  switch (roomType) {
    case 'dm':
      return `dm:${roomName}`;
    case 'thread':
      return `channel:${roomName}:thread:${threadId}`;
    default:
      return `channel:${roomName}`;
  }
}

/** The name that nchat gives to a direct room of two users. */
export const directRoom = (one, other) => `dm:${[one, other].sort().join(':')}`;

/** What its server says to the gateway, from its own routes. */
export class NchatServer {
  #url;
  #key;

  constructor(url, key) {
    this.#url = url;
    this.#key = key;
  }

  /** How many sockets it went to. */
  async broadcast(eventType, rooms, payload, eventId = payload.meta?.eventId) {
    const response = await this.#post('/api/broadcast', { eventType, rooms, payload, eventId });
    if (!response.ok) throw new Error(`Broadcast failed: ${response.status} ${await response.text()}`);
    return (await response.json()).recipientCount;
  }

  /** Of this answer nchat reads nothing. */
  broadcastBatch(events) {
    const stamped = events.map(({ eventType, roomNames, payload }) => ({ eventType, roomNames, payload, timestamp: Date.now() }));
    return this.#post('/api/broadcast/batch', { events: stamped });
  }

  #post(path, body) {
    return fetch(`${this.#url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-API-Key': this.#key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  }
}
