// Signs tokens for real nodes, as an identity service would.
import { createHmac } from 'node:crypto';

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function token(sub, lifeSeconds = 3_600) {
  const body = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url({ sub, exp: Math.floor(Date.now() / 1_000) + lifeSeconds })}`;
  return `${body}.${createHmac('sha256', process.env.JWT_SECRET).update(body).digest('base64url')}`;
}

export const NODES = process.env.NODES.split(',');
export const unique = (word) => `${word}-${Math.random().toString(36).slice(2)}`;
