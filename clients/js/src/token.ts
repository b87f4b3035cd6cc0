// Keeps the connection's token fresh: shows another one before the present one ends.

import { passes, pauseMs } from './errors.js';
import type { Ack, TokenReason, WireError } from './types.js';

/** A token is renewed when a tenth of its life is left, and at least so long before its end, ms. */
const LEAD_MS = 30_000;
/** The longest time that a timer can run, ms. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface TokenPort {
  getToken(reason: TokenReason): string | Promise<string>;
  /** `auth:refresh`; `undefined` when no answer came. */
  refresh(token: string): Promise<Ack<unknown> | undefined>;
  isConnected(): boolean;
  refused(error: WireError): void;
}

/** When a JWT ends, Unix ms; `undefined` when it does not say, or is none. It is not verified: that is the gateway's. */
export function endOf(token: string): number | undefined {
  try {
    const base64 = (token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/');
    const claims: unknown = JSON.parse(atob(base64));
    if (typeof claims !== 'object' || claims === null || !('exp' in claims)) return undefined;
    return typeof claims.exp === 'number' ? claims.exp * 1_000 : undefined;
  } catch {
    return undefined; // opaque: it lasts until the gateway says that it does not
  }
}

/** How long to wait before a token that ends at `endMs` is renewed. */
export function renewalMs(endMs: number, nowMs: number): number {
  const left = Math.max(0, endMs - nowMs);
  const lead = Math.min(left / 2, Math.max(LEAD_MS, left / 10));
  return Math.min(TIMER_MAX_MS, left - lead);
}

export class Tokens {
  readonly #port: TokenPort;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts connections: what an earlier one began must not go on in a later one. */
  #life = 0;

  constructor(port: TokenPort) {
    this.#port = port;
  }

  /** A token for a CONNECT. */
  async forConnect(refused: boolean): Promise<string> {
    const token = await this.#port.getToken(refused ? 'refused' : 'connect');
    this.#latest = token;
    return token;
  }

  #latest: string | undefined;

  connected(): void {
    this.disconnected();
    if (this.#latest !== undefined) this.#schedule(this.#latest);
  }

  disconnected(): void {
    this.#life += 1;
    clearTimeout(this.#timer);
  }

  #schedule(token: string): void {
    const endMs = endOf(token);
    if (endMs === undefined) return;
    this.#after(renewalMs(endMs, Date.now()), () => void this.#renew('refresh', endMs, 1));
  }

  #after(ms: number, step: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(step, ms);
  }

  async #renew(reason: TokenReason, endMs: number, tries: number): Promise<void> {
    const life = this.#life;
    let ack: Ack<unknown> | undefined;
    let token: string | undefined;
    try {
      token = await this.#port.getToken(reason);
      if (life === this.#life) ack = await this.#port.refresh(token);
    } catch {
      // The application could not get one: asked again below, as long as the present one lasts.
    }
    if (life !== this.#life || !this.#port.isConnected()) return;
    if (ack?.success && token !== undefined) {
      this.#latest = token;
      return this.#schedule(token);
    }
    const error = ack?.success === false ? ack.error : undefined;
    if (error && !passes(error.code)) {
      if (reason === 'refused') return this.#port.refused(error);
      return this.#renew('refused', endMs, tries);
    }
    const pause = pauseMs(tries, error?.retryAfterMs);
    // Past its end the gateway closes the connection, and the next CONNECT asks for a token of its own.
    if (Date.now() + pause < endMs) this.#after(pause, () => void this.#renew(reason, endMs, tries + 1));
  }
}
