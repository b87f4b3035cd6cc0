export { RealtimeClient } from './client.js';
export { RealtimeError } from './errors.js';
export type {
  Draft,
  Events,
  History,
  HistoryRange,
  Joined,
  Member,
  Message,
  Options,
  Position,
  Reset,
  Sent,
  TokenReason,
  WireError,
} from './types.js';
