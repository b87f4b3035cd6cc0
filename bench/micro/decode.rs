//! What comes: `message:send` as a client's WebSocket frame, as a Socket.IO packet, and as the fields of its payload.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use nself_realtime::engine::packet::{self, PacketData};
use nself_realtime::engine::{Event, Message, websocket};
use nself_realtime::gateway::payload::Incoming;
use nself_realtime::gateway::protocol::Failure;
use nself_realtime::types::RoomName;
use serde_json::json;

use super::said::{self, CONTENTS};

const FRAME_LIMITS: websocket::Limits = websocket::Limits {
    message_bytes: 1_000_000,
    fragments: 1_024,
    may_compress: true,
};
const PACKET_LIMITS: packet::Limits = packet::Limits {
    attachments: 10,
    attachment_bytes: 1_000_000,
};
const MASK: [u8; 4] = [0x5A, 0, 0xFF, 7];

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for len in CONTENTS {
        let payload = json!({
            "roomName": said::room().as_str(), "content": said::content(len), "clientMessageId": "c5f1-7000",
        });
        let packet = format!("27{}", json!(["message:send", payload]));
        let wire = client_frame(format!("4{packet}").as_bytes());
        let message = Message::Text(packet.into());
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("websocket", len), |bencher| {
            // It is unmasked where it lies.
            bencher.iter_batched_ref(|| wire.clone(), |wire| text(wire), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("packet", len), |bencher| {
            bencher.iter_batched(|| message.clone(), event, BatchSize::SmallInput);
        });
        let args = event(message.clone()).args;
        group.bench_function(BenchmarkId::new("payload", len), |bencher| {
            bencher.iter(|| send(black_box(&args)).expect("it is as it should be"));
        });
    }
    group.finish();
}

fn text(wire: &mut [u8]) -> websocket::Item {
    let (_taken, item) = websocket::Decoder::default()
        .next(wire, FRAME_LIMITS)
        .expect("a client may send it");
    item.expect("the frame is whole")
}

fn event(message: Message) -> Event {
    let packet = packet::Decoder::default().next(message, PACKET_LIMITS);
    match packet.expect("a packet").expect("a whole one").inner {
        PacketData::Event(payload, ack) => packet::event(payload, ack).expect("an event"),
        other => panic!("expected an event, got {other:?}"),
    }
}

/// What the handler of `message:send` reads, in its order.
fn send(args: &str) -> Result<(RoomName, [Option<String>; 5]), Failure> {
    let mut fields = Incoming::parse(args).expect("it has a name").object()?;
    let (room, content) = (fields.room()?, fields.text("content")?);
    let (thread, reply_to, metadata) = (fields.thread()?, fields.reply_to()?, fields.metadata()?);
    let id = fields.client_message_id()?;
    Ok((room, [Some(content), thread, reply_to, metadata, id]))
}

/// A masked text frame.
fn client_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            let len = u16::try_from(len).expect("the longest content is shorter");
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
