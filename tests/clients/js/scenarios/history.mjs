// What was missed comes with the join, and what was said before is read in pages.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { assertMatches, marker, scene, together } from '../stage.mjs';

const seqs = (messages) => messages.map(({ seq }) => seq);

describe('history', together, () => {
  scene('a join with since brings what was missed, and what comes live goes on from there', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    const bob = await stage.member('bob', room, { node: 1 });
    await marker(room, ann, bob);
    const { epoch, seq } = bob.all('message:new').at(-1);
    bob.socket.io.engine.close();
    for (let i = 0; i < 5; i += 1) await ann.done('message:send', { roomName: room, content: `missed ${i}` });
    const back = await stage.enter('bob', { node: 0 });
    const talking = Promise.all(Array.from({ length: 50 }, (_, i) => ann.done('message:send', { roomName: room, content: `live ${i}` })));
    const joined = await back.done('room:join', { roomName: room, since: { epoch, seq } });
    await talking;
    await marker(room, ann, back);
    assertMatches(joined, { recovered: true, epoch, members: (members) => members === undefined });
    const heard = [...joined.messages, ...back.all('message:new')];
    assert.deepEqual(seqs(heard), Array.from({ length: 5 + 50 + 1 }, (_, i) => seq + 1 + i), 'no hole, and nothing twice');
    assert.equal(joined.messages.at(-1).seq, joined.seq);
    const told = ann.all('message:new').filter((message) => message.seq > seq);
    assert.deepEqual(heard, told, 'what is replayed is what was said');
  });

  scene('what cannot be told is said with its reason', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    await marker(room, ann);
    const { epoch } = ann.joined;
    assertMatches(await ann.done('room:join', { roomName: room, since: { epoch: 'another', seq: 0 } }), {
      recovered: false, reason: 'epoch_changed', messages: (messages) => messages === undefined, seq: 1,
    });
    assertMatches(await ann.done('room:join', { roomName: room, since: { epoch, seq: 1 } }), { recovered: true, messages: [] });
    const plain = await ann.done('room:join', { roomName: room });
    assertMatches(plain, { recovered: (value) => value === undefined, members: (members) => members.length === 1 });
    for (const since of [7, 'x', [], {}, { epoch }, { seq: 1 }, { epoch, seq: -1 }, { epoch, seq: 1.5 }, { epoch, seq: '1' }, { epoch: '', seq: 1 }, { epoch: 7, seq: 1 }]) {
      const error = await ann.refused('INVALID_PAYLOAD', 'room:join', { roomName: room, since });
      assert.equal(error.details.field, 'since');
    }
  });

  scene('a history is read in pages, oldest first', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    for (let i = 1; i <= 7; i += 1) await ann.done('message:send', { roomName: room, content: `${i}`, metadata: { i } });
    const bob = await stage.member('bob', room, { node: 1 });
    const read = (page) => bob.done('message:history', { roomName: room, ...page });
    const last = await read({ limit: 3 });
    assertMatches(last, { epoch: ann.joined.epoch, more: true });
    assert.deepEqual(last.messages, ann.all('message:new').slice(-3), 'a message is as it was');
    for (const [page, expected, more] of [
      [{}, [1, 2, 3, 4, 5, 6, 7], false],
      [{ beforeSeq: 5, limit: 2 }, [3, 4], true],
      [{ beforeSeq: 3, limit: 2 }, [1, 2], false],
      [{ afterSeq: 0, limit: 2 }, [1, 2], true],
      [{ afterSeq: 5, limit: 2 }, [6, 7], false],
      [{ afterSeq: 2, beforeSeq: 5 }, [3, 4], false],
      [{ afterSeq: 7 }, [], false],
    ]) {
      const { messages, more: said } = await read(page);
      assert.deepEqual([seqs(messages), said], [expected, more], JSON.stringify(page));
    }
    for (const [field, value] of [['beforeSeq', -1], ['afterSeq', 'x'], ['limit', 0], ['limit', 1001], ['limit', 1.5], ['roomName', 7]]) {
      const error = await bob.refused('INVALID_PAYLOAD', 'message:history', { roomName: room, [field]: value });
      assert.equal(error.details.field, field);
    }
  });

  scene('a history is for members', async (stage) => {
    const room = stage.room();
    const ann = await stage.member('ann', room);
    await marker(room, ann);
    const stranger = await stage.enter('stranger', { node: 1 });
    await stranger.refused('NOT_A_MEMBER', 'message:history', { roomName: room });
    await stranger.refused('ROOM_NOT_FOUND', 'message:history', { roomName: stage.room('nowhere') });
    await stranger.refused('ROOM_NOT_FOUND', 'message:history', { roomName: process.env.SECRET_ROOM });
  });
});
