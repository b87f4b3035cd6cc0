// The same as stock.mjs, by clients/js: nothing of it has to be written.
import { RealtimeClient } from '../../../../clients/js/dist/index.js';
import { token } from '../token.mjs';

export class ModuleClient {
  #nodes;
  #client;
  #joins;
  #heard = new Map();
  #announced = [];

  constructor(nodes, { user, node, rooms }) {
    this.#nodes = nodes;
    Object.assign(this, { user, node, rooms });
    for (const room of rooms) this.#heard.set(room, []);
    this.#client = new RealtimeClient({
      url: nodes[node],
      getToken: () => token({ sub: user }),
      transports: ['websocket'],
      reconnectionDelayMs: 50,
      reconnectionDelayMaxMs: 500,
      ackTimeoutMs: 4_000,
    });
    this.#client.on('message', ({ roomName, epoch, seq, messageId }) => this.#heard.get(roomName).push([epoch, seq, messageId]));
    this.#client.on('reset', ({ roomName, reason }) => this.#announced.push([roomName, reason]));
    this.#client.on('disconnected', () => this.#moveOn());
    this.#client.socket.on('connect_error', () => this.#moveOn());
    this.#joins = Promise.all(rooms.map((room) => this.#client.join(room)));
  }

  arrived() {
    return this.#joins;
  }

  cut(awayMs) {
    const manager = this.#client.socket.io;
    if (awayMs > 0) {
      manager.reconnectionDelay(awayMs).randomizationFactor(0);
      manager.once('reconnect_attempt', () => manager.reconnectionDelay(50).randomizationFactor(0.5));
    }
    manager.engine?.close();
  }

  send(roomName, content, clientMessageId) {
    return this.#client.send(roomName, { content, clientMessageId });
  }

  report() {
    return { heard: Object.fromEntries(this.#heard), announced: this.#announced, recoveries: [0, 0] };
  }

  #moveOn() {
    this.node = (this.node + 1) % this.#nodes.length;
    this.#client.socket.io.uri = this.#nodes[this.node];
  }
}
