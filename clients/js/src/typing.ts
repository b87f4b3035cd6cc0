// Typing marks: an application may call at every key, the gateway hears at most one start a second.

import type { TypingPlace } from './types.js';

const START_EVERY_MS = 1_000;

interface Mark {
  readonly place: TypingPlace;
  /** Between a start that was told and its stop. */
  shown: boolean;
  startedMs: number;
  /** Ends the mark when nobody types, or forgets it once another start may be told. */
  timer: ReturnType<typeof setTimeout>;
}

export interface TypingPort {
  /** Sends now or never: a mark that comes late says what is no longer so. */
  tell(event: 'typing:start' | 'typing:stop', place: TypingPlace): void;
}

export class Typing {
  readonly #marks = new Map<string, Mark>();
  readonly #port: TypingPort;
  readonly #idleMs: number;

  constructor(port: TypingPort, idleMs: number) {
    this.#port = port;
    this.#idleMs = idleMs;
  }

  typing(place: TypingPlace): void {
    const key = keyOf(place);
    const now = Date.now();
    const timer = setTimeout(() => this.stop(place), this.#idleMs);
    const mark = this.#marks.get(key) ?? { place, shown: false, startedMs: -Infinity, timer };
    if (mark.timer !== timer) clearTimeout(mark.timer);
    mark.timer = timer;
    this.#marks.set(key, mark);
    if (now - mark.startedMs < START_EVERY_MS) return;
    mark.startedMs = now;
    mark.shown = true;
    this.#port.tell('typing:start', place);
  }

  stop(place: TypingPlace): void {
    const key = keyOf(place);
    const mark = this.#marks.get(key);
    if (!mark) return;
    clearTimeout(mark.timer);
    // Kept for the rest of its second: whoever stops and starts at every key is throttled as well.
    mark.timer = setTimeout(() => this.#forget(key), START_EVERY_MS);
    if (mark.shown) this.#port.tell('typing:stop', place);
    mark.shown = false;
  }

  /** The room was left, or the transport lost: the gateway ends the marks by itself. */
  forget(roomName?: string): void {
    for (const [key, { place }] of this.#marks) {
      if (roomName === undefined || place.roomName === roomName) this.#forget(key);
    }
  }

  #forget(key: string): void {
    clearTimeout(this.#marks.get(key)?.timer);
    this.#marks.delete(key);
  }
}

const keyOf = ({ roomName, threadId }: TypingPlace): string => JSON.stringify([roomName, threadId ?? null]);
