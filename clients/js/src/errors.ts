// Why something that was asked for did not happen.

import type { WireError } from './types.js';

/** A refusal by the gateway, by its code, or one of this module's own: QUEUE_FULL, GAVE_UP, CLOSED, LEFT. */
export class RealtimeError extends Error {
  override readonly name = 'RealtimeError';
  readonly code: string;
  readonly details: unknown;
  readonly retryAfterMs: number | undefined;

  constructor({ code, message, details, retryAfterMs }: WireError) {
    super(`${code}: ${message}`);
    this.code = code;
    this.details = details;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Whether the same call may well succeed a moment later. */
export const passes = (code: string): boolean => code === 'UNAVAILABLE' || code === 'RATE_LIMITED';

const FIRST_MS = 200;
const LONGEST_MS = 5_000;

/** How long to wait before try number `tries` + 1: what the gateway says, else twice as long each time, with jitter. */
export function pauseMs(tries: number, retryAfterMs: number | undefined): number {
  if (retryAfterMs !== undefined) return retryAfterMs;
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** (tries - 1)) * (0.5 + Math.random() / 2);
}
