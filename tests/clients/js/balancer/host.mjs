// Hosts clients for tests/deploy: each comes to the balancer from an address of its own, over a transport of its own. Commands
// come as JSON lines on stdin, answers go as JSON lines to stdout. Whether it is right is the test's business.
//
//   {do: "enter", client, url, user, room, transport, from, ca?}   transport: websocket | polling | upgrade; from: its address
//   {do: "speak", client, count, pauseMs}                     so many sends, each repeated with its id until it is acked
//   {do: "report", client}                                    everything it heard, and over what
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { Agent as SecureAgent } from 'node:https';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { StockClient } from '../delivery/stock.mjs';

const TRANSPORTS = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] };
const clients = new Map();

const say = (client, said) => process.stdout.write(`${JSON.stringify({ at: Date.now(), client, said })}\n`);

/** What the stock client takes of Node to come from an address, and to know a certificate; its delays are its own defaults. */
function options({ url, transport, from, ca }) {
  const network = { localAddress: from, ...(ca ? { ca: readFileSync(ca) } : {}) };
  const agent = url.startsWith('https:') ? new SecureAgent(network) : new Agent(network);
  return { transports: TRANSPORTS[transport], agent, ...network, reconnectionDelay: 1_000, reconnectionDelayMax: 5_000, timeout: 20_000 };
}

const commands = {
  enter: async (about) => {
    const { client: number, url, user, room } = about;
    const client = new StockClient([url], { user, node: 0, rooms: [room], mode: 'recovery', options: options(about) });
    clients.set(number, client);
    client.socket.on('disconnect', (reason) => say(number, { lost: reason }));
    await client.arrived();
    await changed(client, about.transport);
    say(number, { arrived: true });
    client.socket.on('connect', () => say(number, { back: client.socket.recovered }));
  },
  speak: async ({ client: number, count, pauseMs }) => {
    const client = clients.get(number);
    const acked = [];
    for (let i = 0; i < count; i += 1) {
      const { messageId } = await client.send(client.rooms[0], `${number} ${i}`, `${number}-${i}-${client.user}`);
      acked.push(messageId);
      await sleep(pauseMs);
    }
    say(number, { spoke: acked });
  },
  report: ({ client: number }) => {
    const client = clients.get(number);
    const heard = client.report().heard[client.rooms[0]].map(([, , id]) => id);
    say(number, { report: { heard, transport: client.socket.io.engine?.transport?.name ?? null, connected: client.socket.connected } });
  },
};

/** Resolves once a client that upgrades is on WebSocket. */
async function changed(client, transport) {
  const { engine } = client.socket.io;
  if (transport !== 'upgrade' || engine.transport.name === 'websocket') return;
  await new Promise((resolve) => engine.once('upgrade', resolve));
}

process.on('unhandledRejection', (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  void commands[command.do](command);
}
process.exit(0); // stdin ended: so has the test
