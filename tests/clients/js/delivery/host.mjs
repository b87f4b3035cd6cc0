// Hosts clients for tests/delivery: each is in all rooms, some speak, all lose their transports, and each keeps what it
// heard. Commands come as JSON lines on stdin, answers go as JSON lines to stdout. Whether it is right is the test's business.
//
//   {do: "nodes", urls}                                    where the gateways are, by number
//   {do: "enter", client, user, node, rooms, mode, options}   mode: rejoin | recovery | module; options: of a stock client
//   {do: "speak", client, count, pauseMs}                  so many sends, each repeated with its id until it is acked
//   {do: "hush"}                                           nobody says more than is under way
//   {do: "calm"}                                           from now on, of stock clients: who is told to have come, gone or changed
//   {do: "cut", client, awayMs}                            the transport is lost; back after `awayMs` at the earliest
//   {do: "report", client}                                 everything it heard, by room
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModuleClient } from './module.mjs';
import { StockClient } from './stock.mjs';

const nodes = []; // its content changes when a node is replaced
const clients = new Map();
let hushed = false;

const say = (client, said) => process.stdout.write(`${JSON.stringify({ at: Date.now(), client, said })}\n`);

const commands = {
  nodes: ({ urls }) => void nodes.splice(0, nodes.length, ...urls),
  enter: async (about) => {
    const client = about.mode === 'module' ? new ModuleClient(nodes, about) : new StockClient(nodes, about);
    clients.set(about.client, client);
    await client.arrived();
    say(about.client, { arrived: true });
  },
  speak: async ({ client: number, count, pauseMs }) => {
    const client = clients.get(number);
    const acked = [];
    for (let i = 0; i < count && !hushed; i += 1) {
      const roomName = client.rooms[i % client.rooms.length];
      const { messageId } = await client.send(roomName, `${number} ${i}`, `${number}-${i}-${client.user}`);
      acked.push([roomName, messageId]);
      if (pauseMs > 0) await sleep(pauseMs);
    }
    say(number, { spoke: acked });
  },
  hush: () => void (hushed = true),
  calm: () => void [...clients.values()].forEach((client) => client.calm()),
  cut: ({ client, awayMs }) => clients.get(client).cut(awayMs),
  report: ({ client }) => say(client, { report: clients.get(client).report() }),
};

process.on('unhandledRejection', (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  void commands[command.do](command);
}
process.exit(0); // stdin ended: so has the test
