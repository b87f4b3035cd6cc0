// A way to a node that stops the WebSocket of an upgrade before a message of its client's, until it is told to go on: so the
// unmodified client stands at a known step of the upgrade for as long as a scenario wants. Everything else passes.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, createServer } from 'node:net';

/** The client's messages of an upgrade, in their order. */
export const PROBE = 1;
export const CHANGE = 2;

const HEAD_END = '\r\n\r\n';

export class Gate {
  #server;
  #sockets = new Set();
  #events = new EventEmitter();
  #stop = PROBE;
  #standsAt = 0;

  /** A gate before the node at `url`. It stops the WebSocket before its first message. */
  static async before(url) {
    const gate = new Gate();
    gate.#server = createServer((client) => gate.#pass(client, Number(new URL(url).port)));
    gate.#server.listen(0, '127.0.0.1');
    await once(gate.#server, 'listening');
    return gate;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Lets the WebSocket go on to this message; resolves when it has come and waits. */
  async goOnTo(message) {
    this.#goOn(message);
    while (this.#standsAt !== message) await once(this.#events, 'stands');
  }

  /** Lets everything pass. */
  open() {
    this.#goOn(Infinity);
  }

  #goOn(message) {
    this.#stop = message;
    this.#events.emit('goes on');
  }

  close() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(client, port) {
    const node = connect(port, '127.0.0.1');
    for (const [one, other] of [[client, node], [node, client]]) {
      this.#sockets.add(one);
      one.setNoDelay();
      one.on('error', () => other.destroy()); // a peer that is gone is gone on both sides
      one.on('close', () => this.#sockets.delete(one));
    }
    node.pipe(client);
    this.#passRequests(client, node).catch(() => node.destroy());
  }

  async #passRequests(client, node) {
    let isWebSocket; // unknown before the head is there
    let ahead = Buffer.alloc(0);
    let passed = 0;
    for await (const chunk of client) {
      if (isWebSocket === false) {
        node.write(chunk);
        continue;
      }
      ahead = Buffer.concat([ahead, chunk]);
      if (isWebSocket === undefined) {
        const end = ahead.indexOf(HEAD_END);
        if (end < 0) continue;
        const head = ahead.subarray(0, end + HEAD_END.length);
        isWebSocket = /^upgrade: websocket\r$/im.test(head.toString('latin1'));
        node.write(isWebSocket ? head : ahead);
        ahead = ahead.subarray(head.length);
        if (!isWebSocket) continue;
      }
      for (let frame = firstFrame(ahead); frame; frame = firstFrame(ahead)) {
        passed += 1;
        while (passed >= this.#stop) {
          this.#standsAt = passed;
          this.#events.emit('stands');
          await once(this.#events, 'goes on');
        }
        node.write(frame);
        ahead = ahead.subarray(frame.length);
      }
    }
    node.end();
  }
}

/** The first whole frame; a client's are masked, and those of an upgrade are short. */
function firstFrame(bytes) {
  if (bytes.length < 2) return null;
  const payload = bytes[1] & 0x7f;
  assert.ok(payload < 126, 'a long frame');
  const length = 2 + 4 + payload;
  return bytes.length < length ? null : bytes.subarray(0, length);
}
