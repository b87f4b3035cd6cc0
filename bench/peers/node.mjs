// socket.io on Node: its default engine, ws with bufferutil beside it.
//
// Environment, beside app.mjs': DEFLATE (0 | 1 | takeover), DEFLATE_THRESHOLD (bytes).
import { createServer } from 'node:http';
import { HOST, PORT, listening, start } from './app.mjs';

/** Connections that wait to be accepted. */
const BACKLOG = 4096;
/** socket.io's own. */
const THRESHOLD = 1024;

const io = await start({ perMessageDeflate: deflate(process.env.DEFLATE ?? '0') });
const server = createServer();
io.attach(server);
server.listen({ port: PORT, host: HOST, backlog: BACKLOG }, () => listening(io));

function deflate(how) {
  const threshold = Number(process.env.DEFLATE_THRESHOLD ?? THRESHOLD);
  switch (how) {
    case '0':
      return false;
    case '1': // no window is kept between messages, as in the gateway
      return { threshold, serverNoContextTakeover: true, clientNoContextTakeover: true };
    case 'takeover': // a window for each connection, where its client agrees
      return { threshold };
    default:
      throw new Error(`DEFLATE is ${how}; 0, 1 or takeover are known`);
  }
}
