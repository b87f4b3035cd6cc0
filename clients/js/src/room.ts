// One room: how far it was heard, and what a message, a reset or a join's answer makes of that. It speaks through its port
// alone, so its rules can be tested without a socket.
//
// While a join is under way, what comes live is held, and told behind the answer. Whatever does not follow on what was
// heard is asked for by another join with `since`; what cannot be had that way is told by `reset`.

import { passes, pauseMs, RealtimeError } from './errors.js';
import type { Ack, Joined, Message, Position, Reset, RoomReset } from './types.js';

/** Most messages held during a join; with more the connection is so far behind that they are asked for again. */
const HELD_MAX = 2_000;

export interface RoomPort {
  /** `room:join`; `reply` is called in the very turn in which the answer comes, with `undefined` when none came. */
  join(roomName: string, since: Position | undefined, reply: (ack: Ack<Joined> | undefined) => void): void;
  isConnected(): boolean;
  message(message: Message): void;
  reset(reset: Reset): void;
  /** Joined, for the first time or again: sends may go on. */
  ready(roomName: string): void;
  /** The gateway does not let the user in, or no longer. */
  refused(roomName: string, error: RealtimeError): void;
}

interface Waiting {
  resolve(joined: Joined): void;
  reject(error: RealtimeError): void;
}

export class Room {
  readonly name: string;
  readonly #port: RoomPort;
  #position: Position | undefined;
  /** Set while `room:join` has no answer yet, or is to be repeated. */
  #joining = false;
  #ready = false;
  #closed = false;
  #held: (Message | RoomReset)[] = [];
  #overflowed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts joins: an answer to one that was given up changes nothing. */
  #attempt = 0;
  #waiting: Waiting[] = [];

  constructor(name: string, port: RoomPort, since?: Position) {
    this.name = name;
    this.#port = port;
    this.#position = since;
  }

  /** Up to where everything was told. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Whether sends can go out. */
  get isReady(): boolean {
    return this.#ready;
  }

  /** Resolves with the next join's answer. */
  joined(): Promise<Joined> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** The transport stands (again). */
  connected(): void {
    this.#join(1);
  }

  disconnected(): void {
    this.#giveUp();
  }

  close(error: RealtimeError): void {
    this.#giveUp();
    this.#closed = true;
    this.fail(error);
  }

  /** Nobody waits for a join any longer; the room stays, for when there is a connection. */
  fail(error: RealtimeError): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }

  /** Asks for what was missed, unless that is under way. */
  resume(): void {
    if (!this.#joining && this.#port.isConnected()) this.#join(1);
  }

  heard(news: Message | RoomReset): void {
    if (this.#closed) return;
    if (this.#joining || !this.#position) return this.#hold(news);
    if (isReset(news)) return this.#resetTo(news, news.reason);
    if (follows(this.#position, news)) return this.#tell(news);
    if (isRepeat(this.#position, news)) return;
    this.#join(1);
    this.#hold(news);
  }

  #giveUp(): void {
    this.#attempt += 1;
    this.#joining = false;
    this.#ready = false;
    this.#held = [];
    this.#overflowed = false;
    clearTimeout(this.#timer);
  }

  #join(tries: number): void {
    this.#giveUp();
    this.#joining = true;
    const attempt = this.#attempt;
    this.#port.join(this.name, this.#position, (ack) => {
      if (attempt !== this.#attempt) return;
      if (ack?.success) return this.#arrive(ack.data);
      if (!this.#port.isConnected()) return this.#giveUp(); // `connected` begins anew
      if (ack && !passes(ack.error.code)) return this.#port.refused(this.name, new RealtimeError(ack.error));
      // Bounded by the connection: as long as it stands, there is nothing better to do.
      const pause = pauseMs(Math.min(tries, 10), ack?.error.retryAfterMs);
      this.#timer = setTimeout(() => this.#join(tries + 1), pause);
    });
  }

  #arrive(joined: Joined): void {
    const { held, overflowed } = { held: this.#held, overflowed: this.#overflowed };
    const asked = this.#position;
    this.#giveUp();
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(joined);
    if (asked) this.#recover(asked, joined);
    this.#position = { epoch: joined.epoch, seq: joined.seq };
    if (this.#closed) return; // by a listener of the above
    if (overflowed) return this.#join(1);
    this.#ready = true;
    this.#port.ready(this.name);
    for (const news of held) this.heard(news);
  }

  /** Tells what the answer brought, and says so when that is not all. */
  #recover(from: Position, joined: Joined): void {
    let at = from;
    if (joined.recovered !== false) {
      for (const message of joined.messages ?? []) {
        if (!follows(at, message)) continue;
        this.#tell(message);
        at = message;
      }
    }
    const whole = joined.recovered === true ? at.seq === joined.seq : isSame(from, joined);
    if (whole) return;
    const reason = joined.reason ?? (joined.recovered === undefined ? 'unknown' : 'gap');
    this.#port.reset({ roomName: this.name, reason, from, to: { epoch: joined.epoch, seq: joined.seq } });
  }

  /** What lies between is not to be had live; a position that is not ahead leaves nothing out. */
  #resetTo(reset: RoomReset, reason: string): void {
    const from = this.#position ?? reset;
    const to = reset.epoch === from.epoch && reset.seq <= from.seq ? from : { epoch: reset.epoch, seq: reset.seq };
    this.#position = to;
    this.#port.reset({ roomName: this.name, reason, from, to });
  }

  #tell(message: Message): void {
    this.#position = { epoch: message.epoch, seq: message.seq };
    this.#port.message(message);
  }

  #hold(news: Message | RoomReset): void {
    if (this.#held.length < HELD_MAX) return void this.#held.push(news);
    this.#held = [];
    this.#overflowed = true;
  }
}

const isReset = (news: Message | RoomReset): news is RoomReset => !('messageId' in news);

/** The very next message. After a failover that lost nothing the next one has another epoch, and `seq` goes on. */
const follows = (at: Position, message: Message): boolean => message.seq === at.seq + 1;

const isRepeat = (at: Position, message: Message): boolean => message.epoch === at.epoch && message.seq <= at.seq;

const isSame = (one: Position, other: Position): boolean => one.epoch === other.epoch && one.seq === other.seq;
