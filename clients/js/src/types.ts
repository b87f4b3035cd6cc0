// What travels on the wire, and what an application gives and gets. Names and shapes are the gateway's contract.

/** A place in a room's order of messages. `seq` counts by one within an `epoch`. */
export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

/** `message:new`. */
export interface Message extends Position {
  readonly roomName: string;
  readonly messageId: string;
  readonly userId?: string;
  readonly content: string;
  readonly threadId?: string;
  readonly replyTo?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly timestamp: string;
}

export interface Member {
  readonly userId: string;
  readonly status: string;
  readonly joinedAt: string;
}

/** The data of a join's ack. */
export interface Joined extends Position {
  readonly roomName: string;
  readonly type: string;
  readonly role: string;
  readonly memberCount: number;
  readonly rev: number;
  readonly members?: readonly Member[];
  readonly recovered?: boolean;
  readonly reason?: string;
  readonly messages?: readonly Message[];
}

/** The data of a send's ack. */
export interface Sent extends Position {
  readonly messageId: string;
  readonly timestamp: string;
  /** The gateway had it already: an earlier try had arrived, and its ack had not. */
  readonly duplicate?: boolean;
}

export interface Draft {
  readonly content: string;
  readonly threadId?: string;
  readonly replyTo?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Given by the client unless the application has one; the same id is never told twice within five minutes. */
  readonly clientMessageId?: string;
}

export interface HistoryRange {
  readonly beforeSeq?: number;
  readonly afterSeq?: number;
  readonly limit?: number;
}

export interface History {
  readonly messages: readonly Message[];
  readonly epoch: string;
  readonly more: boolean;
}

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
  readonly retryAfterMs?: number;
}

export type Ack<T> = { readonly success: true; readonly data: T } | { readonly success: false; readonly error: WireError };

/** `room:reset`. */
export interface RoomReset extends Position {
  readonly roomName: string;
  readonly rev: number;
  readonly reason: string;
}

interface Left {
  readonly roomName: string;
  readonly userId?: string;
  readonly reason: string;
}

type Reply<T> = (ack: Ack<T>) => void;

/** Server to client, as far as this module listens. */
export interface ServerEvents {
  'message:new': (message: Message) => void;
  'room:reset': (reset: RoomReset) => void;
  'user:left': (left: Left) => void;
  authenticated: (identity: { readonly userId: string }) => void;
  'auth:error': (error: WireError) => void;
  'server:draining': (drain: { readonly reconnectInMs: number }) => void;
}

/** Client to server, as far as this module speaks. */
export interface ClientEvents {
  'room:join': (payload: { roomName: string; since?: Position }, reply: Reply<Joined>) => void;
  'room:leave': (payload: { roomName: string }, reply: Reply<unknown>) => void;
  'message:send': (payload: Draft & { roomName: string; clientMessageId: string }, reply: Reply<Sent>) => void;
  'message:history': (payload: HistoryRange & { roomName: string }, reply: Reply<History>) => void;
  'typing:start': (payload: TypingPlace) => void;
  'typing:stop': (payload: TypingPlace) => void;
  'auth:refresh': (payload: { token: string }, reply: Reply<unknown>) => void;
}

export interface TypingPlace {
  readonly roomName: string;
  readonly threadId?: string;
}

/** Why a token is asked for: `refused` means that the last one was not believed, so a cached one is of no use. */
export type TokenReason = 'connect' | 'refresh' | 'refused';

/** Messages of a room may be missing between `from` and `to`, or its members may have changed untold: read both again. */
export interface Reset {
  readonly roomName: string;
  readonly reason: string;
  readonly from: Position;
  readonly to: Position;
}

/** What an application can listen to. */
export interface Events {
  message: (message: Message) => void;
  reset: (reset: Reset) => void;
  /** The user is no longer in the room, and did not leave it here: kicked, banned, or not let in again. */
  removed: (removed: { readonly roomName: string; readonly code: string }) => void;
  connected: () => void;
  disconnected: (end: { readonly reason: string; readonly comesBack: boolean }) => void;
  /** Neither the token nor a fresh one is believed, or none could be had; `connect()` tries again. */
  unauthenticated: (error: WireError) => void;
}

export interface Options {
  readonly url: string;
  /** Called at every connect, before a token ends, and once after a refusal. */
  readonly getToken: (reason: TokenReason) => string | Promise<string>;
  readonly path?: string;
  readonly transports?: readonly ('websocket' | 'polling')[];
  /** First and longest wait before reconnecting, ms. */
  readonly reconnectionDelayMs?: number;
  readonly reconnectionDelayMaxMs?: number;
  /** How long an ack may take before a call counts as lost, ms. */
  readonly ackTimeoutMs?: number;
  /** Sends that may wait at once, over all rooms. */
  readonly maxQueued?: number;
  /** Tries of one send that were answered by UNAVAILABLE or RATE_LIMITED, or not at all. */
  readonly maxTries?: number;
  /** How long after its first try a send is given up, ms; below the five minutes in which the gateway knows a repeat. */
  readonly giveUpAfterMs?: number;
  /** A typing mark ends so long after the last `typing()`, ms. */
  readonly typingIdleMs?: number;
}
