// What the stock client compresses is understood, and what it gets compressed it understands: permessage-deflate as `ws` speaks it.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { marker, scene, together, TRANSPORT } from '../stage.mjs';

/** Below, at and above what either side leaves as it is, and up to the largest. */
const LENGTHS = [0, 1, 100, 400, 500, 511, 512, 513, 900, 1_023, 1_024, 1_025, 4_000, 16_383, 32_768, 50_000];

const WORDS = 'the gateway says it once more: {"quoted": "é", "日本": [1, 2, 3]} 😀 '.repeat(1_200);
const noise = (length) => Array.from({ length }, () => String.fromCharCode(33 + Math.floor(Math.random() * 90))).join('');

/** Compresses everything that it sends, or only what the stock settings do. */
const EVERYTHING = { options: { perMessageDeflate: { threshold: 0 } } };
const NOTHING = { options: { perMessageDeflate: false } };

const extensions = (actor) => actor.socket.io.engine.transport.ws?.extensions;

describe('compression', together, () => {
  scene('messages of every length go both ways, however their clients compress', async (stage) => {
    const room = stage.room();
    const everything = await stage.member('ann', room, EVERYTHING);
    const stock = await stage.member('bob', room, { node: 1 });
    const nothing = await stage.member('eve', room, { node: 1, ...NOTHING });
    const cast = [everything, stock, nothing];
    if (TRANSPORT === 'upgrade') await Promise.all(cast.map((actor) => actor.upgraded()));
    if (TRANSPORT !== 'polling') {
      assert.equal(extensions(everything), 'permessage-deflate');
      assert.equal(extensions(stock), 'permessage-deflate');
      assert.equal(extensions(nothing), '');
    }
    for (const [index, length] of LENGTHS.entries()) {
      for (const text of [WORDS.slice(0, length), noise(length)]) {
        const speaker = cast[index % cast.length];
        const metadata = { length: text.length };
        // An empty content is no message; a letter makes it one.
        const { seq } = await speaker.done('message:send', { roomName: room, content: `x${text}`.toWellFormed(), metadata });
        for (const listener of cast) {
          const heard = await listener.heard('message:new', { roomName: room, seq });
          assert.equal(heard.content, `x${text}`.toWellFormed(), `${length} to ${listener.label}`);
        }
      }
    }
    await marker(room, ...cast);
    for (const listener of cast) assert.equal(listener.all('message:new').length, 2 * LENGTHS.length + 1);
  });

  scene('answers are compressed, too, and what is said at once stays in order', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room, EVERYTHING);
    const bob = await stage.member('bob', room, { node: 1 });
    const contents = Array.from({ length: 30 }, (_, n) => `${n} ${WORDS.slice(0, n % 3 === 0 ? 20 : 2_000)}`.toWellFormed());
    await Promise.all(contents.map((content) => ann.done('message:send', { roomName: room, content })));
    await bob.heard('message:new', { content: contents.at(-1) });
    assert.deepEqual(bob.all('message:new').map(({ content }) => content), contents);
    const { messages } = await bob.done('message:history', { roomName: room, limit: 30 });
    assert.deepEqual(messages.map(({ content }) => content), contents);
  });
});
