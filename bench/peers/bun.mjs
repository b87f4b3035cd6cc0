// socket.io on Bun: Bun's own HTTP and WebSocket server under @socket.io/bun-engine. Bun takes no backlog; it asks for 512.
import { Server as Engine } from '@socket.io/bun-engine';
import { HOST, PORT, listening, start } from './app.mjs';

const io = await start();
const engine = new Engine({ path: '/socket.io/' });
io.bind(engine);
Bun.serve({ port: PORT, hostname: HOST, ...engine.handler() });
listening(io);
