// nchat's client against nodes with REALTIME_PROFILE=nchat, and limits enforced.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { directRoom, Nchat, typingKey } from '../nchat.mjs';
import { assertMatches, ISO_DATE, NODES, PATIENCE_MS, scene, together, unique } from '../stage.mjs';
import { nowSeconds, token } from '../token.mjs';

const isText = (text) => typeof text === 'string' && text !== '';
const isDate = (date) => date instanceof Date && !Number.isNaN(date.getTime());
const nobody = (users) => users.length === 0;
const only = ({ id }) => (users) => users.length === 1 && users[0].userId === id && ISO_DATE.test(users[0].startedAt);

/** What nchat's server signs: no `userId`, but `sub`. */
const claimsOf = (id, claims) => ({
  sub: id,
  auth_id: `auth-${id}`,
  email: `${id}@nchat.test`,
  username: id,
  displayName: id,
  role: 'member',
  ...claims,
});

function client(stage, word, { node = 0, claims = {}, ...settings } = {}) {
  const id = stage.user(word);
  return stage.cast(new Nchat(`${word}@${node}`, id, { url: NODES[node], token: token(claimsOf(id, claims)), ...settings }));
}

async function enter(stage, word, settings) {
  const actor = client(stage, word, settings);
  await actor.connect();
  await actor.heard('client:state', 'authenticated');
  return actor;
}

/** Ann on one node, and bob on the other, in the same rooms. */
async function two(stage, ...rooms) {
  const [ann, bob] = await Promise.all([enter(stage, 'ann'), enter(stage, 'bob', { node: 1 })]);
  for (const room of rooms) {
    await ann.joinRoom(room);
    await bob.joinRoom(room);
    await ann.heard('user:joined', { roomName: room, userId: bob.id });
  }
  return [ann, bob];
}

/** What was told in the room before is in the log of both. */
async function said(room, speaker, listener, content = unique('said')) {
  await speaker.send(room, content);
  return listener.heard('message:new', { roomName: room, content });
}

describe('nchat', together, () => {
  scene('connects, is authenticated within ten seconds, and measures its latency by what it sent', async (stage) => {
    const ann = client(stage, 'ann');
    const begun = Date.now();
    await ann.connect();
    assertMatches(await ann.heard('connected'), { socketId: ann.socket.id, serverTime: ISO_DATE, protocolVersion: '1.0' });
    const authenticated = await ann.heard('authenticated');
    assert.ok(Date.now() - begun < 10_000);
    assertMatches(authenticated, { userId: ann.id, sessionId: isText, rooms: [] });
    assert.deepEqual(ann.states, ['connecting', 'connected', 'authenticated']);
    // At connect, and again and again.
    for (let from = 0, measured = 0; measured < 3; measured += 1) {
      const latency = await ann.heard('client:latency', undefined, from);
      assert.ok(latency >= 0 && latency < PATIENCE_MS, `${latency} ms`);
      from = ann.log.findIndex((entry, index) => index >= from && entry[0] === 'client:latency') + 1;
    }
    assert.deepEqual(await ann.ask('ping', { timestamp: 1_234 }), { success: true, timestamp: 1_234 });
    assert.deepEqual(await ann.ask('ping'), { success: true }); // as an older part of it says it
    await ann.heard('pong', { timestamp: (ms) => ms >= begun });
    ann.neverHeard('error');
  });

  scene('rooms are there when they are joined, nobody owns them, and members come with dates', async (stage) => {
    const channel = unique('channel:c');
    const thread = unique('thread:t');
    const [ann, bob] = await two(stage, channel, thread);
    for (const [room, memberCount] of [[channel, 2], [thread, 2]]) {
      assertMatches(bob.rooms.get(room), { name: room, type: 'channel', memberCount });
      assert.ok(isDate(bob.members.get(room).get(ann.id).joinedAt));
      assertMatches(await ann.heard('user:joined', { roomName: room }), { userId: bob.id, timestamp: ISO_DATE });
      assert.ok(isDate(ann.members.get(room).get(bob.id).joinedAt));
      assert.equal(ann.rooms.get(room).memberCount, 2);
      assertMatches(await ann.done('room:join', { roomName: room }), { role: 'member' });
    }
    bob.leaveRoom(channel);
    assertMatches(await ann.heard('user:left', { roomName: channel }), { userId: bob.id, timestamp: ISO_DATE });
    assert.equal(ann.rooms.get(channel).memberCount, 1);
    await bob.refused('ROOM_NOT_FOUND', 'room:join', { roomName: unique('lobby') });
    for (const actor of [ann, bob]) actor.neverHeard('error');
  });

  scene('a message has an id for its sender, and all that was said of it for the others', async (stage) => {
    const channel = unique('channel:c');
    const [ann, bob] = await two(stage, channel);
    const options = { threadId: 't1', replyTo: 'm0', metadata: { format: 'markdown' } };
    const messageId = await bob.send(channel, 'hello', options);
    assert.ok(isText(messageId));
    const told = await ann.heard('message:new', { messageId });
    assertMatches(told, { roomName: channel, userId: bob.id, content: 'hello', timestamp: ISO_DATE, ...options });
    const plain = await bob.send(channel, 'plain');
    const { threadId, replyTo, metadata } = await ann.heard('message:new', { messageId: plain });
    assert.deepEqual([threadId, replyTo, metadata], [undefined, undefined, undefined]);
  });

  scene('who types is shown where that is: in the channel, in its thread, in a direct room', async (stage) => {
    const channel = unique('channel:c');
    const direct = directRoom(stage.user('ann'), stage.user('bob'));
    const [ann, bob] = await two(stage, channel, direct);
    const places = [
      { roomName: channel, roomType: 'channel' },
      { roomName: channel, roomType: 'thread', threadId: 't9' },
      { roomName: direct, roomType: 'dm' },
    ];
    for (const { roomName, roomType, threadId } of places) {
      const place = threadId ? { roomName, roomType, threadId } : { roomName, roomType };
      ann.startTyping(roomName, roomType, { threadId, recipientId: roomType === 'dm' ? bob.id : undefined });
      ann.startTyping(roomName, roomType, { threadId }); // not twice a second
      await bob.heard('typing:event', { ...place, users: only(ann) });
      assert.ok(isDate(bob.typists.get(typingKey(place)).get(ann.id)));
    }
    for (const { roomName, roomType, threadId } of places.slice(1)) {
      ann.stopTyping(roomName, roomType, { threadId });
      await bob.heard('typing:event', { roomName, roomType, users: nobody });
      assert.equal(bob.typists.get(typingKey({ roomName, roomType, threadId })).size, 0);
    }
    // One that is not taken back runs out.
    await bob.heard('typing:event', { ...places[0], users: nobody });
    ann.neverHeard('typing:event');
  });

  scene('a custom status is an object, a heartbeat of it is no news, and none clears it', async (stage) => {
    const channel = unique('channel:c');
    const [ann, bob] = await two(stage, channel);
    ann.setCustomStatus({ text: 'tea', emoji: '🍵' });
    const told = await bob.heard('presence:changed', { userId: ann.id, customStatus: { text: 'tea' } });
    assert.deepEqual(told.customStatus, { text: 'tea', emoji: '🍵' });
    const stands = ann.log.length;
    for (let from = stands, beats = 0; beats < 3; beats += 1) {
      await ann.heard('client:heartbeat', undefined, from);
      from = ann.log.findIndex((entry, index) => index >= from && entry[0] === 'client:heartbeat') + 1;
    }
    await said(channel, ann, bob);
    assert.equal(bob.all('presence:changed', { userId: ann.id, customStatus: { text: 'tea' } }).length, 1);

    bob.subscribeToUsers([ann.id]);
    const isTea = { customStatus: (custom) => custom.text === 'tea' && custom.emoji === '🍵', status: 'online', userId: ann.id };
    await bob.heard('presence:bulk', { presences: (presences) => presences.some(({ customStatus }) => isTea.customStatus(customStatus)) });
    const strangers = unique('stranger');
    const fetched = await bob.fetchPresence([ann.id, strangers]);
    assertMatches(fetched.get(ann.id), { status: 'online', customStatus: { text: 'tea', emoji: '🍵' } });
    assert.deepEqual(fetched.get(strangers), { status: 'offline', customStatus: {}, lastSeenAt: undefined });

    ann.setStatus('busy');
    await bob.heard('presence:changed', { userId: ann.id, status: 'busy', customStatus: { text: 'tea' } });
    ann.setCustomStatus(null);
    const cleared = await bob.heard('presence:changed', { userId: ann.id, status: 'busy', customStatus: (custom) => !custom.text });
    assert.deepEqual(cleared.customStatus, {});
    bob.unsubscribeFromUsers([ann.id]);
    await said(channel, bob, ann);
    for (const actor of [ann, bob]) actor.neverHeard('error');
  });

  scene('after a lost connection it joins twice at once, and nobody hears of that', async (stage) => {
    const channel = unique('channel:c');
    const [ann, bob] = await two(stage, channel);
    await ann.manageRoom(channel);
    ann.subscribeToUsers([bob.id]);
    await ann.heard('presence:bulk');
    const [stands, witness] = [ann.log.length, bob.log.length];
    ann.loseTransport();
    await ann.heard('client:state', 'disconnected', stands);
    await ann.heard('client:state', 'authenticated', stands);
    await Promise.all([ann.heard('client:joined', channel, stands), ann.heard('client:managed', channel, stands)]);
    await ann.heard('presence:bulk', { presences: (presences) => presences.some(({ userId }) => userId === bob.id) }, stands);
    assertMatches(ann.rooms.get(channel), { memberCount: 2 });
    await said(channel, ann, bob);
    await said(channel, bob, ann);
    const told = bob.log.slice(witness).filter(([event, payload]) => payload?.userId === ann.id && event !== 'message:new');
    assert.deepEqual(told, []);
    ann.neverHeard('client:not joined');
  });

  scene('what was written offline is sent with a channelId, and once however often it is sent', async (stage) => {
    const channelId = unique('c');
    const room = `channel:${channelId}`;
    const [ann, bob] = await two(stage, room);
    const stands = ann.log.length;
    ann.loseTransport();
    await ann.heard('client:state', 'disconnected', stands);
    const content = unique('written offline');
    const message = ann.queueMessage({
      channelId,
      content,
      type: 'image',
      attachments: [{ id: 'a1', type: 'image/png', name: 'cat.png', size: 9 }],
      threadId: 't1',
      mentions: [bob.id],
      clientMessageId: unique('client'),
    });
    const { messageId } = await ann.heard('client:flushed', { id: message.id }, stands);
    const told = await bob.heard('message:new', { content });
    const { type, attachments, mentions } = message;
    assertMatches(told, { roomName: room, userId: ann.id, messageId, threadId: 't1' });
    assert.deepEqual(told.metadata, { type, attachments, mentions });
    assertMatches(await ann.sendQueued(message), { messageId, duplicate: true });
    // Without an id of its own the queue's stands in.
    const plain = ann.queueMessage({ channelId, content: unique('plain'), type: 'text' });
    await ann.heard('client:flushed', { id: plain.id });
    assertMatches((await bob.heard('message:new', { content: plain.content })).metadata, { type: 'text' });
    await said(room, ann, bob);
    assert.equal(bob.all('message:new', { content }).length, 1);
    assert.deepEqual(ann.queue, []);
    ann.neverHeard('client:not flushed');
  });

  scene('a channel that was not joined is not written to', async (stage) => {
    const [ann, bob] = await two(stage);
    const channelId = unique('c');
    await bob.joinRoom(`channel:${channelId}`);
    await ann.refused('NOT_A_MEMBER', 'message:send', { channelId, content: 'x', type: 'text', clientMessageId: 'x' });
    assertMatches(await ann.refused('INVALID_PAYLOAD', 'message:send', { channelId: 7, content: 'x' }), { details: { field: 'channelId' } });
    assertMatches(await bob.refused('TOO_LARGE', 'message:send', { channelId, content: 'x', mentions: ['x'.repeat(20_000)] }), {
      details: { field: 'metadata' },
    });
  });

  scene('a new token is taken over, a bad one is told, and one that ends is followed by another', async (stage) => {
    const ann = await enter(stage, 'ann', { claims: { exp: nowSeconds() + 3 } });
    let stands = ann.log.length;
    ann.updateToken('no token at all');
    await ann.heard('auth:error', { code: 'UNAUTHENTICATED', message: isText }, stands);
    ann.updateToken(token(claimsOf(ann.id)));
    await ann.heard('authenticated', { userId: ann.id }, stands);

    const bob = await enter(stage, 'bob', { claims: { exp: nowSeconds() + 4 } });
    const channel = unique('channel:c');
    await bob.joinRoom(channel);
    bob.token = token(claimsOf(bob.id));
    stands = bob.log.length;
    await bob.heard('auth:error', undefined, stands);
    await bob.heard('disconnect', 'io server disconnect', stands);
    await bob.heard('client:state', 'authenticated', stands);
    await bob.heard('client:joined', channel, stands);
    // Ann's first token has ended before bob's.
    await ann.joinRoom(channel);
    ann.neverHeard('disconnect');
  });

  scene("a user's own room is for that user alone", async (stage) => {
    const [ann, bob] = await two(stage);
    const own = `user:${ann.id}`;
    for (let tries = 0; tries < 2; tries += 1) {
      await assert.rejects(bob.joinRoom(own), { message: 'This room is by invitation' });
      assertMatches(await bob.refused('FORBIDDEN', 'room:join', { roomName: own }), { message: 'This room is by invitation' });
      assertMatches(await ann.joinRoom(own), { name: own, memberCount: 1 }); // there by now
    }
    const tab = await enter(stage, 'ann', { node: 1 });
    assertMatches(await tab.heard('authenticated'), { rooms: [own] });
    assertMatches(await tab.joinRoom(own), { memberCount: 1 });
    await bob.refused('NOT_A_MEMBER', 'message:send', { roomName: own, content: 'x' });
    await bob.refused('NOT_A_MEMBER', 'room:members', { roomName: own });
    await bob.refused('NOT_A_MEMBER', 'message:history', { roomName: own });
    ann.neverHeard('user:joined', { roomName: own });
  });

  scene('a direct room of two names is for those two, and there before either is', async (stage) => {
    const direct = directRoom(stage.user('ann'), stage.user('bob'));
    const eve = await enter(stage, 'eve');
    await eve.refused('FORBIDDEN', 'room:join', { roomName: direct });
    const [ann, bob] = await two(stage, direct);
    assertMatches(bob.rooms.get(direct), { type: 'dm', memberCount: 2 });
    await eve.refused('FORBIDDEN', 'room:join', { roomName: direct });
    await said(direct, ann, bob);
    await said(direct, bob, ann);
    eve.neverHeard('message:new');
  });

  scene('a direct room whose id names nobody is of whoever comes first', async (stage) => {
    const direct = unique('dm:d');
    const [ann, bob] = await two(stage);
    assertMatches(await ann.joinRoom(direct), { type: 'dm', memberCount: 1 });
    await assert.rejects(bob.joinRoom(direct), { message: 'This room is by invitation' });
    await ann.refused('FORBIDDEN', 'room:role', { roomName: direct, userId: bob.id, role: 'member' }); // nobody owns it
    const tab = await enter(stage, 'ann', { node: 1 });
    assertMatches(await tab.joinRoom(direct), { memberCount: 1 });
  });

  scene('what it says that nobody answers does no harm', async (stage) => {
    const channel = unique('channel:c');
    const [ann, bob] = await two(stage, channel);
    const messageId = await bob.send(channel, 'hello');
    const readAt = new Date().toISOString();
    ann.tell('receipt:update', { messageId, userId: ann.id, status: 'read', readAt });
    ann.tell('channel:read', { channelId: channel, userId: ann.id, readAt });
    ann.tell('dispatch', { event: 'x', room: channel, payload: {} });
    ann.tell('typing:update', { roomName: channel });
    // It takes these for a failure, and goes on.
    await ann.refused('UNKNOWN_EVENT', 'sync:messages', { channelId: channel, since: null, limit: 50 });
    await ann.refused('UNKNOWN_EVENT', 'sync:channels', { since: null });
    await said(channel, ann, bob);
    for (const actor of [ann, bob]) actor.neverHeard('error');
  });
});
