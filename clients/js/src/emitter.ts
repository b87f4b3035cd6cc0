// Listeners by event. A listener that throws harms neither its neighbours nor the client: the error is the environment's.

import type { Events } from './types.js';

type Listeners = { [Name in keyof Events]: Set<Events[Name]> };

export class Emitter {
  readonly #listeners: Listeners = {
    message: new Set(),
    reset: new Set(),
    removed: new Set(),
    connected: new Set(),
    disconnected: new Set(),
    unauthenticated: new Set(),
  };

  /** Returns what takes the listener away again. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    const listeners: Set<Events[Name]> = this.#listeners[name];
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void {
    const listeners: Set<Events[Name]> = this.#listeners[name];
    for (const listener of [...listeners]) {
      try {
        (listener as (...args: Parameters<Events[Name]>) => void)(...args);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
