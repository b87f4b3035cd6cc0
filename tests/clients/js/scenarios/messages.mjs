// What is said reaches everybody in the room, once, in one order.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, ISO_DATE, marker, scene, together } from '../stage.mjs';

const { BROADCAST_ROOM } = process.env;
const MAX_CONTENT = 65_536;
const MAX_METADATA = 16 * 1024;

describe('messages', together, () => {
  scene('a message reaches everybody on both nodes, and the sender before the ack', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const near = await stage.member('near', room);
    const far = await stage.member('far', room, { node: 1 });
    const sent = await ann.done('message:send', { roomName: room, content: 'hello' });
    assertMatches(sent, { messageId: (id) => typeof id === 'string' && id !== '', epoch: ann.joined.epoch, seq: 1, timestamp: ISO_DATE });
    assert.equal(ann.all('message:new', { messageId: sent.messageId }).length, 1, 'the sender hears it before the ack');
    const message = { roomName: room, messageId: sent.messageId, epoch: sent.epoch, seq: 1, userId: ann.id, content: 'hello', timestamp: sent.timestamp };
    for (const listener of [ann, near, far]) assert.deepEqual(await listener.heard('message:new'), message);
    await marker(room, far, near, ann);
    for (const listener of [ann, near, far]) assert.equal(listener.all('message:new').length, 2, 'the message and the marker');
  });

  scene('thread, reply and metadata are passed on as they are', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    const extras = { threadId: 'thread-1', replyTo: 'message-1', metadata: { z: 1, a: [null, true, 1.5, { deep: 'é' }], '': {} } };
    await ann.done('message:send', { roomName: room, content: 'with all', ...extras });
    assertMatches(await bob.heard('message:new'), { content: 'with all', threadId: 'thread-1', replyTo: 'message-1' });
    assert.deepEqual((await bob.heard('message:new')).metadata, extras.metadata);
  });

  scene('any text arrives as it was', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room, { node: 1 });
    const bob = await stage.member('bob', room);
    for (const content of ['"', '\\', '\u0000', '\u001e', '\u2028\u2029', '😀 é 日本', '{"a":1}', '[]', '42["x"]', ' ', '\r\n\t', '</script>', '%s%n$1']) {
      const { seq } = await ann.done('message:send', { roomName: room, content });
      assert.equal((await bob.heard('message:new', { seq })).content, content);
    }
  });

  scene('everybody hears the same order, without a gap', async (stage) => {
    const room = stage.room();
    const cast = await Promise.all(['ann', 'bob', 'cat', 'dan'].map((word, i) => stage.member(word, room, { node: i % 2 })));
    const each = 50;
    const acks = await Promise.all(
      cast.flatMap((actor) => Array.from({ length: each }, (_, i) => actor.done('message:send', { roomName: room, content: `${actor.id} ${i}` }))),
    );
    const total = cast.length * each;
    await Promise.all(cast.map((actor) => actor.heard('message:new', { seq: total })));
    const logs = cast.map((actor) => actor.all('message:new'));
    assert.deepEqual(logs[0].map(({ seq }) => seq), Array.from({ length: total }, (_, i) => i + 1));
    for (const log of logs.slice(1)) assert.deepEqual(log, logs[0]);
    assert.equal(new Set(acks.map(({ messageId }) => messageId)).size, total);
    for (const actor of cast) {
      const own = logs[0].filter(({ userId }) => userId === actor.id).map(({ content }) => content);
      assert.deepEqual(own, Array.from({ length: each }, (_, i) => `${actor.id} ${i}`), 'one sender is heard in the order in which it spoke');
    }
  });

  scene('a repeated client message id is one message', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const tab = await stage.member('ann', room, { node: 1 });
    const bob = await stage.member('bob', room, { node: 1 });
    const message = { roomName: room, content: 'once', clientMessageId: 'mine-1' };
    const first = await ann.done('message:send', message);
    const again = await tab.done('message:send', message);
    assertMatches(again, { messageId: first.messageId, seq: first.seq, epoch: first.epoch, duplicate: true });
    assert.notEqual(first.duplicate, true);
    const other = await bob.done('message:send', { ...message, content: "another user's own id" });
    assert.notEqual(other.messageId, first.messageId);
    await marker(room, ann, tab, bob);
    assert.equal(bob.all('message:new', { content: 'once' }).length, 1);
  });

  scene('a message stays in its room', async (stage) => {
    const [here, there] = [stage.room(), stage.room()];
    const ann = await stage.member('ann', here);
    const bob = await stage.member('bob', there, { node: 1 });
    await ann.done('message:send', { roomName: here, content: 'here' });
    await bob.done('room:join', { roomName: here });
    await marker(here, ann, bob);
    await marker(there, bob);
    bob.neverHeard('message:new', { content: 'here' });
    ann.neverHeard('message:new', { roomName: there });
  });

  scene('only a connection that has joined may speak', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const otherTab = await stage.enter('ann', { node: 1 });
    const stranger = await stage.enter('eve');
    await otherTab.refused('NOT_A_MEMBER', 'message:send', { roomName: room, content: 'from outside' });
    await stranger.refused('NOT_A_MEMBER', 'message:send', { roomName: room, content: 'from outside' });
    await ann.done('room:leave', { roomName: room });
    await ann.refused('NOT_A_MEMBER', 'message:send', { roomName: room, content: 'from outside' });
    await ann.done('room:join', { roomName: room });
    await marker(room, ann);
    ann.neverHeard('message:new', { content: 'from outside' });
  });

  scene('members of a broadcast room listen', async (stage) => {
    const ann = await stage.member('ann', BROADCAST_ROOM);
    assert.equal(ann.joined.type, 'broadcast');
    await ann.refused('FORBIDDEN', 'message:send', { roomName: BROADCAST_ROOM, content: 'me too' });
  });

  scene('content has a limit in bytes', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room, { node: 1 });
    const longest = 'é'.repeat(MAX_CONTENT / 2);
    await ann.done('message:send', { roomName: room, content: longest });
    await ann.refused('TOO_LARGE', 'message:send', { roomName: room, content: `${longest}x` });
    assert.equal((await ann.heard('message:new')).content, longest);
  });

  for (const [field, payload] of [
    ['content', { content: '' }],
    ['content', {}],
    ['content', { content: 7 }],
    ['content', { content: null }],
    ['content', { content: { text: 'nested' } }],
    ['metadata', { content: 'x', metadata: 'text' }],
    ['metadata', { content: 'x', metadata: [1] }],
    ['threadId', { content: 'x', threadId: 7 }],
    ['replyTo', { content: 'x', replyTo: {} }],
    ['clientMessageId', { content: 'x', clientMessageId: [] }],
  ]) {
    scene(`${JSON.stringify(payload)} names ${field}`, async (stage) => {
      const room = stage.room();
      const ann = await stage.member('ann', room);
      const error = await ann.refused('INVALID_PAYLOAD', 'message:send', { roomName: room, ...payload });
      assertMatches(error, { message: new RegExp(field), details: { field } });
      await marker(room, ann);
      assert.equal(ann.all('message:new').length, 1);
    });
  }

  scene('metadata has a limit in bytes', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const sized = (bytes) => ({ a: 'x'.repeat(bytes - '{"a":""}'.length) });
    await ann.done('message:send', { roomName: room, content: 'x', metadata: sized(MAX_METADATA) });
    await ann.refused('TOO_LARGE', 'message:send', { roomName: room, content: 'x', metadata: sized(MAX_METADATA + 1) });
  });

  scene('who did not ask for recovery gets one argument', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    await marker(room, ann);
    assert.equal((await ann.entry('message:new')).length, 2);
  });
});
