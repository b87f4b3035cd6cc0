// Sends that wait for their acks. One at a time per room, so that a sender's own order survives every repeat; rooms side by
// side. The gateway knows a repeat by its `clientMessageId`, so what is tried often is told once.

import { passes, pauseMs, RealtimeError } from './errors.js';
import type { Ack, Draft, Sent } from './types.js';

export interface OutboxPort {
  /** `message:send`; resolves with `undefined` when no answer came. */
  send(roomName: string, draft: Draft & { clientMessageId: string }): Promise<Ack<Sent> | undefined>;
  /** Connected, and in the room. */
  isReady(roomName: string): boolean;
  /** The gateway does not know the user in a room that was joined: join again, then `ready` is called. */
  rejoin(roomName: string): void;
}

export interface OutboxLimits {
  readonly maxQueued: number;
  readonly maxTries: number;
  readonly giveUpAfterMs: number;
}

interface Entry {
  readonly draft: Draft & { clientMessageId: string };
  readonly resolve: (sent: Sent) => void;
  readonly reject: (error: RealtimeError) => void;
  tries: number;
  /** Armed by the first try: past it the gateway might take a repeat for something new. */
  deadline: ReturnType<typeof setTimeout> | undefined;
}

interface Queue {
  readonly entries: Entry[];
  busy: boolean;
  pause: ReturnType<typeof setTimeout> | undefined;
}

export class Outbox {
  readonly #queues = new Map<string, Queue>();
  readonly #port: OutboxPort;
  readonly #limits: OutboxLimits;
  #queued = 0;

  constructor(port: OutboxPort, limits: OutboxLimits) {
    this.#port = port;
    this.#limits = limits;
  }

  /** Resolves with the ack, at once or after a reconnect; rejects with what the gateway says, GAVE_UP or QUEUE_FULL. */
  send(roomName: string, draft: Draft & { clientMessageId: string }): Promise<Sent> {
    if (this.#queued >= this.#limits.maxQueued) {
      const message = `${this.#queued} sends wait already`;
      return Promise.reject(new RealtimeError({ code: 'QUEUE_FULL', message }));
    }
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(roomName) ?? { entries: [], busy: false, pause: undefined };
      this.#queues.set(roomName, queue);
      queue.entries.push({ draft, resolve, reject, tries: 0, deadline: undefined });
      this.#queued += 1;
      this.ready(roomName);
    });
  }

  /** The room can be spoken in (again). */
  ready(roomName: string): void {
    const queue = this.#queues.get(roomName);
    if (queue && !queue.busy && queue.pause === undefined) void this.#work(roomName, queue);
  }

  /** Rejects what waits in a room, or in all. */
  fail(error: RealtimeError, roomName?: string): void {
    for (const [name, queue] of this.#queues) {
      if (roomName !== undefined && roomName !== name) continue;
      for (const entry of [...queue.entries]) this.#settle(name, queue, entry, () => entry.reject(error));
    }
  }

  async #work(roomName: string, queue: Queue): Promise<void> {
    queue.busy = true;
    let entry: Entry | undefined;
    while ((entry = queue.entries[0]) && this.#port.isReady(roomName)) {
      if (!(await this.#attempt(roomName, queue, entry))) break;
    }
    queue.busy = false;
  }

  /** One try; whether the queue may go on at once. */
  async #attempt(roomName: string, queue: Queue, entry: Entry): Promise<boolean> {
    entry.deadline ??= setTimeout(() => this.#giveUp(roomName, queue, entry), this.#limits.giveUpAfterMs);
    const ack = await this.#port.send(roomName, entry.draft);
    if (!queue.entries.includes(entry)) return true; // settled meanwhile
    if (ack?.success) {
      this.#settle(roomName, queue, entry, () => entry.resolve(ack.data));
      return true;
    }
    // The transport went: whether the send arrived is unknown, and the repeat will tell. No fault of the send's.
    if (!ack && !this.#port.isReady(roomName)) return false;
    const error = ack?.error;
    const strayed = error?.code === 'NOT_A_MEMBER';
    if (error && !strayed && !passes(error.code)) {
      this.#settle(roomName, queue, entry, () => entry.reject(new RealtimeError(error)));
      return true;
    }
    entry.tries += 1;
    if (entry.tries >= this.#limits.maxTries) {
      this.#giveUp(roomName, queue, entry);
      return true;
    }
    if (strayed) {
      this.#port.rejoin(roomName);
      return false;
    }
    queue.pause = setTimeout(() => {
      queue.pause = undefined;
      this.ready(roomName);
    }, pauseMs(entry.tries, error?.retryAfterMs));
    return false;
  }

  #giveUp(roomName: string, queue: Queue, entry: Entry): void {
    const message = `no ack after ${entry.tries} refused or unanswered tries; whether it arrived is unknown`;
    this.#settle(roomName, queue, entry, () => entry.reject(new RealtimeError({ code: 'GAVE_UP', message })));
  }

  #settle(roomName: string, queue: Queue, entry: Entry, how: () => void): void {
    const at = queue.entries.indexOf(entry);
    if (at < 0) return;
    queue.entries.splice(at, 1);
    this.#queued -= 1;
    clearTimeout(entry.deadline);
    if (queue.entries.length === 0) {
      clearTimeout(queue.pause);
      queue.pause = undefined;
      if (!queue.busy) this.#queues.delete(roomName);
    }
    how();
  }
}
