// What the peers do, whatever they run on: the events that the bench needs, with the names and shapes of this gateway's, on
// socket.io, its Redis adapter and ioredis, set up as their documentation says. What a client sees is alike: a join is told to
// the room, and answered with its members. No rules, no limits, nothing kept: where a peer does less than the gateway (nobody
// hears of an end, no number counts across nodes, nothing can be read again), it does not pay for it either.
//
// Environment: PORT, REDIS_URL, JWT_SECRET.
import { createSecretKey, randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';

export const HOST = '127.0.0.1';
export const PORT = Number(needed('PORT'));

/** As a key once, since jsonwebtoken makes one of a string at every call. */
const KEY = createSecretKey(Buffer.from(needed('JWT_SECRET')));

/** For clients to answer that they are closed; ws would wait 30 s. */
const FAREWELL_MS = 1000;

/** Of this process: its messages are numbered in it, in one count. */
const EPOCH = randomBytes(8).toString('hex');
let seq = 0;

/** A join's answer names no more. */
const MEMBERS_MAX = 100;

const EVENTS = { 'room:join': join, 'message:send': send, 'typing:start': startTyping, 'presence:update': updatePresence };

/** The server, which is not attached to anything yet; other nodes hear it, and it them. */
export async function start(options = {}) {
  // What is published in one turn of the event loop is written at once.
  const publisher = new Redis(needed('REDIS_URL'), { enableAutoPipelining: true });
  const subscriber = publisher.duplicate({ enableAutoPipelining: false });
  for (const client of [publisher, subscriber]) {
    client.on('error', (error) => console.error(`redis: ${error.message}`));
  }
  const io = new Server({ adapter: createAdapter(publisher, subscriber), serveClient: false, ...options });
  io.use(authenticate);
  io.on('connection', welcome);
  // Answered behind the adapter's subscriptions.
  await subscriber.ping();
  return io;
}

/** To be called once it listens: says so, and ends the process when it is told to. */
export function listening(io) {
  // Documented under "memory usage": the handshake's request is of no use any more, and would be kept.
  io.engine.on('connection', (connection) => {
    connection.request = null;
  });
  process.once('SIGTERM', async () => {
    await Promise.race([io.close(), setTimeout(FAREWELL_MS)]);
    process.exit();
  });
  console.log('listening');
}

function authenticate(socket, next) {
  try {
    socket.data.userId = jwt.verify(socket.handshake.auth.token, KEY, { algorithms: ['HS256'] }).sub;
  } catch {
    return next(refusal('Invalid token', 'UNAUTHENTICATED'));
  }
  next();
}

function welcome(socket) {
  for (const [name, handler] of Object.entries(EVENTS)) {
    socket.on(name, handler);
  }
  socket.emit('authenticated', { userId: socket.data.userId, sessionId: socket.id, rooms: [] });
}

// The handlers' `this` is the socket, so that all connections share them.

async function join(payload, ack = nobody) {
  const roomName = payload?.roomName;
  if (typeof roomName !== 'string') return ack(failure('INVALID_PAYLOAD', 'roomName'));
  await this.join(roomName);
  const userId = this.data.userId;
  this.to(roomName).emit('user:joined', { roomName, userId, timestamp: new Date().toISOString() });
  // Of all nodes: the documented way to a room's members.
  const sockets = await this.nsp.in(roomName).fetchSockets();
  const members = sockets.slice(0, MEMBERS_MAX).map(({ data }) => ({ userId: data.userId, status: 'online' }));
  ack(success({ roomName, memberCount: sockets.length, members }));
}

function send(payload, ack = nobody) {
  const { roomName, content } = payload ?? {};
  if (typeof content !== 'string') return ack(failure('INVALID_PAYLOAD', 'content'));
  if (!this.rooms.has(roomName)) return ack(failure('NOT_A_MEMBER', 'Not a member of this room'));
  seq += 1;
  const made = { messageId: `${EPOCH}-${seq}`, epoch: EPOCH, seq, timestamp: new Date().toISOString() };
  this.nsp.to(roomName).emit('message:new', { roomName, userId: this.data.userId, content, ...made });
  ack(success(made));
}

function startTyping(payload, ack = nobody) {
  const roomName = payload?.roomName;
  if (!this.rooms.has(roomName)) return ack(failure('NOT_A_MEMBER', 'Not a member of this room'));
  const users = [{ userId: this.data.userId, startedAt: new Date().toISOString() }];
  this.to(roomName).emit('typing:event', { roomName, users });
  ack(success());
}

function updatePresence(payload, ack = nobody) {
  const status = payload?.status;
  if (typeof status !== 'string') return ack(failure('INVALID_PAYLOAD', 'status'));
  const presence = { userId: this.data.userId, status, customStatus: null, customEmoji: null };
  const rooms = [...this.rooms].filter((room) => room !== this.id);
  // To no room would be to everybody.
  if (rooms.length > 0) this.to(rooms).emit('presence:changed', presence);
  ack(success(presence));
}

function nobody() {}

const success = (data) => ({ success: true, data });
const failure = (code, message) => ({ success: false, error: { code, message } });
const refusal = (message, code) => Object.assign(new Error(message), { data: { code } });

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
