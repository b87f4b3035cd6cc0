// Hosts many unmodified socket.io-clients for tests/faults, and tells what each of them hears as JSON lines on stdout.
// Commands come as JSON lines on stdin. What ought to be heard is the test's business, not this program's.
//
//   {do: "nodes", urls: [...]}                                where the gateways are, by number
//   {do: "enter", client, user, node, rooms, returns}         a client comes; `returns`: also after its node is lost
//   {do: "ask", ask, client, event, payload}                  an event, repeated while the answer is UNAVAILABLE
//   {do: "quit", client}                                      an explicit disconnect
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { token } from '../token.mjs';

const HEARD = ['user:joined', 'user:left', 'presence:changed', 'message:new', 'room:reset'];
const ANSWER_MS = 4_000;
const AGAIN_MS = 100;

let nodes = [];
const clients = new Map();

const say = (line) => process.stdout.write(`${JSON.stringify({ at: Date.now(), ...line })}\n`);

class Client {
  constructor({ client, user, node, rooms, returns }) {
    Object.assign(this, { client, node, rooms, returns });
    this.socket = io(nodes[node], {
      transports: ['websocket'],
      auth: { token: token({ sub: user }) },
      forceNew: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
      timeout: ANSWER_MS,
    });
    this.socket.on('connect', () => this.arrive());
    this.socket.on('connect_error', () => this.moveOn());
    this.socket.on('disconnect', (reason) => {
      say({ client, lost: reason });
      this.moveOn();
    });
    for (const event of HEARD) this.socket.on(event, (payload) => say({ client, heard: event, payload }));
  }

  /** The next attempt goes to the next node, as a balancer would send it. */
  moveOn() {
    this.node = (this.node + 1) % nodes.length;
    this.socket.io.uri = nodes[this.node];
  }

  /** The stock client comes back by itself, and its application joins its rooms again. */
  async arrive() {
    const life = this.socket.id;
    for (const roomName of this.rooms) {
      const ack = await this.ask('room:join', { roomName }, () => this.socket.id === life);
      if (!ack) return; // lost meanwhile: the next arrival joins
      if (!ack.success) return say({ client: this.client, failed: 'room:join', ack });
    }
    if (!this.returns) this.socket.io.reconnection(false);
    say({ client: this.client, here: this.node });
  }

  async ask(event, payload, goesOn = () => true) {
    while (goesOn()) {
      if (this.socket.connected) {
        const ack = await this.socket.timeout(ANSWER_MS).emitWithAck(event, payload).catch(() => null);
        if (ack && (ack.success || ack.error.code !== 'UNAVAILABLE')) return ack;
      }
      await sleep(AGAIN_MS);
    }
    return null;
  }
}

const commands = {
  nodes: ({ urls }) => {
    nodes = urls;
  },
  enter: (about) => clients.set(about.client, new Client(about)),
  quit: ({ client }) => clients.get(client).socket.disconnect(),
  ask: async ({ ask, client, event, payload }) => say({ client, answer: ask, ack: await clients.get(client).ask(event, payload) }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
process.exit(0); // stdin ended: so has the test
