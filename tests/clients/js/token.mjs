// Signs test tokens, independently of the gateway's own code. Not for production use.
import { createHmac, sign as signWithKey } from 'node:crypto';

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Seconds since 1970, now. */
export const nowSeconds = () => Math.floor(Date.now() / 1000);

/** A token over `claims`; HS256 with the cluster's secret unless told otherwise. `exp` is in an hour unless given. */
export function token(claims, { alg = 'HS256', key = process.env.JWT_SECRET } = {}) {
  const body = `${base64url({ alg, typ: 'JWT' })}.${base64url({ exp: nowSeconds() + 3600, ...claims })}`;
  return `${body}.${signature(alg, key, body)}`;
}

function signature(alg, key, body) {
  switch (alg) {
    case 'none':
      return '';
    case 'RS256':
      return signWithKey('sha256', Buffer.from(body), key).toString('base64url');
    default:
      return createHmac(`sha${alg.slice(2)}`, key).update(body).digest('base64url');
  }
}
