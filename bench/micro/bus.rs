//! What the bus brings: reading a frame, and making of it what the shards deliver.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use nself_realtime::config::CustomStatusShape;
use nself_realtime::gateway::Encoder;
use nself_realtime::hot::frame::{self, BusEvent};

use super::said::{self, OFFSET};

/// Bytes of a message's content.
const CONTENT: usize = 200;
/// Messages that were published in one frame.
const SEVERAL: usize = 10;
const ENCODER: Encoder = Encoder {
    shape: CustomStatusShape::Object,
    tells_presence: true,
    recovers: true,
};

pub fn bench(criterion: &mut Criterion) {
    let message = said::published(&said::message(CONTENT));
    let several = {
        let lengths = vec![message.len().to_string(); SEVERAL].join(" ");
        format!("s {lengths}\n{}", message.repeat(SEVERAL))
    };
    let join = {
        let (epoch, user) = (said::message(0).epoch, said::user());
        let presence = r#"{"status":"online","chosen":"online","text":"Lunch"}"#;
        format!("j {epoch} 12 1700000000000 3 c5f1\n{user}\n{presence}")
    };
    let mut group = criterion.benchmark_group("bus");
    for (name, frame, messages) in [
        ("message", &message, 1),
        ("ten messages", &several, SEVERAL),
        ("join", &join, 1),
    ] {
        frame::decode(frame.as_bytes()).expect(name);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| frame::decode(black_box(frame.as_bytes())));
        });
    }
    group.throughput(Throughput::Elements(1));
    for (name, frame) in [("message", &message), ("join", &join)] {
        let (room, event) = (said::room(), frame::decode(frame.as_bytes()).expect(name));
        let offset = matches!(event, BusEvent::Message(_)).then(|| OFFSET.to_owned());
        group.bench_function(BenchmarkId::new("room_delivery", name), |bencher| {
            bencher.iter_batched(
                || (room.clone(), event.clone(), offset.clone()),
                |(room, event, offset)| ENCODER.room_delivery(room, event, offset),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
